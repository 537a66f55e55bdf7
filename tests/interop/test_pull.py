"""A camera in over RTSP, players out over HTTP-FLV and HLS: every frame and every time is right."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support import capture, clip, frames
from tests.support.bad_camera import BadCamera, Recorded
from tests.support.camera import Camera
from tests.support.flux_process import FluxProcess
from tests.support.rig import TRANSPORTS, Captured, Rig

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

EXIT_LIMIT = 5.0  # seconds from a signal to the end
QUICK_RETRIES = {"retry_first": "200ms", "retry_longest": "1s", "retry_refused": "1s"}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", clip.CLIPS)
def test_flv_holds_every_frame(
    name: str, transport: str, rig: Rig, captured: dict[str, Captured]
) -> None:
    body = capture.whole_tags(captured[f"{name}-{transport}"].flv.result())
    expected = replace(frames.FLV, period=rig.camera.mounts[f"/{name}"].period)
    frames.assert_same(clip.units_of(name), frames.read(body, "flv"), expected)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", clip.CLIPS)
def test_hls_holds_every_frame(
    name: str, transport: str, rig: Rig, captured: dict[str, Captured]
) -> None:
    played = captured[f"{name}-{transport}"].hls.result()
    expected = replace(frames.HLS, period=rig.camera.mounts[f"/{name}"].period)
    assert played.problems == []
    assert not any(segment.discontinuity for segment in played.segments)
    frames.assert_same(clip.units_of(name), frames.read(played.body, played.container), expected)


@pytest.mark.parametrize("name", clip.CLIPS)
def test_each_hls_segment_stands_alone(name: str, captured: dict[str, Captured]) -> None:
    """Tables or EXT-X-MAP first, and a key frame, unless the playlist does not claim it."""
    played = captured[f"{name}-tcp"].hls.result()
    claimed = "#EXT-X-INDEPENDENT-SEGMENTS" in played.multivariant
    for segment in played.segments:
        tracks = frames.read(segment.whole, played.container)
        assert set(tracks) == set(clip.units_of(name))
        assert not claimed or is_key(tracks["video"])
        span = tracks["video"].seconds(
            max(unit.pts for unit in tracks["video"].units)
            - min(unit.pts for unit in tracks["video"].units)
        )
        assert abs(float(span) - segment.duration) < 0.2


def is_key(track: frames.TrackUnits) -> bool:
    """Whether its first unit holds a picture that a decoder can start with."""
    kinds = {
        nal[0] & 0x1F if track.codec == "h264" else nal[0] >> 1 & 0x3F
        for nal in track.units[0].pieces
    }
    if track.codec == "h264":
        return 5 in kinds or 6 in kinds  # IDR, or a recovery point SEI
    return bool(kinds & set(range(16, 22)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_properly(
    number: signal.Signals, tmp_path: Path, recordings: dict[str, Recorded]
) -> None:
    """Readers' responses end, the camera is told with TEARDOWN, the status is 0."""
    with (
        BadCamera("good", recordings["fragmented"]) as camera,
        FluxProcess(tmp_path, {"cam": {"source": camera.url}}) as flux,
    ):
        flux.wait_until(lambda: flux.stream("cam")["state"] == "ready", "the stream is ready")
        with ThreadPoolExecutor(1) as pool:
            player = pool.submit(capture.flv, flux.flv("cam"), 60)
            flux.wait_until(lambda: sum(flux.stream("cam")["readers"].values()) == 1, "a reader")
            begun = time.monotonic()
            flux.program.interrupt(number)
            assert flux.program.wait(EXIT_LIMIT + 5) == 0
            assert time.monotonic() - begun < EXIT_LIMIT
            with pytest.raises(capture.CaptureError, match="ended after"):
                player.result()
        assert camera.methods[-1] == "TEARDOWN"


@pytest.mark.parametrize("method", ["basic", "digest"])
def test_credentials(method: str, tmp_path: Path) -> None:
    """The right password plays; a wrong one is told by state and reason and not retried at once."""
    options = ("--user", "admin", "--password", "p@ss:w/rd", "--auth", method)
    with Camera({"/a": clip.path_of("h264ts")}, options=options) as camera:
        streams = {
            "right": {"source": camera.url("/a", "admin:p%40ss%3Aw%2Frd")},
            "wrong": {"source": camera.url("/a", "admin:wrong")},
            "none": {"source": camera.url("/a")},
        }
        with FluxProcess(tmp_path, streams) as flux:
            flux.wait_until(lambda: flux.stream("right")["state"] == "ready", "right is ready")
            flux.wait_for_source("wrong", "waiting", "rtsp-unauthorized")
            flux.wait_for_source("none", "waiting", "rtsp-unauthorized")
            assert "wrong" not in flux.stream("wrong")["source"]["url"]
            assert "p@ss" not in flux.program.output
            assert "p%40ss" not in flux.program.output


def test_a_camera_that_returns_is_pulled_again(tmp_path: Path) -> None:
    """Readers are held meanwhile, and their timeline goes on by the time that passed."""
    serve = {"/a": clip.path_of("fragmented")}
    camera = Camera(serve)
    try:
        streams = {"cam": {"source": camera.url("/a")}}
        with FluxProcess(tmp_path, streams, {"sources": QUICK_RETRIES}) as flux:
            flux.wait_until(lambda: flux.stream("cam")["state"] == "ready", "the stream is ready")
            with ThreadPoolExecutor(1) as pool:
                player = pool.submit(capture.flv, flux.flv("cam"), 12)
                flux.wait_until(
                    lambda: sum(flux.stream("cam")["readers"].values()) == 1, "a reader"
                )
                camera.stop()
                flux.wait_until(lambda: flux.stream("cam")["state"] == "lost", "it is lost")
                flux.wait_for_source("cam", "waiting", "connection-refused")
                camera = Camera(serve, port=camera.port)
                flux.wait_until(
                    lambda: flux.stream("cam")["state"] == "ready", "it is back", limit=20
                )
                body = capture.whole_tags(player.result())
    finally:
        camera.stop()
    tracks = frames.read(body, "flv")
    video = tracks["video"].units
    steps = [after.dts - before.dts for before, after in pairwise(video)]
    assert min(steps) > 0
    assert 300 < max(steps) < 10_000, "the break lasted about as long as the camera was away"
    assert sum(steps) > 8_000, "the stream went on after the break"
    known = {unit.pieces for unit in clip.units_of("fragmented")["video"].units}
    assert all(unit.pieces in known for unit in video)
    expected = Fraction(2, 1000)  # audio and video moved together
    assert abs(distance(tracks, 0) - distance(tracks, -1)) < Fraction(1, 10) + expected


def distance(tracks: dict[str, frames.TrackUnits], index: int) -> Fraction:
    """Seconds between an audio and a video unit at the same place of both tracks."""
    video, audio = tracks["video"], tracks["audio"]
    return audio.seconds(audio.units[index].dts) - video.seconds(video.units[index].dts)
