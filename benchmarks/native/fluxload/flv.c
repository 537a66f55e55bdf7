/* FLV: walks the tags and watches their time stamps. */
#include "load.h"

void media_tag(conn *c, int type, uint32_t ts, const uint8_t *b, int n) {
    if (type == 9 && n >= 2) {
        int ex = b[0] & 0x80, ft = (b[0] >> 4) & 7, frame;
        if (ex) {
            int pt = b[0] & 15;
            frame = pt == 1 || pt == 3;
        } else {
            int codec = b[0] & 15;
            frame = (codec == 7 || codec == 12) ? b[1] == 1 : 1;
        }
        if (!frame || ft == 5) {
            return;
        }
        is_media(c);
        c->vframes++;
        if (ft == 1 && !c->t_key) {
            c->t_key = now;
        }
        if (c->have_v) {
            int32_t d = (int32_t)(ts - c->vts);
            if (d < 0) {
                c->ts_back++;
            } else {
                if (d > o_gap) {
                    c->ts_gap++;
                }
                if ((uint64_t)d > c->gap_max) {
                    c->gap_max = d;
                }
            }
        }
        c->have_v = 1;
        c->vts = ts;
    } else if (type == 8 && n >= 2) {
        if ((b[0] >> 4) == 10 && b[1] == 0) {
            return;
        }
        is_media(c);
    }
}
void flv_eat(conn *c, const uint8_t *p, size_t n) {
    c->media += n;
    while (n) {
        size_t k;
        switch (c->fs) {
        case 0: /* file header and first PreviousTagSize */
            if (!c->need) {
                c->need = 13;
            }
            k = c->need - c->hn;
            if (k > n) {
                k = n;
            }
            memcpy(c->hb + c->hn, p, k);
            c->hn += k;
            p += k;
            n -= k;
            if (c->hn == 13) {
                if (memcmp(c->hb, "FLV", 3)) {
                    note("not FLV");
                    fail(c, F_PROTO);
                    return;
                }
                c->fs = 1;
                c->hn = 0;
                c->need = 11;
            }
            break;
        case 1:
            k = c->need - c->hn;
            if (k > n) {
                k = n;
            }
            memcpy(c->hb + c->hn, p, k);
            c->hn += k;
            p += k;
            n -= k;
            if (c->hn < c->need) {
                break;
            }
            c->tsize = c->hb[1] << 16 | c->hb[2] << 8 | c->hb[3];
            if (c->hn == 11 && c->tsize) {
                c->need = 11 + (c->tsize < 5 ? c->tsize : 5);
                break;
            }
            c->ttype = c->hb[0] & 31;
            if (c->ttype != 8 && c->ttype != 9 && c->ttype != 18) {
                c->tag_err++;
                note("bad FLV tag %d", c->ttype);
                fail(c, F_PROTO);
                return;
            }
            media_tag(c, c->ttype,
                      c->hb[4] << 16 | c->hb[5] << 8 | c->hb[6] | (uint32_t)c->hb[7] << 24,
                      c->hb + 11, c->need - 11);
            c->skip = c->tsize - (c->need - 11);
            check_begin(c, c->ttype);
            check_data(c, c->hb + 11, c->need - 11);
            c->fs = 2;
            c->hn = 0;
            /* fall through */
        case 2:
            k = c->skip < n ? c->skip : n;
            check_data(c, p, k);
            c->skip -= k;
            p += k;
            n -= k;
            if (!c->skip) {
                check_end(c);
                c->fs = 3;
                c->hn = 0;
            }
            break;
        case 3:
            k = 4 - c->hn;
            if (k > n) {
                k = n;
            }
            memcpy(c->hb + c->hn, p, k);
            c->hn += k;
            p += k;
            n -= k;
            if (c->hn == 4) {
                uint32_t v = (uint32_t)c->hb[0] << 24 | c->hb[1] << 16 | c->hb[2] << 8 | c->hb[3];
                if (v != c->tsize + 11) {
                    c->tag_err++;
                }
                c->tags++;
                c->fs = 1;
                c->hn = 0;
                c->need = 11;
            }
            break;
        }
    }
}
