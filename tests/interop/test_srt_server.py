"""Real programs publish to the SRT server and read from it: every frame, every time."""

import asyncio
import time
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import pytest

from flux.bridges.srt.server import Passphrases
from media.frame import Frame
from tests.support import clip, clips, frames, ts_check
from tests.support.datagrams import end, play, program, publish, target, until
from tests.support.frame_log import FrameLog
from tests.support.nobody import NOBODY
from tests.support.ports import free_port
from tests.support.srt_stage import SrtStage

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

FFMPEGS = {"ffmpeg-5": "ffmpeg", "ffmpeg-new": imageio_ffmpeg.get_ffmpeg_exe()}
QUIET = ("-hide_banner", "-loglevel", "error")
SECRET = "a-secret-of-one"
SECONDS = 2.0
SECRETS = [  # the matrix has both, too
    pytest.param("", id="plain"),
    pytest.param(SECRET, id="aes", marks=pytest.mark.long),
]


def place(stage: SrtStage) -> str:
    return f"127.0.0.1:{stage.place[1]}"


def ffmpeg_out(tool: str, name: str, url: str) -> list[str]:
    source = ["-re", "-t", "4", "-i", str(clip.path_of(name)), "-c", "copy", "-f", "mpegts"]
    return [FFMPEGS[tool], *QUIET, *source, url]


def gst_out(name: str, host: str, stream_id: str) -> list[str]:
    text = (
        f"filesrc location={clip.path_of(name)} ! qtdemux name=d mpegtsmux name=m alignment=7 ! "
        f"srtsink uri=srt://{host}?mode=caller streamid={stream_id} sync=true "
        "d.video_0 ! h264parse ! queue ! m. d.audio_0 ! aacparse ! queue ! m."
    )
    return ["gst-launch-1.0", "-q", "-e", *text.split()]


def published(name: str, log: FrameLog) -> None:
    """The frames of a clip are there, but for the last ones: libsrt may close without them."""
    sent = clip.units_of(name)
    end = max(track.seconds(track.units[-1].pts) for track in sent.values())
    due = min(3.5, end - 0.2)
    minimum = {
        kind: sum(track.seconds(unit.pts) < due for unit in track.units)
        for kind, track in sent.items()
    }
    expected = frames.Expectation(
        Fraction(2, 1000), Fraction(30, 1000), minimum=minimum, check_dts=False
    )
    frames.assert_same(sent, log.units(), expected)


@pytest.mark.parametrize("tool", [*FFMPEGS, "gst"])
@pytest.mark.parametrize("secret", SECRETS)
async def test_what_programs_publish(tool: str, secret: str) -> None:
    name = "fragmented" if tool == "gst" else "bunny"
    async with SrtStage() as stage:
        stage.declare("live/cam")
        stage.passphrases["live/cam"] = Passphrases(publish=secret)
        log = FrameLog(stage.router, "live/cam", time.monotonic)
        if tool == "gst":
            command = gst_out(name, place(stage), "publish:live/cam")
            if secret:
                at = next(i for i, word in enumerate(command) if word.startswith("streamid"))
                command[at:at] = [f"passphrase={secret}", "pbkeylen=16"]
        else:
            url = f"srt://{place(stage)}?streamid=publish:live/cam&pkt_size=1316"
            command = ffmpeg_out(tool, name, url + (f"&passphrase={secret}" if secret else ""))
        async with program(*command) as sender:
            async with asyncio.timeout(30):
                assert await sender.wait() == 0
        await until(lambda: stage.router.publisher("live/cam") is None, "it has left")
        published(name, log)
        stream = stage.router.find("live/cam")
        assert stream is not None and dict(stream.drops) == {}


async def test_a_program_that_we_call(tmp_path: Path) -> None:
    del tmp_path
    port = free_port()
    url = f"srt://127.0.0.1:{port}?mode=listener&pkt_size=1316&passphrase={SECRET}&pbkeylen=32"
    async with SrtStage() as stage:
        stage.declare("cam")
        log = FrameLog(stage.router, "cam", time.monotonic)
        async with program(*ffmpeg_out("ffmpeg-new", "bunny", url)) as sender:
            source = stage.source("cam", f"srt://127.0.0.1:{port}?passphrase={SECRET}")
            async with asyncio.timeout(30):
                assert await sender.wait() == 0
        await until(lambda: stage.router.publisher("cam") is None, "it has left")
        source.stop("over")
        await source.wait_stopped()
        published("bunny", log)


# -- reading -------------------------------------------------------------------------------


def short_clip() -> list[Frame]:
    return [f for f in clips.read(clips.BUNNY) if f.dts < 3.0 * f.track.clock_rate]


def compare(file: Path) -> None:
    """A recording holds the first two seconds of the clip at least."""
    sent = clip.units_of("bunny")
    minimum = {
        kind: sum(track.seconds(unit.pts) < SECONDS for unit in track.units)
        for kind, track in sent.items()
    }
    expected = frames.Expectation(
        Fraction(2, 1000), Fraction(60, 1000), minimum=minimum, check_dts=False
    )
    frames.assert_same(sent, frames.read(file), expected)


def ffmpeg_in(tool: str, url: str, file: Path) -> list[str]:
    probe = ["-probesize", "300000", "-i", url]  # by default it wants 5 seconds
    return [FFMPEGS[tool], *QUIET, *probe, "-c", "copy", "-t", "2.2", "-y", str(file)]


def slt_in(url: str) -> list[str]:
    return ["srt-live-transmit", "-q", "-a:no", "-c:1316", url, "file://con"]


async def show(stage: SrtStage, name: str = "cam") -> None:
    """Publish a short clip once somebody waits for it."""
    await until(lambda: stage.router.leases(name) > 0, "somebody waits", 15.0)
    await asyncio.sleep(0.1)
    played = short_clip()
    await play(publish(stage.router, name, played), played)


@pytest.mark.parametrize("tool", FFMPEGS)
@pytest.mark.parametrize("secret", SECRETS)
async def test_what_ffmpeg_reads(tool: str, secret: str, tmp_path: Path) -> None:
    file = tmp_path / "got.mkv"
    async with SrtStage() as stage:
        stage.declare("cam")
        stage.passphrases["cam"] = Passphrases(read=secret)
        url = f"srt://{place(stage)}?streamid=#!::r=cam,m=request"
        command = ffmpeg_in(tool, url + (f"&passphrase={secret}" if secret else ""), file)
        async with program(*command) as receiver:
            await show(stage)
            async with asyncio.timeout(5):
                await receiver.wait()
            assert await end(receiver) == ""
    compare(file)


async def test_what_gstreamer_reads(tmp_path: Path) -> None:
    """As it came: its demuxer moves times along with their arrival."""
    file = tmp_path / "got.ts"
    async with SrtStage() as stage:
        stage.declare("cam")
        text = f"srtsrc uri=srt://{place(stage)}?mode=caller streamid=read:cam ! filesink"
        command = ("gst-launch-1.0", "-q", "-e", *text.split(), f"location={file}")
        async with program(*command) as receiver:
            await show(stage)
            await asyncio.sleep(0.5)
            receiver.send_signal(2)
            async with asyncio.timeout(5):
                await receiver.wait()
    compare(file)


async def test_what_srt_live_transmit_reads(tmp_path: Path) -> None:
    file = tmp_path / "got.ts"
    async with SrtStage() as stage:
        stage.declare("cam")
        with file.open("wb") as out:
            url = f"srt://{place(stage)}?streamid=read:cam"
            receiver = await asyncio.create_subprocess_exec(*slt_in(url), stdout=out)
            await show(stage)
            await asyncio.sleep(0.5)
            receiver.terminate()
            await receiver.wait()
    assert ts_check.check(file.read_bytes()).problems in ([], ["pes-length"])  # it was cut off
    compare(file)


async def test_what_vlc_reads(public_folder: Path) -> None:
    file = public_folder / "got.ts"
    async with SrtStage() as stage:
        stage.declare("cam")
        command = [
            *NOBODY, "env", f"HOME={public_folder}", "cvlc", "-q", "-I", "dummy",
            f"srt://{place(stage)}", "--streamid", "read:cam",
            "--sout", f"#std{{access=file,mux=ts,dst={file}}}",
        ]  # fmt: skip
        async with program(*command) as receiver:
            await show(stage)
            await asyncio.sleep(1.5)  # it writes late
            await end(receiver)
    sent, got = clip.units_of("bunny")["video"], frames.read(file)["video"]
    pieces = [unit.pieces for unit in got.units]
    assert len(pieces) >= SECONDS * 20
    assert pieces == [unit.pieces for unit in sent.units][: len(pieces)]


async def test_a_program_that_gets_a_forward(tmp_path: Path) -> None:
    file, port = tmp_path / "got.mkv", free_port()
    async with SrtStage() as stage:
        stage.declare("cam")
        url = f"srt://127.0.0.1:{port}?mode=listener"
        async with program(*ffmpeg_in("ffmpeg-new", url, file)) as receiver:
            forwards = stage.forward()
            forwards.declare("cam", [target(f"srt://127.0.0.1:{port}")], passive=True)
            played = short_clip()
            await asyncio.sleep(0.5)
            await play(publish(stage.router, "cam", played), played)
            async with asyncio.timeout(5):
                await receiver.wait()
            assert await end(receiver) == ""
    compare(file)


async def test_a_program_that_is_refused_is_told() -> None:
    async with SrtStage() as stage:
        url = f"srt://{place(stage)}?streamid=read:nobody"
        async with program(*ffmpeg_in("ffmpeg-new", url, Path("/dev/null"))) as receiver:
            async with asyncio.timeout(5):
                assert await receiver.wait() != 0
            assert "1404" in await end(receiver) or stage.bridge.refusals()["srt-not-found"] >= 1
