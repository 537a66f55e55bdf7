/*
 * tsudp - a transport stream over UDP at an even pace, and the place where one ends.
 *
 *   tsudp send FILE SECONDS PORT...    loop FILE, which lasts SECONDS, to each of these ports
 *   tsudp sink PORT...                 take what comes
 *
 * The sender gives each port seven packets a datagram, one datagram after the other at the file's
 * mean rate, the ports evenly apart. Each round's PCR, PTS, DTS and continuity counters go on where
 * the last one's ended, so nobody sees a seam. Either prints {"ready":1} when it is, a line of JSON
 * with its counters so far at SIGUSR1, and one more at SIGTERM. "late_ms" is how late the sender ever
 * was; "breaks" are steps of a continuity counter that the sink saw. Loopback alone.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PACKET 188
#define DATAGRAM (7 * PACKET)
#define MAX_PORTS 256
#define CLOCK 90000
#define MASK33 0x1ffffffffull
#define SLEEP_US 500

static int ports[MAX_PORTS], port_count;
static uint64_t packets, bytes, breaks, refused, late_us;
static volatile sig_atomic_t is_over, is_asked;

static void on_signal(int number) {
    if (number == SIGUSR1) {
        is_asked = 1;
    } else {
        is_over = 1;
    }
}
static uint64_t clock_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}
static void say(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    double cpu =
        u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
    printf("{\"datagrams\":%llu,\"bytes\":%llu,\"breaks\":%llu,\"refused\":%llu,"
           "\"late_ms\":%.1f,\"cpu_s\":%.3f}\n",
           (unsigned long long)packets, (unsigned long long)bytes, (unsigned long long)breaks,
           (unsigned long long)refused, late_us / 1e3, cpu);
    fflush(stdout);
}
static struct sockaddr_in local(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

/* -- the packets of a file, moved in time ------------------------------------------------------ */

static uint64_t read_stamp(const uint8_t *p) {
    return (uint64_t)(p[0] >> 1 & 7) << 30 | p[1] << 22 | p[2] >> 1 << 15 | p[3] << 7 | p[4] >> 1;
}
static void move_stamp(uint8_t *p, uint64_t by) {
    uint64_t t = (read_stamp(p) + by) & MASK33;
    p[0] = (p[0] & 0xf1) | (t >> 30 & 7) << 1;
    p[1] = t >> 22;
    p[2] = (t >> 15 & 0x7f) << 1 | 1;
    p[3] = t >> 7;
    p[4] = (t & 0x7f) << 1 | 1;
}
static void move_packet(uint8_t *p, uint64_t by) {
    int has_field = p[3] & 0x20, has_payload = p[3] & 0x10, at = 4;
    if (has_field) {
        if (p[4] >= 7 && p[5] & 0x10) {
            uint64_t t = (uint64_t)p[6] << 25 | p[7] << 17 | p[8] << 9 | p[9] << 1 | p[10] >> 7;
            t = (t + by) & MASK33;
            p[6] = t >> 25;
            p[7] = t >> 17;
            p[8] = t >> 9;
            p[9] = t >> 1;
            p[10] = (p[10] & 0x7f) | (t & 1) << 7;
        }
        at += 1 + p[4];
    }
    if (has_payload && p[1] & 0x40 && at + 19 <= PACKET && !p[at] && !p[at + 1] && p[at + 2] == 1 &&
        p[at + 3] >= 0xbd && p[at + 3] != 0xbe) {
        if (p[at + 7] & 0x80) {
            move_stamp(p + at + 9, by);
        }
        if (p[at + 7] & 0x40) {
            move_stamp(p + at + 14, by);
        }
    }
}
/* one round on: times, and the counters of those PIDs whose packets are no multiple of 16 */
static void move_round(uint8_t *data, size_t size, uint64_t by, const uint8_t *steps) {
    for (size_t at = 0; at < size; at += PACKET) {
        uint8_t *p = data + at;
        int pid = (p[1] & 0x1f) << 8 | p[2];
        p[3] = (p[3] & 0xf0) | ((p[3] + steps[pid]) & 15);
        move_packet(p, by);
    }
}
static void wait_until(uint64_t at) {
    uint64_t now = clock_us();
    if (at > now) {
        struct timespec t = {(at - now) / 1000000, (at - now) % 1000000 * 1000};
        nanosleep(&t, NULL);
    } else if (now - at > late_us) {
        late_us = now - at;
    }
}
static void send_file(const char *name, double seconds) {
    static uint8_t steps[8192];
    FILE *f = fopen(name, "rb");
    if (!f || fseek(f, 0, SEEK_END)) {
        perror(name);
        exit(2);
    }
    size_t size = ftell(f) / PACKET * PACKET;
    uint8_t *data = malloc(size);
    rewind(f);
    if (!size || fread(data, 1, size, f) != size) {
        fprintf(stderr, "%s: cannot be read\n", name);
        exit(2);
    }
    fclose(f);
    for (size_t at = 0; at < size; at += PACKET) {
        steps[(data[at + 1] & 0x1f) << 8 | data[at + 2]] += data[at + 3] >> 4 & 1;
    }
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    double step = DATAGRAM * seconds * 1e6 / size / port_count; /* us between two sends */
    uint64_t begin = clock_us(), sent = 0;
    size_t at = 0;
    while (!is_over) {
        for (int i = 0; i < port_count; i++) {
            struct sockaddr_in to = local(ports[i]);
            size_t length = size - at < DATAGRAM ? size - at : DATAGRAM;
            uint64_t due = begin + (uint64_t)(sent++ * step);
            if (step >= SLEEP_US || sent % (1 + (int)(SLEEP_US / step)) == 0) {
                wait_until(due); /* a sleep takes as long as some sends */
            }
            if (sendto(fd, data + at, length, 0, (void *)&to, sizeof to) < 0) {
                refused++;
            }
            packets++;
            bytes += length;
        }
        at += DATAGRAM;
        if (at >= size) {
            at = 0;
            move_round(data, size, (uint64_t)(seconds * CLOCK + 0.5), steps);
        }
        if (is_asked) {
            is_asked = 0;
            say();
        }
    }
}

/* -- the end of a stream ----------------------------------------------------------------------- */

static void check(int port, const uint8_t *data, int size) {
    static uint8_t *counters[MAX_PORTS];
    uint8_t *last = counters[port];
    if (!last) {
        last = counters[port] = malloc(8192);
        memset(last, 0xff, 8192);
    }
    for (int at = 0; at + PACKET <= size; at += PACKET) {
        const uint8_t *p = data + at;
        int pid = (p[1] & 0x1f) << 8 | p[2];
        if (p[0] != 0x47) {
            breaks++;
        } else if (p[3] & 0x10 && pid != 0x1fff) {
            breaks += last[pid] != 0xff && (p[3] & 15) != ((last[pid] + 1) & 15);
            last[pid] = p[3] & 15;
        }
    }
}
static void take(void) {
    static uint8_t buffer[65536];
    int fds[MAX_PORTS], room = 8 << 20, poller = epoll_create1(0);
    for (int i = 0; i < port_count; i++) {
        struct sockaddr_in at = local(ports[i]);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        fds[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        if (setsockopt(fds[i], SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room)) {
            setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
        }
        if (bind(fds[i], (void *)&at, sizeof at)) {
            perror("bind");
            exit(2);
        }
        epoll_ctl(poller, EPOLL_CTL_ADD, fds[i], &event);
    }
    printf("{\"ready\":1}\n");
    fflush(stdout);
    while (!is_over) {
        struct epoll_event events[64];
        int n = epoll_wait(poller, events, 64, 1000), size;
        for (int i = 0; i < n; i++) {
            int port = events[i].data.u32;
            while ((size = recv(fds[port], buffer, sizeof buffer, 0)) >= 0) {
                packets++;
                bytes += size;
                check(port, buffer, size);
            }
        }
        if (is_asked) {
            is_asked = 0;
            say();
        }
        usleep(2000); /* wake-ups are what costs */
    }
}

int main(int argc, char **argv) {
    int is_sender = argc > 1 && !strcmp(argv[1], "send"), first = is_sender ? 4 : 2;
    if (argc <= first || argc - first > MAX_PORTS || (!is_sender && strcmp(argv[1], "sink"))) {
        fprintf(stderr, "usage: tsudp send FILE SECONDS PORT... | tsudp sink PORT...\n");
        return 2;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    for (int i = first; i < argc; i++) {
        ports[port_count++] = atoi(argv[i]);
    }
    if (is_sender) {
        printf("{\"ready\":1}\n");
        fflush(stdout);
        send_file(argv[2], atof(argv[3]));
    } else {
        take();
    }
    say();
    return 0;
}
