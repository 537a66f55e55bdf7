"""A media playlist against the segments that it lists; RFC 8216 sections 3, 4.3.2 and 6.2."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from tests.support.conform.boxes import read_boxes
from tests.support.conform.fmp4 import RULES as FMP4_RULES
from tests.support.conform.fmp4 import Fmp4Limits, Fmp4Reader
from tests.support.conform.hls_model import MediaPlaylist, Part, Segment
from tests.support.conform.hls_multivariant import Variant
from tests.support.conform.hls_rules import RULES
from tests.support.conform.hls_shown import begins, hole_before
from tests.support.conform.hls_variant import Heard, Measured, VariantLimits, plain
from tests.support.conform.problem import Findings, Problem
from tests.support.conform.records import hevc_codec, unescape
from tests.support.conform.ts import TsContent, TsLimits, read_ts
from tests.support.conform.ts_units import AAC, AC3, EAC3, H264, H265, MPEG1, MPEG2, VIDEO, Unit

WRAP = 1 << 33
NAMES = {AC3: "ac-3", EAC3: "ec-3", MPEG1: "mp4a.40.34", MPEG2: "mp4a.40.34"}
LEADING = 0.05  # seconds by which other tracks may begin before the leading one


@dataclass(frozen=True, slots=True)
class SegmentLimits:
    """How far playlist and media may be apart; seconds, and shares of what was measured."""

    duration: float = 0.03  # EXTINF of one segment
    drift: float = 0.05  # all of them since the last break
    date: float = 0.04
    peak: tuple[float, float] = (0.9, 2.0)  # BANDWIDTH of a live stream is no prophecy
    average: tuple[float, float] = (0.7, 1.4)
    frame_rate: float = 0.05
    ts: TsLimits = field(default_factory=lambda: TsLimits(tables_within=0, is_segment=True))
    fmp4: Fmp4Limits = field(default_factory=lambda: Fmp4Limits(starts_with_sync=False))


@dataclass(slots=True)
class _Media:
    """What the judge needs to know of one segment."""

    start: float  # seconds: decode time of the leading track
    pts: float  # when it begins to be shown, from which durations count
    turn: float  # seconds after which its times begin anew; 0: never
    lengths: tuple[float, float]  # of the leading track and of the longest, by themselves
    is_key: bool  # it begins with a picture to start with, or has none
    codecs: frozenset[str]
    tracks: tuple[object, ...]
    counters: dict[int, tuple[int, int]] = field(default_factory=dict)
    earliest: float = 0.0  # as `pts`, of the track that begins first
    frames: int = 0  # pictures
    shortest: float = 0.0  # seconds from one picture to the next, at least
    size: tuple[int, int] = (0, 0)
    shown: tuple[float, ...] = ()  # as `pts`, all units of the leading track
    hole: float = 0.0  # seconds before `pts` in which nothing is shown


@dataclass(frozen=True, slots=True)
class SeenUnit:
    """A picture or a packet of sound in a segment; times in seconds."""

    sequence: int  # media sequence number
    discontinuities: int
    is_video: bool
    pts: float
    dts: float
    is_key: bool
    tail: bytes


class SegmentJudge:
    """Judges the segments of one media playlist, each once, in the order of their numbers."""

    def __init__(self, limits: SegmentLimits | None = None) -> None:
        self._limits = limits or SegmentLimits()
        self._findings = Findings(RULES)
        self._media_problems: list[Problem] = []
        self._readers: dict[str, Fmp4Reader] = {}
        self._part_readers: dict[str, Fmp4Reader] = {}
        self._last: tuple[Segment, _Media] | None = None
        self._run: tuple[_Media, float] | None = None  # its first segment, EXTINFs since a break
        self._date: tuple[datetime, _Media] | None = None  # of a run's first dated segment
        self._heard = Heard()
        self._oldest = 0  # number of the first segment of the last playlist
        self.units: list[SeenUnit] = []  # of all segments, track by track

    @property
    def problems(self) -> list[Problem]:
        """What was found in the playlist and in the media so far."""
        found = [*self._findings.problems, *self._media_problems]
        for reader in self._readers.values():
            found += reader.finish().problems
        return found

    def playlist(self, playlist: MediaPlaylist, resources: Mapping[str, bytes]) -> None:
        """Judge the segments that are new; `resources` are by URI, without the query."""
        self._heard.target = playlist.target
        self._oldest = playlist.sequence
        last = self._last[0].sequence if self._last else -1
        for segment in playlist.segments:
            if segment.sequence <= last:
                continue
            data = _fetch(resources, segment.uri, segment.range)
            if segment.is_gap or data is None:
                if bool(data) or not segment.is_gap:
                    self._add("gap-media" if data else "segment-missing", segment)
                continue
            self._segment(playlist, segment, data, resources)
            self._parts(segment, data, resources)

    def multivariant(self, variant: Variant) -> None:
        """Judge what a multivariant playlist says of what the last playlist lists."""
        limits = VariantLimits(self._limits.peak, self._limits.average, self._limits.frame_rate)
        self._heard.judge(variant, limits, self._oldest, self._findings)

    def measured(self) -> tuple[float, float]:
        """Peak and average segment bit rate; section 4.1."""
        return self._heard.measured()

    def _add(self, slug: str, segment: Segment, text: str = "") -> None:
        self._findings.add(slug, f"segment {segment.sequence} {segment.uri}", text)

    def _segment(
        self, playlist: MediaPlaylist, segment: Segment, data: bytes, resources: Mapping[str, bytes]
    ) -> None:
        before = self._last
        is_break = segment.is_discontinuity or (
            before is not None and segment.sequence != before[0].sequence + 1
        )
        if segment.map_uri:
            media = self._fmp4(segment, data, resources, is_break=is_break)
        else:
            media = self._ts(segment, data)
        if media is None:
            self._add("segment-format", segment, "no media in it")
            return
        if playlist.is_independent and not media.is_key:
            self._add("segment-key", segment, "no key frame first, and all are independent")
        if not media.is_key:
            media.hole = max(0.0, media.pts - media.earliest)  # sound goes before the pictures
        if before is not None and not is_break:
            if not media.is_key:
                turn = media.turn
                shown = [media.pts - _passed(each, media.pts, turn) for each in before[1].shown]
                media.hole = hole_before(media.pts, shown, media.shown)
            self._follow(before[0], before[1], segment, media)
        else:
            self._run = self._date = None
        self._judge_run(segment, media)
        is_over = playlist.is_ended and segment is playlist.segments[-1]
        room = 2 * self._limits.duration
        lengths = (*media.lengths, max(media.shown) - media.pts + media.shortest)
        short, long = min(lengths), max(lengths)
        if is_over and not short - room <= segment.duration <= long + room:
            text = f"{segment.duration} s, the media last {short:.3f} to {long:.3f} s"
            self._add("segment-duration", segment, text)
        if segment.kbps:
            rate = len(data) * 8 / 1000 / segment.duration if segment.duration else 0
            if not 0.9 * rate <= segment.kbps <= 1.1 * rate:
                self._add("bitrate", segment, f"{segment.kbps} kbit/s, it has {rate:.0f}")
        one = Measured(
            segment.sequence,
            data,
            segment.duration,
            media.codecs,
            media.frames,
            media.shortest,
            media.size,
        )
        self._heard.add(one, is_break=is_break)
        self._last = (segment, media)

    def _follow(self, old: Segment, was: _Media, segment: Segment, media: _Media) -> None:
        """One segment after the other, without a mark between them."""
        ways = _steps(was, media)
        passed = min(ways, key=lambda seconds: abs(seconds - old.duration))
        near = (_is_near(way - old.duration, self._limits.duration, was, media) for way in ways)
        if not 0 < passed < old.duration + 1:
            self._add("segment-continuity", segment, f"{passed:.3f} s after the one before")
        elif not any(near):
            text = f"EXTINF {old.duration} s, the next one begins after {passed:.3f} s"
            self._add("segment-duration", old, text)
        if was.tracks != media.tracks:
            self._add("segment-tracks", segment, f"{media.tracks} after {was.tracks}")
        for pid, (first, _) in media.counters.items():
            last = was.counters.get(pid, (-1, -1))[1]
            if first >= 0 and last >= 0 and first != last + 1 & 15:
                self._add("segment-counters", segment, f"PID {pid}: {first} after {last}")

    def _judge_run(self, segment: Segment, media: _Media) -> None:
        """Durations and dates add up to what the media times say."""
        if media.pts - media.earliest >= LEADING:  # that track rested, or has just come
            self._run = self._date = None
            return
        if self._run is None:
            self._run = (media, 0.0)
        first, told = self._run
        passed = _passed(first.pts, media.pts, media.turn)
        if not _is_near(passed - told, self._limits.drift, first, media):
            text = f"durations say {told:.3f} s since the break, media {passed:.3f} s"
            self._add("segment-duration", segment, text)
            self._run = (media, 0.0)
            told = 0.0
        self._run = (self._run[0], told + segment.duration)
        if segment.date is None:
            return
        if self._date is None:
            self._date = (segment.date, media)
        date, dated = self._date
        off = _passed(dated.pts, media.pts, media.turn) - (segment.date - date).total_seconds()
        if not _is_near(off, self._limits.date, dated, media):
            self._add("date-drift", segment, f"{-off:.3f} s off the media times")
            self._date = (segment.date, media)

    def _ts(self, segment: Segment, data: bytes) -> _Media | None:
        content = read_ts(data, self._limits.ts)
        name = f"segment {segment.sequence} {segment.uri}: "
        for problem in content.problems:
            where = name + problem.where
            self._media_problems.append(Problem(problem.rule, where, problem.text))
        self.units += [
            SeenUnit(
                segment.sequence,
                segment.discontinuities,
                unit.kind in VIDEO,
                unit.pts / 90_000,
                unit.dts / 90_000,
                unit.is_key,
                unit.tail,
            )
            for units in content.units.values()
            for unit in units
        ]
        return _ts_media(content)

    def _fmp4(
        self, segment: Segment, data: bytes, resources: Mapping[str, bytes], *, is_break: bool
    ) -> _Media | None:
        reader = self._readers.get(segment.map_uri)
        if reader is None:
            header = _fetch(resources, segment.map_uri, None)
            if header is None:
                self._add("segment-missing", segment, segment.map_uri)
                return None
            reader = self._readers[segment.map_uri] = Fmp4Reader(header, self._limits.fmp4)
        if is_break:
            reader.discontinuity()
        content = reader.segment(data, segment.uri)
        for sample in content.samples:
            head = reader.tracks[sample.track]
            rate = head.timescale or 1
            seen = SeenUnit(
                segment.sequence,
                segment.discontinuities,
                head.is_video,
                sample.pts / rate,
                sample.dts / rate,
                sample.is_sync,
                sample.tail,
            )
            self.units.append(seen)
        lead = next(
            (i for i in content.runs if reader.tracks[i].is_video), next(iter(content.runs), None)
        )
        if lead is None:
            return None
        run, track = content.runs[lead], reader.tracks[lead]
        scale = track.timescale or 1
        shown = tuple(each.pts / scale for each in content.samples if each.track == lead)
        return _Media(
            run.start / scale,
            begins(shown, is_key=run.is_sync),
            0.0,
            reader.lengths(content),
            run.is_sync,
            frozenset(plain(reader.tracks[each].record.codec) for each in content.runs),
            tuple(sorted(reader.tracks)),
            earliest=min(
                each.first_pts / (reader.tracks[i].timescale or 1)
                for i, each in content.runs.items()
            ),
            frames=run.samples if track.is_video else 0,
            shortest=run.shortest / scale,
            size=(track.width, track.height) if track.is_video else (0, 0),
            shown=shown,
        )

    def _parts(self, segment: Segment, data: bytes, resources: Mapping[str, bytes]) -> None:
        """The parts of a segment hold what it holds, and tell where decoders can start."""
        found: list[bytes] = []
        for part in segment.parts:
            piece = _fetch(resources, part.uri, part.range)
            if piece is None:
                if not part.is_gap:
                    self._add("part-missing", segment, part.uri)
                return
            found.append(piece)
            self._judge_independent(segment, part, piece, resources)
        joined = b"".join(found)
        if found and joined != data and _samples(joined) != _samples(data):
            self._add("part-media", segment, "the parts hold other samples than the segment")

    def _judge_independent(
        self, segment: Segment, part: Part, piece: bytes, resources: Mapping[str, bytes]
    ) -> None:
        if segment.map_uri:
            reader = self._part_readers.get(segment.map_uri)
            if reader is None:
                header = _fetch(resources, segment.map_uri, None) or b""
                reader = Fmp4Reader(header, Fmp4Limits(starts_with_sync=False))
                self._part_readers[segment.map_uri] = reader
            runs = reader.segment(piece, part.uri).runs
            pictures = [run for i, run in runs.items() if reader.tracks[i].is_video]
            has_pictures = any(track.is_video for track in reader.tracks.values())
            has_key = any(run.syncs for run in (pictures if has_pictures else runs.values()))
        else:
            media = _ts_media(read_ts(piece, TsLimits(tables_within=0)))
            has_key = media is not None and media.is_key
        if has_key != part.is_independent:
            text = f"{part.uri}: INDEPENDENT {part.is_independent}, has such a frame: {has_key}"
            self._add("part-independent", segment, text)


def _fetch(resources: Mapping[str, bytes], uri: str, span: tuple[int, int] | None) -> bytes | None:
    data = resources.get(uri.partition("?")[0])
    if data is None or span is None:
        return data
    offset, length = span
    return data[offset : offset + length] if offset + length <= len(data) else None


def _samples(data: bytes) -> bytes:
    """All sample data, whatever stands around it."""
    boxes = read_boxes(data, Findings(FMP4_RULES))
    return b"".join(box.data for box in boxes if box.kind == b"mdat") or data


def _steps(was: _Media, media: _Media) -> list[float]:
    """Seconds from one segment to the next by the leading track.

    Where that rests, or begins later than others: by what there is of the others as well.
    """
    if max(was.pts - was.earliest, media.pts - media.earliest) < LEADING:
        return [_passed(was.pts, media.pts, media.turn)]
    return [
        _passed(before, after, media.turn)
        for before in (was.pts, was.earliest)
        for after in (media.pts, media.earliest)
    ]


def _is_near(off: float, room: float, first: _Media, last: _Media) -> bool:
    """Whether media times may be so much ahead of what is told from one segment to another."""
    return -first.hole - room <= off <= last.hole + room


def _passed(old: float, new: float, turn: float) -> float:
    """Seconds from one time to another that may have begun anew in between."""
    return (new - old + turn / 2) % turn - turn / 2 if turn else new - old


def _ts_media(content: TsContent) -> _Media | None:
    lead = next((pid for pid, kind in content.streams.items() if kind in VIDEO), None)
    if lead is None or lead not in content.units:
        lead = next(iter(content.units), None)
    if lead is None:
        return None
    units = content.units[lead]
    first = units[0]
    is_video = first.kind in VIDEO
    spans = {pid: _span(first, each) for pid, each in content.units.items()}
    starts, ends = zip(*spans.values(), strict=True)
    steps = [_passed(a.dts, b.dts, WRAP) / 90_000 for a, b in pairwise(units)]
    shortest = min(steps, default=0.0)
    shown = tuple((first.pts + _passed(first.pts, each.pts, WRAP)) / 90_000 for each in units)
    is_key = first.is_key or not is_video
    return _Media(
        first.dts / 90_000,
        begins(shown, is_key=is_key),
        WRAP / 90_000,
        (sum(steps) + shortest, max(ends) - min(starts)),
        is_key,
        frozenset(_codecs(content.units.values())),
        tuple(sorted(content.streams.items())),
        content.counters,
        min(
            first.pts / 90_000 + _passed(first.pts, each[0].pts, WRAP) / 90_000
            for each in content.units.values()
        ),
        frames=len(units) if is_video else 0,
        shortest=shortest,
        shown=shown,
    )


def _span(origin: Unit, units: list[Unit]) -> tuple[float, float]:
    """Start and end of a track in seconds from `origin`, its last unit as long as the others."""
    start = _passed(origin.dts, units[0].dts, WRAP) / 90_000
    span = _passed(units[0].dts, units[-1].dts, WRAP) / 90_000
    return start, start + (span * len(units) / (len(units) - 1) if len(units) > 1 else 0.0)


def _codecs(streams: Iterable[list[Unit]]) -> Iterable[str]:
    """The names of what is in a transport stream, RFC 6381."""
    for units in streams:
        unit = next((each for each in units if each.first), None)
        if unit is None:
            continue
        if unit.kind == H264:
            yield f"avc1.{unit.first[1:4].hex()}"
        elif unit.kind == H265:
            yield plain(hevc_codec(unescape(unit.first)[3:15]))
        elif unit.kind == AAC:
            yield f"mp4a.40.{(unit.first[2] >> 6) + 1}"
        elif unit.kind in NAMES:
            yield NAMES[unit.kind]
