/* HTTP/1.1: heads, bodies with a length, chunked or up to the end. */
#include "load.h"

static void body(conn *c, const uint8_t *p, size_t n) {
    if (o_ws) {
        ws_eat(c, p, n);
    } else if (mode == M_FLV) {
        flv_eat(c, p, n);
    } else {
        hls_body(c, p, n);
    }
}
void http_eat(conn *c, const uint8_t *p, size_t n) {
    while (n && !c->done) {
        if (!c->in_body) {
            int from = c->tlen > 3 ? c->tlen - 3 : 0;
            size_t room = n < 8192 ? n : 8192;
            tpush(c, p, room);
            char *e = strstr(c->txt + from, "\r\n\r\n");
            if (!e) {
                p += room;
                n -= room;
                if (c->tlen > 65536) {
                    fail(c, F_PROTO);
                    return;
                }
                continue;
            }
            int hl = e + 4 - c->txt, used = hl - (c->tlen - (int)room);
            p += used;
            n -= used;
            c->txt[hl - 2] = 0;
            int code = atoi(c->txt + 9);
            char v[256];
            c->chunked =
                header(c->txt, "Transfer-Encoding", v, sizeof v) && strcasestr(v, "chunked");
            c->body_left = header(c->txt, "Content-Length", v, sizeof v) ? atoll(v) : -1;
            c->close_after =
                (header(c->txt, "Connection", v, sizeof v) && strcasestr(v, "close")) ||
                !strncmp(c->txt, "HTTP/1.0", 8);
            if (c->chunked) {
                c->body_left = -1;
            }
            if (mode == M_HLS) {
                c->h->status = code;
                c->h->firstn = 0;
                if (header(c->txt, "Set-Cookie", v, sizeof v)) {
                    char *s = strchr(v, ';');
                    if (s) {
                        *s = 0;
                    }
                    snprintf(c->h->cookie, sizeof c->h->cookie, "%s", v);
                }
                if (code / 100 == 3 && header(c->txt, "Location", v, sizeof v)) {
                    note("redirect %s not followed", v);
                }
            } else if (code != (o_ws ? 101 : 200)) {
                note("HTTP status %d", code);
                fail(c, F_STATUS);
                return;
            }
            c->tlen = 0;
            c->in_body = 1;
            c->cst = 0;
            c->cleft = 0;
            if (mode == M_HLS && !c->chunked && c->body_left == 0) {
                hls_done(c);
                continue;
            }
            if (mode != M_HLS) {
                free(c->txt);
                c->txt = NULL;
                c->tcap = 0;
            }
            continue;
        }
        if (!c->chunked) {
            size_t k = n;
            if (c->body_left >= 0 && (int64_t)k > c->body_left) {
                k = c->body_left;
            }
            body(c, p, k);
            p += k;
            n -= k;
            if (c->body_left >= 0) {
                c->body_left -= k;
                if (!c->body_left) {
                    if (mode == M_HLS) {
                        hls_done(c);
                    } else {
                        fail(c, F_CLOSED);
                        return;
                    }
                }
            }
            continue;
        }
        switch (c->cst) { /* 0 size line, 1 data, 2 CRLF after data, 3 trailer */
        case 0: {
            uint8_t ch = *p++;
            n--;
            if (ch == '\n') {
                if (c->cleft == 0) {
                    c->cst = 3;
                    c->hn = mode == M_HLS ? 0 : c->hn;
                } else {
                    c->cst = 1;
                }
                c->isk = 0;
            } else if (ch == ';') {
                c->isk = 1;
            } else if (!c->isk && isxdigit(ch)) {
                c->cleft = c->cleft * 16 + (isdigit(ch) ? ch - '0' : (ch | 32) - 'a' + 10);
            }
            break;
        }
        case 1: {
            size_t k = n;
            if ((int64_t)k > c->cleft) {
                k = c->cleft;
            }
            body(c, p, k);
            p += k;
            n -= k;
            c->cleft -= k;
            if (!c->cleft) {
                c->cst = 2;
            }
            break;
        }
        case 2: {
            uint8_t ch = *p++;
            n--;
            if (ch == '\n') {
                c->cst = 0;
                c->cleft = 0;
            }
            break;
        }
        case 3: {
            uint8_t ch = *p++;
            n--;
            if (ch == '\n') {
                if (mode == M_HLS) {
                    c->cst = 0;
                    hls_done(c);
                } else {
                    fail(c, F_CLOSED);
                    return;
                }
            }
            break;
        }
        }
    }
}
