"""What programs put into MPEG-TS goes in over SRT and comes out again: every unit, every time."""

import asyncio
import time
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from itertools import pairwise

import pytest

from media.mpegts.format import TsFormat
from media.stream import State
from media.track import Kind
from tests.interop.test_mpegts import CASES, COPY, SHORT, made_by, ours
from tests.media.mpegts.test_broken import several_frames
from tests.media.mpegts.test_format import everything
from tests.support import clips, frames, same_run, ts_demux
from tests.support.datagrams import until
from tests.support.frame_log import FrameLog
from tests.support.srt_peers import Collector, cut
from tests.support.srt_stage import SrtStage, pour

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

PYRAMID = ("-i", str(clips.PYRAMID))
SPEED = 4.0  # times as fast as it plays
JUNK = b"junk" * 25
NAMES = {"h264": "h264", "h265": "hevc"}  # of FFmpeg
Tracks = dict[str, frames.TrackUnits]


def seconds_of(data: bytes, first: float, last: float) -> bytes:
    """Of a stream whose packets are evenly spread enough, a part: shares of its length."""
    packets = len(data) // 188
    return data[int(packets * first) * 188 : int(packets * last) * 188]


def made(*arguments: str) -> bytes:
    return made_by("ffmpeg", arguments)


def junk_between(data: bytes) -> list[bytes]:
    """Datagrams of six packets, with something among them that is none."""
    size = 188 * 6
    row = [data[at : at + size] for at in range(0, len(data), size)]
    return [each[:376] + JUNK + each[376:] if not at % 8 else each for at, each in enumerate(row)]


def everything_there_is() -> bytes:
    """Opus, KLV, subtitles and MPEG-2 video beside H.264 and AAC."""
    tracks, row = everything()
    live = TsFormat(tracks)
    return live.header() + b"".join(
        live.encode(each) for each in row if each.dts / each.track.clock_rate < 3
    )


def klv() -> bytes:
    """A clip with KLV beside it: the first three seconds."""
    return seconds_of(ours(), 0, 0.3)


MAKERS: dict[str, Callable[[], bytes]] = {
    "h264-b-frames": lambda: made(*PYRAMID, *COPY),
    "h265": lambda: made(*CASES["hdr"]),
    "h265-slices": lambda: made(*CASES["h265-slices"]),
    "interlaced": lambda: made(*CASES["interlaced"]),
    "aac-adts": lambda: made(*CASES["a-frame-each"], *SHORT),
    "aac-latm": lambda: made(*CASES["latm"], *SHORT),
    "several-aac-frames": lambda: seconds_of(several_frames(), 0, 0.3),
    "mp3": lambda: made(*CASES["mp3"]),
    "ac3": lambda: made(*CASES["ac3"]),
    "eac3": lambda: made(*CASES["eac3"]),
    "opus": lambda: made(*CASES["opus"], *SHORT),
    "klv": klv,
    "opaque": everything_there_is,
    "wrap": lambda: made(*PYRAMID, *COPY, "-mpegts_copyts", "1", "-output_ts_offset", "95442"),
}


@cache
def stream_of(case: str) -> bytes:
    return MAKERS[case]()


def tracks_of(data: bytes) -> Tracks:
    """Every unit of every track, by codec and place in the PMT; parameter sets do not count."""
    result = ts_demux.demux(ts_demux.cut(data, 1316), is_datagram=True)
    found = {}
    for place, track in enumerate(result.tracks):
        units = []
        for unit in result.of(track.pid):
            pieces = unit.payload
            if track.kind is Kind.VIDEO and track.codec in NAMES:
                codec = NAMES[track.codec]
                pieces = tuple(nal for nal in pieces if frames.counts(nal, codec))
            units.append(frames.Unit(pieces, unit.pts, unit.dts))
        found[f"{place}-{track.codec}"] = frames.TrackUnits(
            str(track.kind), track.codec, Fraction(1, track.clock_rate), tuple(units)
        )
    return found


async def through(stage: SrtStage, datagrams: list[bytes], seconds: float) -> bytes:
    """Publish this, read it: what a reader gets that comes when the stream is ready."""
    link = await stage.connect("publish:cam")
    began, sent = time.monotonic(), 0
    handler: Collector | None = None

    def is_ready() -> bool:
        stream = stage.router.find("cam")
        return stream is not None and stream.state is State.READY

    while sent < len(datagrams):
        share = (time.monotonic() - began) * SPEED / seconds
        due = min(int(share * len(datagrams)) + 1, len(datagrams))
        if due > sent:
            pour(link, datagrams[sent:due])
            sent = due
        if handler is None and is_ready():
            handler = stage.call("read:cam")
        await asyncio.sleep(0.01)
    if handler is None:  # a short one: it is ready only now
        await until(is_ready, "ready")
        handler = stage.call("read:cam")
    reader = handler
    await until(lambda: reader.link is not None, "let in")
    link.close("done", time.monotonic())
    await until(lambda: stage.router.publisher("cam") is None, "it has left")
    stream = stage.router.find("cam")
    assert stream is not None
    (ours,) = stream.readers.values()
    size = -1
    while not size == ours.sent_bytes == sum(map(len, reader.payloads)):  # there is more to come
        size = ours.sent_bytes
        await asyncio.sleep(0.2)
    assert reader.lost == 0
    return b"".join(reader.payloads)


OFTEN = ("h264-b-frames", "h265", "aac-latm", "several-aac-frames", "eac3", "opus", "klv", "wrap")


@pytest.mark.parametrize(
    "case", [c if c in OFTEN else pytest.param(c, marks=pytest.mark.long) for c in MAKERS]
)
async def test_every_unit_comes_out(case: str) -> None:
    data = await asyncio.to_thread(stream_of, case)
    sent = tracks_of(data)
    async with SrtStage() as stage:
        got = await through(stage, cut(data), 3.0)
        stream = stage.router.find("cam")
        assert stream is not None
        assert set(stream.drops) <= {"ts-packet-loss"}  # what was cut off at the end
    minimum = {kind: len(track.units) // 3 for kind, track in sent.items()}
    assert same_run.problems(sent, tracks_of(got), minimum, Fraction(2, 1000)) == []
    if case != "opaque":  # FFmpeg finds the same in it
        assert ts_demux.differences(ts_demux.demux(got), got) == []


async def test_junk_between_packets_costs_none() -> None:
    data = made(*PYRAMID, *COPY)
    async with SrtStage() as stage:
        got = await through(stage, junk_between(data), 3.0)
        stream = stage.router.find("cam")
        assert stream is not None and set(stream.drops) == {"ts-sync-lost"}
    (sent,), (track,) = tracks_of(data).values(), tracks_of(got).values()
    assert len(track.units) > 50 and same_run.place(sent, track) is not None


async def test_a_clock_that_jumps_costs_no_unit() -> None:
    """A clip, then another an hour later in its clock, nothing said of it: one row of times."""
    clip = made(*PYRAMID, *COPY, "-t", "1.5")
    later = made(*PYRAMID, *COPY, "-t", "1.5", "-output_ts_offset", "3600")
    async with SrtStage() as stage:
        stage.declare("cam")
        log = FrameLog(stage.router, "cam", time.monotonic)
        await through(stage, cut(clip) + cut(later), 3.0)
        track = log.units()["video"]
    (sent,) = tracks_of(clip).values()
    pieces, row = [u.pieces for u in track.units], [u.pieces for u in sent.units]
    assert 0 <= 2 * len(row) - len(pieces) <= 2  # the last of each part may not be whole
    assert pieces[:40] == row[:40] and pieces[-40:] in (row[-40:], row[-41:-1])
    times = [unit.dts for unit in track.units]
    steps = [float(track.seconds(b - a)) for a, b in pairwise(times)]
    assert min(steps) > 0 and max(steps) < 1.0
