/*
 * srt_readers - N readers of one SRT listener on one thread, for benchmarks.
 *
 *   srt_readers [options] HOST PORT N
 *
 *   -s ID     stream id                       -l MS     latency to ask for (120)
 *   -d S      measured seconds (10)           -w S      seconds between the last joiner and those (3)
 *   -r S      seconds in which they join (1)  -k HEX    key material: the body of the KMREQ
 *   -o FILE   what the first reader got in the window: u32 sequence, u32 word 1, u32 size, payload
 *
 * Each reader is a caller with a socket and a port of its own and does what libsrt's does: induction
 * and conclusion, a full ACK each 10 ms while there is something new and again where nobody confirms
 * it, a light ACK each 64 packets, NAK at once and by a timer, round trip from ACKACK, keepalive,
 * giving up what is later than the latency, and SHUTDOWN at the end. It plays nothing out. Nothing
 * is decrypted: who knows the key may read FILE. Prints {"mark":"begin"} and {"mark":"end"} around
 * the window, and then one line of JSON. Loopback and IPv4 only.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#define HEAD 16
#define WINDOW 8192 /* packets; a power of two */
#define JOURNAL 1024
#define BATCH 32
#define BUFFER 65536
#define ACK_US 10000
#define LIGHT 64
#define HANDSHAKE_US 250000
#define GIVE_UP_US 5000000
#define MAX_KEY 128
#define MAX_NAK 360
#define SEQ(x) ((x) & 0x7fffffffu)
enum { T_HANDSHAKE, T_KEEPALIVE, T_ACK, T_NAK, T_WARNING, T_SHUTDOWN, T_ACKACK, T_DROP };
enum { WAITING, INDUCING, CONCLUDING, READING, CLOSED };

typedef struct {
    int fd, id, state;
    uint32_t socket_id, peer_id, cookie, isn;
    uint64_t start_at, try_at, since;
    /* receiving */
    uint32_t expected, highest; /* the first that is missing; behind the last that came */
    uint8_t have[WINDOW];
    uint64_t seen_at[WINDOW]; /* when a missing one was noticed */
    int missing;
    uint64_t nak_at, sent_at, heard_at;
    /* acknowledging */
    uint32_t ack_number, acked, confirmed; /* positions */
    uint64_t ack_at, acked_at;
    int since_ack;
    struct {
        uint32_t number, position;
        uint64_t at;
    } journal[JOURNAL];
    double rtt, var;
    int has_rtt;
    /* figures */
    uint64_t packets, bytes, lost, repeated, twice, odd;
    uint64_t w_packets, w_bytes, w_lost, w_twice, w_repeated;
    uint64_t last_at, gap_max;
} reader;

static reader *readers;
static int count, poller, latency_ms = 120, is_measuring;
static double measured = 10, warm = 3, ramp = 1;
static const char *stream_id = "";
static uint8_t key[MAX_KEY];
static int key_bytes;
static struct sockaddr_in peer;
static uint64_t now, begin;
static FILE *out;
static uint8_t buffers[BATCH][BUFFER];
static uint64_t acks, naks, ackacks, rejected, reject_code;

static uint64_t clock_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}
static uint32_t get32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}
static void put32(uint8_t *p, uint32_t v) {
    p[0] = v >> 24;
    p[1] = v >> 16;
    p[2] = v >> 8;
    p[3] = v;
}
static int32_t distance(uint32_t a, uint32_t b) { /* a - b of numbers with 31 bits */
    return (int32_t)((a - b) << 1) >> 1;
}

/* -- sending ---------------------------------------------------------------------------------- */

static void send_control(reader *r, int type, uint32_t specific, const void *body, int size) {
    uint8_t packet[1500] = {0};
    put32(packet, 0x80000000u | type << 16);
    put32(packet + 4, specific);
    put32(packet + 8, (uint32_t)(now - r->since));
    put32(packet + 12, r->peer_id);
    if (size) {
        memcpy(packet + HEAD, body, size);
    } else {
        size = 4; /* libsrt pads */
    }
    sendto(r->fd, packet, HEAD + size, 0, (void *)&peer, sizeof peer);
    r->sent_at = now;
}
static int extension(uint8_t *p, int type, const uint8_t *body, int size) {
    int words = (size + 3) / 4;
    put32(p, type << 16 | words);
    memset(p + 4, 0, words * 4);
    memcpy(p + 4, body, size);
    return 4 + words * 4;
}
static void send_handshake(reader *r) {
    uint8_t cif[1400] = {0};
    int size = 48, is_conclusion = r->state == CONCLUDING;
    int config = *stream_id ? 4 : 0, km = key_bytes ? 2 : 0;
    put32(cif, is_conclusion ? 5 : 4);
    put32(cif + 4, is_conclusion ? (km ? 2u << 16 : 0) | 1 | km | config : 2);
    put32(cif + 8, r->isn);
    put32(cif + 12, 1500);
    put32(cif + 16, WINDOW);
    put32(cif + 20, is_conclusion ? 0xffffffffu : 1);
    put32(cif + 24, r->socket_id);
    put32(cif + 28, r->cookie);
    memcpy(cif + 32, "\1\0\0\x7f", 4);
    if (is_conclusion) {
        uint8_t request[12], id[516] = {0};
        int length = strlen(stream_id);
        put32(request, 0x010501);
        put32(request + 4, 0xbf);
        put32(request + 8, (uint32_t)latency_ms << 16);
        size += extension(cif + size, 1, request, 12);
        if (length) {
            for (int i = 0; i < length; i++) {
                id[(i & ~3) + 3 - (i & 3)] = stream_id[i]; /* each word reversed */
            }
            size += extension(cif + size, 5, id, (length + 3) & ~3);
        }
        if (key_bytes) {
            size += extension(cif + size, 3, key, key_bytes);
        }
    }
    send_control(r, T_HANDSHAKE, 0, cif, size);
    r->try_at = now + HANDSHAKE_US;
}
static void send_ack(reader *r) {
    uint8_t cif[28];
    uint32_t position = r->expected;
    if (position == r->confirmed) {
        return;
    }
    if (position == r->acked && now - r->acked_at < (uint64_t)(r->rtt + 4 * r->var)) {
        return;
    }
    r->ack_number++;
    r->journal[r->ack_number % JOURNAL].number = r->ack_number;
    r->journal[r->ack_number % JOURNAL].position = position;
    r->journal[r->ack_number % JOURNAL].at = now;
    put32(cif, position);
    put32(cif + 4, r->rtt);
    put32(cif + 8, r->var);
    put32(cif + 12, WINDOW - 1);
    put32(cif + 16, 1000);
    put32(cif + 20, 10000);
    put32(cif + 24, 1316000);
    send_control(r, T_ACK, r->ack_number, cif, sizeof cif);
    r->acked = position;
    r->acked_at = now;
    r->since_ack = 0;
    acks++;
}
static void send_nak(reader *r) {
    uint8_t cif[4 * MAX_NAK];
    int words = 0;
    for (uint32_t s = r->expected; s != r->highest && words < MAX_NAK - 1; s = SEQ(s + 1)) {
        if (r->have[s % WINDOW]) {
            continue;
        }
        uint32_t last = s;
        while (SEQ(last + 1) != r->highest && !r->have[SEQ(last + 1) % WINDOW]) {
            last = SEQ(last + 1);
        }
        put32(cif + 4 * words++, last == s ? s : s | 0x80000000u);
        if (last != s) {
            put32(cif + 4 * words++, last);
        }
        s = last;
    }
    if (words) {
        send_control(r, T_NAK, 0, cif, 4 * words);
        naks++;
    }
    double wait = (r->rtt + 4 * r->var) / 2;
    r->nak_at = now + (uint64_t)(wait < 20000 ? 20000 : wait);
}

/* -- receiving -------------------------------------------------------------------------------- */

static void advance(reader *r) {
    while (r->expected != r->highest && r->have[r->expected % WINDOW]) {
        r->have[r->expected % WINDOW] = 0;
        r->expected = SEQ(r->expected + 1);
    }
}
static void take_data(reader *r, const uint8_t *p, int size) {
    uint32_t sequence = get32(p), word = get32(p + 4);
    int32_t ahead = distance(sequence, r->highest);
    if (get32(p + 12) != r->socket_id || ahead >= WINDOW / 2) {
        r->odd++;
        return;
    }
    r->repeated += word >> 26 & 1;
    if (ahead < 0) {
        if (distance(sequence, r->expected) < 0 || r->have[sequence % WINDOW]) {
            r->twice++;
            return;
        }
        r->missing--;
    } else {
        for (uint32_t s = r->highest; s != sequence; s = SEQ(s + 1)) {
            r->have[s % WINDOW] = 0;
            r->seen_at[s % WINDOW] = now;
            r->missing++;
        }
        r->highest = SEQ(sequence + 1);
    }
    r->have[sequence % WINDOW] = 1;
    r->packets++;
    r->bytes += size - HEAD;
    if (!key_bytes && ((size - HEAD) % 188 || p[HEAD] != 0x47)) {
        r->odd++;
    }
    if (is_measuring && r->last_at && now - r->last_at > r->gap_max) {
        r->gap_max = now - r->last_at;
    }
    r->last_at = now;
    if (ahead > 0) {
        send_nak(r);
    }
    if (r->expected == sequence) {
        advance(r);
    }
    if (out && r->id == 0 && is_measuring) {
        uint32_t head[3] = {sequence, word, size - HEAD};
        fwrite(head, sizeof head, 1, out);
        fwrite(p + HEAD, size - HEAD, 1, out);
    }
    if (++r->since_ack >= LIGHT) {
        uint8_t cif[4];
        put32(cif, r->expected);
        send_control(r, T_ACK, 0, cif, sizeof cif);
        r->since_ack = 0;
    }
}
static void take_handshake(reader *r, const uint8_t *p, int size) {
    if (size < HEAD + 48) {
        return;
    }
    p += HEAD;
    uint32_t type = get32(p + 20);
    if (r->state == INDUCING && type == 1) {
        r->cookie = get32(p + 28);
        r->state = CONCLUDING;
        send_handshake(r);
    } else if (r->state == CONCLUDING && type == 0xffffffffu) {
        r->peer_id = get32(p + 24);
        r->expected = r->highest = r->acked = r->confirmed = get32(p + 8);
        r->state = READING;
        r->heard_at = now;
        r->ack_at = now + ACK_US;
    } else if (r->state == CONCLUDING && type >= 1000 && type < 10000) {
        rejected++;
        reject_code = type - 1000;
        r->state = CLOSED;
    }
}
static void take_ackack(reader *r, uint32_t number) {
    int at = number % JOURNAL;
    if (r->journal[at].number != number || !number) {
        return;
    }
    double sample = now - r->journal[at].at;
    r->journal[at].number = 0;
    ackacks++;
    if (distance(r->journal[at].position, r->confirmed) > 0) {
        r->confirmed = r->journal[at].position;
    }
    if (!r->has_rtt) {
        r->has_rtt = 1;
        r->rtt = sample;
        r->var = sample / 2;
        return;
    }
    double off = sample > r->rtt ? sample - r->rtt : r->rtt - sample;
    r->var += (off - r->var) / 4;
    r->rtt += (sample - r->rtt) / 8;
}
static void take(reader *r, const uint8_t *p, int size) {
    if (size < HEAD || r->state == CLOSED || r->state == WAITING) {
        return;
    }
    r->heard_at = now;
    if (!(p[0] & 0x80)) {
        if (r->state == READING) {
            take_data(r, p, size);
        }
        return;
    }
    int type = (p[0] & 0x7f) << 8 | p[1];
    if (type == T_HANDSHAKE) {
        take_handshake(r, p, size);
    } else if (r->state == READING && type == T_ACKACK) {
        take_ackack(r, get32(p + 4));
    } else if (r->state == READING && type == T_SHUTDOWN) {
        r->state = CLOSED;
    }
}
static void drain(reader *r) {
    static struct mmsghdr messages[BATCH];
    static struct iovec parts[BATCH];
    static char controls[BATCH][64];
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){buffers[i], BUFFER};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i],
                                              .msg_iovlen = 1,
                                              .msg_control = controls[i],
                                              .msg_controllen = sizeof controls[i]};
    }
    int got = recvmmsg(r->fd, messages, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < got; i++) {
        int size = messages[i].msg_len, segment = size;
        struct cmsghdr *c = CMSG_FIRSTHDR(&messages[i].msg_hdr);
        for (; c; c = CMSG_NXTHDR(&messages[i].msg_hdr, c)) {
            if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
                memcpy(&segment, CMSG_DATA(c), sizeof segment);
            }
        }
        for (int at = 0; at < size; at += segment) {
            take(r, buffers[i] + at, size - at < segment ? size - at : segment);
        }
    }
}

/* -- time ------------------------------------------------------------------------------------- */

static void open_reader(reader *r) {
    struct sockaddr_in local = {.sin_family = AF_INET};
    int on = 1, room = 4 << 20;
    r->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    local.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(r->fd, SOL_UDP, UDP_GRO, &on, sizeof on);
    if (setsockopt(r->fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room)) {
        setsockopt(r->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = r};
    if (bind(r->fd, (void *)&local, sizeof local) ||
        epoll_ctl(poller, EPOLL_CTL_ADD, r->fd, &event)) {
        perror("socket");
        exit(2);
    }
    r->since = now;
    r->socket_id = (random() & 0x3ffffff8) + r->id % 8 + 1;
    r->isn = random() & 0x7fffffff;
    r->rtt = 100000;
    r->var = 50000;
    r->state = INDUCING;
    send_handshake(r);
}
static void give_up_late(reader *r) {
    uint64_t limit = (uint64_t)latency_ms * 1000;
    while (r->expected != r->highest && !r->have[r->expected % WINDOW] &&
           now - r->seen_at[r->expected % WINDOW] > limit) {
        r->expected = SEQ(r->expected + 1);
        r->missing--;
        r->lost++;
        advance(r);
    }
}
static void tick(reader *r) {
    if (r->state == WAITING) {
        if (now >= r->start_at) {
            open_reader(r);
        }
    } else if (r->state == INDUCING || r->state == CONCLUDING) {
        if (now >= r->try_at) {
            send_handshake(r);
        }
    } else if (r->state == READING) {
        if (now >= r->ack_at) {
            send_ack(r);
            r->ack_at += ACK_US;
            if (r->ack_at < now) {
                r->ack_at = now + ACK_US;
            }
        }
        if (r->missing) {
            give_up_late(r);
            if (r->missing && now >= r->nak_at) {
                send_nak(r);
            }
        }
        if (now - r->sent_at > 1000000) {
            send_control(r, T_KEEPALIVE, 0, NULL, 0);
        }
        if (now - r->heard_at > GIVE_UP_US) {
            r->state = CLOSED;
        }
    }
}
static void run_until(uint64_t end) {
    struct epoll_event events[256];
    uint64_t next = 0;
    while ((now = clock_us()) < end) {
        int n = epoll_wait(poller, events, 256, 1);
        now = clock_us();
        for (int i = 0; i < n; i++) {
            drain(events[i].data.ptr);
        }
        if (now >= next) {
            next = now + 1000;
            for (int i = 0; i < count; i++) {
                tick(&readers[i]);
            }
        }
    }
}
static void mark(const char *name) {
    printf("{\"mark\":\"%s\"}\n", name);
    fflush(stdout);
    for (int i = 0; i < count; i++) {
        reader *r = &readers[i];
        r->w_packets = r->packets - r->w_packets;
        r->w_bytes = r->bytes - r->w_bytes;
        r->w_lost = r->lost - r->w_lost;
        r->w_twice = r->twice - r->w_twice;
        r->w_repeated = r->repeated - r->w_repeated;
    }
}
static int by_size(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}
static void result(double span, double cpu) {
    uint64_t packets = 0, bytes = 0, lost = 0, twice = 0, repeated = 0, odd = 0, all_lost = 0;
    uint64_t *gaps = calloc(count, sizeof *gaps);
    double rtt = 0;
    int reading = 0;
    for (int i = 0; i < count; i++) {
        reader *r = &readers[i];
        packets += r->w_packets;
        bytes += r->w_bytes;
        lost += r->w_lost;
        twice += r->w_twice;
        repeated += r->w_repeated;
        odd += r->odd;
        all_lost += r->lost;
        rtt += r->rtt / count;
        gaps[i] = r->gap_max;
        reading += r->state == READING && r->w_packets;
    }
    qsort(gaps, count, sizeof *gaps, by_size);
    printf("{\"readers\":%d,\"reading\":%d,\"seconds\":%.3f,\"packets\":%llu,\"bytes\":%llu,"
           "\"mbit_s\":%.3f,\"lost\":%llu,\"lost_ever\":%llu,\"twice\":%llu,\"repeated\":%llu,"
           "\"odd\":%llu,\"acks\":%llu,\"ackacks\":%llu,\"naks\":%llu,\"rtt_us\":%.0f,"
           "\"gap_ms_p50\":%.1f,\"gap_ms_max\":%.1f,\"rejected\":%llu,\"code\":%llu,"
           "\"cpu_share\":%.4f}\n",
           count, reading, span, (unsigned long long)packets, (unsigned long long)bytes,
           bytes * 8 / span / 1e6, (unsigned long long)lost, (unsigned long long)all_lost,
           (unsigned long long)twice, (unsigned long long)repeated, (unsigned long long)odd,
           (unsigned long long)acks, (unsigned long long)ackacks, (unsigned long long)naks, rtt,
           gaps[count / 2] / 1e3, gaps[count - 1] / 1e3, (unsigned long long)rejected,
           (unsigned long long)reject_code, cpu / span);
    fflush(stdout);
}
static double cpu_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}
static void read_options(int argc, char **argv) {
    int option;
    while ((option = getopt(argc, argv, "s:l:d:w:r:k:o:")) > 0) {
        if (option == 's') {
            stream_id = optarg;
        } else if (option == 'l') {
            latency_ms = atoi(optarg);
        } else if (option == 'd') {
            measured = atof(optarg);
        } else if (option == 'w') {
            warm = atof(optarg);
        } else if (option == 'r') {
            ramp = atof(optarg);
        } else if (option == 'o') {
            out = fopen(optarg, "wb");
        } else if (option == 'k') {
            unsigned byte;
            for (const char *p = optarg; sscanf(p, "%2x", &byte) == 1; p += 2) {
                if (key_bytes < MAX_KEY) {
                    key[key_bytes++] = byte;
                }
            }
        } else {
            exit(2);
        }
    }
    if (argc - optind != 3 || strlen(stream_id) > 512 || (count = atoi(argv[optind + 2])) < 1) {
        fprintf(stderr, "usage: srt_readers [options] HOST PORT N\n");
        exit(2);
    }
    peer.sin_family = AF_INET;
    peer.sin_port = htons(atoi(argv[optind + 1]));
    if (!inet_aton(argv[optind], &peer.sin_addr)) {
        fprintf(stderr, "%s is no IPv4 address\n", argv[optind]);
        exit(2);
    }
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    readers = calloc(count, sizeof *readers);
    poller = epoll_create1(0);
    srandom(getpid() ^ clock_us());
    begin = now = clock_us();
    for (int i = 0; i < count; i++) {
        readers[i].id = i;
        readers[i].start_at = begin + (uint64_t)(ramp * 1e6 * i / count);
    }
    run_until(begin + (uint64_t)((ramp + warm) * 1e6));
    double cpu = cpu_seconds();
    uint64_t from = now;
    is_measuring = 1;
    mark("begin");
    run_until(from + (uint64_t)(measured * 1e6));
    is_measuring = 0;
    mark("end");
    result((now - from) / 1e6, cpu_seconds() - cpu);
    for (int i = 0; i < count; i++) {
        if (readers[i].state == READING) {
            send_control(&readers[i], T_SHUTDOWN, 0, NULL, 0);
        }
    }
    if (out) {
        fclose(out);
    }
    return 0;
}
