"""The Prometheus text."""

import re

from prometheus_client.parser import text_string_to_metric_families

from flux.telemetry.metrics import Metrics
from flux.telemetry.snapshot import ServerSnapshot, StreamSnapshot
from tests.support.snapshots import make_server, make_stream

NAMES = {
    "flux_build_info",
    "flux_streams",
    "flux_stream_ready",
    "flux_sessions",
    "flux_received_bytes",
    "flux_sent_bytes",
    "flux_dropped_frames",
    "flux_rtp_lost_packets",
    "flux_gop_seconds",
    "flux_keyframe_age_seconds",
    "flux_event_loop_lag_seconds",
    "flux_join_seconds",
    "process_cpu_seconds",
    "process_resident_memory_bytes",
    "python_info",
}
LABELS = {
    "stream",
    "protocol",
    "role",
    "direction",
    "action",
    "reason",
    "state",
    "codec",
    "le",
    "hook",
    "outcome",
    "cause",
}


def text_of(server: ServerSnapshot) -> str:
    return Metrics(lambda: server).render_snapshot(server).decode()


def values_of(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_values_of_a_stream_are_there() -> None:
    values = values_of(text_of(make_server(make_stream())))
    stream = ("stream", "live/cam1")
    assert values["flux_stream_ready", (stream,)] == 1
    assert values["flux_received_bytes_total", (stream,)] == 5_000_000
    assert values["flux_sent_bytes_total", (stream,)] == 9_000_000
    assert values["flux_dropped_frames_total", (("reason", "h264-fu-loss"), stream)] == 3
    source = (("cause", "source"), stream)
    assert values["flux_reader_interruptions_total", source] == 4
    assert values["flux_reader_interruption_seconds_total", source] == 2.5
    assert values["flux_dropped_by_cause_total", source] == 3
    assert values["flux_reader_interruptions_total", (("cause", "server"), stream)] == 0
    assert values["flux_rtp_lost_packets_total", (stream,)] == 12
    assert values["flux_rtp_jitter_seconds", (stream,)] == 0.004
    assert values["flux_gop_seconds", (stream,)] == 2.0
    assert values["flux_keyframe_age_seconds", (stream,)] == 0.5
    assert values["flux_streams", (("state", "ready"),)] == 1
    assert values["flux_sessions", (("protocol", "hls"), ("role", "reader"))] == 1
    assert values["flux_sessions", (("protocol", "rtsp"), ("role", "publisher"))] == 1
    dropped = (("codec", "pcma"), ("protocol", "hls-ts"), ("reason", "codec-not-carried"), stream)
    assert values["flux_dropped_tracks", dropped] == 1


def test_buckets_are_cumulative() -> None:
    values = values_of(text_of(make_server()))
    name = "flux_event_loop_lag_seconds"
    assert [values[f"{name}_bucket", (("le", le),)] for le in ("0.001", "0.01", "+Inf")] == [
        5,
        8,
        9,
    ]
    assert values[f"{name}_count", ()] == 9
    assert values[f"{name}_sum", ()] == 0.05
    assert values["flux_join_seconds_count", (("protocol", "http-flv"),)] == 2


def test_every_family_has_help_and_type_even_without_a_sample() -> None:
    for server in (make_server(), make_server(make_stream(), make_stream("b"))):
        text = text_of(server)
        helped = re.findall(r"^# HELP (\S+) \S", text, re.MULTILINE)
        typed = re.findall(r"^# TYPE (\S+) (\w+)", text, re.MULTILINE)
        assert helped == [name for name, kind in typed]
        assert len(set(helped)) == len(helped)
        assert {name.removesuffix("_total") for name in helped} >= NAMES
        for name, kind in typed:
            assert name.endswith("_total") == (kind == "counter"), name


def test_labels_are_bounded() -> None:
    text = text_of(make_server(make_stream()))
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("flux_") and sample.name != "flux_build_info":
                assert set(sample.labels) <= LABELS
    assert '"r1"' not in text


def test_names_are_escaped() -> None:
    name = 'a"b\\c\nd'
    values = values_of(text_of(make_server(StreamSnapshot(name=name, state="idle"))))
    assert values["flux_stream_ready", (("stream", name),)] == 0


async def test_two_servers_in_one_process_do_not_meet() -> None:
    for name in ("a", "b"):
        server = make_server(make_stream(name))
        text = (await Metrics(lambda server=server: server).render()).decode()  # type: ignore[misc]
        assert f'stream="{name}"' in text
        assert text.count("# TYPE flux_streams ") == 1
