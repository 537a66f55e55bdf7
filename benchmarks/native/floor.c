/*
 * floor - the least a sender can pay to fan one stream out on this kernel, over loopback.
 *
 *   cc -O2 -Wall -o floor floor.c
 *   floor KIND N [SECONDS [CHUNK [INTERVAL_MS [DATAGRAM]]]]
 *
 * KIND   tcp          one write() of CHUNK bytes to each of N connections every INTERVAL_MS
 *        udp-sendto   one sendto() for each datagram
 *        udp          one sendmmsg() of all the datagrams of a chunk for each reader
 *        udp-mmsg     sendmmsg() of up to 1024 messages across readers
 *        gso          one sendmsg() with UDP_SEGMENT for each reader
 *        gso-mmsg     sendmmsg() of such messages across readers
 *        gso-gro      as gso; the readers have UDP_GRO set
 *
 * The sender runs on core 0; a forked reader drains on core 1. Prints one line of JSON with the
 * sender's CPU seconds (its own time, and the busy time of core 0 as /proc/stat has it) for each
 * gigabit that the reader received.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

static struct shared {
    volatile uint64_t bytes;
    volatile int ready, stop;
    volatile double cpu;
} *sh;
static double clk(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
static double cpu(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}
static void pin(int c) {
    cpu_set_t s;
    CPU_ZERO(&s);
    CPU_SET(c, &s);
    sched_setaffinity(0, sizeof s, &s);
}
static double core0(void) { /* busy seconds of core 0 */
    FILE *f = fopen("/proc/stat", "r");
    char l[512];
    unsigned long long u, n, s, id, io, hi, si;
    double r = 0;
    while (fgets(l, sizeof l, f)) {
        if (sscanf(l, "cpu0 %llu %llu %llu %llu %llu %llu %llu", &u, &n, &s, &id, &io, &hi, &si) ==
            7) {
            r = (u + n + s + hi + si) / (double)sysconf(_SC_CLK_TCK);
            break;
        }
    }
    fclose(f);
    return r;
}
static char sink[1 << 20];

static void reader_tcp(int port, int n) {
    int ep = epoll_create1(0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < n; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (void *)&a, sizeof a)) {
            perror("connect");
            exit(1);
        }
        fcntl(fd, F_SETFL, O_NONBLOCK);
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
    }
    sh->ready = 1;
    struct epoll_event ev[128];
    while (!sh->stop) {
        int k = epoll_wait(ep, ev, 128, 50);
        for (int i = 0; i < k; i++) {
            ssize_t r = recv(ev[i].data.fd, sink, sizeof sink, 0);
            if (r > 0) {
                sh->bytes += r;
            } else if (r == 0) {
                exit(0);
            }
        }
        sh->cpu = cpu();
    }
    exit(0);
}
static void reader_udp(int *fd, int n, int gro) {
    int ep = epoll_create1(0);
    static struct mmsghdr mm[64];
    static struct iovec iv[64];
    static char small[64][32];
    for (int i = 0; i < 64; i++) {
        iv[i].iov_base = gro ? sink : small[i];
        iv[i].iov_len = gro ? 65536 : 32;
        mm[i].msg_hdr.msg_iov = &iv[i];
        mm[i].msg_hdr.msg_iovlen = 1;
    }
    for (int i = 0; i < n; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd[i]};
        epoll_ctl(ep, EPOLL_CTL_ADD, fd[i], &e);
    }
    sh->ready = 1;
    struct epoll_event ev[128];
    while (!sh->stop) {
        int k = epoll_wait(ep, ev, 128, 50);
        for (int i = 0; i < k; i++) {
            for (;;) {
                int r = recvmmsg(ev[i].data.fd, mm, 64, MSG_DONTWAIT | MSG_TRUNC, NULL);
                if (r <= 0) {
                    break;
                }
                for (int j = 0; j < r; j++) {
                    sh->bytes += mm[j].msg_len;
                }
                if (r < 64) {
                    break;
                }
            }
        }
        sh->cpu = cpu();
    }
    exit(0);
}
int main(int ac, char **av) {
    if (ac < 3) {
        fprintf(stderr, "usage: floor tcp|udp-sendto|udp|udp-mmsg|gso|gso-mmsg|gso-gro N [SECONDS "
                        "[CHUNK [INTERVAL_MS [DATAGRAM]]]]\n");
        return 2;
    }
    const char *kind = av[1];
    int n = atoi(av[2]);
    double secs = ac > 3 ? atof(av[3]) : 8;
    int chunk = ac > 4 ? atoi(av[4]) : 20000;
    double iv_ms = ac > 5 ? atof(av[5]) : 40;
    int dg = ac > 6 ? atoi(av[6]) : 1332;
    sh = mmap(NULL, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *buf = malloc(chunk);
    memset(buf, 0x5a, chunk);
    int *fd = calloc(n, sizeof *fd), tcp = !strcmp(kind, "tcp"), gro = !strcmp(kind, "gso-gro"),
        us = -1;
    pid_t pid;
    uint64_t eagain = 0, sent = 0, calls = 0;
    struct sockaddr_in *to = calloc(n, sizeof *to);
    if (tcp) {
        int l = socket(AF_INET, SOCK_STREAM, 0);
        struct sockaddr_in a = {.sin_family = AF_INET};
        a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t sl = sizeof a;
        bind(l, (void *)&a, sizeof a);
        listen(l, 4096);
        getsockname(l, (void *)&a, &sl);
        if (!(pid = fork())) {
            pin(1);
            close(l);
            reader_tcp(ntohs(a.sin_port), n);
        }
        for (int i = 0; i < n; i++) {
            fd[i] = accept(l, NULL, NULL);
            int one = 1;
            setsockopt(fd[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            fcntl(fd[i], F_SETFL, O_NONBLOCK);
        }
    } else {
        for (int i = 0; i < n; i++) {
            fd[i] = socket(AF_INET, SOCK_DGRAM, 0);
            int rb = 1 << 20, one = 1;
            setsockopt(fd[i], SOL_SOCKET, SO_RCVBUF, &rb, sizeof rb);
            if (gro) {
                setsockopt(fd[i], IPPROTO_UDP, UDP_GRO, &one, sizeof one);
            }
            to[i].sin_family = AF_INET;
            to[i].sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            socklen_t sl = sizeof to[i];
            bind(fd[i], (void *)&to[i], sl);
            getsockname(fd[i], (void *)&to[i], &sl);
        }
        if (!(pid = fork())) {
            pin(1);
            reader_udp(fd, n, gro);
        }
        us = socket(AF_INET, SOCK_DGRAM, 0);
        int sb = 4 << 20;
        setsockopt(us, SOL_SOCKET, SO_SNDBUF, &sb, sizeof sb);
    }
    pin(0);
    while (!sh->ready) {
        usleep(1000);
    }
    int per = (chunk + dg - 1) / dg, gso = !strncmp(kind, "gso", 3), cap = 1024;
    struct mmsghdr *mm = calloc(cap, sizeof *mm);
    struct iovec *iov = calloc((size_t)cap, sizeof *iov);
    union {
        char b[CMSG_SPACE(2)];
        struct cmsghdr a;
    } ctl;
    memset(&ctl, 0, sizeof ctl);
    struct cmsghdr *cm = &ctl.a;
    cm->cmsg_level = IPPROTO_UDP;
    cm->cmsg_type = UDP_SEGMENT;
    cm->cmsg_len = CMSG_LEN(2);
    *(uint16_t *)CMSG_DATA(cm) = dg;
    int ticks = secs * 1000 / iv_ms;
    double t0 = clk(), c0 = cpu(), k0 = core0(), late = 0;
    uint64_t b0 = sh->bytes;
    double r0 = sh->cpu;
    for (int t = 0; t < ticks; t++) {
        if (tcp) {
            for (int i = 0; i < n; i++) {
                ssize_t r = write(fd[i], buf, chunk);
                calls++;
                if (r < 0) {
                    eagain++;
                } else {
                    sent += r;
                }
            }
        } else if (!strcmp(kind, "udp-sendto")) {
            for (int i = 0; i < n; i++) {
                for (int o = 0; o < chunk; o += dg) {
                    int l = chunk - o < dg ? chunk - o : dg;
                    calls++;
                    if (sendto(us, buf + o, l, 0, (void *)&to[i], sizeof to[i]) < 0) {
                        eagain++;
                    } else {
                        sent += l;
                    }
                }
            }
        } else {
            int m = 0, batch = strstr(kind, "mmsg") ? cap : 1;
            for (int i = 0; i < n; i++) {
                if (gso) {
                    iov[m] = (struct iovec){buf, chunk};
                    mm[m].msg_hdr = (struct msghdr){.msg_name = &to[i],
                                                    .msg_namelen = sizeof to[i],
                                                    .msg_iov = &iov[m],
                                                    .msg_iovlen = 1,
                                                    .msg_control = &ctl,
                                                    .msg_controllen = sizeof ctl.b};
                    m++;
                } else {
                    for (int o = 0; o < chunk; o += dg) {
                        iov[m] = (struct iovec){buf + o, chunk - o < dg ? chunk - o : dg};
                        mm[m].msg_hdr = (struct msghdr){.msg_name = &to[i],
                                                        .msg_namelen = sizeof to[i],
                                                        .msg_iov = &iov[m],
                                                        .msg_iovlen = 1};
                        m++;
                    }
                }
                if (batch == 1 || m + per > cap || i == n - 1) {
                    int done = 0;
                    while (done < m) {
                        int r = sendmmsg(us, mm + done, m - done, 0);
                        calls++;
                        if (r <= 0) {
                            eagain++;
                            if (errno != EAGAIN && errno != EWOULDBLOCK) {
                                perror("sendmmsg");
                                kill(pid, SIGTERM);
                                return 1;
                            }
                            break;
                        }
                        done += r;
                    }
                    m = 0;
                }
            }
            sent += (uint64_t)n * chunk;
        }
        double due = t0 + (t + 1) * iv_ms / 1000, now = clk();
        if (now < due) {
            struct timespec ts = {0, (due - now) * 1e9};
            nanosleep(&ts, NULL);
        } else {
            late = now - due > late ? now - due : late;
        }
    }
    double span = clk() - t0, c = cpu() - c0, k = core0() - k0;
    usleep(50000);
    uint64_t got = sh->bytes - b0;
    double gb = got * 8 / 1e9, rc = sh->cpu - r0;
    sh->stop = 1;
    int st;
    usleep(150000);
    kill(pid, SIGTERM);
    waitpid(pid, &st, 0);
    printf("{\"kind\":\"%s\",\"readers\":%d,\"chunk\":%d,\"interval_ms\":%g,\"datagram\":%d,"
           "\"seconds\":%.2f,\"sent_gbit\":%.3f,\"received_gbit\":%.3f,\"mbit_s\":%.1f,\"calls\":%"
           "lu,\"refused\":%lu,\"cpu_s\":%.3f,\"cpu_s_per_gbit\":%.4f,\"core_s_per_gbit\":%.4f,"
           "\"reader_cpu_s_per_gbit\":%.4f,\"late_ms\":%.1f}\n",
           kind, n, chunk, iv_ms, tcp ? 0 : dg, span, sent * 8 / 1e9, gb, gb * 1000 / span, calls,
           eagain, c, c / gb, k / gb, rc / gb, late * 1000);
    return 0;
}
