"""`rtp://` and `udp://` with ffmpeg and GStreamer at the other end: every frame, every time."""

import asyncio
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import pytest

from flux.bridges.udp.rtp import RtpSource
from flux.bridges.udp.source import DatagramOptions
from flux.bridges.udp.ts import TsSource
from media.frame import Frame
from media.track import Kind
from tests.support import clip, clips, frames
from tests.support.datagrams import DatagramRig, end, play, program, publish, target, until
from tests.support.frame_log import FrameLog
from tests.support.ports import free_port

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

FFMPEGS = ("ffmpeg", imageio_ffmpeg.get_ffmpeg_exe())
FFMPEG_NAMES = ("ffmpeg-5", "ffmpeg-new")
HOSTS = ("127.0.0.1", "239.255.7.77")  # unicast; a group on the loopback interface
HOST_NAMES = ("unicast", "multicast")
OPTIONS = DatagramOptions(media_timeout=5.0)
QUIET_TIME = 0.3  # seconds that a clip's last frames may take
ALIGNED = Fraction(5, 1000)  # by sender reports, whose clock is that of the sender's start

Name = str
SendCommand = Callable[[Name, str, int], Sequence[str | Path]]


def local(host: str, sign: str = "?") -> str:
    """What makes ffmpeg use the loopback interface for a group."""
    return f"{sign}localaddr=127.0.0.1" if host.startswith("239.") else ""


def gst(text: str) -> list[str]:
    return ["gst-launch-1.0", "-q", "-e", *text.split()]


def iface(host: str, option: str = "multicast-iface") -> str:
    return f"{option}=lo" if host.startswith("239.") else ""


# -- sources ---------------------------------------------------------------------------------


def ffmpeg_rtp(binary: str, name: str, host: str, port: int, sdp: Path, *more: str) -> list[str]:
    command = [binary, "-hide_banner", "-loglevel", "error", "-re", "-i", str(clip.path_of(name))]
    for number, kind in enumerate(clip.units_of(name)):
        url = f"rtp://{host}:{port + 2 * number}{local(host)}"
        command += [*more, "-map", f"0:{kind[0]}", "-c", "copy", "-f", "rtp", url]
    return [*command, "-sdp_file", str(sdp)]


@pytest.mark.parametrize("host", HOSTS, ids=HOST_NAMES)
@pytest.mark.parametrize("binary", FFMPEGS, ids=FFMPEG_NAMES)
@pytest.mark.parametrize("name", ["fragmented", "hdr", "h264ts"])
async def test_rtp_from_ffmpeg(name: str, binary: str, host: str, tmp_path: Path) -> None:
    sdp, port = tmp_path / "clip.sdp", free_port(4)
    async with program(*ffmpeg_rtp(binary, name, host, port, sdp, "-t", "0.1")) as first:
        await first.wait()
    async with DatagramRig() as rig:
        rig.declare("cam")
        url = f"rtp://{'127.0.0.1' if host == HOSTS[0] else ''}?interface=lo"
        source = RtpSource("cam", url, str(sdp), rig.router, rig.says("cam"), OPTIONS)
        rig.begin("cam", source)
        log = FrameLog(rig.router, "cam", time.monotonic)
        await asyncio.sleep(0.2)
        async with program(*ffmpeg_rtp(binary, name, host, port, sdp)) as sender:
            assert await sender.wait() == 0
        await asyncio.sleep(QUIET_TIME)
        sent = clip.units_of(name)
        # ffmpeg keeps several AAC frames for one packet, and the last of them to itself.
        minimum = {kind: len(track.units) for kind, track in sent.items()}
        minimum["audio"] = minimum.get("audio", 0) - 8
        expected = frames.Expectation(Fraction(1, 1000), ALIGNED, minimum=minimum)
        frames.assert_same(sent, log.units(), expected)
        assert source.figures().lost == 0
        assert ("running", "") in rig.states


@pytest.mark.parametrize("host", HOSTS, ids=HOST_NAMES)
async def test_rtp_from_gstreamer(host: str) -> None:
    """No description but the format, no RTCP; parameter sets in band."""
    port = free_port(4)
    sdp = f"v=0\nc=IN IP4 {host}/1\nm=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    path = clip.path_of("fragmented")
    command = gst(
        f"filesrc location={path} ! qtdemux name=d d.video_0 ! h264parse config-interval=-1 ! "
        f"rtph264pay ! udpsink host={host} port={port} {iface(host)} sync=true"
    )
    async with DatagramRig() as rig:
        rig.declare("cam")
        source = RtpSource("cam", "rtp://?interface=lo", sdp, rig.router, rig.says("cam"), OPTIONS)
        rig.begin("cam", source)
        log = FrameLog(rig.router, "cam", time.monotonic)
        await asyncio.sleep(0.2)
        async with program(*command) as sender:
            assert await sender.wait() == 0
        await asyncio.sleep(QUIET_TIME)
        sent = {"video": clip.units_of("fragmented")["video"]}
        frames.assert_same(sent, log.units(), frames.Expectation(Fraction(1, 1000), ALIGNED))


def ffmpeg_ts(binary: str, name: str, host: str, port: int) -> list[str]:
    url = f"udp://{host}:{port}?pkt_size=1316{local(host, '&')}"
    return [
        binary, "-hide_banner", "-loglevel", "error", "-re", "-i", str(clip.path_of(name)),
        "-c", "copy", "-f", "mpegts", url,
    ]  # fmt: skip


def ffmpeg_ts_in_rtp(binary: str, name: str, host: str, port: int) -> list[str]:
    return [
        *ffmpeg_ts(binary, name, host, port)[:-2],
        "rtp_mpegts",
        f"rtp://{host}:{port}{local(host)}",
    ]


def gst_ts(_: str, name: str, host: str, port: int, payloader: str = "") -> list[str]:
    return gst(
        f"filesrc location={clip.path_of(name)} ! qtdemux name=d "
        f"mpegtsmux name=m alignment=7 ! {payloader} udpsink host={host} port={port} "
        f"{iface(host)} sync=true "
        "d.video_0 ! h264parse ! queue ! m. d.audio_0 ! aacparse ! queue ! m."
    )


def gst_ts_in_rtp(binary: str, name: str, host: str, port: int) -> list[str]:
    return gst_ts(binary, name, host, port, "rtpmp2tpay !")


@pytest.mark.parametrize("host", HOSTS, ids=HOST_NAMES)
@pytest.mark.parametrize(
    ("make", "binary", "name"),
    [
        (ffmpeg_ts, FFMPEGS[0], "fragmented"),
        (ffmpeg_ts, FFMPEGS[1], "hdr"),
        (ffmpeg_ts, FFMPEGS[1], "h264ts"),
        (ffmpeg_ts_in_rtp, FFMPEGS[0], "fragmented"),
        (ffmpeg_ts_in_rtp, FFMPEGS[1], "fragmented"),
        (gst_ts, "", "fragmented"),
        (gst_ts_in_rtp, "", "fragmented"),
    ],
    ids=(
        "ffmpeg-5",
        "ffmpeg-new-h265",
        "ffmpeg-new-b",
        "ffmpeg-5-rtp",
        "ffmpeg-new-rtp",
        "gst",
        "gst-rtp",
    ),
)
async def test_transport_stream(
    make: Callable[..., list[str]], binary: str, name: str, host: str
) -> None:
    port = free_port(4)
    async with DatagramRig() as rig:
        rig.declare("cam")
        url = f"udp://@{host}:{port}?interface=lo"
        source = TsSource("cam", url, rig.router, rig.says("cam"), OPTIONS)
        rig.begin("cam", source)
        log = FrameLog(rig.router, "cam", time.monotonic)
        await asyncio.sleep(0.2)
        async with program(*make(binary, name, host, port)) as sender:
            assert await sender.wait() == 0
        await asyncio.sleep(QUIET_TIME)
        source.stop("test")
        sent = clip.units_of(name)
        # The end of the last PES packet shows in the next one, which does not come.
        minimum = {kind: len(track.units) - 16 for kind, track in sent.items()}
        minimum["video"] = len(sent["video"].units) - 2
        expected = frames.Expectation(
            Fraction(2, 1000), Fraction(30, 1000), minimum=minimum, check_dts=False
        )
        frames.assert_same(sent, log.units(), expected)
        stream = rig.router.find("cam")
        assert stream is not None
        assert dict(stream.drops) == {}


# -- targets ---------------------------------------------------------------------------------


def short_clip(seconds: float = 2.5) -> list[Frame]:
    """H.264 without B-frames, and AAC: ffmpeg copies others from RTP into no file."""
    return [f for f in clips.read(clips.BUNNY) if f.dts < seconds * f.track.clock_rate]


def compare(file: Path, seconds: float) -> None:
    """The recording holds the first `seconds` of the clip at least."""
    sent = clip.units_of("bunny")
    minimum = {
        kind: sum(track.seconds(unit.pts) < seconds for unit in track.units)
        for kind, track in sent.items()
    }
    expected = frames.Expectation(  # Matroska counts milliseconds, and has no DTS
        Fraction(2, 1000), Fraction(60, 1000), minimum=minimum, check_dts=False
    )
    frames.assert_same(sent, frames.read(file), expected)


@pytest.mark.parametrize("host", HOSTS, ids=HOST_NAMES)
@pytest.mark.parametrize("binary", FFMPEGS, ids=FFMPEG_NAMES)
async def test_rtp_to_ffmpeg(binary: str, host: str, tmp_path: Path) -> None:
    sdp, file, port = tmp_path / "cam.sdp", tmp_path / "got.mkv", free_port(4)
    played = short_clip()
    async with DatagramRig() as rig:
        rig.declare("cam")
        url = f"rtp://{host}:{port}?interface=lo&sdp={sdp}"
        rig.forward().declare("cam", [target(url)], passive=True)
        publisher = publish(rig.router, "cam", played)
        await play(publisher, played[:20], 5)
        await until(sdp.exists, "the description")
        publisher.close("again", time.monotonic())
        command = [
            binary, "-hide_banner", "-loglevel", "error", "-protocol_whitelist", "file,udp,rtp",
            "-localaddr", "127.0.0.1", "-i", str(sdp), "-c", "copy", "-t", "2.2", "-y", str(file),
        ]  # fmt: skip
        async with program(*command) as receiver:
            await asyncio.sleep(1.0)
            await play(publish(rig.router, "cam", played), played)
            async with asyncio.timeout(5):
                await receiver.wait()
            assert await end(receiver) == ""
    compare(file, 2.0)


@pytest.mark.parametrize("host", HOSTS, ids=HOST_NAMES)
@pytest.mark.parametrize("binary", FFMPEGS, ids=FFMPEG_NAMES)
async def test_transport_stream_to_ffmpeg(binary: str, host: str, tmp_path: Path) -> None:
    file, port = tmp_path / "got.mkv", free_port(4)
    played = short_clip()
    async with DatagramRig() as rig:
        rig.declare("cam")
        url = f"udp://{host}:{port}?interface=lo"
        rig.forward().declare("cam", [target(url)], passive=True)
        command = [
            binary, "-hide_banner", "-loglevel", "error", "-probesize", "300000",
            "-i", f"udp://{host}:{port}{local(host)}", "-c", "copy", "-t", "2.2", "-y", str(file),
        ]  # fmt: skip
        async with program(*command) as receiver:
            await asyncio.sleep(1.0)
            await play(publish(rig.router, "cam", played), played)
            async with asyncio.timeout(5):
                await receiver.wait()
            assert await end(receiver) == ""
    compare(file, 2.0)


@pytest.mark.parametrize("host", HOSTS, ids=HOST_NAMES)
async def test_transport_stream_to_gstreamer(host: str, tmp_path: Path) -> None:
    file, port = tmp_path / "got.mkv", free_port(4)
    played = short_clip()
    async with DatagramRig() as rig:
        rig.declare("cam")
        url = f"udp://{host}:{port}?interface=lo"
        rig.forward().declare("cam", [target(url)], passive=True)
        command = gst(  # with the stream's own times: tsdemux else follows those of arrival
            f"udpsrc address={host} port={port} {iface(host)} do-timestamp=false ! tsdemux name=d "
            f"matroskamux name=m ! filesink location={file} "
            "d. ! h264parse ! queue ! m. d. ! aacparse ! queue ! m."
        )
        async with program(*command) as receiver:
            await asyncio.sleep(1.0)
            await play(publish(rig.router, "cam", played), played)
            await asyncio.sleep(QUIET_TIME)
            await interrupt(receiver)
    compare(file, 2.0)


@pytest.mark.parametrize("host", HOSTS, ids=HOST_NAMES)
async def test_rtp_to_gstreamer(host: str, tmp_path: Path) -> None:
    """Video with B-frames, with the caps that the description says."""
    sdp, file, port = tmp_path / "cam.sdp", tmp_path / "got.mkv", free_port(4)
    played = clips.read(clips.PYRAMID)[:60]
    async with DatagramRig() as rig:
        rig.declare("cam")
        url = f"rtp://{host}:{port}?interface=lo"
        rig.forward().declare("cam", [target(f"{url}&sdp={sdp}")], passive=True)
        command = gst(
            f"udpsrc address={host} port={port} {iface(host)} "
            "caps=application/x-rtp,media=video,clock-rate=90000,encoding-name=H264,payload=96 ! "
            "rtpjitterbuffer mode=none ! rtph264depay ! h264parse ! matroskamux ! "
            f"filesink location={file}"
        )
        async with program(*command) as receiver:
            await asyncio.sleep(1.0)
            await play(publish(rig.router, "cam", played), played)
            await asyncio.sleep(1.0)
            await interrupt(receiver)
        assert f"m=video {port} RTP/AVP 96" in sdp.read_text()
    sent = clip.units_of("pyramid")
    expected = frames.Expectation(
        Fraction(2, 1000), Fraction(0), minimum={Kind.VIDEO: 55}, check_dts=False
    )
    frames.assert_same(sent, frames.read(file), expected)


async def interrupt(process: asyncio.subprocess.Process) -> None:
    """`gst-launch-1.0 -e` finishes its file at SIGINT."""
    process.send_signal(2)
    async with asyncio.timeout(5):
        await process.wait()
