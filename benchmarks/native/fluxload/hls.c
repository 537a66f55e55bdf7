/* HLS: polls playlists and downloads every new segment, or with low latency every new part. */
#include "load.h"

static void path_of(const char *url, char *out, int cap) {
    const char *p = strstr(url, "://");
    p = p ? strchr(p + 3, '/') : url;
    snprintf(out, cap, "%s", p ? p : "/");
}
static void resolve(const char *base, const char *ref, char *out, int cap) {
    if (strstr(ref, "://")) {
        path_of(ref, out, cap);
        return;
    }
    if (ref[0] == '/') {
        snprintf(out, cap, "%s", ref);
        return;
    }
    char b[768];
    snprintf(b, sizeof b, "%s", base);
    char *q = strchr(b, '?');
    if (q) {
        *q = 0;
    }
    char *s = strrchr(b, '/');
    if (s) {
        s[1] = 0;
    }
    while (!strncmp(ref, "../", 3)) {
        ref += 3;
        int l = strlen(b);
        if (l > 1) {
            b[l - 1] = 0;
            s = strrchr(b, '/');
            if (s) {
                s[1] = 0;
            }
        }
    }
    snprintf(out, cap, "%s%s", b, ref);
}
static char want_url[768];
void hls_get(conn *c, const char *path, int what) {
    struct hls *h = c->h;
    h->what = what;
    h->t_req = now;
    c->in_body = 0;
    c->tlen = 0;
    h->pllen = what == 0 ? 0 : h->pllen;
    if (c->fd < 0) {
        snprintf(want_url, sizeof want_url, "%s", path);
        snprintf(h->master, sizeof h->master, "%s", path);
        c->st = 2;
        start(c);
        return;
    }
    c->st = 3;
    char ck[300] = "";
    if (h->cookie[0]) {
        snprintf(ck, sizeof ck, "Cookie: %s\r\n", h->cookie);
    }
    sendf(c,
          "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUser-Agent: fluxload\r\nAccept: */*\r\n%sConnection: "
          "keep-alive\r\n\r\n",
          path, o_host, o_port, ck);
}
static void hls_next(conn *c);
static void ll_next(conn *c);
void hls_body(conn *c, const uint8_t *p, size_t n) {
    struct hls *h = c->h;
    if (h->what == 0) {
        h->pl = realloc(h->pl, h->pllen + n + 1);
        memcpy(h->pl + h->pllen, p, n);
        h->pllen += n;
        h->pl[h->pllen] = 0;
    } else {
        for (size_t i = 0; i < n && h->firstn < 8; i++) {
            h->first[h->firstn++] = p[i];
        }
        if (h->status / 100 == 2) {
            c->media += n;
        }
    }
}
static void hls_wait(conn *c, int ms) {
    c->st = 4;
    c->next_act = now + ms * 1000ull;
}
void hls_done(conn *c) {
    struct hls *h = c->h;
    uint64_t took = now - h->t_req;
    c->in_body = 0;
    c->tlen = 0;
    if (c->close_after) {
        close(c->fd);
        c->fd = -1;
        n_open--;
    }
    if (h->what == 0) {
        h->npl++;
        if (steady) {
            h->npl_w++;
            add(&s_pl, took);
        }
        if (h->status / 100 != 2) {
            h->err++;
            if (++h->retries > 20) {
                note("playlist status %d", h->status);
                fail(c, F_STATUS);
                return;
            }
            hls_wait(c, 500);
            return;
        }
        char *m = h->pl ? strstr(h->pl, "#EXT-X-STREAM-INF") : NULL;
        if (m) {
            char *l = m;
            while ((l = strchr(l, '\n'))) {
                l++;
                if (*l != '#' && *l > ' ') {
                    break;
                }
            }
            if (!l) {
                fail(c, F_PROTO);
                return;
            }
            char ref[768];
            int k = 0;
            while (l[k] > ' ' && k < 767) {
                ref[k] = l[k];
                k++;
            }
            ref[k] = 0;
            char u[768];
            resolve(h->url, ref, u, sizeof u);
            snprintf(h->url, sizeof h->url, "%s", u);
            hls_get(c, h->url, 0);
            return;
        }
        if (!h->pl || strncmp(h->pl, "#EXTM3U", 7)) {
            note("not a playlist");
            fail(c, F_PROTO);
            return;
        }
        h->pl_at = now;
        if (o_ll && strstr(h->pl, "#EXT-X-PART-INF")) {
            ll_next(c);
        } else {
            hls_next(c);
        }
        return;
    }
    if (h->status / 100 != 2) {
        h->err++;
        note("segment status %d", h->status);
    } else if (h->what == 1) {
        h->nseg++;
        if (steady) {
            h->nseg_w++;
            add(&s_seg, took);
        }
        if (!(h->firstn >= 8 &&
              (h->first[0] == 0x47 || !memcmp(h->first + 4, "styp", 4) ||
               !memcmp(h->first + 4, "moof", 4) || !memcmp(h->first + 4, "sidx", 4) ||
               !memcmp(h->first + 4, "prft", 4) || !memcmp(h->first + 4, "emsg", 4)))) {
            h->bad_seg++;
        }
        if (!c->t_media) {
            is_media(c);
            c->t_key = now;
        }
    }
    if (o_ll && strstr(h->pl, "#EXT-X-PART-INF")) {
        ll_next(c);
    } else {
        hls_next(c);
    }
}
/* Copy a URI up to its end and resolve it against the playlist's. */
static void fetch(conn *c, const char *ref, int what) {
    char r[768], u[768];
    int k = 0;
    while (ref[k] > ' ' && ref[k] != '"' && k < 767) {
        r[k] = ref[k];
        k++;
    }
    r[k] = 0;
    resolve(c->h->url, r, u, sizeof u);
    hls_get(c, u, what);
}
/* Low latency: fetch the parts that are new, then ask for the playlist with the next one. */
static void ll_next(conn *c) {
    struct hls *h = c->h;
    int64_t number = 0;
    int part = 0, has_next = 0;
    char *map = NULL, *want = NULL;
    int64_t want_number = 0;
    int want_part = 0;
    for (char *l = h->pl; l && *l;) {
        char *e = strchr(l, '\n');
        if (!strncmp(l, "#EXT-X-MEDIA-SEQUENCE:", 22)) {
            number = atoll(l + 22);
        } else if (!strncmp(l, "#EXT-X-SKIP:SKIPPED-SEGMENTS=", 29)) {
            number += atoll(l + 29);
        } else if (!strncmp(l, "#EXT-X-MAP:", 11)) {
            map = strstr(l, "URI=\"");
        } else if (!strncmp(l, "#EXT-X-PART:", 12)) {
            int is_new = h->next_seq < 0 || number > h->next_seq ||
                         (number == h->next_seq && part >= h->next_part);
            if (is_new && (!has_next || h->next_seq < 0)) {
                has_next = 1;
                want = strstr(l, "URI=\"");
                want_number = number;
                want_part = part;
            }
            part++;
        } else if (*l != '#' && *l > ' ') {
            if (number == h->next_seq && part == h->next_part) { /* it is whole: go on behind it */
                h->next_seq++;
                h->next_part = 0;
            }
            number++;
            part = 0;
        }
        l = e ? e + 1 : NULL;
    }
    if (o_ll == 2) { /* playlists alone */
        if (!c->t_media) {
            is_media(c);
            c->t_key = now;
        }
        h->next_seq = number;
        h->next_part = part;
    } else if (map && !h->got_map) {
        h->got_map = 1;
        fetch(c, map + 5, 2);
        return;
    } else if (want) {
        if (h->next_seq >= 0 && (want_number != h->next_seq || want_part != h->next_part)) {
            h->gap++;
        }
        h->next_seq = want_number;
        h->next_part = want_part + 1;
        fetch(c, want + 5, 1);
        return;
    }
    char u[900];
    snprintf(u, sizeof u, "%s%c_HLS_msn=%lld&_HLS_part=%d&_HLS_skip=YES", h->url,
             strchr(h->url, '?') ? '&' : '?', (long long)number, part);
    hls_get(c, u, 0);
}
static void hls_next(conn *c) { /* decide what to fetch from the playlist held */
    struct hls *h = c->h;
    int64_t seq = 0;
    int target = 2000, n = 0;
    char *map = NULL;
    char *p = h->pl, *want = NULL;
    int64_t first;
    char *last3[3] = {0};
    char *s = strstr(p, "#EXT-X-TARGETDURATION:");
    if (s) {
        target = atof(s + 22) * 1000;
    }
    s = strstr(p, "#EXT-X-MEDIA-SEQUENCE:");
    if (s) {
        seq = atoll(s + 22);
    }
    first = seq;
    h->target_ms = target < 200 ? 200 : target;
    for (char *l = p; l && *l;) {
        char *e = strchr(l, '\n');
        if (*l != '#' && *l > ' ') {
            if (seq + n == h->next_seq) {
                want = l;
            }
            last3[0] = last3[1];
            last3[1] = last3[2];
            last3[2] = l;
            n++;
        } else if (!strncmp(l, "#EXT-X-MAP:", 11)) {
            map = strstr(l, "URI=\"");
            if (map) {
                map += 5;
            }
        }
        l = e ? e + 1 : NULL;
    }
    h->changed = first != h->last_first || n != h->last_n;
    h->last_first = first;
    h->last_n = n;
    if (!n) {
        hls_wait(c, h->target_ms / 2);
        return;
    }
    char ref[768], u[768];
    int k = 0;
    if (map && !h->got_map) {
        while (map[k] && map[k] != '"' && k < 767) {
            ref[k] = map[k];
            k++;
        }
        ref[k] = 0;
        resolve(h->url, ref, u, sizeof u);
        h->got_map = 1;
        hls_get(c, u, 2);
        return;
    }
    if (h->next_seq < 0) {
        int i = n >= 3 ? 0 : 3 - n;
        want = last3[i];
        h->next_seq = first + n - (3 - i);
    } else if (h->next_seq < first) {
        h->gap += first - h->next_seq;
        h->next_seq = first;
        want = NULL;
        for (char *l = p; l && *l;) {
            if (*l != '#' && *l > ' ') {
                want = l;
                break;
            }
            l = strchr(l, '\n');
            if (l) {
                l++;
            }
        }
    }
    if (want) {
        while (want[k] > ' ' && k < 767) {
            ref[k] = want[k];
            k++;
        }
        ref[k] = 0;
        resolve(h->url, ref, u, sizeof u);
        h->next_seq++;
        hls_get(c, u, 1);
        return;
    }
    uint64_t due =
        h->pl_at + (h->changed && c->t_media ? h->target_ms : h->target_ms / 2) * 1000ull;
    if (due < now) {
        due = now;
    }
    c->st = 4;
    c->next_act = due;
}
