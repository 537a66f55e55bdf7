"""Runs a demuxer over bytes, and says what FFmpeg finds in the same bytes."""

import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import av

from flux.base.units import rescale
from media.mpegts.demuxer import TsDemuxer
from media.mpegts.events import TracksChanged, TsEvent, TsTrack, TsUnit
from media.track import Kind
from tests.support.frames import split_start_codes

CLOCK = 90_000
WRAP = 1 << 33
AUD = {"h264": 9, "hevc": 35}

UnitKey = tuple[int, int, int, tuple[bytes, ...]]


@dataclass(slots=True)
class Demuxed:
    """What came out of a demuxer."""

    events: list[TsEvent] = field(default_factory=list)
    drops: Counter[str] = field(default_factory=Counter)
    demuxer: TsDemuxer = field(init=False)

    @property
    def units(self) -> list[TsUnit]:
        """All units in order."""
        return [event for event in self.events if isinstance(event, TsUnit)]

    @property
    def tracks(self) -> tuple[TsTrack, ...]:
        """The tracks of the last list."""
        lists = [event.tracks for event in self.events if isinstance(event, TracksChanged)]
        return lists[-1] if lists else ()

    def of(self, pid: int) -> list[TsUnit]:
        """The units of one PID."""
        return [unit for unit in self.units if unit.track.pid == pid]

    def payloads(self, pid: int) -> list[tuple[bytes, ...]]:
        """Their payloads."""
        return [unit.payload for unit in self.of(pid)]

    def times(self, pid: int) -> list[tuple[int, int]]:
        """Their PTS and DTS."""
        return [(unit.pts, unit.dts) for unit in self.of(pid)]

    def keys(self) -> set[UnitKey]:
        """All units as values."""
        return {key_of(unit) for unit in self.units}


def key_of(unit: TsUnit) -> UnitKey:
    """A unit as a value."""
    return unit.track.pid, unit.pts, unit.dts, unit.payload


def start(program: int | None = None) -> Demuxed:
    """A demuxer that nothing was fed to."""
    result = Demuxed()
    result.demuxer = TsDemuxer(lambda reason: result.drops.update((reason,)), program=program)
    return result


def demux(
    pieces: bytes | Iterable[bytes],
    *,
    is_datagram: bool = False,
    flush: bool = True,
    program: int | None = None,
) -> Demuxed:
    """Feed everything, each piece a second after the one before."""
    result = start(program)
    for now, piece in enumerate((pieces,) if isinstance(pieces, bytes) else pieces):
        result.events += result.demuxer.feed(piece, float(now), is_datagram=is_datagram)
    if flush:
        result.events += result.demuxer.flush()
    return result


def cut(data: bytes, size: int) -> list[bytes]:
    """Equal pieces."""
    return [data[at : at + size] for at in range(0, len(data), size)]


@dataclass(slots=True)
class Reference:
    """What FFmpeg finds on one PID."""

    codec: str
    packets: list[tuple[int | None, int | None, bytes]]  # PTS, DTS in 90 kHz, bytes


def reference(data: bytes) -> dict[int, Reference]:
    """Every stream by its PID, by FFmpeg's own demuxer and parsers."""
    found: dict[int, Reference] = {}
    options = {"fflags": "+nofillin"}
    with av.open(io.BytesIO(data), mode="r", format="mpegts", options=options) as opened:
        for stream in opened.streams:
            context = stream.codec_context
            found[stream.id] = Reference(context.name if context is not None else stream.type, [])
        for packet in opened.demux():
            if packet.size:
                found[packet.stream.id].packets.append((packet.pts, packet.dts, bytes(packet)))
    return found


def differences(result: Demuxed, data: bytes) -> list[str]:
    """Where a demuxer and FFmpeg do not agree on a stream; empty if they do everywhere."""
    problems: list[str] = []
    theirs = reference(data)
    for track in result.tracks:
        mine = result.of(track.pid)
        other = theirs.get(track.pid)
        if other is None:
            problems.append(f"{track.pid:#x}: FFmpeg has no such stream")
            continue
        if len(mine) != len(other.packets):
            problems.append(f"{track.pid:#x}: {len(mine)} units, FFmpeg has {len(other.packets)}")
        for number, (unit, (pts, dts, packet)) in enumerate(zip(mine, other.packets, strict=False)):
            if other.codec != "aac_latm" and without_config(unit) != normal(other.codec, packet):
                problems.append(f"{track.pid:#x} unit {number}: other bytes")
            if pts is not None and not _is_same_time(unit, pts, dts):
                problems.append(f"{track.pid:#x} unit {number}: {unit.pts}/{unit.dts}, {pts}/{dts}")
    return problems[:10]


def without_config(unit: TsUnit) -> tuple[bytes, ...]:
    """The payload without an AudioSpecificConfig that was put before it."""
    return unit.payload[-1:] if unit.track.codec == "aac" else unit.payload


def normal(codec: str, packet: bytes) -> tuple[bytes, ...]:
    """FFmpeg's packet in the form of a unit's payload."""
    if codec in AUD:
        nals = split_start_codes(packet)
        if codec == "h264":
            return tuple(nal for nal in nals if nal[0] & 31 != AUD[codec])
        return tuple(nal for nal in nals if nal[0] >> 1 & 63 != AUD[codec])
    if codec == "aac" and packet[0] == 0xFF and packet[1] & 0xF6 == 0xF0:
        return (packet[7 if packet[1] & 1 else 9 :],)
    return (packet,)


def _is_same_time(unit: TsUnit, pts: int, dts: int | None) -> bool:
    """Equal but for whole wraps; FFmpeg rounds what it counts on by itself."""
    rate = unit.track.clock_rate
    apart = rescale(unit.pts, rate, CLOCK) - pts
    apart = (apart + WRAP // 2) % WRAP - WRAP // 2
    if abs(apart) > 1:
        return False
    return (
        unit.track.kind is not Kind.VIDEO or (unit.dts - (pts if dts is None else dts)) % WRAP == 0
    )
