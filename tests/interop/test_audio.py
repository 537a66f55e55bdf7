"""Sound that is not AAC: Opus and G.711 are pulled, carried where they fit, named elsewhere."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support import capture, clip, frames
from tests.support.camera import Camera
from tests.support.flux_process import FluxProcess

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

OPUS = clip.MEDIA / clip.OPUS
MOUNTS = {
    "opus": str(OPUS),
    "pcma": f"{clip.path_of('bunny')},audio=pcma",
    "pcmu": f"{clip.path_of('bunny')},audio=pcmu",
}


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FluxProcess]:
    with Camera({f"/{name}": source for name, source in MOUNTS.items()}) as camera:
        streams = {
            name: {"source": camera.url(f"/{name}"), "on_demand": name == "opus"} for name in MOUNTS
        }
        with FluxProcess(tmp_path_factory.mktemp("audio"), streams) as process:
            yield process


def test_opus_in_flv(flux: FluxProcess) -> None:
    """Every packet of the clip. Its first time is -7 ms, which the camera sends as 0."""
    body = capture.whole_tags(capture.flv(flux.flv("opus"), 5))
    expected = replace(frames.FLV, tolerance=Fraction(9, 1000), period=Fraction(302, 100))
    frames.assert_same(frames.read(OPUS), frames.read(body, "flv"), expected)


@pytest.mark.parametrize(("name", "codec"), [("pcma", "pcm_alaw"), ("pcmu", "pcm_mulaw")])
def test_g711_in_flv(name: str, codec: str, flux: FluxProcess) -> None:
    flux.wait_until(lambda: flux.stream(name)["state"] == "ready", "the stream is ready")
    body = capture.whole_tags(capture.flv(flux.flv(name), 3))
    sound = frames.read(body, "flv")["audio"]
    assert (sound.codec, sound.sample_rate) == (codec, 8000)
    odd = [
        (one.pts, other.pts)
        for one, other in pairwise(sound.units)
        if abs(float(sound.seconds(other.pts - one.pts)) - len(one.pieces[0]) / 8000) > 0.0015
    ]
    assert len(sound.units) > 100
    assert len(odd) <= 2, "times follow the samples, but for the end of the camera's round"


def test_what_hls_cannot_carry_is_named(flux: FluxProcess) -> None:
    """The picture plays; log, metrics and API say what became of the sound."""
    played = capture.hls(flux.hls("pcma"), 6)
    assert set(frames.read(played.body, "mpegts")) == {"video"}
    (dropped,) = [
        entry for entry in flux.stream("pcma")["dropped_tracks"] if "hls" in entry["output"]
    ]
    assert dropped["text"] == "audio dropped: pcma not in hls-ts"
    assert any("hls-ts" in name and "pcma" in name for name in flux.metrics())
    flux.program.wait_for("pcma not in hls-ts", 5)


def test_a_camera_that_ends_its_stream(tmp_path: Path) -> None:
    """A clip that is sent once, over and over: the source restarts and readers stay."""
    serve = {"/a": f"{clip.path_of('h264ts')},once"}
    settings = {"sources": {"media_timeout": "1s", "retry_first": "200ms", "retry_longest": "1s"}}
    with Camera(serve) as camera:
        streams = {"a": {"source": camera.url("/a"), "on_demand": True}}
        with FluxProcess(tmp_path, streams, settings) as process:
            body = capture.whole_tags(capture.flv(process.flv("a"), 8))
    units = frames.read(body, "flv")["video"].units
    sent = clip.units_of("h264ts")["video"].units
    assert len(units) >= 2 * len(sent)
    assert [unit.pieces for unit in units[: len(sent)]] == [unit.pieces for unit in sent]
    assert units[len(sent)].pieces == sent[0].pieces
    assert all(a.dts < b.dts for a, b in pairwise(units))
