"""A source in virtual time: what it captures, when, and what it says of that.

A `Run` is what one source does from its first unit to its end: units of real clips, played on and
on without a gap, each with the instant at which it was captured (the truth, in seconds) and with
what the source tells of it. `twists` spoil runs. Nothing here is random.

Each unit ends in four bytes that say its number, so a judge knows it again in any container; of
NAL units only the beginning is kept, so that judging costs little.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from media.frame import NO_TIME
from media.parameters import Parameters
from media.track import Kind, TrackDescription
from tests.support import clips
from tests.support.torture.marks import MARK_BYTES, marked

NAL_BYTES = 48
LATENCY = 0.05  # seconds from the end of a unit's decoding turn to its arrival
NTP_EPOCH = 3_900_000_000  # seconds of the source's wall clock at instant 0
REPORT_EVERY = 5.0  # seconds
REPORT_APART = 4.5  # from those of one track to those of the next
FIRST_REPORT = 0.3


@dataclass(slots=True)
class Sent:
    """One unit that the source sends."""

    track: int  # place in the run's descriptions
    is_video: bool
    number: int
    instant: float  # seconds of truth at which it is shown
    timestamp: int  # what the source says, in ticks of its clock
    dts: int  # the same, or NO_TIME
    arrived: float  # seconds
    payload: tuple[bytes, ...]
    is_key: bool
    era: int = 0  # grows where the truth jumps


@dataclass(slots=True)
class Report:
    """A sender report: the source's wall clock at a timestamp."""

    track: int
    instant: float
    ntp: float  # seconds
    timestamp: int
    arrived: float


Item = Sent | Report


@dataclass(slots=True)
class Run:
    """One run of a source."""

    descriptions: tuple[TrackDescription, ...]
    items: list[Item]  # in the order of arrival
    begins: float = 0.0  # seconds
    ends: float | None = None  # None: it goes on
    anchor: dict[int, int] = field(default_factory=dict)  # track to timestamp: one instant
    is_taken_over: bool = False  # ends since the next run begins


@dataclass(frozen=True, slots=True)
class Material:
    """A track of a clip, made regular: unit n is decoded n steps after the first."""

    kind: Kind
    codec: str
    clock_rate: int
    parameters: Parameters | None
    step: int  # ticks
    units: tuple[tuple[tuple[bytes, ...], int, bool], ...]  # payload, PTS - DTS, is key


@cache
def material(path: Path, kind: Kind, nal_bytes: int = NAL_BYTES) -> Material:
    """What a clip has of this kind; `nal_bytes` 0: whole NAL units."""
    own = clips.only(clips.read(path), kind)
    first = own[0]
    step = round((own[-1].dts - first.dts) / (len(own) - 1))
    if kind is Kind.AUDIO:
        step = 1024
    limit = nal_bytes if kind is Kind.VIDEO and nal_bytes else None
    units = tuple(
        (
            tuple(nal[:limit] for nal in frame.payload),
            round((frame.pts - frame.dts) / step) * step,
            frame.key,
        )
        for frame in own
    )
    track = first.track
    return Material(kind, track.codec, track.clock_rate, first.parameters, step, units)


@dataclass(frozen=True, slots=True)
class Lens:
    """How one track of a camera behaves; times in seconds."""

    material: Material
    epoch: float = 0.0  # of its clock at instant 0
    has_dts: bool = False
    latency: float = LATENCY
    every: int = 1  # of so many units one is sent
    is_announced: bool = True  # its parameters are told before its first unit


_is_whole = False


@contextmanager
def whole_units() -> Iterator[None]:
    """Units of runs that are made in here are those of the clips, for programs that decode them."""
    global _is_whole  # scenarios are functions without arguments
    _is_whole = True
    try:
        yield
    finally:
        _is_whole = False


def picture(path: Path = clips.SOUND_FIRST) -> Material:
    """The usual picture: H.264 with B-frames, a key frame a second."""
    return material(path, Kind.VIDEO, 0 if _is_whole else NAL_BYTES)


def sound(path: Path = clips.SOUND_FIRST) -> Material:
    """The usual sound: AAC, 44.1 kHz."""
    return material(path, Kind.AUDIO)


def usual(*, epoch: float = 1000.0, has_dts: bool = False) -> tuple[Lens, Lens]:
    """Picture and sound on one clock."""
    return (
        Lens(picture(), epoch, has_dts),
        Lens(sound(), epoch, has_dts),
    )


def film(
    lenses: Iterable[Lens] | None = None,
    seconds: float = 8.0,
    *,
    start: float = 0.0,
    numbers: int = 0,
    era: int = 0,
    is_anchored: bool = True,
    has_reports: bool = False,
) -> Run:
    """A run of these tracks from instant `start` on; `numbers` is where those of units begin."""
    chosen = tuple(usual() if lenses is None else lenses)
    items: list[Item] = []
    for track, lens in enumerate(chosen):
        items += _units(track, lens, start, seconds, numbers, era)
        if has_reports:
            items += _reports(track, lens, start, seconds)
    items.sort(key=lambda item: item.arrived)
    anchor = {}
    if is_anchored:
        for track, lens in enumerate(chosen):
            anchor[track] = round((start + lens.epoch) * lens.material.clock_rate)
    return Run(tuple(map(_describe, chosen)), items, start, anchor=anchor)


def _describe(lens: Lens) -> TrackDescription:
    made = lens.material
    parameters = made.parameters if lens.is_announced else None
    return TrackDescription(made.kind, made.codec, made.clock_rate, parameters)


def _units(
    track: int, lens: Lens, start: float, seconds: float, numbers: int, era: int
) -> Iterable[Item]:
    made = lens.material
    rate, count = made.clock_rate, len(made.units)
    is_video = made.kind is Kind.VIDEO
    base = round((start + lens.epoch) * rate)
    reorder = min(offset for _, offset, _ in made.units) if is_video else 0
    for n in range(0, int(seconds * rate / made.step), lens.every):
        payload, offset, is_key = made.units[n // lens.every % count]
        decode = n * made.step
        show = decode + offset - reorder
        yield Sent(
            track,
            is_video,
            numbers + n,
            start + show / rate,
            base + show,
            base + decode if lens.has_dts else NO_TIME,
            start + decode / rate + lens.latency,
            payload if _is_whole else marked(payload, numbers + n),
            is_key,
            era,
        )


def _reports(track: int, lens: Lens, start: float, seconds: float) -> Iterable[Item]:
    rate = lens.material.clock_rate
    at = FIRST_REPORT + track * REPORT_APART
    while at < seconds:
        instant = start + at
        timestamp = round((instant + lens.epoch) * rate)
        yield Report(track, instant, NTP_EPOCH + instant, timestamp, instant + lens.latency)
        at += REPORT_EVERY


def clock_rate(run: Run, item: Item) -> int:
    """Hz of the track that an item belongs to."""
    return run.descriptions[item.track].clock_rate


def first_number(run: Run) -> int:
    """A number that no unit of this run has, nor of one before it."""
    return max((item.number for item in run.items if isinstance(item, Sent)), default=-1) + 1


def in_order(run: Run) -> Run:
    """The same run with its items in the order of arrival; those that came together stay."""
    return replace(run, items=sorted(run.items, key=lambda item: item.arrived))


__all__ = [
    "LATENCY",
    "MARK_BYTES",
    "NTP_EPOCH",
    "Item",
    "Lens",
    "Material",
    "Report",
    "Run",
    "Sent",
    "film",
]
