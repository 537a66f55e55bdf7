/* WebSocket: frames of a server (RFC 6455 section 5.2), whose binary messages hold FLV. */
#include "load.h"

int o_ws;

static void answer(conn *c, int opcode, const uint8_t *p, int n) {
    uint8_t out[6 + 125] = {0x80 | opcode, 0x80 | n}; /* the mask is zero */
    memcpy(out + 6, p, n);
    send_all(c, out, 6 + n);
}
void ws_eat(conn *c, const uint8_t *p, size_t n) {
    while (n && !c->done) {
        if (!c->ws_left) { /* a frame's head, or a whole control frame */
            c->ws_head[c->ws_n++] = *p++;
            n--;
            if (c->ws_n < 2) {
                continue;
            }
            int op = c->ws_head[0] & 15, len = c->ws_head[1];
            int size = len == 126 ? 4 : len == 127 ? 10 : op & 8 ? 2 + len : 2;
            if (len > 127 || (op & 8 && len > 125) || (c->ws_head[0] & 0x70)) {
                note("bad frame %02x %02x", c->ws_head[0], c->ws_head[1]);
                fail(c, F_PROTO);
                return;
            }
            if (c->ws_n < size) {
                continue;
            }
            c->ws_n = 0;
            if (op == 9) {
                answer(c, 10, c->ws_head + 2, len);
            } else if (op == 8) {
                answer(c, 8, c->ws_head + 2, len);
                fail(c, F_CLOSED);
                return;
            } else if (op == 2 || op == 0) {
                uint64_t left = 0;
                for (int i = 2; i < size; i++) {
                    left = left << 8 | c->ws_head[i];
                }
                c->ws_left = size == 2 ? (uint64_t)len : left;
            } else if (op != 10) {
                note("unexpected opcode %d", op);
                fail(c, F_PROTO);
                return;
            }
            continue;
        }
        size_t k = c->ws_left < n ? c->ws_left : n;
        flv_eat(c, p, k);
        p += k;
        n -= k;
        c->ws_left -= k;
    }
}
