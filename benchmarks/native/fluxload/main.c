/*
 * fluxload - load generator for live-media servers: one epoll loop, no dependencies.
 *
 *   fluxload [options] MODE URL N
 *
 * MODE      flv       N HTTP-FLV readers (tags are walked, time stamps checked)
 *           ws-flv    the same over WebSocket; the URL is http://, too
 *           rtmp      N RTMP players (chunk stream is parsed)
 *           rtsp-tcp  N RTSP players, RTP interleaved (sequence numbers checked per channel)
 *           rtsp-udp  N RTSP players, one UDP socket pair for each track
 *           hls       N HLS players (playlist polling, every new segment downloaded)
 *           llhls     the same with low latency: blocking reloads, delta updates, every part
 *           llpoll    the same without the parts: playlists alone
 *           raw       N TCP connections to tcp://host:port that only count bytes
 *
 * Options   -d SEC    steady window measured (10)
 *           -r SEC    ramp-up: the N connections start evenly over it (2)
 *           -w SEC    settling time between the ramp's end and the window (3)
 *           -g MS     a step of the video time stamp above this is a gap (200)
 *           -b KIB    SO_RCVBUF: UDP sockets 1024, TCP left to the kernel unless given
 *           -S K      of the N readers K stop reading for good after one second of media (flv);
 *                     no figure counts them but those under "stalled". Their receive buffer is
 *                     64 KiB, or the kernel's would hide for many seconds that they stopped
 *           -F FILE   every reader's frames must be those of this FLV file, looped: each access
 *                     unit in its order, none missing, none changed (flv)
 *           -G        UDP_GRO on the UDP sockets
 *           -o FILE   also write the JSON result there
 *           -q        no report each second
 *
 * Only loopback targets are accepted. The marks {"mark":"steady_start"} and {"mark":"steady_end"}
 * go to standard output as the window opens and closes, then one line of JSON with the result.
 * Standard error has the report of each second. Times in the result are milliseconds.
 */
#include "load.h"

int mode, N, quiet, use_gro, rcvbuf_k, o_ll;
double o_dur = 10, o_ramp = 2, o_warm = 3;
int o_gap = 200;
char o_url[1024], o_host[256], o_path[768], *o_out;
int o_port;
struct sockaddr_in dst;
int ep;
uint64_t now, t0;
conn *C;
int steady;
uint64_t ws, we;
uint64_t tot_wire, tot_rtp, sum_fail[NFAIL];
int n_started, n_open, n_media;
uint8_t rbuf[512 * 1024];
int next_port = 20000;
int o_stall, n_stalled, n_stalled_closed;
samples s_pl, s_seg;

void start(conn *c) {
    if (!c->t_start) {
        c->t_start = now;
        n_started++;
        c->last = now;
    }
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int one = 1;
    if (c->fd < 0) {
        c->fd = -1;
        fail(c, F_SOCKET);
        return;
    }
    n_open++;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (c->will_stall && !rcvbuf_k) {
        int v = STALL_RCVBUF;
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &v, sizeof v);
    }
    if (rcvbuf_k && mode != M_RTSP_UDP) {
        int v = rcvbuf_k * 1024;
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &v, sizeof v);
    }
    if (connect(c->fd, (void *)&dst, sizeof dst) && errno != EINPROGRESS) {
        fail(c, F_CONNECT);
        return;
    }
    c->s = (src){K_TCP, 0, c};
    c->st = c->st == 2 ? 2 : 1;
    struct epoll_event e = {.events = EPOLLOUT, .data.ptr = &c->s};
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
}
static void connected(conn *c) {
    int err = 0;
    socklen_t l = sizeof err;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &l);
    if (err) {
        note("connect: %s", strerror(err));
        fail(c, F_CONNECT);
        return;
    }
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = &c->s};
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
    if (!c->t_conn) {
        c->t_conn = now;
    }
    switch (mode) {
    case M_FLV:
        c->st = 3;
        sendf(c, "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUser-Agent: fluxload\r\nAccept: */*\r\n%s\r\n",
              o_path, o_host, o_port,
              o_ws ? "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                     "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                   : "");
        break;
    case M_RTMP: {
        static uint8_t c1[1537];
        c1[0] = 3;
        for (int i = 9; i < 1537; i++) {
            c1[i] = i * 131 + c->id;
        }
        c->rm = calloc(1, sizeof *c->rm);
        c->rm->hs_left = 3073;
        c->rm->in_chunk = 128;
        c->st = 3;
        send_all(c, c1, 1537);
        break;
    }
    case M_RTSP_TCP:
    case M_RTSP_UDP:
        c->st = 5;
        rtsp_req(c, "OPTIONS", o_url, "");
        break;
    case M_HLS:
        if (c->st == 2) {
            char p[768];
            snprintf(p, sizeof p, "%s", c->h->master);
            c->st = 3;
            hls_get(c, p, c->h->what);
        } else {
            c->h = calloc(1, sizeof *c->h);
            c->h->next_seq = -1;
            snprintf(c->h->url, sizeof c->h->url, "%s", o_path);
            hls_get(c, c->h->url, 0);
        }
        break;
    case M_RAW:
        c->st = 3;
        break;
    }
}
/* Stop reading for good; only the end of the connection is still heard of. */
static void stall(conn *c) {
    struct epoll_event e = {.events = 0, .data.ptr = &c->s};
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
    c->stalled = 1;
    n_stalled++;
}
static void readable(conn *c) {
    ssize_t n = recv(c->fd, rbuf, sizeof rbuf, 0);
    if (n < 0) {
        if (errno == EAGAIN || errno == EINTR) {
            return;
        }
        fail(c, F_CLOSED);
        return;
    }
    if (n == 0) {
        if (mode == M_HLS) {
            close(c->fd);
            c->fd = -1;
            n_open--;
            if (c->in_body && !c->chunked && c->body_left < 0) {
                c->close_after = 0;
                hls_done(c);
            } else if (c->st == 3) {
                if (++c->h->retries > 20) {
                    fail(c, F_CLOSED);
                    return;
                }
                c->h->err++;
                c->h->pllen = 0;
                hls_get(c, c->h->url, 0);
            }
            return;
        }
        fail(c, F_CLOSED);
        return;
    }
    touch(c, n);
    if (c->will_stall && c->t_key && now > c->t_key + 1000000) {
        stall(c);
        return;
    }
    switch (mode) {
    case M_FLV:
    case M_HLS:
        http_eat(c, rbuf, n);
        break;
    case M_RTMP:
        rtmp_eat(c, rbuf, n);
        break;
    case M_RTSP_TCP:
    case M_RTSP_UDP:
        rtsp_eat(c, rbuf, n);
        break;
    case M_RAW:
        c->media += n;
        is_media(c);
        break;
    }
}
static void tick(void) {
    for (int i = 0; i < N; i++) {
        conn *c = &C[i];
        if (c->done || !c->t_start) {
            continue;
        }
        if (c->st == 4 && now >= c->next_act) {
            hls_get(c, c->h->url, 0);
        }
        if (c->st == 9) {
            if (now >= c->next_ka) {
                c->next_ka = now + (c->ttl > 0 && c->ttl < 30 ? c->ttl * 500000ull : 12000000ull);
                rtsp_req(c, "OPTIONS", c->base, "");
            }
            if (!c->done && now >= c->next_rr) {
                c->next_rr = now + 5000000;
                rtsp_rr(c);
            }
        }
    }
}

static double cpu(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}
static volatile sig_atomic_t stop;
static void on_sig(int s) {
    (void)s;
    stop = 1;
}

int main(int ac, char **av) {
    int o;
    while ((o = getopt(ac, av, "d:r:w:g:b:o:S:F:Gq")) != -1) {
        switch (o) {
        case 'd':
            o_dur = atof(optarg);
            break;
        case 'r':
            o_ramp = atof(optarg);
            break;
        case 'w':
            o_warm = atof(optarg);
            break;
        case 'g':
            o_gap = atoi(optarg);
            break;
        case 'b':
            rcvbuf_k = atoi(optarg);
            break;
        case 'o':
            o_out = optarg;
            break;
        case 'S':
            o_stall = atoi(optarg);
            break;
        case 'F':
            if (check_load(optarg)) {
                return 2;
            }
            break;
        case 'G':
            use_gro = 1;
            break;
        case 'q':
            quiet = 1;
            break;
        default:
            return 2;
        }
    }
    if (ac - optind != 3) {
        fprintf(stderr, "usage: fluxload [-d s] [-r s] [-w s] [-g ms] [-b KiB] [-S k] [-F file] "
                        "[-G] [-q] [-o file] "
                        "flv|ws-flv|rtmp|rtsp-tcp|rtsp-udp|hls|llhls|llpoll|raw URL N\n");
        return 2;
    }
    const char *names[] = {"flv", "rtmp", "rtsp-tcp", "rtsp-udp", "hls", "raw"};
    mode = -1;
    for (int i = 0; i < 6; i++) {
        if (!strcmp(av[optind], names[i])) {
            mode = i;
        }
    }
    if (!strcmp(av[optind], "llhls") || !strcmp(av[optind], "llpoll")) {
        mode = M_HLS;
        o_ll = av[optind][2] == 'h' ? 1 : 2;
    }
    if (!strcmp(av[optind], "ws-flv")) {
        mode = M_FLV;
        o_ws = 1;
    }
    if (mode < 0) {
        fprintf(stderr, "unknown mode\n");
        return 2;
    }
    snprintf(o_url, sizeof o_url, "%s", av[optind + 1]);
    N = atoi(av[optind + 2]);
    if (N < 1 || N > 100000 || o_stall >= N) {
        return 2;
    }
    char *p = strstr(o_url, "://");
    if (!p) {
        fprintf(stderr, "URL?\n");
        return 2;
    }
    p += 3;
    int k = 0;
    while (*p && *p != '/' && *p != ':' && k < 255) {
        o_host[k++] = *p++;
    }
    o_host[k] = 0;
    o_port = mode == M_RTSP_TCP || mode == M_RTSP_UDP ? 554 : mode == M_RTMP ? 1935 : 80;
    if (*p == ':') {
        o_port = atoi(p + 1);
        while (*p && *p != '/') {
            p++;
        }
    }
    snprintf(o_path, sizeof o_path, "%s", *p ? p : "/");
    dst.sin_family = AF_INET;
    dst.sin_port = htons(o_port);
    if (!strcmp(o_host, "localhost")) {
        dst.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    } else if (inet_pton(AF_INET, o_host, &dst.sin_addr) != 1) {
        fprintf(stderr, "need a numeric IPv4 loopback address\n");
        return 2;
    }
    if ((ntohl(dst.sin_addr.s_addr) >> 24) != 127) {
        fprintf(stderr, "only loopback targets\n");
        return 2;
    }
    struct rlimit rl;
    getrlimit(RLIMIT_NOFILE, &rl);
    rl.rlim_cur = rl.rlim_max;
    setrlimit(RLIMIT_NOFILE, &rl);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, on_sig);
    signal(SIGTERM, on_sig);
    C = calloc(N, sizeof *C);
    for (int i = 0; i < N; i++) {
        C[i].fd = -1;
        C[i].id = i;
        C[i].will_stall = (int64_t)(i + 1) * o_stall / N > (int64_t)i * o_stall / N;
    }
    ep = epoll_create1(0);
    now = t0 = clk();
    uint64_t t_warm = t0 + (uint64_t)((o_ramp + o_warm) * 1e6),
             t_end = t_warm + (uint64_t)(o_dur * 1e6), next_tick = t0, next_rep = t0 + 1000000,
             lw = 0;
    int next = 0;
    double cw = 0;
    struct epoll_event ev[128];
    while (!stop) {
        now = clk();
        for (int q = 0; next < N && q < 64 && now >= t0 + (uint64_t)(o_ramp * 1e6 * next / N);
             q++) {
            start(&C[next++]);
        }
        if (now >= next_tick) {
            next_tick = now + 5000;
            tick();
        }
        if (!steady && !ws && now >= t_warm) {
            ws = now;
            steady = 1;
            for (int i = 0; i < N; i++) {
                C[i].m0 = C[i].media;
                C[i].w0 = C[i].wire;
            }
            cw = cpu();
            printf("{\"mark\":\"steady_start\",\"media\":%d,\"open\":%d}\n", n_media, n_open);
            fflush(stdout);
            t_end = ws + (uint64_t)(o_dur * 1e6);
        }
        if (steady && now >= t_end) {
            we = now;
            steady = 0;
            cw = cpu() - cw;
            printf("{\"mark\":\"steady_end\"}\n");
            fflush(stdout);
            for (int i = 0; i < N; i++) {
                conn *c = &C[i];
                c->m1 = c->media;
                c->w1 = c->wire;
                if (c->t_media && mode != M_HLS) {
                    uint64_t f = c->last > ws ? c->last : ws;
                    if (we - f > c->stall_w) {
                        c->stall_w = we - f;
                    }
                    if (now - c->last > c->stall) {
                        c->stall = now - c->last;
                    }
                }
            }
            break;
        }
        if (now >= next_rep) {
            if (!quiet) {
                fprintf(stderr, "%3.0fs started %d open %d media %d  %.1f Mbit/s%s\n",
                        (now - t0) / 1e6, n_started, n_open, n_media, (tot_wire - lw) * 8 / 1e6,
                        steady ? " *" : "");
            }
            lw = tot_wire;
            next_rep += 1000000;
        }
        int n = epoll_wait(ep, ev, 128, next < N ? 1 : 5);
        now = clk();
        for (int i = 0; i < n; i++) {
            src *s = ev[i].data.ptr;
            conn *c = s->c;
            if (c->done) {
                continue;
            }
            if (s->kind == K_TCP) {
                if (c->stalled) { /* the server gave up on it */
                    n_stalled_closed++;
                    c->done = 1;
                    close_fds(c);
                } else if (c->st == 1 || c->st == 2) {
                    connected(c);
                } else if (c->fd >= 0) {
                    readable(c);
                }
            } else {
                udp_read(c, s);
            }
        }
    }
    if (!we) {
        we = clk();
        if (!ws) {
            ws = we - 1;
        }
        cw = cpu() - cw;
        for (int i = 0; i < N; i++) {
            C[i].m1 = C[i].media;
            C[i].w1 = C[i].wire;
        }
    }
    for (int i = 0; i < N; i++) {
        if (!C[i].t_media && !C[i].failed && !C[i].will_stall) {
            sum_fail[F_TIMEOUT]++;
        }
    }
    double ca = cpu();
    if (o_stall) {
        usleep(500000); /* whoever reads the marks may ask the server who is still there */
    }
    result(stdout, ca, cw);
    fflush(stdout);
    if (o_out) {
        FILE *f = fopen(o_out, "w");
        if (f) {
            result(f, ca, cw);
            fclose(f);
        }
    }
    /* leave politely so that servers free the sessions */
    if (mode == M_RTSP_TCP || mode == M_RTSP_UDP) {
        for (int i = 0; i < N; i++) {
            if (!C[i].done && C[i].fd >= 0 && C[i].base) {
                rtsp_req(&C[i], "TEARDOWN", C[i].base, "");
            }
        }
    }
    return 0;
}
