/*
 * Content check: every access unit that a reader gets must be the next one of a reference file.
 *
 * A unit is known by a hash over what a decoder shows: for H.264 every NAL unit but parameter sets,
 * access unit delimiters and filler (a server may add, move or drop those), for AAC the raw unit.
 * The server loops the file, so the place is taken modulo its length. A reader starts somewhere;
 * where several places fit its first units (silence repeats) all are kept until one is left.
 */
#include "load.h"

enum { VIDEO, AUDIO };
static struct {
    uint64_t *hash;
    int n, cap;
} ref[2];
static int loaded;

#if defined(__x86_64__)
#include <nmmintrin.h>
__attribute__((target("sse4.2"))) static uint32_t crc32c(uint32_t crc, const uint8_t *p, size_t n) {
    uint64_t v = crc;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        v = _mm_crc32_u64(v, w);
    }
    crc = (uint32_t)v;
    while (n--) {
        crc = _mm_crc32_u8(crc, *p++);
    }
    return crc;
}
#else
static uint32_t crc32c(uint32_t crc, const uint8_t *p, size_t n) {
    static uint32_t table[256];
    if (!table[1]) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t v = i;
            for (int k = 0; k < 8; k++) {
                v = v & 1 ? v >> 1 ^ 0x82f63b78u : v >> 1;
            }
            table[i] = v;
        }
    }
    while (n--) {
        crc = table[(crc ^ *p++) & 255] ^ crc >> 8;
    }
    return crc;
}
#endif

static int counts(int type) { /* H.264 table 7-1: SPS, PPS, AUD, filler, SPS extension do not */
    return type != 7 && type != 8 && type != 9 && type != 12 && type != 13;
}
static void mix(check_state *s, uint64_t v) {
    s->hash = (s->hash ^ v) * 0x9e3779b97f4a7c15ull;
    s->hash ^= s->hash >> 29;
}

static void begin(check_state *s, int type) {
    s->kind = type == 9 ? VIDEO : type == 8 ? AUDIO : -1;
    s->skip = 0; /* bytes of the tag body seen, up to its codec header's length */
    s->lenb = 0;
    s->nal_left = s->nal_len = 0;
    s->crc = 0;
    s->hash = 0;
}
static void eat(check_state *s, const uint8_t *p, size_t n) {
    int want = s->kind == VIDEO ? 5 : 2;
    while (n && s->kind >= 0 && s->skip < want) {
        int first = s->skip++ == 0;
        uint8_t b = *p++;
        n--;
        if (first && (s->kind == VIDEO ? (b & 0x8f) != 7 || b >> 4 == 5 : b >> 4 != 10)) {
            s->kind = -1; /* another codec */
        } else if (!first && s->skip == 2 && b != 1) {
            s->kind = -1; /* a sequence header or end */
        }
    }
    if (s->kind == AUDIO && n) {
        s->crc = crc32c(s->crc, p, n);
        s->nal_len += n;
        return;
    }
    while (s->kind == VIDEO && n) {
        if (s->lenb < 4) {
            s->nal_left = s->nal_left << 8 | *p++;
            n--;
            if (++s->lenb == 4) {
                s->nal_len = s->nal_left;
                s->crc = 0;
                s->type = -1;
                if (!s->nal_left) {
                    s->lenb = 0;
                }
            }
            continue;
        }
        if (s->type < 0) {
            s->type = *p & 31;
        }
        size_t k = s->nal_left < n ? s->nal_left : n;
        if (counts(s->type)) {
            s->crc = crc32c(s->crc, p, k);
        }
        p += k;
        n -= k;
        s->nal_left -= k;
        if (!s->nal_left) {
            if (counts(s->type)) {
                mix(s, (uint64_t)s->nal_len << 32 | s->crc);
            }
            s->lenb = 0;
        }
    }
}
static int is_unit(check_state *s) { /* the tag that ended holds something to show */
    if (s->kind == AUDIO && s->nal_len) {
        mix(s, (uint64_t)s->nal_len << 32 | s->crc);
    }
    return s->kind >= 0 && s->hash;
}

int check_load(const char *file) {
    FILE *f = fopen(file, "rb");
    if (!f) {
        perror(file);
        return -1;
    }
    uint8_t h[13], t[11], *b = NULL;
    check_state s;
    memset(&s, 0, sizeof s);
    if (fread(h, 1, 13, f) != 13 || memcmp(h, "FLV", 3)) {
        fprintf(stderr, "%s: not FLV\n", file);
        return -1;
    }
    while (fread(t, 1, 11, f) == 11) {
        size_t n = t[1] << 16 | t[2] << 8 | t[3];
        b = realloc(b, n + 4);
        if (fread(b, 1, n + 4, f) != n + 4) {
            break;
        }
        begin(&s, t[0] & 31);
        eat(&s, b, n);
        if (is_unit(&s)) {
            int k = s.kind;
            if (ref[k].n == ref[k].cap) {
                ref[k].cap = ref[k].cap ? ref[k].cap * 2 : 1024;
                ref[k].hash = realloc(ref[k].hash, ref[k].cap * sizeof(uint64_t));
            }
            ref[k].hash[ref[k].n++] = s.hash;
        }
    }
    free(b);
    fclose(f);
    loaded = 1;
    return 0;
}

void check_begin(conn *c, int type) {
    if (loaded) {
        begin(&c->check, type);
    }
}
void check_data(conn *c, const uint8_t *p, size_t n) {
    if (loaded) {
        eat(&c->check, p, n);
    }
}
/* All places that hold this unit; the reader may stand after any of them. */
static void find(place *at, int k, uint64_t hash) {
    if (!at->possible) {
        at->possible = malloc((ref[k].n + 1) * sizeof(int));
    }
    at->n = 0;
    for (int i = 0; i < ref[k].n; i++) {
        if (ref[k].hash[i] == hash) {
            at->possible[at->n++] = i;
        }
    }
    at->next = at->n ? (at->possible[0] + 1) % ref[k].n : -1;
}
void check_end(conn *c) {
    check_state *s = &c->check;
    if (!loaded || !is_unit(s)) {
        return;
    }
    int k = s->kind, n = ref[k].n;
    place *at = &s->at[k];
    s->frames++;
    if (!n) {
        s->wrong++;
        return;
    }
    if (!at->possible) { /* its first unit */
        find(at, k, s->hash);
        s->wrong += !at->n;
        return;
    }
    if (at->n > 1) {
        int left = 0;
        for (int i = 0; i < at->n; i++) {
            int next = (at->possible[i] + 1) % n;
            if (ref[k].hash[next] == s->hash) {
                at->possible[left++] = next;
            }
        }
        if (left) {
            at->n = left;
            at->next = (at->possible[0] + 1) % n;
            return;
        }
    } else if (at->n == 1 && ref[k].hash[at->next] == s->hash) {
        at->next = (at->next + 1) % n;
        return;
    }
    /* not the unit that was due: one that lies ahead (some are missing) or a wrong one */
    int due = at->next < 0 ? 0 : at->next, had = at->n;
    find(at, k, s->hash);
    if (!at->n) {
        s->wrong++;
        at->n = had ? 1 : 0;
        at->next = (due + 1) % n;
        return;
    }
    int best = n;
    for (int i = 0; i < at->n; i++) {
        int d = (at->possible[i] - due + n) % n;
        best = d < best ? d : best;
    }
    s->missing += best;
}
