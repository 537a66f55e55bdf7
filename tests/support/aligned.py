"""Holds a capture that begins anywhere in an endless loop against the clip that is looped.

A judge like `frames.compare`, for readers that join a stream which runs already. Each track is
laid onto the clip by its content: every unit must be the next one of the loop, at its time, and
all tracks must lie on the loop in the same way. Where packets may be lost units may be missing,
and nothing else. It imports nothing from FLUX.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from statistics import median

from tests.support.frames import Problems, TrackUnits, Unit, milliseconds

NO_PTS = -(1 << 63)  # FFmpeg's own sign for a time that it does not know
MAX_STARTS = 24  # places of the clip that are tried for a capture's first unit


@dataclass(frozen=True, slots=True)
class Loop:
    """What a sender repeats."""

    tracks: dict[str, TrackUnits]  # by kind
    period: Fraction  # seconds of one round


@dataclass(frozen=True, slots=True)
class Rule:
    """How exactly a capture must match; times in seconds."""

    minimum: dict[str, int]  # units by kind
    tolerance: Fraction = Fraction(1, 1000)
    offset_tolerance: Fraction = Fraction(2, 1000)
    may_miss: bool = False  # units may be missing
    unsettled: int = 0  # so many first units have a time that does not count yet
    may_mangle: int = 0  # so many units may be none of the clip's, or not at their time


@dataclass(slots=True)
class Findings:
    """What the comparison found."""

    problems: list[str] = field(default_factory=list)
    units: int = 0
    missing: int = 0  # units of the clip between the first and the last that came
    mangled: int = 0  # units that are none of the clip's


@dataclass(slots=True)
class _Walk:
    """One track laid onto the loop from one place on."""

    problems: Problems
    places: list[int | None] = field(default_factory=list)  # of each unit, in the endless loop
    missing: int = 0
    mangled: int = 0
    shift: Fraction = Fraction(0)  # seconds of the capture's clock at the loop's time 0


def compare(loop: Loop, capture: dict[str, TrackUnits], rule: Rule) -> Findings:
    """All differences between a loop and a capture of it."""
    findings = Findings()
    shifts: list[Fraction] = []
    for kind, sent in loop.tracks.items():
        if kind not in capture:
            findings.problems.append(f"{kind}: the track is missing")
            continue
        got = capture[kind]
        if got.codec != sent.codec:
            findings.problems.append(f"{kind}: codec {got.codec}, sent was {sent.codec}")
            continue
        walk = _lay(sent.in_rtp_ticks(), got, loop.period, rule)
        due = rule.minimum.get(kind, 1)
        if len(got.units) - walk.mangled < due:
            walk.problems.add("count", f"{len(got.units)} units, at least {due} were due")
        if walk.mangled > rule.may_mangle:
            walk.problems.add("foreign", f"{walk.mangled} units are not the clip's")
        findings.problems += walk.problems.all
        findings.units += len(got.units)
        findings.missing += walk.missing
        findings.mangled += walk.mangled
        shifts.append(walk.shift)
    findings.problems += [f"{kind}: was not sent" for kind in capture if kind not in loop.tracks]
    if not findings.problems:
        for shift in shifts[1:]:
            apart = (shift - shifts[0]) % loop.period
            apart = min(apart, loop.period - apart)
            if apart > rule.offset_tolerance:
                findings.problems.append(f"tracks are {milliseconds(apart)} apart")
    return findings


def _lay(sent: TrackUnits, got: TrackUnits, period: Fraction, rule: Rule) -> _Walk:
    """The track laid onto the loop where it fits best."""
    nowhere = _Walk(Problems(sent.kind))
    known: dict[tuple[bytes, ...], list[int]] = {}  # silence repeats: a unit has many places
    for index, unit in enumerate(sent.units):
        known.setdefault(unit.pieces, []).append(index)
        bare = without_sei(sent.codec, unit.pieces)
        if rule.may_miss and bare != unit.pieces:  # a picture is whole without it
            known.setdefault(bare, []).append(index)
    head = next((unit for unit in got.units if unit.pieces in known), None)
    if head is None or (head is not got.units[0] and not rule.may_mangle):
        first = got.units[0].describe() if got.units else "nothing"
        nowhere.problems.add("first", f"begins with {first}, which is not the clip's")
        nowhere.mangled = 0
        return nowhere
    best: _Walk | None = None
    for start in known[head.pieces][:MAX_STARTS]:
        walk = _walk(sent, got, period, rule, known, start)
        if best is None or len(walk.problems.all) < len(best.problems.all):
            best = walk
        if not best.problems.all:
            break
    assert best is not None
    return best


def _walk(
    sent: TrackUnits,
    got: TrackUnits,
    period: Fraction,
    rule: Rule,
    known: dict[tuple[bytes, ...], list[int]],
    start: int,
) -> _Walk:
    walk = _Walk(Problems(sent.kind))
    count, place = len(sent.units), start

    def due(at: int) -> Fraction:
        return sent.seconds(sent.units[at % count].pts) + at // count * period

    shift: Fraction | None = None
    for number, unit in enumerate(got.units):
        where = known.get(unit.pieces)
        if where is None:
            walk.mangled += 1
            walk.places.append(None)
            if not rule.may_mangle:
                near = sent.units[place % count].describe()
                walk.problems.add("content", f"unit {number} is {unit.describe()}, not {near}")
            place += not rule.may_mangle
            continue
        came = None if unit.pts == NO_PTS else got.seconds(unit.pts)
        if unit.pieces != sent.units[place % count].pieces or rule.may_miss:
            ahead = [place + (index - place) % count for index in where]
            if shift is not None and came is not None and rule.may_miss:
                wanted = came - shift
                ahead += [at + count for at in ahead]
                best = min(ahead, key=lambda at: abs(due(at) - wanted))
            else:
                best = min(ahead)
            if best != place:
                walk.missing += best - place
                if not rule.may_miss:
                    walk.problems.add(
                        "order", f"unit {number}: {best - place} units are missing before it"
                    )
            place = best
        if shift is None and came is not None:
            shift = came - due(place)
        walk.places.append(place)
        place += 1
    times = [None if place is None else due(place) for place in walk.places]
    _check_times(walk, got, times, rule)
    return walk


def _check_times(walk: _Walk, got: TrackUnits, due: Sequence[Fraction | None], rule: Rule) -> None:
    skipped = min(rule.unsettled, len(got.units) // 2)
    shifts = [
        got.seconds(unit.pts) - time
        for unit, time in list(zip(got.units, due, strict=True))[skipped:]
        if time is not None and unit.pts != NO_PTS
    ]
    if not shifts:
        walk.problems.add("pts", "no unit has a time")
        return
    walk.shift = Fraction(median(shifts))
    for number, (unit, time) in enumerate(zip(got.units, due, strict=True)):
        if time is None or unit.pts == NO_PTS or number < skipped:
            continue
        off = got.seconds(unit.pts) - time - walk.shift
        if abs(off) > rule.tolerance and rule.may_mangle:
            walk.mangled += 1
        elif abs(off) > rule.tolerance:
            walk.problems.add("pts", f"unit {number} is {milliseconds(off)} off its time")


def without_sei(codec: str, pieces: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """A picture without supplemental enhancement information, which may be lost by itself."""
    if codec == "h264":
        return tuple(nal for nal in pieces if nal[0] & 0x1F != 6)
    if codec == "hevc":
        return tuple(nal for nal in pieces if nal[0] >> 1 & 0x3F not in (39, 40))
    return pieces


def after_first_key(track: TrackUnits) -> TrackUnits:
    """A video track from its first key frame on: a group is joined in the midst of a picture."""
    if track.codec not in ("h264", "hevc"):
        return track
    first = next((n for n, unit in enumerate(track.units) if _is_key(track.codec, unit)), 0)
    return TrackUnits(track.kind, track.codec, track.time_base, track.units[first:])


def _is_key(codec: str, unit: Unit) -> bool:
    if codec == "h264":
        return any(nal[0] & 0x1F == 5 for nal in unit.pieces)
    return any(16 <= nal[0] >> 1 & 0x3F <= 21 for nal in unit.pieces)
