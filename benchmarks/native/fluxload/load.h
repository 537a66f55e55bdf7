/* What the parts of fluxload share: the reader, the options, and each part's functions. */
#ifndef FLUXLOAD_H
#define FLUXLOAD_H
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#define MAXTRACK 4
#define NFAIL 8
#define STALL_RCVBUF 65536

enum { M_FLV, M_RTMP, M_RTSP_TCP, M_RTSP_UDP, M_HLS, M_RAW };
enum { K_TCP, K_RTP, K_RTCP };
enum { F_CONNECT, F_STATUS, F_PROTO, F_CLOSED, F_TIMEOUT, F_SOCKET };

typedef struct conn conn;
typedef struct {
    uint8_t kind, track;
    conn *c;
} src;

typedef struct {
    char control[256];
    int video, h264, h265;
    int ch; /* interleaved channel of the RTP */
    int rtp_fd, rtcp_fd, lport;
    int srv_rtcp;
    src s_rtp, s_rtcp;
    /* sequence state */
    int have;
    uint32_t base, max; /* extended sequence numbers */
    uint64_t recv, gaps, dups, wrecv;
    uint32_t ssrc;
} track;

/* where one reader stands in the reference, one for video and one for audio */
typedef struct {
    int next;         /* index of the unit that is due; -1 before the first */
    int *possible, n; /* while several places fit: each place that is still possible */
} place;
typedef struct {
    place at[2];
    uint64_t frames, wrong, missing;
    /* the tag that is being read */
    int kind, skip, lenb, type;
    uint32_t nal_left, nal_len, crc;
    uint64_t hash;
} check_state;

struct conn {
    int will_stall, stalled;
    check_state check;
    int id, fd, st, failed, done, was_reset;
    src s;
    uint64_t t_start, t_conn, t_fb, t_media, t_key, last;
    uint64_t stall, stall_w; /* longest gap between reads: whole run, window */
    uint64_t wire, media, w0, m0, w1, m1;
    /* text collected (HTTP or RTSP head, HLS playlist) */
    char *txt;
    int tlen, tcap;
    int body_need;
    /* HTTP */
    int chunked, in_body, close_after;
    int64_t body_left;
    int cst;
    int64_t cleft;
    /* FLV / RTMP */
    int fs, hn, need;
    uint8_t hb[32];
    uint32_t skip, tsize;
    int ttype;
    int have_v;
    uint32_t vts;
    /* WebSocket around it */
    int ws_n;
    uint8_t ws_head[128];
    uint64_t ws_left;
    uint64_t tags, tag_err, ts_gap, ts_back, vframes, gap_max;
    struct rtmp *rm;
    /* RTSP */
    int cseq, ntrack, cur, ttl;
    char session[96];
    track *tr;
    char *base;
    int isk;
    uint64_t next_ka, next_rr;
    uint64_t bad_ch, rtcp_pkts;
    /* HLS */
    struct hls *h;
    uint64_t next_act;
};

struct rtmp_cs {
    uint32_t ts, len, got;
    uint8_t type, ext;
    uint32_t sid;
    int ncap;
};
struct rtmp {
    uint32_t in_chunk, win, acked;
    uint64_t in_bytes, last_ack;
    int stage, hs_left;
    struct rtmp_cs cs[64];
    int cur;
    uint32_t left;
    uint8_t cap[512];
    double sid;
    uint8_t s1[1536];
    int s1n;
};
struct hls {
    char url[768], master[768], cookie[256];
    int what; /* 0 playlist, 1 segment, 2 init */
    char *pl;
    int pllen;
    int64_t next_seq;
    int next_part;
    int target_ms;
    uint64_t t_req;
    uint64_t pl_at;
    int changed;
    int64_t last_first, last_n;
    int got_map;
    uint64_t nseg, nseg_w, npl, npl_w, err, gap, late;
    uint64_t seg_left_bytes;
    int status, retries, req_sent_on_reuse;
    uint8_t first[8];
    int firstn;
    uint64_t bad_seg;
};

/* growable sample arrays (microseconds) */
typedef struct {
    uint32_t *v;
    size_t n, cap;
} samples;

/* main.c */
extern int mode, N, quiet, use_gro, rcvbuf_k;
extern int o_ll; /* of HLS: 1 parts, 2 only the playlists of parts */
extern double o_dur, o_ramp, o_warm;
extern int o_gap;
extern char o_url[1024], o_host[256], o_path[768], *o_out;
extern int o_port;
extern struct sockaddr_in dst;
extern int ep;
extern uint64_t now, t0;
extern conn *C;
extern int steady;
extern uint64_t ws, we;
extern uint64_t tot_wire, tot_rtp, sum_fail[NFAIL];
extern int n_started, n_open, n_media;
extern uint8_t rbuf[512 * 1024];
extern int next_port;
extern int o_stall, n_stalled, n_stalled_closed;
extern samples s_pl, s_seg;

/* base.c */
int cmp64(const void *a, const void *b);
int cmp32(const void *a, const void *b);
void close_fds(conn *c);
uint64_t clk(void);
void add(samples *s, uint64_t us);
uint64_t pct64(uint64_t *v, int n, double p);
void fail(conn *c, int why);
void note(const char *f, ...);
void touch(conn *c, size_t n);
void is_media(conn *c);
int send_all(conn *c, const void *p, size_t n);
int sendf(conn *c, const char *f, ...);
void tpush(conn *c, const void *p, int n);
int header(const char *head, const char *name, char *out, int cap);

/* flv.c */
void media_tag(conn *c, int type, uint32_t ts, const uint8_t *b, int n);
void flv_eat(conn *c, const uint8_t *p, size_t n);

/* ws.c */
extern int o_ws; /* FLV comes over WebSocket */
void ws_eat(conn *c, const uint8_t *p, size_t n);

/* http.c */
void http_eat(conn *c, const uint8_t *p, size_t n);

/* hls.c */
void hls_get(conn *c, const char *path, int what);
void hls_body(conn *c, const uint8_t *p, size_t n);
void hls_done(conn *c);

/* rtsp.c */
void rtsp_req(conn *c, const char *m, const char *url, const char *extra);
void rtsp_eat(conn *c, const uint8_t *p, size_t n);
void rtsp_rr(conn *c);
void udp_read(conn *c, src *s);

/* rtmp.c */
void rtmp_eat(conn *c, const uint8_t *p, size_t n);

/* check.c */
int check_load(const char *file);
void check_begin(conn *c, int type);
void check_data(conn *c, const uint8_t *p, size_t n);
void check_end(conn *c);

/* result.c */
void result(FILE *f, double cpu_all, double cpu_w);

/* main.c */
void start(conn *c);

#endif
