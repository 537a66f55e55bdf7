/* RTP and RTSP: interleaved or over UDP, sequence numbers checked per channel. */
#include "load.h"

static int key_nal(track *t, const uint8_t *r, int n) { /* r: at least the RTP header */
    int off = 12 + 4 * (r[0] & 15);
    if (r[0] & 16 || n < off + 3) {
        return 0;
    }
    if (t->h264) {
        int ty = r[off] & 31;
        if (ty == 28) {
            ty = r[off + 1] & 31;
        }
        return ty == 5 || ty == 7 ||
               (ty == 24 && (n > off + 3 ? (r[off + 3] & 31) == 7 || (r[off + 3] & 31) == 5 : 0));
    }
    if (t->h265) {
        int ty = (r[off] >> 1) & 63;
        if (ty == 49) {
            ty = r[off + 2] & 63;
        }
        return (ty >= 16 && ty <= 21) || ty == 32 || ty == 48;
    }
    return 0;
}
static void rtp(conn *c, track *t, const uint8_t *r, int n, int len) {
    if (n < 12 || (r[0] >> 6) != 2) {
        c->bad_ch++;
        return;
    }
    uint16_t q = r[2] << 8 | r[3];
    t->recv++;
    tot_rtp++;
    if (steady) {
        t->wrecv++;
    }
    t->ssrc = (uint32_t)r[8] << 24 | r[9] << 16 | r[10] << 8 | r[11];
    c->media += len;
    is_media(c);
    if (!c->t_key && (t->video ? key_nal(t, r, n) : 0)) {
        c->t_key = now;
    }
    if (!t->have) {
        t->have = 1;
        t->base = t->max = 65536 + q;
        return;
    }
    int16_t d = (int16_t)(q - (uint16_t)t->max);
    if (d == 1) {
        t->max++;
    } else if (d > 1) {
        t->gaps++;
        t->max += d;
    } else if (d == 0) {
        t->dups++;
    } else {
        t->gaps++; /* backwards: reordered or restarted */
    }
}

void rtsp_req(conn *c, const char *m, const char *url, const char *extra) {
    char se[128] = "";
    if (c->session[0]) {
        snprintf(se, sizeof se, "Session: %s\r\n", c->session);
    }
    sendf(c, "%s %s RTSP/1.0\r\nCSeq: %d\r\nUser-Agent: fluxload\r\n%s%s\r\n", m, url, ++c->cseq,
          se, extra);
}
static int udp_sock(int port) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), one = 1,
        rb = (rcvbuf_k ? rcvbuf_k : 1024) * 1024;
    if (fd < 0) {
        return -1;
    }
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (void *)&a, sizeof a)) {
        close(fd);
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rb, sizeof rb);
    if (use_gro) {
        setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof one);
    }
    return fd;
}
static void rtsp_setup(conn *c) {
    track *t = &c->tr[c->cur];
    char url[1024], tp[160];
    if (!strncasecmp(t->control, "rtsp://", 7)) {
        snprintf(url, sizeof url, "%s", t->control);
    } else if (!t->control[0] || !strcmp(t->control, "*")) {
        snprintf(url, sizeof url, "%s", c->base);
    } else {
        snprintf(url, sizeof url, "%s%s%s", c->base, c->base[strlen(c->base) - 1] == '/' ? "" : "/",
                 t->control);
    }
    if (mode == M_RTSP_TCP) {
        t->ch = 2 * c->cur;
        snprintf(tp, sizeof tp, "Transport: RTP/AVP/TCP;unicast;interleaved=%d-%d\r\n", t->ch,
                 t->ch + 1);
    } else {
        for (int k = 0; k < 6000; k++) {
            int p = next_port;
            next_port += 2;
            if (next_port > 32700) {
                next_port = 20000;
            }
            if ((t->rtp_fd = udp_sock(p)) < 0) {
                continue;
            }
            if ((t->rtcp_fd = udp_sock(p + 1)) < 0) {
                close(t->rtp_fd);
                continue;
            }
            t->lport = p;
            break;
        }
        if (!t->lport) {
            fail(c, F_SOCKET);
            return;
        }
        t->s_rtp = (src){K_RTP, c->cur, c};
        t->s_rtcp = (src){K_RTCP, c->cur, c};
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &t->s_rtp};
        epoll_ctl(ep, EPOLL_CTL_ADD, t->rtp_fd, &e);
        e.data.ptr = &t->s_rtcp;
        epoll_ctl(ep, EPOLL_CTL_ADD, t->rtcp_fd, &e);
        snprintf(tp, sizeof tp, "Transport: RTP/AVP;unicast;client_port=%d-%d\r\n", t->lport,
                 t->lport + 1);
    }
    rtsp_req(c, "SETUP", url, tp);
}
static void rtsp_sdp(conn *c, char *sdp) {
    c->tr = calloc(MAXTRACK, sizeof(track));
    track *t = NULL;
    for (char *l = strtok(sdp, "\r\n"); l; l = strtok(NULL, "\r\n")) {
        if (!strncmp(l, "m=", 2)) {
            if (c->ntrack == MAXTRACK) {
                break;
            }
            if (strncmp(l, "m=video", 7) && strncmp(l, "m=audio", 7)) {
                t = NULL;
                continue;
            }
            t = &c->tr[c->ntrack++];
            t->video = !strncmp(l, "m=video", 7);
        } else if (t && !strncmp(l, "a=control:", 10)) {
            snprintf(t->control, sizeof t->control, "%s", l + 10);
        } else if (t && !strncmp(l, "a=rtpmap:", 9)) {
            if (strcasestr(l, "H264/")) {
                t->h264 = 1;
            }
            if (strcasestr(l, "H265/") || strcasestr(l, "HEVC/")) {
                t->h265 = 1;
            }
        }
    }
}
static void rtsp_msg(conn *c, char *head, char *bodyp) {
    if (strncmp(head, "RTSP/1.", 7)) {
        return; /* a request of the server: ignored */
    }
    int code = atoi(head + 9);
    char v[1024];
    if (c->st == 9) {
        return; /* playing: answer to a keep-alive */
    }
    if (code != 200) {
        note("RTSP status %.60s", head);
        fail(c, F_STATUS);
        return;
    }
    if (header(head, "Session", v, sizeof v)) {
        char *s = strcasestr(v, "timeout=");
        if (s) {
            c->ttl = atoi(s + 8);
        }
        s = strchr(v, ';');
        if (s) {
            *s = 0;
        }
        snprintf(c->session, sizeof c->session, "%.90s", v);
    }
    switch (c->st) {
    case 5:
        c->st = 6;
        rtsp_req(c, "DESCRIBE", o_url, "Accept: application/sdp\r\n");
        break;
    case 6:
        if (!header(head, "Content-Base", v, sizeof v) &&
            !header(head, "Content-Location", v, sizeof v)) {
            snprintf(v, sizeof v, "%s", o_url);
        }
        c->base = strdup(v);
        rtsp_sdp(c, bodyp);
        if (!c->ntrack) {
            note("no tracks in SDP");
            fail(c, F_PROTO);
            return;
        }
        c->st = 7;
        c->cur = 0;
        rtsp_setup(c);
        break;
    case 7: {
        track *t = &c->tr[c->cur];
        char *s;
        if (header(head, "Transport", v, sizeof v)) {
            if ((s = strcasestr(v, "interleaved="))) {
                t->ch = atoi(s + 12);
            }
            if ((s = strcasestr(v, "server_port="))) {
                int a = 0, b = 0;
                sscanf(s + 12, "%d-%d", &a, &b);
                t->srv_rtcp = b ? b : a + 1;
            }
        }
        if (++c->cur < c->ntrack) {
            rtsp_setup(c);
            break;
        }
        c->st = 8;
        rtsp_req(c, "PLAY", c->base, "Range: npt=0.000-\r\n");
        break;
    }
    case 8:
        c->st = 9;
        c->next_ka = now + (c->ttl > 0 && c->ttl < 30 ? c->ttl * 500000ull : 12000000ull);
        c->next_rr = now + 5000000;
        break;
    }
}
void rtsp_eat(conn *c, const uint8_t *p, size_t n) {
    while (n && !c->done) {
        if (c->skip) {
            size_t k = c->skip < n ? c->skip : n;
            c->skip -= k;
            p += k;
            n -= k;
            continue;
        }
        if (c->body_need || c->tlen) { /* inside a text message */
            if (c->body_need) {
                size_t k = n < (size_t)c->body_need ? n : (size_t)c->body_need;
                tpush(c, p, k);
                p += k;
                n -= k;
                c->body_need -= k;
                if (!c->body_need) {
                    char *e = strstr(c->txt, "\r\n\r\n");
                    e[2] = 0;
                    c->tlen = 0;
                    rtsp_msg(c, c->txt, e + 4);
                }
                continue;
            }
            /* head: take up to the end of head */
            uint8_t ch = *p++;
            n--;
            tpush(c, &ch, 1);
            if (ch == '\n' && c->tlen >= 4 && !memcmp(c->txt + c->tlen - 4, "\r\n\r\n", 4)) {
                char v[64];
                int cl = header(c->txt, "Content-Length", v, sizeof v) ? atoi(v) : 0;
                if (cl > 0) {
                    c->body_need = cl;
                    continue;
                }
                c->txt[c->tlen - 2] = 0;
                c->tlen = 0;
                rtsp_msg(c, c->txt, c->txt);
            } else if (c->tlen > 32768) {
                fail(c, F_PROTO);
                return;
            }
            continue;
        }
        if (!c->hn && *p != '$') {
            if (*p == '\r' || *p == '\n') {
                p++;
                n--;
                continue;
            }
            if (*p < 'A' || *p > 'Z') {
                note("lost RTSP framing");
                fail(c, F_PROTO);
                return;
            }
            tpush(c, p, 1);
            p++;
            n--;
            continue;
        }
        /* interleaved: 4 bytes, then up to 20 bytes of the packet, the rest skipped */
        if (c->hn == 0 && n >= 24) { /* fast path: all in the buffer */
            int len = p[2] << 8 | p[3];
            if (len >= 20) {
                track *t = NULL;
                for (int i = 0; i < c->ntrack; i++) {
                    if (c->tr[i].ch == p[1]) {
                        t = &c->tr[i];
                    }
                }
                if (t) {
                    rtp(c, t, p + 4, 20, len);
                } else if (p[1] & 1) {
                    c->rtcp_pkts++;
                } else {
                    c->bad_ch++;
                }
                size_t all = 4 + len;
                if (all <= n) {
                    p += all;
                    n -= all;
                } else {
                    c->skip = all - n;
                    n = 0;
                }
                continue;
            }
        }
        if (c->hn < 4) {
            c->hb[c->hn++] = *p++;
            n--;
            if (c->hn < 4) {
                continue;
            }
            int len = c->hb[2] << 8 | c->hb[3];
            c->need = 4 + (len < 20 ? len : 20);
            if (c->need > 4) {
                continue;
            }
        }
        size_t k = c->need - c->hn;
        if (k > n) {
            k = n;
        }
        memcpy(c->hb + c->hn, p, k);
        c->hn += k;
        p += k;
        n -= k;
        if (c->hn == c->need) {
            int len = c->hb[2] << 8 | c->hb[3];
            track *t = NULL;
            for (int i = 0; i < c->ntrack; i++) {
                if (c->tr[i].ch == c->hb[1]) {
                    t = &c->tr[i];
                }
            }
            if (t) {
                rtp(c, t, c->hb + 4, c->need - 4, len);
            } else if (c->hb[1] & 1) {
                c->rtcp_pkts++;
            } else {
                c->bad_ch++;
            }
            c->skip = len - (c->need - 4);
            c->hn = 0;
            c->need = 0;
        }
    }
}
void rtsp_rr(conn *c) {
    for (int i = 0; i < c->ntrack; i++) {
        track *t = &c->tr[i];
        if (!t->have) {
            continue;
        }
        uint8_t b[36] = {'$', (uint8_t)(t->ch + 1), 0, 32, 0x81, 201, 0, 7};
        uint8_t *r = b + 4;
        r[4] = 0x46;
        r[5] = 0x4c;
        r[6] = c->id >> 8;
        r[7] = c->id;
        r[8] = t->ssrc >> 24;
        r[9] = t->ssrc >> 16;
        r[10] = t->ssrc >> 8;
        r[11] = t->ssrc;
        r[16] = t->max >> 24;
        r[17] = t->max >> 16;
        r[18] = t->max >> 8;
        r[19] = t->max;
        if (mode == M_RTSP_TCP) {
            if (send_all(c, b, 36)) {
                return;
            }
        } else if (t->srv_rtcp) {
            struct sockaddr_in a = dst;
            a.sin_port = htons(t->srv_rtcp);
            sendto(t->rtcp_fd, r, 32, 0, (void *)&a, sizeof a);
        }
    }
}
#define VL 64
void udp_read(conn *c, src *s) {
    static struct mmsghdr mm[VL];
    static struct iovec iov[VL];
    static uint8_t small[VL][32];
    static int init;
    static char ctl[VL][64];
    if (!init) {
        init = 1;
        for (int i = 0; i < VL; i++) {
            iov[i].iov_base = small[i];
            iov[i].iov_len = 32;
            mm[i].msg_hdr.msg_iov = &iov[i];
            mm[i].msg_hdr.msg_iovlen = 1;
        }
    }
    int fd = s->kind == K_RTP ? c->tr[s->track].rtp_fd : c->tr[s->track].rtcp_fd;
    track *t = &c->tr[s->track];
    if (use_gro && s->kind == K_RTP) { /* whole super-packets: the segment headers must be seen */
        struct iovec v = {rbuf, sizeof rbuf};
        for (int k = 0; k < 16; k++) {
            struct msghdr h = {
                .msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl[0], .msg_controllen = 64};
            ssize_t n = recvmsg(fd, &h, MSG_DONTWAIT);
            if (n <= 0) {
                return;
            }
            int seg = n;
            for (struct cmsghdr *m = CMSG_FIRSTHDR(&h); m; m = CMSG_NXTHDR(&h, m)) {
                if (m->cmsg_level == IPPROTO_UDP && m->cmsg_type == UDP_GRO) {
                    seg = *(int *)CMSG_DATA(m);
                }
            }
            touch(c, n);
            for (ssize_t o = 0; o < n; o += seg) {
                int l = n - o < seg ? n - o : seg;
                rtp(c, t, rbuf + o, l < 32 ? l : 32, l);
            }
        }
        return;
    }
    for (;;) {
        int n = recvmmsg(fd, mm, VL, MSG_DONTWAIT | MSG_TRUNC, NULL);
        if (n <= 0) {
            return;
        }
        for (int i = 0; i < n; i++) {
            int l = mm[i].msg_len;
            touch(c, l);
            if (s->kind == K_RTP) {
                rtp(c, t, small[i], l < 32 ? l : 32, l);
            } else {
                c->rtcp_pkts++;
            }
        }
        if (n < VL) {
            return;
        }
    }
}
