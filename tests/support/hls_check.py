"""A judge of live HLS; RFC 8216. It imports nothing from FLUX.

`check_media(texts)` reads one media playlist as it was at successive times, as a client that
reloads it; `check_multivariant(text)` the one that lists renditions. Both answer slugs of broken
rules. `parse` gives the segments of a playlist for those who want to fetch them.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d)")
ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^",]*)(?:,|$)')
CODEC = re.compile(r"avc1\.[0-9a-f]{6}|hvc1\.[0-9A-Za-z.]+|mp4a\.40\.\d+|opus")
KNOWN = {
    "#EXTM3U",
    "#EXT-X-VERSION",
    "#EXT-X-TARGETDURATION",
    "#EXT-X-MEDIA-SEQUENCE",
    "#EXT-X-DISCONTINUITY-SEQUENCE",
    "#EXT-X-INDEPENDENT-SEGMENTS",
    "#EXT-X-ENDLIST",
    "#EXT-X-DISCONTINUITY",
    "#EXT-X-PROGRAM-DATE-TIME",
    "#EXTINF",
    "#EXT-X-MAP",
}


@dataclass(slots=True)
class Entry:
    """One segment as the playlist lists it."""

    uri: str
    duration: float
    sequence: int
    discontinuities: int  # discontinuity sequence number
    is_discontinuity: bool
    date: datetime | None


@dataclass(slots=True)
class MediaPlaylist:
    """A media playlist, read."""

    target: int = -1
    sequence: int = 0
    discontinuity_sequence: int = 0
    version: int = 1
    is_independent: bool = False
    is_ended: bool = False
    entries: list[Entry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def parse(text: str) -> MediaPlaylist:
    """Read one media playlist with the rules that need no other."""
    result = MediaPlaylist()
    add = result.problems.append
    lines = text.splitlines()
    if not lines or lines[0] != "#EXTM3U" or not text.endswith("\n"):
        add("header")
    duration: float | None = None
    date: datetime | None = None
    is_break, discontinuities = False, 0
    for line in lines:
        tag, _, value = line.partition(":")
        if line.startswith("#EXT") and tag not in KNOWN:
            add("tag")
        if tag == "#EXT-X-VERSION":
            result.version = int(value)
        elif tag == "#EXT-X-TARGETDURATION":
            result.target = int(value)
        elif tag == "#EXT-X-MEDIA-SEQUENCE":
            result.sequence = int(value)
        elif tag == "#EXT-X-DISCONTINUITY-SEQUENCE":
            result.discontinuity_sequence = discontinuities = int(value)
        elif tag == "#EXT-X-INDEPENDENT-SEGMENTS":
            result.is_independent = True
        elif tag == "#EXT-X-ENDLIST":
            result.is_ended = True
        elif tag == "#EXT-X-DISCONTINUITY":
            is_break = True
            discontinuities += 1
        elif tag == "#EXT-X-PROGRAM-DATE-TIME":
            if not DATE.fullmatch(value):
                add("date-format")
            else:
                date = datetime.fromisoformat(value)
        elif tag == "#EXTINF":
            duration = float(value.rstrip(","))
        elif line and not line.startswith("#"):
            if duration is None:
                add("no-duration")
                continue
            number = result.sequence + len(result.entries)
            result.entries.append(Entry(line, duration, number, discontinuities, is_break, date))
            duration, date, is_break = None, None, False
    if result.target < 0:
        add("target-missing")
    if not result.entries:
        add("empty")
    if result.version < 3:
        add("version")
    if any(int(entry.duration + 0.5) > result.target for entry in result.entries):
        add("target-exceeded")
    _check_dates(result)
    return result


def _check_dates(playlist: MediaPlaylist) -> None:
    """Dates follow the durations within a frame, save over a discontinuity."""
    for before, after in pairwise(playlist.entries):
        if before.date is None or after.date is None:
            playlist.problems.append("date-missing")
        elif not after.is_discontinuity:
            gap = after.date - before.date - timedelta(seconds=before.duration)
            if abs(gap) > timedelta(milliseconds=40):
                playlist.problems.append("date-continuity")


def check_media(texts: list[str]) -> list[str]:
    """The broken rules of one playlist at successive times, each slug once."""
    playlists = [parse(text) for text in texts]
    problems = [problem for playlist in playlists for problem in playlist.problems]
    names: dict[str, int] = {}
    for playlist in playlists:
        for entry in playlist.entries:
            name = entry.uri.partition("?")[0]
            if names.setdefault(name, entry.sequence) != entry.sequence:
                problems.append("name-reused")
    for old, new in pairwise(playlists):
        problems += _check_reload(old, new)
    return list(dict.fromkeys(problems))


def _check_reload(old: MediaPlaylist, new: MediaPlaylist) -> list[str]:
    problems = []
    if new.target != old.target:
        problems.append("target-changed")
    if new.is_independent != old.is_independent:
        problems.append("independent-changed")
    if new.sequence < old.sequence:
        problems.append("sequence-back")
    if old.is_ended and (not new.is_ended or len(new.entries) != len(old.entries)):
        problems.append("changed-after-end")
    now = {entry.sequence: entry for entry in new.entries}
    for entry in old.entries:
        other = now.get(entry.sequence)
        if other is None:
            if entry.sequence >= new.sequence:
                problems.append("segment-lost")
            continue
        if other.uri.partition("?")[0] != entry.uri.partition("?")[0]:
            problems.append("sequence-mismatch")
        if other.duration != entry.duration:
            problems.append("duration-changed")
        if other.discontinuities != entry.discontinuities:
            problems.append("discontinuity-sequence")
    if old.entries and new.sequence > old.entries[-1].sequence + 1:
        problems.append("gap")
    return problems


def check_multivariant(text: str) -> list[str]:
    """The broken rules of a multivariant playlist."""
    problems = []
    lines = text.splitlines()
    if not lines or lines[0] != "#EXTM3U":
        problems.append("header")
    streams = [at for at, line in enumerate(lines) if line.startswith("#EXT-X-STREAM-INF:")]
    if not streams:
        problems.append("no-rendition")
    for at in streams:
        attributes = dict(ATTRIBUTE.findall(lines[at].partition(":")[2]))
        peak, average = attributes.get("BANDWIDTH", ""), attributes.get("AVERAGE-BANDWIDTH", "0")
        if not peak.isdigit() or int(peak) < 1 or int(average) > int(peak):
            problems.append("bandwidth")
        codecs = attributes.get("CODECS", "").strip('"').split(",")
        if not all(CODEC.fullmatch(codec) for codec in codecs):
            problems.append("codecs")
        has_video = any(codec[:4] in ("avc1", "hvc1") for codec in codecs)
        if has_video != bool(re.fullmatch(r"\d+x\d+", attributes.get("RESOLUTION", ""))):
            problems.append("resolution")
        if "FRAME-RATE" in attributes and not re.fullmatch(r"\d+\.\d{3}", attributes["FRAME-RATE"]):
            problems.append("frame-rate")
        if at + 1 >= len(lines) or not lines[at + 1] or lines[at + 1].startswith("#"):
            problems.append("no-uri")
    return problems
