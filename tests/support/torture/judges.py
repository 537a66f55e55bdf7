"""What players got, before the judges of `conform` and against the truth. Nothing of FLUX in it.

The truth is what the source captured: units know their number, so each one that came out is held
against the instant at which it was captured, whatever clock the container has.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.support.conform.flv import FlvLimits, read_flv
from tests.support.conform.flv_tags import VIDEO
from tests.support.conform.fmp4 import Fmp4Limits, read_fmp4
from tests.support.conform.hls import (
    Follower,
    SegmentJudge,
    SegmentLimits,
    check_multivariant,
)
from tests.support.conform.problem import Problem
from tests.support.conform.rtp import NTP_SECOND, RtpJudge, RtpLimits, RtpLine
from tests.support.conform.ts import TsContent, TsLimits, read_ts
from tests.support.conform.ts_units import VIDEO as TS_VIDEO
from tests.support.torture.marks import number_of

WRAP = 1 << 33
TS_HZ = 90_000
APART = 0.020  # seconds that picture and sound may be off each other
ROUGH = 0.002  # seconds: what rounding to milliseconds and to ticks makes of a step
ROUGH_RTP = 0.008  # where the wall clock that reports tell is being slewed
SLEW = 0.0055  # of media time that a step may be stretched by
MUCH = 1 << 40  # ticks: a track may rest
MOST = 3  # problems of a kind that are told


@dataclass(frozen=True, slots=True)
class Truth:
    """A unit as it was captured; seconds."""

    instant: float
    era: int  # within one, nothing jumps
    place: int  # in the order of sending of its track


@dataclass(frozen=True, slots=True)
class Came:
    """A unit as it came out; seconds of the output's clock."""

    is_video: bool
    number: int
    pts: float


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a scenario asks for beyond the rules; seconds."""

    blind: tuple[tuple[float, float], ...] = ()  # instants at which times may be off
    drift: float = 0.1  # by how much presentation may be off the truth
    lost: int = 0  # units that may be missing within a body
    begins_late: float = 2.5  # until then nothing need have come
    has_holes: bool = False  # no media for longer than the rules of intervals allow
    has_pauses: bool = False  # the same of one track
    is_rough: bool = False  # units are not spaced as they were captured
    jump_ms: int = 10_000
    date_room: float = 0.15  # by how much dates may be off media times
    counts: bool = True  # readers of RTP get all packets that were made since they came
    waived: Mapping[str, frozenset[str]] = field(default_factory=dict)  # output to rules


@dataclass(slots=True)
class Got:
    """One body as a judge needs it."""

    data: bytes
    lines: Mapping[int, RtpLine]
    packets: Sequence[tuple[int, bytes]]
    looks: Sequence[tuple[float, bytes]]
    resources: Mapping[str, bytes]
    multivariant: bytes
    is_last: bool


TruthOf = Mapping[tuple[bool, int], Truth]


def judge(output: str, got: Got, truth: TruthOf, wishes: Wishes) -> list[str]:
    """All that is wrong with one body."""
    problems, came = READERS[output](got, wishes)
    waived = wishes.waived.get(output, frozenset())
    told = [str(problem) for problem in problems if problem.slug not in waived]
    rough = ROUGH_RTP if output == "rtp" else ROUGH
    return told + against_truth(came, truth, wishes, rough, is_last=got.is_last)


def _flv(got: Got, wishes: Wishes) -> tuple[list[Problem], list[Came]]:
    limits = FlvLimits(jump_ms=0 if wishes.has_holes else wishes.jump_ms)
    content = read_flv(got.data, limits)
    came = []
    for tag in content.tags:
        number = number_of(tag.data[-8:]) if tag.is_frame else None
        if number is not None:
            pts = (tag.time_ms + tag.composition_ms) / 1000
            came.append(Came(tag.kind == VIDEO, number, pts))
    return content.problems, came


def _ts(got: Got, wishes: Wishes) -> tuple[list[Problem], list[Came]]:
    content = read_ts(got.data, _ts_limits(wishes))
    return content.problems, list(_ts_units(content))


def _ts_limits(wishes: Wishes) -> TsLimits:
    if wishes.has_holes:
        return TsLimits(tables_within=0, tables_at_keys=True, pcr_within=0, pts_within=0)
    return TsLimits(
        tables_within=0.1, tables_at_keys=True, pts_within=0 if wishes.has_pauses else 0.7
    )


def _ts_units(content: TsContent) -> Iterable[Came]:
    """Units in the order of their first packets, times unwrapped from unit to unit."""
    last: int | None = None
    units = sorted(
        (unit for each in content.units.values() for unit in each), key=lambda unit: unit.number
    )
    for unit in units:
        number = number_of(unit.tail)
        if number is None:
            continue
        last = unit.pts if last is None else last + _nearest(unit.pts - last)
        yield Came(unit.kind in TS_VIDEO, number, last / TS_HZ)


def _nearest(ticks: int) -> int:
    """The shortest way between two 33-bit times."""
    return (ticks + WRAP // 2) % WRAP - WRAP // 2


def _fmp4(got: Got, wishes: Wishes) -> tuple[list[Problem], list[Came]]:
    rests = wishes.has_pauses or wishes.has_holes
    limits = Fmp4Limits(starts_with_sync=False, gap=MUCH if rests else 0)
    content = read_fmp4(got.data, limits)
    came = []
    for segment in content.segments:
        for sample in segment.samples:
            number, head = number_of(sample.tail), content.tracks[sample.track]
            if number is not None:
                came.append(Came(head.is_video, number, sample.pts / (head.timescale or 1)))
    return content.problems, came


def _rtp(got: Got, wishes: Wishes) -> tuple[list[Problem], list[Came]]:
    rtp = RtpJudge(got.lines, RtpLimits(jump=0 if wishes.has_holes else 10.0, counts=wishes.counts))
    for channel, data in got.packets:
        if channel & 1:
            rtp.rtcp(channel >> 1, data)
        else:
            rtp.packet(channel >> 1, data)
    content = rtp.finish()
    came = []
    for unit in content.units:
        number = number_of(unit.tail)
        if number is not None and unit.ntp is not None:
            is_video = got.lines[unit.track].is_video
            came.append(Came(is_video, number, unit.ntp / NTP_SECOND))
    return content.problems, came


def _hls(got: Got, wishes: Wishes) -> tuple[list[Problem], list[Came]]:
    follower = Follower(slack=0.5, date_room=wishes.date_room)
    pts_within = 0 if wishes.has_pauses else 0.7
    ts = TsLimits(tables_within=0, is_segment=True, pts_within=pts_within)
    if wishes.has_holes:
        ts = TsLimits(tables_within=0, is_segment=True, pcr_within=0, pts_within=0)
    fmp4 = Fmp4Limits(
        starts_with_sync=False, gap=MUCH if wishes.has_pauses or wishes.has_holes else 0
    )
    segments = SegmentJudge(SegmentLimits(date=wishes.date_room, ts=ts, fmp4=fmp4))
    for at, playlist in got.looks:
        now = None if wishes.has_holes else at
        segments.playlist(follower.reload(playlist, now), got.resources)
    problems = [*follower.problems, *segments.problems]
    if got.multivariant:
        problems += check_multivariant(got.multivariant)
    is_ts = any(name.endswith(".ts") for name in got.resources)
    return problems, list(_hls_units(segments, is_ts=is_ts))


def _hls_units(segments: SegmentJudge, *, is_ts: bool) -> Iterable[Came]:
    turn = WRAP / TS_HZ
    last: float | None = None
    for unit in segments.units:
        number = number_of(unit.tail)
        if number is None:
            continue
        if last is None or not is_ts:
            last = unit.pts
        else:
            last += (unit.pts - last + turn / 2) % turn - turn / 2
        yield Came(unit.is_video, number, last)


READERS = {
    "flv": _flv,
    "ts": _ts,
    "srt": _ts,
    "fmp4": _fmp4,
    "rtp": _rtp,
    "hls-ts": _hls,
    "hls-fmp4": _hls,
    "ll-hls": _hls,
}


def against_truth(
    came: Sequence[Came], truth: TruthOf, wishes: Wishes, rough: float, *, is_last: bool
) -> list[str]:
    """What came out against what was captured."""
    told: list[str] = []
    for is_video in (True, False):
        own = [unit for unit in came if unit.is_video is is_video]
        known = {number: each for (kind, number), each in truth.items() if kind is is_video}
        name = "video" if is_video else "audio"
        if own:
            told += _judge_order(name, own, known, wishes, is_last=is_last)
            told += _judge_steps(name, own, known, wishes, rough)
    told += _judge_offsets(came, truth, wishes)
    return told


def _judge_order(
    name: str,
    own: Sequence[Came],
    truth: Mapping[int, Truth],
    wishes: Wishes,
    *,
    is_last: bool,
) -> list[str]:
    """Nothing is missing, twice, or in another order than it was sent."""
    foreign = [unit.number for unit in own if unit.number not in truth]
    if foreign:
        return [f"{name}: units that nobody sent: {foreign[:MOST]}"]
    places = [truth[unit.number].place for unit in own]
    told = [
        f"{name}: unit {places[n]} after {places[n - 1]}"
        for n in range(1, len(places))
        if places[n] <= places[n - 1]
    ][:MOST]
    missing = places[-1] - places[0] + 1 - len(set(places))
    if missing > wishes.lost:
        told.append(f"{name}: {missing} units are missing, {wishes.lost} may be")
    last = max(each.place for each in truth.values())
    if is_last and last - places[-1] > wishes.lost:
        told.append(f"{name}: the last {last - places[-1]} units did not come")
    return told


def _judge_steps(
    name: str, own: Sequence[Came], truth: Mapping[int, Truth], wishes: Wishes, rough: float
) -> list[str]:
    """Within an era units are as far apart as they were captured."""
    told: list[str] = []
    shown = sorted(own, key=lambda unit: truth[unit.number].instant)
    first = shown[0].pts - truth[shown[0].number].instant
    for before, after in pairwise(shown):
        was, now = truth[before.number], truth[after.number]
        passed = now.instant - was.instant
        step = after.pts - before.pts
        off = after.pts - now.instant - first
        if abs(off) > wishes.drift + SLEW * abs(now.instant):
            told.append(f"{name}: {off:+.3f} s off the truth at {now.instant:.3f}")
        is_same = now.era == was.era and not wishes.is_rough and not _is_blind(now, wishes)
        if is_same and abs(step - passed) > rough + SLEW * passed:
            told.append(f"{name}: {step:.4f} s for {passed:.4f} s at {now.instant:.3f}")
        if len(told) >= MOST:
            break
    return told


def _is_blind(captured: Truth, wishes: Wishes) -> bool:
    return any(begin <= captured.instant < end for begin, end in wishes.blind)


def _judge_offsets(came: Sequence[Came], truth: TruthOf, wishes: Wishes) -> list[str]:
    """Picture and sound are together, wherever both are there."""
    told: list[str] = []
    latest: dict[bool, tuple[int, float]] = {}
    known = sorted(
        ((truth[u.is_video, u.number], u) for u in came if (u.is_video, u.number) in truth),
        key=lambda pair: pair[0].instant,
    )
    for captured, unit in known:
        off = unit.pts - captured.instant
        latest[unit.is_video] = captured.era, off
        other = latest.get(not unit.is_video)
        if other is None or other[0] != captured.era:
            continue
        if _is_blind(captured, wishes):
            continue
        apart = off - other[1] if not unit.is_video else other[1] - off
        if abs(apart) > APART:
            told.append(f"sound {apart * 1000:+.1f} ms against picture at {captured.instant:.3f}")
            if len(told) >= MOST:
                break
    return told
