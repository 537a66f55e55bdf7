"""Cameras that misbehave: state and reason are visible, others are untouched, memory is bounded."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import pytest

from tests.support import capture, clip, frames
from tests.support.bad_camera import BadCamera, Recorded
from tests.support.flux_process import FluxProcess

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

REASONS = {  # what the API says of each camera, sooner or later
    "refuse": "rtsp-unauthorized",
    "absent": "rtsp-404",
    "rubbish": "rtsp-no-sync",
    "noise": "request-timeout",
    "web": "peer-closed",
    "mute": "request-timeout",
    "half": "media-timeout",
    "break": "peer-closed",
    "endless-head": "rtsp-headers-too-long",
}
ODD_URLS = {
    "unresolved": ("rtsp://no-such-host.invalid/x", "dns-failure"),
    "unreachable": ("rtsp://127.0.0.1:1/x", "connection-refused"),
}
IMPATIENT = {
    "connect_timeout": "2s",
    "request_timeout": "2s",
    "media_timeout": "2s",
    "retry_first": "200ms",
    "retry_longest": "1s",
    "retry_refused": "1s",
}
LISTENED = 12.0  # seconds of the untouched stream
MAX_GROWTH_BYTES = 150 << 20  # of FLUX's memory while it is flooded
PERIOD = Fraction(107, 100)


@dataclass(frozen=True, slots=True)
class Zoo:
    """One FLUX that pulls all of them, and what a player got of the good one meanwhile."""

    flux: FluxProcess
    cameras: dict[str, BadCamera]
    good: Future[bytes]
    flood_rss: list[int]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory, recordings: dict[str, Recorded]) -> Iterator[Zoo]:
    good = recordings["fragmented"]
    with ExitStack() as stack:
        cameras = {
            name: stack.enter_context(BadCamera(name, good))
            for name in [*REASONS, "babble", "flood", "lose", "reorder", "good"]
        }
        cameras["strange"] = stack.enter_context(
            BadCamera("strange", recordings["fragmented-sets"])
        )
        cameras["switch"] = stack.enter_context(
            BadCamera("switch", recordings["fragmented-sets"], recordings["h264ts-sets"])
        )
        streams: dict[str, dict[str, object]] = {
            name: {
                "source": camera.url,
                "transport": "udp" if name in ("lose", "reorder") else "tcp",
                "on_demand": name in ("good", "reorder", "lose", "switch"),
            }
            for name, camera in cameras.items()
        }
        streams |= {name: {"source": url} for name, (url, _) in ODD_URLS.items()}
        flux = stack.enter_context(
            FluxProcess(tmp_path_factory.mktemp("zoo"), streams, {"sources": IMPATIENT})
        )
        pool = stack.enter_context(ThreadPoolExecutor(2))
        rss = [flux.rss_bytes]
        listening = pool.submit(capture.flv, flux.flv("good"), LISTENED)

        def watch() -> None:
            while not listening.done():
                rss.append(flux.rss_bytes)
                listening_wait(listening)

        watching = pool.submit(watch)
        yield Zoo(flux, cameras, listening, rss)
        watching.result()


def listening_wait(future: Future[bytes]) -> None:
    """Wait a quarter of a second or until the player is done."""
    try:
        future.exception(timeout=0.25)
    except TimeoutError:
        return


@pytest.mark.parametrize("script", REASONS)
def test_the_reason_is_visible(script: str, zoo: Zoo) -> None:
    seen: set[tuple[str, str]] = set()

    def is_told() -> bool:
        stream = zoo.flux.stream(script)
        seen.add((stream["source"]["state"], stream["source"]["reason"]))
        return any(REASONS[script] == reason for _, reason in seen)

    zoo.flux.wait_until(is_told, f"{script}: {REASONS[script]}; seen {seen}", limit=20)
    assert zoo.flux.stream(script)["source"]["state"] in ("waiting", "connecting", "running")


@pytest.mark.parametrize("name", ODD_URLS)
def test_a_camera_that_is_not_there(name: str, zoo: Zoo) -> None:
    zoo.flux.wait_for_source(name, "waiting", ODD_URLS[name][1])


def test_a_codec_that_nobody_knows(zoo: Zoo) -> None:
    """It is pulled and named; an output that cannot carry it says so instead of hanging."""
    zoo.flux.wait_for_source("strange", "running")
    zoo.flux.wait_until(lambda: zoo.flux.stream("strange")["tracks"] != [], "it is announced")
    (track,) = zoo.flux.stream("strange")["tracks"]
    assert track["codec"] == "rtp/x-vendor-codec"
    for url in (zoo.flux.flv("strange"), zoo.flux.hls("strange")):
        status, body = capture.status_of(url)
        assert status == 415
        assert "no-playable-track" in body


def test_others_are_untouched(zoo: Zoo) -> None:
    body = capture.whole_tags(zoo.good.result())
    expected = replace(frames.FLV, period=PERIOD)
    frames.assert_same(clip.units_of("fragmented"), frames.read(body, "flv"), expected)


def test_memory_is_bounded(zoo: Zoo) -> None:
    zoo.good.result()
    assert max(zoo.flood_rss) - zoo.flood_rss[0] < MAX_GROWTH_BYTES
    assert zoo.cameras["flood"].connections >= 1


def test_a_flood_is_told(zoo: Zoo) -> None:
    """A frame without end is dropped at a bound, counted, and nothing of it is published."""
    zoo.flux.wait_until(
        lambda: any(
            value > 0
            for name, value in zoo.flux.metrics().items()
            if 'stream="flood"' in name and "dropped" in name
        ),
        "the flood is counted as dropped",
        limit=20,
    )


def test_rubbish_between_packets_is_survived(zoo: Zoo) -> None:
    zoo.flux.wait_until(
        lambda: zoo.flux.stream("babble")["tracks"] != [], "babble was announced", limit=20
    )
    assert zoo.flux.stream("babble")["source"]["state"] in ("running", "waiting", "connecting")


def test_reordered_packets_cost_no_frame(zoo: Zoo) -> None:
    body = capture.whole_tags(capture.flv(zoo.flux.flv("reorder"), 6))
    expected = replace(frames.FLV, period=PERIOD)
    frames.assert_same(clip.units_of("fragmented"), frames.read(body, "flv"), expected)
    assert zoo.flux.stream("reorder")["rtp"]["reordered"] > 0


def test_lost_packets_cost_their_frames_alone(zoo: Zoo) -> None:
    body = capture.whole_tags(capture.flv(zoo.flux.flv("lose"), 10))
    tracks = frames.read(body, "flv")
    for kind, sent in clip.units_of("fragmented").items():
        known = {unit.pieces for unit in sent.units}
        units = tracks[kind].units
        assert all(unit.pieces in known for unit in units), "no damaged frame is passed on"
        assert all(a.dts < b.dts for a, b in pairwise(units))
        assert len(units) > 0.5 * len(sent.units) * 9
    lost = zoo.flux.stream("lose")["rtp"]["lost"]
    assert 0 < lost <= zoo.cameras["lose"].dropped + 1


def test_new_parameter_sets_in_mid_stream(zoo: Zoo) -> None:
    """Old pictures, then new ones, none lost, and the API knows the new size."""
    body = capture.whole_tags(capture.flv(zoo.flux.flv("switch"), 5))
    got = [unit.pieces for unit in frames.read(body, "flv")["video"].units]
    before = [unit.pieces for unit in clip.units_of("fragmented")["video"].units]
    after = [unit.pieces for unit in clip.units_of("h264ts")["video"].units]
    assert got[:60] == before * 2
    assert got[60 : 60 + len(after)] == after
    track = zoo.flux.stream("switch")["tracks"][0]
    assert (track["width"], track["height"]) == (854, 480)
