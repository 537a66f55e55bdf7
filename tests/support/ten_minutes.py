"""A clip played on and on in virtual time, and what its outputs come to.

Media are thinned: of each NAL unit only the beginning is kept, so that ten minutes of any clip are
some megabytes. Times, sizes of access units in NAL units, and what the units are stay the same.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path

from flux.bridges.httpts import TsBody
from flux.bridges.rtp.packer import FRAME_HEADER_BYTES, RtpPacker, rtp_tracks
from flux.bridges.rtp.reports import ReaderReports
from media.feed import Feed
from media.feed_reader import FeedOptions
from media.flv.forms import Form
from media.flv.muxer import FlvMuxer
from media.frame import Frame
from media.hls.container import Container, TsContainer
from media.hls.options import HlsOptions
from media.hls.segment import Segment
from media.hls.segmenter import Segmenter
from media.mpegts.format import TsFormat
from media.track import Kind, Track
from tests.support import clips
from tests.support.conform.hls import Follower, SegmentJudge, SegmentLimits, parse_multivariant
from tests.support.conform.problem import Problem
from tests.support.conform.rtp import RtpContent, RtpJudge, RtpLimits, RtpLine
from tests.support.virtual import MemorySink, VirtualScheduler

GRID_MS = 10  # whole ticks of all clocks, 44.1 kHz too
NAL_BYTES = 120


@dataclass(frozen=True, slots=True)
class Playing:
    """A clip that is played again and again without a gap."""

    frames: tuple[Frame, ...]
    period_ms: int

    @property
    def tracks(self) -> tuple[Track, ...]:
        """Its tracks."""
        return clips.tracks_of(list(self.frames))

    def play(self, seconds: float) -> Iterator[Frame]:
        """Its frames for so long, to the end of a round."""
        for n in range(-(-int(seconds * 1000) // self.period_ms)):
            yield from clips.shifted(list(self.frames), n * self.period_ms)


@cache
def playing(path: Path, nal_bytes: int = NAL_BYTES, kind: Kind | None = None) -> Playing:
    """A clip; `nal_bytes` are kept of each NAL unit, 0: all of it; `kind`: only these tracks."""

    def thin(frame: Frame) -> None:
        if nal_bytes and frame.track.kind is Kind.VIDEO:
            frame.payload = tuple(nal[:nal_bytes] for nal in frame.payload)

    clip = [frame for frame in clips.read(path) if kind in (None, frame.track.kind)]
    frames = tuple(clips.with_frames(clip, thin))
    spans = []
    for track in clips.tracks_of(clip):
        times = [frame.dts for frame in frames if frame.track is track]
        step = (times[-1] - times[0]) / (len(times) - 1)
        spans.append((times[-1] - times[0] + step) * 1000 / track.clock_rate)
    return Playing(frames, -(-int(max(spans)) // GRID_MS) * GRID_MS)


def transport_stream(source: Playing, seconds: float) -> bytes:
    """What a reader of the live transport stream gets."""
    muxer = TsFormat(source.tracks)
    return b"".join((muxer.header(), *map(muxer.encode, source.play(seconds))))


def http_transport_stream(source: Playing, seconds: float) -> bytes:
    """What a reader of MPEG-TS over HTTP gets who came at the start."""
    scheduler, sink = VirtualScheduler(), MemorySink()
    options = FeedOptions(log_seconds=5.0)
    feed = Feed(TsBody(source.tracks), source.tracks, options, scheduler, lambda *_: None)
    feed.attach(sink)
    for frame in source.play(seconds):
        feed.frame(frame)
        scheduler.run(max(0.0, frame.arrived + 100.0 - scheduler.now()))
    feed.close("source-ended")
    scheduler.run(1.0)
    return sink.data


def rtp_lines(source: Playing) -> dict[int, RtpLine]:
    """What a description says of the clip's tracks."""
    return {
        each.index: RtpLine(
            each.track.codec,
            each.clock_rate,
            each.payload_type,
            is_video=each.track.kind is Kind.VIDEO,
        )
        for each in rtp_tracks(source.tracks, lambda _bits: 0)
    }


def rtp_packets(source: Playing, seconds: float) -> Iterator[tuple[float, int, bytes]]:
    """What a reader of RTP gets, with a report for each track every five seconds.

    Seconds, interleaved channel (that of RTP is even), packet.
    """
    tracks = rtp_tracks(source.tracks, random.Random(7).getrandbits)
    packer, reports = RtpPacker(tracks), ReaderReports(tracks, "flux", {})
    for frame in source.play(seconds):
        packer.encode(frame)
        for packet in packer.packets:
            yield frame.arrived, packet[1], packet[FRAME_HEADER_BYTES:]
        for number, compound in reports.due(frame.arrived):
            yield frame.arrived, 2 * number + 1, compound


def rtp_session(source: Playing, seconds: float, limits: RtpLimits | None = None) -> RtpContent:
    """The same, judged."""
    judge = RtpJudge(rtp_lines(source), limits)
    for _, channel, packet in rtp_packets(source, seconds):
        if channel & 1:
            judge.rtcp(channel >> 1, packet)
        else:
            judge.packet(channel >> 1, packet)
    return judge.finish()


def flv_file(source: Playing, seconds: float, *, legacy_h265: bool = False) -> bytes:
    """What a reader of HTTP-FLV gets."""
    muxer = FlvMuxer(source.tracks, Form.LEGACY if legacy_h265 else Form.AUTO)
    return b"".join((muxer.header(), *map(muxer.encode, source.play(seconds))))


class Served(Mapping[str, bytes]):
    """Segments, initialization sections and parts as they can be fetched at the moment."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter

    def __getitem__(self, name: str) -> bytes:
        found = self._segmenter.segment(name) or self._segmenter.part(name)
        if found is None:
            raise KeyError(name)
        return found.data

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@dataclass(slots=True)
class HlsViewer:
    """A player that looks at every change of a playlist and fetches everything in it.

    With parts, every other look asks for a delta update.
    """

    tracks: tuple[Track, ...]
    options: HlsOptions = field(default_factory=lambda: HlsOptions(ready_wait=0.0))
    limits: SegmentLimits = field(default_factory=SegmentLimits)
    container: Callable[[Sequence[Track]], Container] = TsContainer
    follower: Follower = field(default_factory=Follower)
    kept: dict[str, bytes] = field(default_factory=dict)  # the last segments
    segments: int = 0
    now: float = 0.0
    multivariant: bytes = b""
    playlist: bytes = b""  # the last one

    def watch(self, frames: Iterator[Frame]) -> list[Problem]:
        """Play until the stream ends; what is wrong with it."""
        judge = SegmentJudge(self.limits)
        looks = count()

        def look() -> None:
            if not segmenter.is_ready(self.now):
                return
            may_skip = bool(self.options.part_duration) and next(looks) % 2 == 1
            self.playlist = segmenter.media_playlist(may_skip=may_skip)
            judge.playlist(self.follower.reload(self.playlist, self.now), served)

        def changed(segment: Segment | None) -> None:
            if segment is not None:
                self.kept[segment.name] = segment.data
                self.kept.pop(f"run-{segment.sequence - 20}.ts", None)
                self.segments += 1
            look()

        segmenter = Segmenter(
            self.tracks,
            self.options,
            "run",
            container=self.container,
            on_change=changed,
            on_part=look,
        )
        served = Served(segmenter)
        for frame in frames:
            self.now = max(self.now, frame.arrived)
            segmenter.frame(frame, self.now)
        segmenter.end()
        self.multivariant = segmenter.multivariant_playlist()
        judge.multivariant(parse_multivariant(self.multivariant).variants[0])
        return [*self.follower.problems, *judge.problems]
