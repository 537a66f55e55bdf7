/*
 * rtspreplay - a cheap RTSP camera for benchmarks: replays recorded RTP packets to any number of
 * players, interleaved on TCP, in a loop, each packet at its media time.
 *
 *   rtspreplay RECORDING [PORT]
 *
 * The recording is what benchmarks/recording.py took from a real server: its session description
 * and one round of its RTP packets. Each round's sequence numbers and time stamps continue the last
 * one's. All packets of one instant leave in one write(); a sender report goes out at the start and
 * every 5 s. A player that does not keep up is never thinned out: its packets wait, and "blocked"
 * counts the writes that the socket refused. Listens on loopback alone; prints {"port":N} when it
 * is ready and its counters as one line of JSON at SIGTERM.
 *
 * File, little-endian: "FLUXRTP1", u32 tracks, u32 packets, u64 period in us, u32 length of the
 * SDP; for each track u32 clock rate, u32 ticks of a round, u32 packets of a round, u32 first
 * sequence number, u32 first time stamp; the SDP; for each packet u32 time in us, u16 track, u16
 * size, bytes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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
#include <time.h>
#include <unistd.h>

#define MAX_TRACKS 4
#define MAX_PLAYERS 4096
#define REPORT_US 5000000ull
#define OUT_BYTES (1 << 20)
#define NTP_UNIX 2208988800ull

typedef struct {
    uint32_t clock_rate, ticks, packets, sequence, timestamp;
    char control[128];
} track;
typedef struct {
    uint32_t at_us;
    uint16_t track, size;
    uint8_t *data;
} packet;
typedef struct {
    int fd, playing, id;
    char request[4096];
    int length, skip;
    uint8_t channel[MAX_TRACKS];
    uint64_t start, report_at;
    uint32_t next, lap;
    uint32_t sent[MAX_TRACKS], octets[MAX_TRACKS];
    uint8_t *out; /* what the socket did not take */
    size_t out_from, out_to;
} player;

static track tracks[MAX_TRACKS];
static packet *packets;
static char *sdp;
static uint32_t track_count, packet_count, sdp_length;
static uint64_t period_us;
static player *players[MAX_PLAYERS];
static int player_count, poller;
static uint64_t now, total_packets, total_bytes, blocked, late_us_max;
static volatile sig_atomic_t stop;
static uint8_t scratch[OUT_BYTES];

static void on_signal(int number) {
    (void)number;
    stop = 1;
}
static uint64_t clock_us(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}
static void put32(uint8_t *p, uint32_t v) {
    p[0] = v >> 24;
    p[1] = v >> 16;
    p[2] = v >> 8;
    p[3] = v;
}
static uint32_t ssrc_of(const player *p, int t) {
    return 0x464c0000u + p->id * MAX_TRACKS + t;
}

static void read_exactly(FILE *f, void *to, size_t size) {
    if (fread(to, 1, size, f) != size) {
        fprintf(stderr, "the recording is cut short\n");
        exit(2);
    }
}
static void load(const char *name) {
    FILE *f = fopen(name, "rb");
    char magic[8];
    if (!f) {
        perror(name);
        exit(2);
    }
    read_exactly(f, magic, 8);
    read_exactly(f, &track_count, 4);
    read_exactly(f, &packet_count, 4);
    read_exactly(f, &period_us, 8);
    read_exactly(f, &sdp_length, 4);
    if (memcmp(magic, "FLUXRTP1", 8) || !track_count || track_count > MAX_TRACKS) {
        fprintf(stderr, "%s: not a recording\n", name);
        exit(2);
    }
    for (uint32_t i = 0; i < track_count; i++) {
        read_exactly(f, &tracks[i], 20);
    }
    sdp = calloc(1, sdp_length + 1);
    read_exactly(f, sdp, sdp_length);
    char *at = sdp;
    for (uint32_t i = 0; i < track_count; i++) {
        at = strstr(at, "\nm=");
        at = at ? strstr(at, "\na=control:") : NULL;
        if (!at || sscanf(at + 11, "%127s", tracks[i].control) != 1) {
            fprintf(stderr, "%s: no control attribute\n", name);
            exit(2);
        }
    }
    packets = calloc(packet_count, sizeof *packets);
    for (uint32_t i = 0; i < packet_count; i++) {
        packet *p = &packets[i];
        read_exactly(f, &p->at_us, 4);
        read_exactly(f, &p->track, 2);
        read_exactly(f, &p->size, 2);
        p->data = malloc(p->size);
        read_exactly(f, p->data, p->size);
    }
    fclose(f);
}

static void end_player(player *p) {
    for (int i = 0; i < player_count; i++) {
        if (players[i] == p) {
            players[i] = players[--player_count];
            break;
        }
    }
    close(p->fd);
    free(p->out);
    free(p);
}
static void listen_for(player *p, int writable) {
    struct epoll_event e = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.ptr = p};
    epoll_ctl(poller, EPOLL_CTL_MOD, p->fd, &e);
}
/* Write, and keep what the socket does not take. Answers 0, or -1 when the player is gone. */
static int put(player *p, const uint8_t *data, size_t size) {
    ssize_t done = 0;
    if (p->out_from == p->out_to) {
        done = send(p->fd, data, size, MSG_NOSIGNAL);
        if (done < 0) {
            if (errno != EAGAIN) {
                return -1;
            }
            done = 0;
        }
        if ((size_t)done == size) {
            return 0;
        }
        listen_for(p, 1);
        blocked++;
        p->out_from = p->out_to = 0;
    }
    size -= done;
    if (!p->out) {
        p->out = malloc(4 * OUT_BYTES);
    }
    if (p->out_to + size > 4 * OUT_BYTES) {
        fprintf(stderr, "player %d is 4 MiB behind\n", p->id);
        return -1;
    }
    memcpy(p->out + p->out_to, data + done, size);
    p->out_to += size;
    return 0;
}
static int drain(player *p) {
    ssize_t done = send(p->fd, p->out + p->out_from, p->out_to - p->out_from, MSG_NOSIGNAL);
    if (done < 0) {
        return errno == EAGAIN ? 0 : -1;
    }
    p->out_from += done;
    if (p->out_from == p->out_to) {
        p->out_from = p->out_to = 0;
        listen_for(p, 0);
    }
    return 0;
}

/* RTCP sender report, RFC 3550 section 6.4.1, of this instant. */
static size_t report(player *p, int t, uint8_t *to) {
    uint64_t wall = clock_us(CLOCK_REALTIME), since = now - p->start;
    uint32_t ticks = since * tracks[t].clock_rate / 1000000;
    to[0] = '$';
    to[1] = p->channel[t] + 1;
    to[2] = 0;
    to[3] = 28;
    uint8_t *r = to + 4;
    memset(r, 0, 28);
    r[0] = 0x80;
    r[1] = 200;
    r[3] = 6;
    put32(r + 4, ssrc_of(p, t));
    put32(r + 8, wall / 1000000 + NTP_UNIX);
    put32(r + 12, (uint32_t)(((wall % 1000000) << 32) / 1000000));
    put32(r + 16, tracks[t].timestamp + ticks);
    put32(r + 20, p->sent[t]);
    put32(r + 24, p->octets[t]);
    return 32;
}
/* Send all that is due; answers the time of the next packet, 0 when the player is gone. */
static uint64_t feed(player *p) {
    size_t size = 0;
    if (now >= p->report_at) {
        for (uint32_t t = 0; t < track_count; t++) {
            size += report(p, t, scratch + size);
        }
        p->report_at = now + REPORT_US;
    }
    for (;;) {
        packet *k = &packets[p->next];
        uint64_t due = p->start + p->lap * period_us + k->at_us;
        if (due > now || size + k->size + 4 > OUT_BYTES) {
            if (size && put(p, scratch, size)) {
                return 0;
            }
            if (due > now) {
                return due;
            }
            size = 0;
        }
        track *t = &tracks[k->track];
        uint8_t *to = scratch + size;
        to[0] = '$';
        to[1] = p->channel[k->track];
        to[2] = k->size >> 8;
        to[3] = k->size;
        memcpy(to + 4, k->data, k->size);
        uint16_t sequence = (k->data[2] << 8 | k->data[3]) + p->lap * t->packets;
        uint32_t stamp =
            (uint32_t)k->data[4] << 24 | k->data[5] << 16 | k->data[6] << 8 | k->data[7];
        to[6] = sequence >> 8;
        to[7] = sequence;
        put32(to + 8, stamp + p->lap * t->ticks);
        put32(to + 12, ssrc_of(p, k->track));
        p->sent[k->track]++;
        p->octets[k->track] += k->size - 12;
        size += 4 + k->size;
        total_packets++;
        total_bytes += k->size;
        if (now - due > late_us_max) {
            late_us_max = now - due;
        }
        if (++p->next == packet_count) {
            p->next = 0;
            p->lap++;
        }
    }
}

static int find_header(const char *head, const char *name, char *to, int room) {
    const char *at = strcasestr(head, name);
    to[0] = 0;
    if (!at) {
        return 0;
    }
    at += strlen(name);
    while (*at == ' ') {
        at++;
    }
    int n = 0;
    while (*at && *at != '\r' && n < room - 1) {
        to[n++] = *at++;
    }
    to[n] = 0;
    return 1;
}
static int reply(player *p, const char *cseq, const char *format, ...) {
    static char text[16384];
    int n = snprintf(text, sizeof text, "RTSP/1.0 200 OK\r\nCSeq: %s\r\n", cseq);
    va_list list;
    va_start(list, format);
    n += vsnprintf(text + n, sizeof text - n, format, list);
    va_end(list);
    return put(p, (uint8_t *)text, n);
}
static int play(player *p, const char *cseq, const char *url) {
    char info[1024] = "";
    int n = 0;
    for (uint32_t t = 0; t < track_count; t++) {
        n += snprintf(info + n, sizeof info - n, "%surl=%.300s/%s;seq=%u;rtptime=%u", t ? "," : "",
                      url, tracks[t].control, tracks[t].sequence, tracks[t].timestamp);
    }
    p->start = p->report_at = now;
    p->playing = 1;
    return reply(p, cseq, "Session: %d;timeout=60\r\nRange: npt=0-\r\nRTP-Info: %s\r\n\r\n", p->id,
                 info);
}
static int answer(player *p, const char *head) {
    char method[32] = "", url[512] = "", cseq[32], transport[256];
    sscanf(head, "%31s %511s", method, url);
    find_header(head, "\nCSeq:", cseq, sizeof cseq);
    if (!strcmp(method, "DESCRIBE")) {
        return reply(p, cseq,
                     "Content-Base: %s/\r\nContent-Type: application/sdp\r\n"
                     "Content-Length: %u\r\n\r\n%s",
                     url, sdp_length, sdp);
    }
    if (!strcmp(method, "SETUP")) {
        uint32_t t = 0;
        while (t < track_count && !strstr(url, tracks[t].control)) {
            t++;
        }
        find_header(head, "\nTransport:", transport, sizeof transport);
        char *channels = strstr(transport, "interleaved=");
        if (t == track_count || !channels) {
            static const char no[] = "RTSP/1.0 461 Unsupported Transport\r\nCSeq: %s\r\n\r\n";
            char text[128];
            return put(p, (uint8_t *)text, snprintf(text, sizeof text, no, cseq));
        }
        p->channel[t] = atoi(channels + 12);
        return reply(p, cseq, "Session: %d;timeout=60\r\nTransport: %s;ssrc=%08X\r\n\r\n", p->id,
                     transport, ssrc_of(p, t));
    }
    if (!strcmp(method, "PLAY")) {
        return play(p, cseq, url);
    }
    if (!strcmp(method, "TEARDOWN")) {
        reply(p, cseq, "\r\n");
        return -1;
    }
    return reply(p, cseq,
                 "Session: %d\r\nPublic: OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, "
                 "TEARDOWN\r\n\r\n",
                 p->id);
}
/* Take requests; the player's own RTCP is skipped. Answers -1 when the player is gone. */
static int hear(player *p) {
    static uint8_t buffer[65536];
    ssize_t n = recv(p->fd, buffer, sizeof buffer, 0);
    if (n <= 0) {
        return n < 0 && errno == EAGAIN ? 0 : -1;
    }
    for (ssize_t i = 0; i < n; i++) {
        if (p->skip) {
            p->skip--;
            continue;
        }
        if (p->length == sizeof p->request - 1) {
            return -1;
        }
        p->request[p->length++] = buffer[i];
        if (p->request[0] == '$') {
            if (p->length == 4) {
                p->skip = (uint8_t)p->request[2] << 8 | (uint8_t)p->request[3];
                p->length = 0;
            }
        } else if (p->length >= 4 && !memcmp(p->request + p->length - 4, "\r\n\r\n", 4)) {
            p->request[p->length] = 0;
            p->length = 0;
            char size[16];
            if (find_header(p->request, "\nContent-Length:", size, sizeof size)) {
                p->skip = atoi(size);
            }
            if (answer(p, p->request)) {
                return -1;
            }
        }
    }
    return 0;
}

static void accept_player(int listener) {
    static int ids;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
    if (fd < 0) {
        return;
    }
    if (player_count == MAX_PLAYERS) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    player *p = calloc(1, sizeof *p);
    p->fd = fd;
    p->id = ++ids;
    players[player_count++] = p;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: rtspreplay RECORDING [PORT]\n");
        return 2;
    }
    load(argv[1]);
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons(argc > 2 ? atoi(argv[2]) : 0)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    if (bind(listener, (void *)&at, size) || listen(listener, 1024)) {
        perror("listen");
        return 1;
    }
    getsockname(listener, (void *)&at, &size);
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, events[64];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
    printf("{\"port\":%d}\n", ntohs(at.sin_port));
    fflush(stdout);
    uint64_t next = 0;
    while (!stop) {
        now = clock_us(CLOCK_MONOTONIC);
        int wait_ms = next == 0 ? 20 : next > now ? (int)((next - now + 999) / 1000) : 0;
        int n = epoll_wait(poller, events, 64, wait_ms > 20 ? 20 : wait_ms);
        now = clock_us(CLOCK_MONOTONIC);
        for (int i = 0; i < n; i++) {
            player *p = events[i].data.ptr;
            if (!p) {
                accept_player(listener);
            } else if ((events[i].events & EPOLLOUT && drain(p)) ||
                       (events[i].events & ~EPOLLOUT && hear(p))) {
                end_player(p);
            }
        }
        next = 0;
        for (int i = player_count - 1; i >= 0; i--) {
            if (!players[i]->playing) {
                continue;
            }
            uint64_t due = feed(players[i]);
            if (!due) {
                end_player(players[i]);
            } else if (!next || due < next) {
                next = due;
            }
        }
    }
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    printf("{\"packets\":%lu,\"bytes\":%lu,\"blocked\":%lu,\"late_ms_max\":%.1f,\"cpu_s\":%.2f}\n",
           total_packets, total_bytes, blocked, late_us_max / 1000.0,
           use.ru_utime.tv_sec + use.ru_stime.tv_sec +
               (use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6);
    return 0;
}
