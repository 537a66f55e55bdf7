"""Payload formats of video and data against FFmpeg and GStreamer over UDP, both ways."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from media.codecs.mjpeg import Picture
from media.codecs.obu import join_obus, split_obus
from media.payloads.base import Depacketizer, DropCallback
from media.payloads.formats import packetizer_for, payload_format
from tests.support import nal
from tests.support.coded import AV1_CLIP, VP9_CLIP, encoded, packets_of_clip, pixels_of
from tests.support.program import Program
from tests.support.rtp_wire import (
    FFMPEG,
    ffmpeg_hashes,
    ffmpeg_receives,
    gst_buffers,
    hashes,
    receive,
)

Payload = tuple[bytes, ...]

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

START_CODE = b"\0\0\0\1"
BUNNY = "video_big_buck_bunny.mp4"
HDR = "hdr10-video-with-sdr-container.mp4"
COUNT = 40
KLV_UNITS: list[Payload] = [
    (bytes.fromhex("060e2b34020b01010e01030101000000") + b"\x82\x0b\xb8" + bytes((i,)) * 3000,)
    for i in range(12)
]


def nal_units(name: str) -> list[Payload]:
    """Access units as outputs make them: parameter sets in band before each key frame."""
    clip = nal.read_clip(name)
    sets = tuple(nal.record_sets(clip.extradata, clip.codec))
    return [
        (*sets, *unit) if is_key else unit
        for unit, is_key in zip(clip.units, clip.is_key, strict=True)
    ]


def annexb(unit: Payload) -> bytes:
    return b"".join(START_CODE + nal_unit for nal_unit in unit)


def joined(unit: Payload) -> bytes:
    return b"".join(unit)


def temporal_unit(unit: Payload) -> bytes:
    return b"\x12\x00" + join_obus(unit)


@dataclass(frozen=True)
class Case:
    """Units of a codec, and what a program's own packets of them look like."""

    encoding: str
    codec: str
    units: Callable[[], list[Payload]]
    packet: Callable[[Payload], bytes] = joined
    gst: str = ""  # depayloader, and what makes whole units of its buffers
    fmtp: str = ""


def of_clip(name: str) -> Callable[[], list[Payload]]:
    return lambda: [(data,) for data, _ in packets_of_clip(name)]


CASES = {
    "h264": Case(
        "H264", "h264", lambda: nal_units(BUNNY), annexb,
        "rtph264depay ! video/x-h264,stream-format=byte-stream,alignment=au",
        "packetization-mode=1",
    ),
    "h265": Case(
        "H265", "h265", lambda: nal_units(HDR), annexb,
        "rtph265depay ! video/x-h265,stream-format=byte-stream,alignment=au",
    ),
    "vp8": Case("VP8", "vp8", lambda: [(d,) for d, _ in encoded("libvpx", 24)], joined,
                "rtpvp8depay"),
    "vp9": Case("VP9", "vp9", of_clip(VP9_CLIP.name), joined, "rtpvp9depay"),
    "av1": Case("AV1", "av1", lambda: [split_obus(d) for d, _ in packets_of_clip(AV1_CLIP.name)],
                temporal_unit),
    "klv": Case("SMPTE336M", "klv", lambda: KLV_UNITS, joined, "rtpklvdepay"),
}  # fmt: skip


def units_of(name: str) -> list[Payload]:
    return CASES[name].units()[:COUNT]


def depacketizer(encoding: str) -> Callable[[DropCallback], Depacketizer]:
    return payload_format(encoding, 90000, 1, {}).depacketizer


@pytest.mark.parametrize("name", [name for name in CASES if name != "klv"])
def test_ffmpeg_receives(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    units = units_of(name)
    lines = [f"a=rtpmap:96 {case.encoding}/90000"]
    if case.fmtp:
        lines.append(f"a=fmtp:96 {case.fmtp}")
    found = ffmpeg_hashes(tmp_path, packetizer_for(case.codec, 1400), units, lines)
    assert found == hashes(map(case.packet, units[:-2]))


def test_ffmpeg_receives_klv(tmp_path: Path) -> None:
    """FFmpeg does not put the pieces of a unit together: its packets are those of RTP."""
    made = packetizer_for("klv", 1400)
    pieces = [data for unit in KLV_UNITS for data, _ in made.packetize(unit)]
    found = ffmpeg_hashes(tmp_path, made, KLV_UNITS, ["a=rtpmap:96 SMPTE336M/90000"])
    assert found == hashes(pieces[: len(KLV_UNITS) - 2])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.gst])
def test_gstreamer_receives(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    units = units_of(name)
    media = "application" if name == "klv" else "video"
    caps = f"media={media},clock-rate=90000,encoding-name={case.encoding.upper()},payload=96"
    found = gst_buffers(tmp_path, packetizer_for(case.codec, 1400), units, caps, case.gst)
    assert found == [case.packet(unit) for unit in units[:-1]]


def ffmpeg_sender(source: Path, *options: str) -> Callable[[int], Sequence[str]]:
    """FFmpeg that sends the video of a file, which it repeats, in packets of at most 1400 bytes."""

    def command(port: int) -> Sequence[str]:
        return [
            FFMPEG, "-hide_banner", "-loglevel", "warning", "-re", "-stream_loop", "-1",
            "-i", str(source), "-map", "0:v", "-c", "copy", *options, "-strict", "experimental",
            "-f", "rtp", f"rtp://127.0.0.1:{port}?pkt_size=1400",
        ]  # fmt: skip

    return command


def write_ivf(target: Path, units: Sequence[tuple[bytes, bool]], fourcc: bytes) -> Path:
    """A file of VP8 that FFmpeg and GStreamer read."""
    head = b"DKIF\0\0\x20\0" + fourcc + (320).to_bytes(2, "little") + (240).to_bytes(2, "little")
    head += (
        (30).to_bytes(4, "little") + (1).to_bytes(4, "little") + len(units).to_bytes(8, "little")
    )
    body = b"".join(
        len(data).to_bytes(4, "little") + index.to_bytes(8, "little") + data
        for index, (data, _) in enumerate(units)
    )
    target.write_bytes(head + body)
    return target


def test_ffmpeg_sends_vp8(tmp_path: Path) -> None:
    frames = encoded("libvpx", 24)
    source = write_ivf(tmp_path / "clip.ivf", frames, b"VP80")
    units, drops = receive(depacketizer("VP8"), ffmpeg_sender(source), 20)
    assert units == [(data,) for data, _ in frames[:20]]
    assert drops == []


def test_ffmpeg_sends_vp9() -> None:
    units, drops = receive(depacketizer("VP9"), ffmpeg_sender(VP9_CLIP), COUNT)
    assert units == units_of("vp9")
    assert drops == []


def test_ffmpeg_sends_av1() -> None:
    units, drops = receive(depacketizer("AV1"), ffmpeg_sender(AV1_CLIP), 25)
    assert units == units_of("av1")[:25]
    assert drops == []


def test_ffmpeg_sends_h264() -> None:
    units, drops = receive(depacketizer("H264"), ffmpeg_sender(nal.CLIPS / BUNNY), COUNT)
    assert units == nal.read_clip(BUNNY).units[:COUNT]
    assert drops == []


def test_ffmpeg_sends_h265() -> None:
    units, drops = receive(depacketizer("H265"), ffmpeg_sender(nal.CLIPS / HDR), 25)
    assert units == nal.read_clip(HDR).units[:25]
    assert drops == []


def gst_sender(pipeline: str) -> Callable[[int], Sequence[str]]:
    def command(port: int) -> Sequence[str]:
        sink = f"udpsink host=127.0.0.1 port={port} sync=true"
        return ["gst-launch-1.0", "-q", *f"{pipeline} ! {sink}".split()]

    return command


def test_gstreamer_sends_vp8(tmp_path: Path) -> None:
    frames = encoded("libvpx", 24)
    source = write_ivf(tmp_path / "clip.ivf", frames, b"VP80")
    pipeline = f"filesrc location={source} ! ivfparse ! rtpvp8pay mtu=1400 picture-id-mode=15-bit"
    units, drops = receive(depacketizer("VP8"), gst_sender(pipeline), 20)
    assert units == [(data,) for data, _ in frames[:20]]
    assert drops == []


def test_gstreamer_sends_vp9() -> None:
    pipeline = (
        f"filesrc location={VP9_CLIP} ! matroskademux ! vp9parse"
        " ! video/x-vp9,alignment=super-frame ! rtpvp9pay mtu=1400 picture-id-mode=7-bit"
    )
    units, drops = receive(depacketizer("VP9"), gst_sender(pipeline), COUNT)
    assert units == units_of("vp9")
    assert drops == []


def test_gstreamer_sends_klv(tmp_path: Path) -> None:
    for index, (unit,) in enumerate(KLV_UNITS):
        (tmp_path / f"{index:05}").write_bytes(unit)
    pipeline = (
        f"multifilesrc location={tmp_path}/%05d index=0 stop-index=11 caps=meta/x-klv,parsed=true"
        " ! identity sleep-time=20000 ! rtpklvpay mtu=1400"
    )
    units, drops = receive(depacketizer("SMPTE336M"), gst_sender(pipeline), 11)
    assert units == KLV_UNITS[:11]
    assert drops == []


# JPEG: what is between the headers has to be the same, and the picture.


def jpegs(folder: Path, chroma: str = "I420", count: int = 12) -> list[bytes]:
    """Files as libjpeg makes them in GStreamer, one after the other."""
    command = (
        f"gst-launch-1.0 -q videotestsrc num-buffers={count} pattern=snow"
        f" ! video/x-raw,format={chroma},width=320,height=240,framerate=25/1 ! jpegenc quality=85"
        f" ! multifilesink location={folder}/%05d.jpg"
    )
    with Program(command.split()) as gst:
        assert gst.wait(20) == 0, gst.output
    return [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]


def assert_same_pictures(found: Sequence[bytes], expected: Sequence[bytes]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        before, after = Picture.parse(theirs), Picture.parse(ours)
        assert after == before
        assert pixels_of("mjpeg", ours) == pixels_of("mjpeg", theirs)


def restart_jpegs() -> list[bytes]:
    """Files with restart markers, and quantisation tables of no quality factor."""
    return [data for data, _ in encoded("mjpeg", 12, pixels="yuvj420p")]


@pytest.mark.parametrize("chroma", ["I420", "Y42B", "restarts"])
def test_gstreamer_receives_jpeg(chroma: str, tmp_path: Path) -> None:
    files = restart_jpegs() if chroma == "restarts" else jpegs(tmp_path, chroma)
    received = tmp_path / "received"
    received.mkdir()
    found = gst_buffers(
        received,
        packetizer_for("mjpeg", 1400),
        [(data,) for data in files],
        "media=video,clock-rate=90000,encoding-name=JPEG,payload=26",
        "rtpjpegdepay",
    )
    assert_same_pictures(found, files[:-1])


@pytest.mark.parametrize("chroma", ["I420", "Y42B", "restarts"])
def test_ffmpeg_receives_jpeg(chroma: str, tmp_path: Path) -> None:
    """FFmpeg writes headers of its own, so its packets are compared as decoded pictures."""
    files = restart_jpegs() if chroma == "restarts" else jpegs(tmp_path, chroma)
    units = [(data,) for data in files]
    lines = ["a=rtpmap:26 JPEG/90000"]
    output = ("-f", "image2", str(tmp_path / "found-%05d"))
    ffmpeg_receives(tmp_path, packetizer_for("mjpeg", 1400), units, lines, output, 26)
    found = [path.read_bytes() for path in sorted(tmp_path.glob("found-*"))]
    assert_same_pictures(found, files[:-2])


@pytest.mark.parametrize("chroma", ["I420", "Y42B"])
def test_gstreamer_sends_jpeg(chroma: str, tmp_path: Path) -> None:
    files = jpegs(tmp_path, chroma)
    pipeline = (
        f"multifilesrc location={tmp_path}/%05d.jpg caps=image/jpeg,framerate=25/1"
        " ! jpegparse ! rtpjpegpay mtu=1400"
    )
    units, drops = receive(depacketizer("JPEG"), gst_sender(pipeline), 10)
    assert_same_pictures([data for (data,) in units], files[:10])
    assert drops == []


def test_ffmpeg_sends_jpeg(tmp_path: Path) -> None:
    files = jpegs(tmp_path)
    sender = ffmpeg_sender(tmp_path / "%05d.jpg")
    units, drops = receive(depacketizer("JPEG"), sender, 10)
    assert_same_pictures([data for (data,) in units], files[:10])
    assert drops == []


# Units larger than 64 KiB: one NAL unit of a key frame.


OPTIONS = (("preset", "ultrafast"), ("x264-params", "slices=1:qp=20"), ("x265-params", "qp=20"))


@pytest.mark.parametrize("name", ["h264", "h265"])
def test_large_units_reach_ffmpeg_and_gstreamer(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    encoder = "libx" + name[1:]
    made = encoded(encoder, 8, (1280, 720), options=OPTIONS)
    units = [nal.split_start_codes(data) for data, _ in made]
    assert max(len(unit) for each in units for unit in each) > 3 * 65536
    lines = [f"a=rtpmap:96 {case.encoding}/90000", "a=fmtp:96 packetization-mode=1"]
    found = ffmpeg_hashes(tmp_path, packetizer_for(name, 1400), units, lines)
    assert found == hashes(map(annexb, units[:-2]))
    received = tmp_path / "received"
    received.mkdir()
    caps = f"media=video,clock-rate=90000,encoding-name={case.encoding},payload=96"
    buffers = gst_buffers(received, packetizer_for(name, 1400), units, caps, case.gst)
    assert buffers == [annexb(unit) for unit in units[:-1]]
