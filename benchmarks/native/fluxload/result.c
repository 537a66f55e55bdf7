/* The figures of a run as one line of JSON. */
#include "load.h"

static const char *fail_name[NFAIL] = {"connect",  "status", "protocol", "closed",
                                       "no_media", "socket", "",         ""};

static double ms(uint64_t us) {
    return us / 1000.0;
}
static void json_pct(FILE *f, const char *name, uint64_t *v, int n) {
    qsort(v, n, 8, cmp64);
    fprintf(f,
            "\"%s\":{\"n\":%d,\"min\":%.2f,\"p50\":%.2f,\"p95\":%.2f,\"p99\":%.2f,\"max\":%.2f},",
            name, n, ms(n ? v[0] : 0), ms(pct64(v, n, .5)), ms(pct64(v, n, .95)),
            ms(pct64(v, n, .99)), ms(n ? v[n - 1] : 0));
}
static void json_s(FILE *f, const char *name, samples *s) {
    qsort(s->v, s->n, 4, cmp32);
    int n = s->n;
    fprintf(f, "\"%s\":{\"n\":%d,\"p50\":%.2f,\"p95\":%.2f,\"max\":%.2f},", name, n,
            n ? s->v[n / 2] / 1e3 : 0, n ? s->v[(int)(n * .95)] / 1e3 : 0,
            n ? s->v[n - 1] / 1e3 : 0);
}
void result(FILE *f, double cpu_all, double cpu_w) {
    uint64_t *v = calloc(N + 1, 8), *b = calloc(N + 1, 8);
    int n, ok = 0, complete = 0, alive = 0;
    double span = (we - ws) / 1e6;
    uint64_t wire = 0, media = 0, gaps = 0, lost = 0, dups = 0, recvd = 0, wrecv = 0, bad = 0,
             tsg = 0, tsb = 0, terr = 0, vf = 0, hs = 0, hp = 0, hpw = 0, he = 0, hg = 0, hb = 0,
             rtcp = 0;
    int good = 0; /* readers that were to read on */
    uint64_t ck = 0, ckbad = 0, ckmiss = 0;
    for (int i = 0; i < N; i++) {
        if (!C[i].will_stall) {
            b[good++] = C[i].m1 - C[i].m0;
        }
    }
    qsort(b, good, 8, cmp64);
    uint64_t med = good ? b[good / 2] : 0;
    for (int i = 0; i < N; i++) {
        conn *c = &C[i];
        if (c->will_stall) {
            continue;
        }
        ck += c->check.frames;
        ckbad += c->check.wrong;
        ckmiss += c->check.missing;
        uint64_t lg = 0, ll = 0;
        if (c->t_media) {
            ok++;
        }
        if (!c->done && c->t_media) {
            alive++;
        }
        wire += c->w1 - c->w0;
        media += c->m1 - c->m0;
        tsg += c->ts_gap;
        tsb += c->ts_back;
        terr += c->tag_err;
        vf += c->vframes;
        bad += c->bad_ch;
        rtcp += c->rtcp_pkts;
        for (int k = 0; c->tr && k < c->ntrack; k++) {
            track *t = &c->tr[k];
            uint64_t want = t->have ? t->max - t->base + 1 : 0;
            lg += t->gaps;
            ll += want + t->dups > t->recv ? want + t->dups - t->recv : 0;
            dups += t->dups;
            recvd += t->recv;
            wrecv += t->wrecv;
        }
        gaps += lg;
        lost += ll;
        uint64_t herr = 0;
        if (c->h) {
            hs += c->h->nseg_w;
            hp += c->h->npl;
            hpw += c->h->npl_w;
            he += c->h->err;
            hg += c->h->gap;
            hb += c->h->bad_seg;
            herr = c->h->gap + c->h->bad_seg;
        }
        uint64_t mine = c->m1 - c->m0;
        if (!c->done && c->t_media && !lg && !ll && !c->ts_gap && !c->ts_back && !c->tag_err &&
            !c->bad_ch && !herr && !c->check.wrong && !c->check.missing &&
            (o_ll == 2 || (mine >= med * (mode == M_HLS ? 0.6 : 0.9) && mine))) {
            complete++;
        }
    }
    fprintf(f,
            "{\"mode\":\"%s\",\"readers\":%d,\"started\":%d,\"ok\":%d,\"failed\":%d,\"alive_at_"
            "end\":%d,\"complete\":%d,",
            o_ll == 2 ? "llpoll"
            : o_ll    ? "llhls"
                      : (const char *[]){"flv", "rtmp", "rtsp-tcp", "rtsp-udp", "hls", "raw"}[mode],
            good,
            n_started, ok, good - ok, alive, complete);
    fprintf(f, "\"fail\":{");
    for (int i = 0, first = 1; i < 6; i++) {
        if (sum_fail[i]) {
            fprintf(f, "%s\"%s\":%lu", first ? "" : ",", fail_name[i], sum_fail[i]);
            first = 0;
        }
    }
    fprintf(f, "},");
    fprintf(f,
            "\"window_s\":%.3f,\"wire_bytes\":%lu,\"media_bytes\":%lu,\"wire_mbit_s\":%.3f,\"media_"
            "mbit_s\":%.3f,",
            span, wire, media, wire * 8 / span / 1e6, media * 8 / span / 1e6);
    fprintf(f, "\"bytes_min\":%lu,\"bytes_median\":%lu,\"bytes_max\":%lu,", good ? b[0] : 0, med,
            good ? b[good - 1] : 0);
#define COLLECT(expr, cond)                                                                        \
    n = 0;                                                                                         \
    for (int i = 0; i < N; i++) {                                                                  \
        conn *c = &C[i];                                                                           \
        if (!c->will_stall && (cond))                                                              \
            v[n++] = (expr);                                                                       \
    }
    COLLECT(c->t_conn - c->t_start, c->t_conn) json_pct(f, "connect_ms", v, n);
    COLLECT(c->t_fb - c->t_start, c->t_fb) json_pct(f, "first_byte_ms", v, n);
    COLLECT(c->t_media - c->t_start, c->t_media) json_pct(f, "first_media_ms", v, n);
    COLLECT(c->t_key - c->t_start, c->t_key) json_pct(f, "first_key_ms", v, n);
    COLLECT(c->stall_w, c->t_media) json_pct(f, "stall_ms", v, n);
    COLLECT(c->stall, c->t_media) json_pct(f, "stall_whole_run_ms", v, n);
    if (mode == M_RTSP_TCP || mode == M_RTSP_UDP) {
        fprintf(f,
                "\"rtp_packets\":%lu,\"rtp_packets_window\":%lu,\"rtp_seq_gaps\":%lu,\"rtp_lost\":%"
                "lu,\"rtp_dups\":%lu,\"rtcp_packets\":%lu,\"bad_frames\":%lu,",
                recvd, wrecv, gaps, lost, dups, rtcp, bad);
    }
    if (mode == M_FLV || mode == M_RTMP) {
        fprintf(f, "\"video_frames\":%lu,\"ts_gaps\":%lu,\"ts_backwards\":%lu,\"tag_errors\":%lu,",
                vf, tsg, tsb, terr);
    }
    fprintf(f, "\"stalled\":{\"readers\":%d,\"stopped\":%d,\"closed_by_server\":%d},", o_stall,
            n_stalled, n_stalled_closed);
    fprintf(f, "\"check\":{\"frames\":%lu,\"wrong\":%lu,\"missing\":%lu},", ck, ckbad, ckmiss);
    if (mode == M_HLS) {
        fprintf(f,
                "\"segments_window\":%lu,\"playlists\":%lu,\"playlists_window\":%lu,"
                "\"http_errors\":%lu,\"segment_gaps\":%"
                "lu,\"bad_segments\":%lu,",
                hs, hp, hpw, he, hg, hb);
        json_s(f, "playlist_ms", &s_pl);
        json_s(f, "segment_ms", &s_seg);
    }
    fprintf(f, "\"loadgen_cpu_s\":%.3f,\"loadgen_cpu_window_s\":%.3f,\"loadgen_cpu_pct\":%.1f}\n",
            cpu_all, cpu_w, 100 * cpu_w / span);
    free(v);
    free(b);
}
