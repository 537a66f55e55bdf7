/* RTMP: handshake, chunk stream, play. */
#include "load.h"

static int amf_str(uint8_t *o, const char *s) {
    int n = strlen(s);
    o[0] = 2;
    o[1] = n >> 8;
    o[2] = n;
    memcpy(o + 3, s, n);
    return n + 3;
}
static int amf_num(uint8_t *o, double d) {
    uint64_t v;
    memcpy(&v, &d, 8);
    o[0] = 0;
    for (int i = 0; i < 8; i++) {
        o[1 + i] = v >> (56 - 8 * i);
    }
    return 9;
}
static int amf_key(uint8_t *o, const char *s) {
    int n = strlen(s);
    o[0] = n >> 8;
    o[1] = n;
    memcpy(o + 2, s, n);
    return n + 2;
}
static void rtmp_send(conn *c, int csid, int type, uint32_t sid, const uint8_t *p, int n) {
    uint8_t b[2048];
    int k = 0;
    b[k++] = csid;
    memset(b + k, 0, 3);
    k += 3;
    b[k++] = n >> 16;
    b[k++] = n >> 8;
    b[k++] = n;
    b[k++] = type;
    b[k++] = sid;
    b[k++] = sid >> 8;
    b[k++] = sid >> 16;
    b[k++] = sid >> 24;
    for (int i = 0; i < n; i++) {
        if (i && i % 128 == 0) {
            b[k++] = 0xc0 | csid;
        }
        b[k++] = p[i];
    }
    send_all(c, b, k);
}
static void rtmp_split(char *app, char *stream) { /* /app/stream, each at most 120 characters */
    const char *p = o_path[0] == '/' ? o_path + 1 : o_path, *s = strrchr(p, '/');
    int n = s ? s - p : (int)strlen(p);
    snprintf(app, 121, "%.*s", n > 120 ? 120 : n, p);
    snprintf(stream, 121, "%.120s", s ? s + 1 : "");
}
static void rtmp_msg(conn *c, struct rtmp_cs *s) {
    struct rtmp *m = c->rm;
    uint8_t *p = m->cap;
    int n = s->ncap;
    if (s->type == 1 && n >= 4) {
        m->in_chunk = ((uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]) & 0x7fffffff;
    } else if (s->type == 5 && n >= 4) {
        m->win = (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
    } else if (s->type == 4 && n >= 6 && p[1] == 6) {
        uint8_t b[6] = {0, 7, p[2], p[3], p[4], p[5]};
        rtmp_send(c, 2, 4, 0, b, 6);
    } else if (s->type == 20) {
        if (n > 10 && !memcmp(p + 3, "_result", 7)) {
            uint8_t b[512];
            int k = 0;
            char app[121], st[121];
            rtmp_split(app, st);
            if (m->stage == 1) {
                m->stage = 2;
                k += amf_str(b + k, "createStream");
                k += amf_num(b + k, 2);
                b[k++] = 5;
                rtmp_send(c, 3, 20, 0, b, k);
            } else if (m->stage == 2) {
                uint64_t v = 0;
                if (n >= 29) {
                    for (int i = 0; i < 8; i++) {
                        v = v << 8 | p[21 + i];
                    }
                }
                double d;
                memcpy(&d, &v, 8);
                m->sid = d;
                m->stage = 3;
                k += amf_str(b + k, "play");
                k += amf_num(b + k, 3);
                b[k++] = 5;
                k += amf_str(b + k, st);
                rtmp_send(c, 8, 20, (uint32_t)d, b, k);
                uint8_t bl[10] = {0, 3, 0, 0, 0, (uint8_t)d, 0, 0, 11, 184};
                rtmp_send(c, 2, 4, 0, bl, 10);
            }
        } else if (n > 9 && !memcmp(p + 3, "_error", 6)) {
            note("RTMP _error");
            fail(c, F_STATUS);
        } else if (n > 20 && memmem(p, n, "NetStream.Play.StreamNotFound", 29)) {
            note("RTMP stream not found");
            fail(c, F_STATUS);
        }
    }
}
void rtmp_eat(conn *c, const uint8_t *p, size_t n) {
    struct rtmp *m = c->rm;
    m->in_bytes += n;
    while (n && !c->done) {
        if (m->hs_left) {
            int pos = 3073 - m->hs_left;
            size_t k = (size_t)m->hs_left < n ? (size_t)m->hs_left : n;
            for (size_t i = 0; i < k; i++, pos++) {
                if (pos >= 1 && pos < 1537) {
                    m->s1[pos - 1] = p[i];
                }
            }
            m->hs_left -= k;
            p += k;
            n -= k;
            if (!m->hs_left) {
                if (send_all(c, m->s1, 1536)) {
                    return;
                }
                uint8_t b[600];
                int q = 0;
                char app[121], st[121], tc[240];
                rtmp_split(app, st);
                snprintf(tc, sizeof tc, "rtmp://%.60s:%d/%s", o_host, o_port, app);
                q += amf_str(b + q, "connect");
                q += amf_num(b + q, 1);
                b[q++] = 3;
                q += amf_key(b + q, "app");
                q += amf_str(b + q, app);
                q += amf_key(b + q, "tcUrl");
                q += amf_str(b + q, tc);
                q += amf_key(b + q, "flashVer");
                q += amf_str(b + q, "LNX 9,0,124,2");
                b[q++] = 0;
                b[q++] = 0;
                b[q++] = 9;
                m->stage = 1;
                m->in_chunk = 128;
                c->hn = 0;
                c->fs = 0;
                rtmp_send(c, 3, 20, 0, b, q);
            }
            continue;
        }
        if (c->fs == 0) { /* basic header, message header, extended time stamp */
            if (!c->hn) {
                c->hb[c->hn++] = *p++;
                n--;
                int f = c->hb[0] >> 6;
                int cs = c->hb[0] & 63;
                c->need = 1 +
                          (cs == 0   ? 1
                           : cs == 1 ? 2
                                     : 0) +
                          (f == 0   ? 11
                           : f == 1 ? 7
                           : f == 2 ? 3
                                    : 0);
                m->cur = cs;
                c->ttype = 0;
                if (f == 3 && m->cs[cs].ext) {
                    c->need += 4;
                }
                if (c->hn < c->need) {
                    continue;
                }
            } else if (c->hn < c->need) {
                size_t k = c->need - c->hn;
                if (k > n) {
                    k = n;
                }
                memcpy(c->hb + c->hn, p, k);
                c->hn += k;
                p += k;
                n -= k;
                if (c->hn < c->need) {
                    continue;
                }
            }
            int f = c->hb[0] >> 6, o = 1 + ((c->hb[0] & 63) == 0   ? 1
                                            : (c->hb[0] & 63) == 1 ? 2
                                                                   : 0);
            struct rtmp_cs *s = &m->cs[m->cur];
            uint8_t *b = c->hb + o;
            if (f < 3) {
                uint32_t t = b[0] << 16 | b[1] << 8 | b[2];
                if (t == 0xffffff && !c->ttype) {
                    c->ttype = 1;
                    c->need += 4;
                    continue;
                }
                if (c->ttype) {
                    uint8_t *x = c->hb + c->need - 4;
                    t = (uint32_t)x[0] << 24 | x[1] << 16 | x[2] << 8 | x[3];
                    s->ext = 1;
                } else {
                    s->ext = 0;
                }
                s->ts = f == 0 ? t : s->ts + t;
                if (f < 2) {
                    s->len = b[3] << 16 | b[4] << 8 | b[5];
                    s->type = b[6];
                }
                s->got = 0;
            } else if (s->got == s->len) {
                s->got = 0; /* new message with the same header */
            }
            if (s->got == 0) {
                s->ncap = 0;
                c->tags++;
            }
            m->left = s->len - s->got < m->in_chunk ? s->len - s->got : m->in_chunk;
            c->fs = 1;
            c->hn = 0;
            if (!m->left) {
                c->fs = 0;
            }
            continue;
        }
        struct rtmp_cs *s = &m->cs[m->cur];
        size_t k = m->left < n ? m->left : n;
        if (s->ncap < 512) {
            int q = 512 - s->ncap;
            if ((size_t)q > k) {
                q = k;
            }
            if (s->type == 8 || s->type == 9) {
                if (s->ncap < 5) {
                    memcpy(m->cap + s->ncap, p, q);
                }
            } else {
                memcpy(m->cap + s->ncap, p, q);
            }
            s->ncap += q;
        }
        if ((s->type == 8 || s->type == 9) && s->got < 5 && s->got + k >= 5) {
            media_tag(c, s->type, s->ts, m->cap, 5);
        }
        if (s->type == 8 || s->type == 9 || s->type == 18) {
            c->media += k;
        }
        s->got += k;
        m->left -= k;
        p += k;
        n -= k;
        if (!m->left) {
            c->fs = 0;
            if (s->got == s->len) {
                rtmp_msg(c, s);
            }
        }
    }
    if (m->win && m->in_bytes - m->last_ack > m->win / 2 && !c->done) {
        m->last_ack = m->in_bytes;
        uint32_t v = m->in_bytes;
        uint8_t b[4] = {v >> 24, v >> 16, v >> 8, v};
        rtmp_send(c, 2, 3, 0, b, 4);
    }
}
