/* Clock, samples, failures, and what every protocol needs. */
#include "load.h"

uint64_t clk(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}

void add(samples *s, uint64_t us) {
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 1024;
        s->v = realloc(s->v, s->cap * 4);
    }
    s->v[s->n++] = us > 0xffffffffu ? 0xffffffffu : (uint32_t)us;
}
int cmp64(const void *a, const void *b) {
    uint64_t x = *(uint64_t *)a, y = *(uint64_t *)b;
    return x < y ? -1 : x > y;
}
int cmp32(const void *a, const void *b) {
    uint32_t x = *(uint32_t *)a, y = *(uint32_t *)b;
    return x < y ? -1 : x > y;
}
uint64_t pct64(uint64_t *v, int n, double p) {
    if (!n) {
        return 0;
    }
    int i = (int)(p * n);
    if (i >= n) {
        i = n - 1;
    }
    return v[i];
}

void close_fds(conn *c) {
    if (c->fd >= 0) {
        close(c->fd);
        c->fd = -1;
        n_open--;
    }
    if (c->tr) {
        for (int i = 0; i < c->ntrack; i++) {
            if (c->tr[i].rtp_fd > 0) {
                close(c->tr[i].rtp_fd);
                c->tr[i].rtp_fd = 0;
            }
            if (c->tr[i].rtcp_fd > 0) {
                close(c->tr[i].rtcp_fd);
                c->tr[i].rtcp_fd = 0;
            }
        }
    }
}
void fail(conn *c, int why) {
    if (c->done) {
        return;
    }
    if (!c->failed) {
        c->failed = 1 + why;
        sum_fail[why]++;
    }
    c->done = 1;
    close_fds(c);
}
void note(const char *f, ...) {
    static int k;
    if (k++ > 20) {
        return;
    }
    va_list a;
    va_start(a, f);
    vfprintf(stderr, f, a);
    va_end(a);
    fputc('\n', stderr);
}

void touch(conn *c, size_t n) {
    c->wire += n;
    tot_wire += n;
    if (!c->t_fb) {
        c->t_fb = now;
    }
    if (c->t_media) {
        uint64_t g = now - c->last;
        if (g > c->stall) {
            c->stall = g;
        }
        if (steady) {
            uint64_t f = c->last > ws ? c->last : ws;
            if (now > f && now - f > c->stall_w) {
                c->stall_w = now - f;
            }
        }
    }
    c->last = now;
}
void is_media(conn *c) {
    if (!c->t_media) {
        c->t_media = now;
        c->last = now;
        n_media++;
    }
}

int send_all(conn *c, const void *p, size_t n) {
    ssize_t k = send(c->fd, p, n, MSG_NOSIGNAL);
    if (k != (ssize_t)n) {
        fail(c, F_SOCKET);
        return -1;
    } /* small requests always fit the socket buffer */
    return 0;
}
int sendf(conn *c, const char *f, ...) {
    char b[2048];
    va_list a;
    va_start(a, f);
    int n = vsnprintf(b, sizeof b, f, a);
    va_end(a);
    if (n >= (int)sizeof b) {
        fail(c, F_PROTO);
        return -1;
    }
    return send_all(c, b, n);
}
void tpush(conn *c, const void *p, int n) {
    if (c->tlen + n + 1 > c->tcap) {
        c->tcap = (c->tlen + n + 1) * 2;
        if (c->tcap < 1024) {
            c->tcap = 1024;
        }
        c->txt = realloc(c->txt, c->tcap);
    }
    memcpy(c->txt + c->tlen, p, n);
    c->tlen += n;
    c->txt[c->tlen] = 0;
}
/* value of a header inside head (NUL-terminated), copied to out */
int header(const char *head, const char *name, char *out, int cap) {
    int ln = strlen(name);
    const char *p = head;
    while ((p = strchr(p, '\n'))) {
        p++;
        if (!strncasecmp(p, name, ln) && p[ln] == ':') {
            p += ln + 1;
            while (*p == ' ' || *p == '\t') {
                p++;
            }
            int k = 0;
            while (*p && *p != '\r' && *p != '\n' && k < cap - 1) {
                out[k++] = *p++;
            }
            out[k] = 0;
            return 1;
        }
    }
    out[0] = 0;
    return 0;
}
