"""The test camera sends each clip exactly: what differs behind FLUX is then FLUX's doing."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction

import pytest

from tests.support import clip, frames
from tests.support.camera import Camera
from tests.support.frames import TrackUnits
from tests.support.rtsp_probe import Packet, Probe, ProbeError, units_of

pytestmark = pytest.mark.interop

VARIANTS = dict.fromkeys(clip.CLIPS, "") | {
    "aggregated": ",aggregate=zero-latency,mtu=1200",
    "in-band": ",interval=-1",
}
FILES = {"aggregated": "fragmented", "in-band": "h265ts"}


@pytest.fixture(scope="module")
def camera() -> Iterator[Camera]:
    """All clips on one server."""
    serve = {
        f"/{name}": f"{clip.path_of(FILES.get(name, name))}{options}"
        for name, options in VARIANTS.items()
    }
    with Camera(serve) as server:
        yield server


@pytest.fixture(scope="module")
def heard(camera: Camera) -> dict[str, dict[str, TrackUnits]]:
    """What a player gets of each clip within a little more than one round."""

    def listen(name: str) -> dict[str, TrackUnits]:
        limit = float(camera.mounts[f"/{name}"].period) * 1.2 + 1
        packets: list[Packet] = []
        with Probe(camera.url(f"/{name}")) as probe:
            for packet in probe.play():
                packets.append(packet)
                if packet.at > limit:
                    break
            return {
                media.kind: units_of(media, [p for p in packets if p.channel == 2 * number])
                for number, media in enumerate(probe.media)
            }

    with ThreadPoolExecutor(len(VARIANTS)) as pool:
        return dict(zip(VARIANTS, pool.map(listen, VARIANTS), strict=True))


@pytest.mark.parametrize("name", VARIANTS)
def test_the_camera_sends_the_clip(
    name: str, camera: Camera, heard: dict[str, dict[str, TrackUnits]]
) -> None:
    """Every unit, and its time within one tick of the RTP clock (0 but for halves)."""
    expected = replace(
        frames.HLS, period=camera.mounts[f"/{name}"].period, offset_tolerance=Fraction(1, 40_000)
    )
    expected = replace(expected, check_dts=False)  # RTP has none
    source = clip.units_of(FILES.get(name, name))
    assert frames.compare(source, heard[name], expected) == []


def test_aggregation_packets_are_really_sent(camera: Camera) -> None:
    with Probe(camera.url("/aggregated")) as probe:
        kinds = set()
        for packet in probe.play():
            if packet.channel == 0:
                kinds.add(packet.payload[0] & 0x1F)
            if packet.at > 1:
                break
    assert {24, 28} <= kinds


def test_g711_is_transcoded() -> None:
    with (
        Camera({"/a": f"{clip.path_of('bunny')},audio=pcma,only=audio"}) as camera,
        Probe(camera.url("/a")) as probe,
    ):
        packets = probe.play()
        first, second = next(packets), next(packets)
    assert "m=audio" in probe.sdp
    assert " 8\r\n" in probe.sdp
    assert len(first.payload) == 160
    assert second.timestamp - first.timestamp == 160


def test_a_clip_sent_once_ends() -> None:
    with (
        Camera({"/a": f"{clip.path_of('h264ts')},once"}) as camera,
        Probe(camera.url("/a")) as probe,
    ):
        heard: list[Packet] = []
        with pytest.raises((EOFError, TimeoutError)):
            for packet in probe.play():
                heard.append(packet)
                probe.silence(3)
    (media,) = probe.media
    assert len(units_of(media, heard).units) == 30


@pytest.mark.parametrize("method", ["basic", "digest"])
def test_credentials_are_asked_for(method: str) -> None:
    options = ("--user", "admin", "--password", "s3cret", "--auth", method)
    with Camera({"/a": clip.path_of("h264ts")}, options=options) as camera:
        with Probe(camera.url("/a")) as probe, pytest.raises(ProbeError, match="401"):
            next(probe.play())
        assert method in probe.refusal.lower()
