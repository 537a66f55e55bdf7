"""Variants of one multivariant playlist that were recorded apart; RFC 8216 section 6.2.4.

Their key frames may lie at different times, so segments of one number need not begin at the same
instant, as those of renditions in `hls_renditions.py` do. What players need to change between them:
one clock, numbers and discontinuities in step, and no small holes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from tests.support.conform.hls_media import read_media
from tests.support.conform.hls_model import MediaPlaylist
from tests.support.conform.hls_rules import RULES
from tests.support.conform.problem import Findings, Problem

GROUP_RULES = {
    "group-target": "RFC 8216 6.2.4: the same target duration",
    "group-number": "RFC 8216 4.3.2.6, 6.3.3: one number is one span of time",
    "group-discontinuity": "RFC 8216 6.2.4: matching discontinuity sequence numbers",
    "group-step": "RFC 8216 6.2.4: what only some have is at the ends",
    "group-hole": "hls.js maxFragLookUpTolerance 0.25 s, a frame is played over",
    "group-clock": "RFC 8216 6.2.4: matching content has matching timestamps",
}
PLAYED_OVER = 0.065  # seconds: a hole of about a frame
SEEN = 0.25  # seconds: players look for another segment to fill a longer one
STEP = 1  # segments that a variant may be ahead of another
CLOCK_ROOM = 0.002  # seconds: dates have milliseconds


@dataclass(frozen=True, slots=True)
class Instant:
    """A segment's first picture: its date in the playlist and its time stamp in the media."""

    date: datetime
    pts: float  # seconds


def check_group(playlists: Mapping[str, bytes | str], span: float) -> list[Problem]:
    """The broken rules of variants that were loaded at one moment, by their URIs.

    `span`: seconds that segments of one number may begin apart.
    """
    findings = Findings(GROUP_RULES)
    read = {uri: _read(text, uri) for uri, text in playlists.items()}
    targets = {uri: each.target for uri, each in read.items()}
    if len(set(targets.values())) > 1:
        findings.add("group-target", "group", str(targets))
    last = {uri: each.segments[-1].sequence for uri, each in read.items() if each.segments}
    if last and max(last.values()) - min(last.values()) > STEP:
        findings.add("group-step", "group", str(last))
    for one, first in read.items():
        for other, second in read.items():
            if one != other:
                _judge_pair(f"{one} and {other}", first, second, span, findings)
    return findings.problems


@lru_cache(maxsize=64)  # most of a group's playlists are as they were
def _read(text: bytes | str, uri: str) -> MediaPlaylist:
    """What is wrong in itself is told by others."""
    return read_media(text, uri, Findings(RULES))


def check_clock(
    variants: Mapping[str, Sequence[Instant]], room: float = CLOCK_ROOM
) -> list[Problem]:
    """Whether the time stamps of all variants tell the same dates; without discontinuities."""
    findings = Findings(GROUP_RULES)
    shifts = {
        uri: [each.date.timestamp() - each.pts for each in instants]
        for uri, instants in variants.items()
    }
    every = [shift for each in shifts.values() for shift in each]
    if every and max(every) - min(every) > room:
        told = {uri: (min(each), max(each)) for uri, each in shifts.items() if each}
        findings.add("group-clock", "group", str(told))
    return findings.problems


def _judge_pair(
    where: str, one: MediaPlaylist, other: MediaPlaylist, span: float, findings: Findings
) -> None:
    by_number = {segment.sequence: segment for segment in other.segments}
    for segment in one.segments:
        same, following = by_number.get(segment.sequence), by_number.get(segment.sequence + 1)
        if same is not None:
            if same.discontinuities != segment.discontinuities:
                text = f"{segment.sequence}: {segment.discontinuities} and {same.discontinuities}"
                findings.add("group-discontinuity", where, text)
            if segment.date and same.date:
                apart = abs((same.date - segment.date).total_seconds())
                # The first one may begin late: where the variant was begun or came back.
                is_first = same is other.segments[0] or segment is one.segments[0]
                if apart > span and not is_first:
                    findings.add("group-number", where, f"{segment.sequence}: {apart:.3f} s apart")
        if following is None or following.date is None or segment.date is None:
            continue
        if following.discontinuities != segment.discontinuities:
            continue
        hole = (following.date - segment.date).total_seconds() - segment.duration
        if PLAYED_OVER < hole < SEEN:
            findings.add("group-hole", where, f"{hole:.3f} s behind {segment.sequence}")
