"""One media playlist by itself; RFC 8216 section 4.3, rfc8216bis section 4.4."""

import re
from datetime import datetime, timedelta
from itertools import pairwise

from tests.support.conform.hls_model import MediaPlaylist, Part, Segment
from tests.support.conform.hls_parts import judge_parts
from tests.support.conform.hls_text import FLOAT, Line, Text, read_date, read_text
from tests.support.conform.problem import Findings

RANGE = re.compile(r"(\d+)(?:@(\d+))?")
FMP4 = (".mp4", ".m4s", ".m4v", ".m4a", ".cmfv", ".cmfa")
DATE_ROOM = 0.04  # seconds; a frame


def read_media(
    data: bytes | str, name: str, findings: Findings, *, date_room: float = DATE_ROOM
) -> MediaPlaylist:
    """Read and judge one media playlist; dates may be off by `date_room` seconds."""
    text = read_text(data, name, findings)
    playlist = _Reader(text, findings).read()
    _judge(playlist, findings)
    _judge_dates(playlist, findings, date_room)
    judge_parts(playlist, findings)
    return playlist


class _Reader:
    def __init__(self, text: Text, findings: Findings) -> None:
        self._text = text
        self._findings = findings
        self._playlist = MediaPlaylist(text)
        self._next = Segment(0)
        self._discontinuities = 0
        self._map_uri = ""
        self._kbps = 0
        self._ranges: dict[str, int] = {}  # where the last sub-range of a resource ended
        self._line: Line = Line(0, "", "", {})

    def _add(self, slug: str, text: str = "") -> None:
        self._findings.add(slug, self._text.where(self._line), text)

    def read(self) -> MediaPlaylist:
        """The playlist."""
        playlist = self._playlist
        for line in self._text.lines:
            self._line = line
            if line.tag in ("#EXT-X-MEDIA-SEQUENCE", "#EXT-X-DISCONTINUITY-SEQUENCE"):
                self._sequence(line)
            elif line.tag:
                self._tag(line)
            else:
                self._uri(line)
        if self._next.duration >= 0:
            self._add("extinf-without-uri")
        if self._next.parts:
            self._next.sequence = self._number()
            playlist.making = self._next
        return playlist

    def _number(self) -> int:
        playlist = self._playlist
        return playlist.sequence + playlist.skipped + len(playlist.segments)

    def _sequence(self, line: Line) -> None:
        playlist = self._playlist
        if not line.value.isdigit():
            self._add("sequence-syntax", line.value)
            return
        is_late = bool(playlist.segments) or bool(self._next.parts)
        if line.tag == "#EXT-X-MEDIA-SEQUENCE":
            if is_late:
                self._add("sequence-late")
            playlist.sequence = int(line.value)
        else:
            if is_late or self._next.is_discontinuity:
                self._add("discontinuity-sequence-late")
            playlist.discontinuity_sequence = self._discontinuities = int(line.value)

    def _tag(self, line: Line) -> None:
        playlist = self._playlist
        match line.tag:
            case "#EXT-X-TARGETDURATION":
                if line.value.isdigit() and int(line.value):
                    playlist.target = int(line.value)
                else:
                    self._add("target-syntax", line.value)
            case "#EXT-X-ENDLIST":
                playlist.is_ended = True
            case "#EXT-X-INDEPENDENT-SEGMENTS":
                playlist.is_independent = True
            case "#EXT-X-I-FRAMES-ONLY":
                playlist.has_frames_only = True
            case "#EXT-X-PLAYLIST-TYPE":
                playlist.type = line.value
                if line.value not in ("EVENT", "VOD"):
                    self._add("playlist-type", line.value)
            case "#EXT-X-PART-INF":
                playlist.part_target = line.seconds("PART-TARGET")
            case "#EXT-X-SERVER-CONTROL":
                playlist.control = line
            case "#EXT-X-SKIP":
                skipped = line.attributes.get("SKIPPED-SEGMENTS", "")
                if not skipped.isdigit() or playlist.segments:
                    self._add("skip", f"SKIPPED-SEGMENTS {skipped!r}, or behind a segment")
                playlist.skipped = int(skipped) if skipped.isdigit() else 0
            case "#EXT-X-PRELOAD-HINT":
                playlist.hints.append(line)
            case "#EXT-X-RENDITION-REPORT":
                playlist.reports.append(line)
            case "#EXT-X-DATERANGE":
                if not line.text("ID") or not self._text.counts["#EXT-X-PROGRAM-DATE-TIME"]:
                    self._add("daterange", "no ID, or no date in the playlist")
            case _:
                self._segment_tag(line)

    def _segment_tag(self, line: Line) -> None:
        segment = self._next
        if line.tag == "#EXT-X-PART":
            self._part(line)
            return
        if segment.parts and line.tag in (
            "#EXT-X-DISCONTINUITY",
            "#EXT-X-KEY",
            "#EXT-X-MAP",
            "#EXT-X-PROGRAM-DATE-TIME",
        ):
            self._add("part-tags", f"{line.tag} behind the first part")
        match line.tag:
            case "#EXTINF":
                value, comma, _ = line.value.partition(",")
                if not FLOAT.fullmatch(value) or not comma:
                    self._add("extinf-syntax", line.value)
                if segment.duration >= 0:
                    self._add("extinf-without-uri")
                segment.duration = float(value) if FLOAT.fullmatch(value) else 0.0
            case "#EXT-X-DISCONTINUITY":
                segment.is_discontinuity = True
                self._discontinuities += 1
            case "#EXT-X-PROGRAM-DATE-TIME":
                segment.date = read_date(line.value)
                if segment.date is None:
                    self._add("date-syntax", line.value)
            case "#EXT-X-MAP":
                self._map_uri = line.text("URI")
                span = line.attributes.get("BYTERANGE")
                if not self._map_uri or (span is not None and "@" not in span):
                    self._add("map", line.value)
            case "#EXT-X-GAP":
                segment.is_gap = True
            case "#EXT-X-BITRATE":
                self._kbps = int(line.value) if line.value.isdigit() else 0
                if not self._kbps:
                    self._add("bitrate", line.value)
            case "#EXT-X-BYTERANGE":
                segment.range = self._range(line.value)
            case "#EXT-X-KEY":
                method = line.attributes.get("METHOD", "")
                if not method or (method == "NONE") != (set(line.attributes) == {"METHOD"}):
                    self._add("key", line.value)

    def _range(self, value: str) -> tuple[int, int] | None:
        """Offset and length; offset -1: behind the one before."""
        match = RANGE.fullmatch(value)
        if match is None:
            self._add("byterange", value)
            return None
        return (int(match[2]) if match[2] is not None else -1), int(match[1])

    def _placed(self, uri: str, span: tuple[int, int] | None) -> tuple[int, int] | None:
        """The same range with its offset."""
        if span is None:
            return None
        offset, length = span
        if offset < 0:
            if uri not in self._ranges:
                self._add("byterange", "no offset, and nothing of this resource before")
            offset = self._ranges.get(uri, 0)
        self._ranges[uri] = offset + length
        return offset, length

    def _part(self, line: Line) -> None:
        uri, duration = line.text("URI"), line.seconds("DURATION")
        flags = [line.attributes.get(name, "YES") for name in ("INDEPENDENT", "GAP")]
        if not uri or duration < 0 or flags != ["YES", "YES"]:
            self._add("part", line.value)
        span = line.text("BYTERANGE")
        self._next.parts.append(
            Part(
                uri,
                max(duration, 0.0),
                "INDEPENDENT" in line.attributes,
                "GAP" in line.attributes,
                self._placed(uri, self._range(span)) if span else None,
                line.number,
            )
        )

    def _uri(self, line: Line) -> None:
        segment = self._next
        self._next = Segment(0)
        if segment.duration < 0:
            self._add("extinf-missing", line.value)
            segment.duration = 0.0
        segment.uri, segment.number = line.value, line.number
        segment.range = self._placed(segment.uri, segment.range)
        segment.sequence = self._number()
        segment.discontinuities = self._discontinuities
        segment.map_uri, segment.kbps = self._map_uri, self._kbps
        self._playlist.segments.append(segment)


def _judge(playlist: MediaPlaylist, findings: Findings) -> None:
    add, name = findings.add, playlist.text.name
    if playlist.target < 0 and not findings.has("target-syntax"):
        add("target-missing", name)
    if not playlist.segments and not playlist.making:
        add("no-segments", name)
    if playlist.type and not playlist.is_ended and playlist.sequence:
        add("live-type", name, f"{playlist.type}, and segments were removed")
    for segment in playlist.segments:
        where = f"{name} line {segment.number}"
        if 0 < playlist.target < int(segment.duration + 0.5):
            add("target-exceeded", where, f"{segment.duration} s, {playlist.target} s may be")
        path = segment.uri.partition("?")[0]
        if path.endswith(FMP4) and not segment.map_uri and not playlist.skipped:
            add("map-missing", where, segment.uri)


def _judge_dates(playlist: MediaPlaylist, findings: Findings, room: float) -> None:
    """Dates follow the durations; each break has one."""
    add, name = findings.add, playlist.text.name
    segments = playlist.segments
    if not any(segment.date for segment in segments):
        return
    date: datetime | None = None
    for segment in segments:
        where = f"{name} line {segment.number}"
        if segment.is_discontinuity and segment.date is None:
            add("date-missing", where, "a discontinuity without a date")
            date = None
        if segment.date is not None:
            if date is not None and not segment.is_discontinuity:
                off = abs((segment.date - date).total_seconds())
                if off > room:
                    add("date-mapping", where, f"{off:.3f} s off what the durations say")
            elif date is not None and segment.date < date - timedelta(seconds=1):
                add("date-mapping", where, "back in time")
            date = segment.date
        if date is not None:
            date += timedelta(seconds=segment.duration)
    for before, after in pairwise(segments):
        # Behind a break sound may go back to where a picture begins that was there before.
        overlap = timedelta(seconds=room if after.is_discontinuity else 0)
        if before.date and after.date and after.date + overlap <= before.date:
            add("date-mapping", f"{name} line {after.number}", "not later than the one before")
