"""PES packets and what they hold; ISO/IEC 13818-1 sections 2.4.3.6, 2.7, 2.14 and 2.17."""

from dataclasses import dataclass, field
from typing import Protocol

from tests.support.conform.problem import Findings

ISO = "ISO/IEC 13818-1"
WRAP = 1 << 33
CLOCK_HZ = 90_000
NONE = -1
TAIL_BYTES = 8
H264, H265, AAC, LATM, MPEG1, MPEG2 = 0x1B, 0x24, 0x0F, 0x11, 0x03, 0x04
AC3, EAC3, PRIVATE, METADATA = 0x81, 0x87, 0x06, 0x15
VIDEO = frozenset((0x01, 0x02, 0x10, H264, 0x20, H265, 0x33))
AUDIO = frozenset((MPEG1, MPEG2, AAC, LATM, AC3, EAC3))
DELAY = {H264: 10 * CLOCK_HZ, H265: 10 * CLOCK_HZ}  # 2.14.3.1, 2.17.2; others 1 s
WITHOUT_HEADER = frozenset((0xBC, 0xBE, 0xBF, 0xF0, 0xF1, 0xF2, 0xF8, 0xFF))
SYNC_WORDS = {MPEG1: (0xFFE0, 0xFFE0), MPEG2: (0xFFE0, 0xFFE0), LATM: (0xFFE0, 0x56E0)}
SYNC_WORDS |= {AC3: (0xFFFF, 0x0B77), EAC3: (0xFFFF, 0x0B77)}

ELEMENTARY_RULES = {
    "pes-start": f"{ISO} 2.4.3.7",
    "pes-header": f"{ISO} 2.4.3.7",
    "pes-length": f"{ISO} 2.4.3.7",
    "pes-length-open": f"{ISO} 2.4.3.7",
    "pes-stuffing": f"{ISO} 2.4.3.7",
    "stream-id": f"{ISO} 2.4.3.7 table 2-22",
    "pts-dts-flags": f"{ISO} 2.4.3.7",
    "time-stamp": f"{ISO} 2.4.3.7",
    "dts-equal": f"{ISO} 2.7.5",
    "pts-missing": f"{ISO} 2.7.5",
    "pts-interval": f"{ISO} 2.7.4",
    "pts-before-dts": f"{ISO} 2.4.3.7",
    "dts-order": f"{ISO} 2.4.3.7",
    "pcr-before-unit": f"{ISO} 2.4.2.2",
    "pcr-after-dts": f"{ISO} 2.4.2.6",
    "delay": f"{ISO} 2.4.2.6",
    "random-access": f"{ISO} 2.4.3.5",
    "random-access-missing": "reference 5.5 row 53",
    "start-code": "ITU-T H.264 B.1.2",
    "delimiter": f"{ISO} 2.14.1",
    "delimiter-twice": f"{ISO} 2.14.1",
    "parameter-sets": f"{ISO} 2.14.1",
    "adts": "ISO/IEC 13818-7 6.2",
    "sync-word": f"{ISO} 2.4.3.7",
}


class UnitLimits(Protocol):
    """What a stream is asked for; see `ts.TsLimits`."""

    @property
    def pts_within(self) -> float: ...
    @property
    def delimiters(self) -> bool: ...
    @property
    def random_access(self) -> bool: ...


@dataclass(slots=True)
class Unit:
    """One PES packet."""

    pid: int
    kind: int  # stream_type
    pts: int  # 90 kHz, 33 bits; NONE where there is none
    dts: int
    size: int  # bytes of payload
    is_key: bool  # video: a decoder can start here
    types: tuple[int, ...] = ()  # of its NAL units
    first: bytes = b""  # how a sound's payload begins; the SPS of a key frame
    tail: bytes = b""  # how its payload ends
    number: int = 0  # of its first packet


@dataclass(slots=True)
class _Open:
    """The PES packet of one PID that is coming in."""

    kind: int = 0
    data: list[bytes] = field(default_factory=list)
    is_random_access: bool = False
    number: int = 0  # of its first packet
    pcr: int | None = None  # the clock at its last packet
    last_dts: int = NONE
    last_pts: int = NONE
    is_excused: bool = False  # a break before this unit
    is_break_due: bool = False  # a break since it began


class Units:
    """Puts PES packets together and judges them."""

    def __init__(self, findings: Findings, limits: UnitLimits) -> None:
        self._findings = findings
        self._limits = limits
        self._open: dict[int, _Open] = {}
        self.units: dict[int, list[Unit]] = {}
        self.pcr: int | None = None  # 90 kHz

    @property
    def has_any(self) -> bool:
        """Whether there was a unit."""
        return bool(self.units)

    @staticmethod
    def is_video(kind: int) -> bool:
        """Whether this stream_type is video."""
        return kind in VIDEO

    def discontinuity(self, pid: int) -> None:
        """discontinuity_indicator on this PID."""
        self._open.setdefault(pid, _Open()).is_break_due = True

    def time_base_broke(self) -> None:
        """The clock of the program jumped, as it said: so may the times of all streams."""
        for state in self._open.values():
            state.is_break_due = True

    def payload(
        self, pid: int, kind: int, starts: bool, flags: int, payload: bytes, number: int
    ) -> None:
        """The payload of one packet; `flags` are those of its adaptation field."""
        state = self._open.setdefault(pid, _Open())
        if starts:
            self._end(pid, state)
            state.is_excused, state.is_break_due = state.is_break_due, False
            state.kind, state.number = kind, number
            state.is_random_access = bool(flags & 0x40)
            state.data = [payload]
        elif state.data:
            state.data.append(payload)
        else:
            self._findings.add("pes-start", f"packet {number}", f"PID {pid}: none has begun")
            return
        state.pcr = self.pcr

    def finish(self) -> None:
        """No more packets come."""
        for pid, state in self._open.items():
            self._end(pid, state)

    def _end(self, pid: int, state: _Open) -> None:
        if not state.data:
            return
        data, where = b"".join(state.data), f"packet {state.number} PID {pid}"
        state.data = []
        add = self._findings.add
        if len(data) < 9 or data[:3] != b"\0\0\1":
            add("pes-start", where, data[:4].hex())
            return
        length = int.from_bytes(data[4:6], "big")
        if length and length != len(data) - 6:
            add("pes-length", where, f"{length}, it has {len(data) - 6}")
        if not length and state.kind not in VIDEO:
            add("pes-length-open", where, "only video may leave it open")
        self._judge_stream_id(state.kind, data[3], where)
        if data[3] in WITHOUT_HEADER:
            return
        flags, size = data[7] >> 6, data[8]
        if data[6] & 0xC0 != 0x80 or data[6] & 0x30 or 9 + size > len(data):
            add("pes-header", where, data[6:9].hex())
            return
        pts, dts = self._times(data, flags, size, where)
        payload = data[9 + size :]
        unit = Unit(pid, state.kind, pts, dts, len(payload), False)
        unit.tail, unit.number = payload[-TAIL_BYTES:], state.number
        if state.kind in (H264, H265):
            self._video(unit, payload, state.is_random_access, where)
        else:
            self._sound(unit, payload, where)
        self._judge_times(unit, state, where)
        self.units.setdefault(pid, []).append(unit)

    def _judge_stream_id(self, kind: int, stream_id: int, where: str) -> None:
        if kind in VIDEO:
            is_right = 0xE0 <= stream_id <= 0xEF
        elif kind in (MPEG1, MPEG2, AAC, LATM):
            is_right = 0xC0 <= stream_id <= 0xDF
        elif kind in (AC3, EAC3, PRIVATE):
            is_right = stream_id in (0xBD, 0xFD)
        elif kind == METADATA:
            is_right = stream_id in (0xFC, 0xBD)
        else:
            is_right = stream_id >= 0xBC
        if not is_right:
            self._findings.add("stream-id", where, f"0x{stream_id:02x} for type 0x{kind:02x}")

    def _times(self, data: bytes, flags: int, size: int, where: str) -> tuple[int, int]:
        add = self._findings.add
        need = {0: 0, 1: 0, 2: 5, 3: 10}[flags]
        if flags == 1:
            add("pts-dts-flags", where, "'01' is forbidden")
        if size < need:
            add("pes-header", where, "no room for the time stamps")
            return NONE, NONE
        if not data[7] & 0x3F:  # no other field: the rest is stuffing
            rest = data[9 + need : 9 + size]
            if rest.strip(b"\xff") or len(rest) > 32:
                add("pes-stuffing", where, rest[:8].hex())
        if not flags & 2:
            return NONE, NONE
        pts = self._stamp(data[9:14], flags, where)
        if flags == 2:
            return pts, pts
        dts = self._stamp(data[14:19], 1, where)
        if pts == dts:
            add("dts-equal", where, "a DTS stands only where it differs from the PTS")
        return pts, dts

    def _stamp(self, data: bytes, prefix: int, where: str) -> int:
        value = int.from_bytes(data, "big")
        if value >> 36 != prefix or not value & value >> 16 & value >> 32 & 1:
            self._findings.add("time-stamp", where, data.hex())
        return (value >> 33 & 7) << 30 | (value >> 17 & 0x7FFF) << 15 | value >> 1 & 0x7FFF

    def _judge_times(self, unit: Unit, state: _Open, where: str) -> None:
        add = self._findings.add
        is_first = state.last_dts == NONE or state.is_excused
        if unit.pts == NONE:
            if is_first or state.is_random_access:
                add("pts-missing", where)
            return
        if _distance(unit.pts, unit.dts) < 0:
            add("pts-before-dts", where, f"{unit.pts} {unit.dts}")
        if not is_first:
            step = _distance(unit.dts, state.last_dts)
            if step <= 0:
                add("dts-order", where, f"{step} ticks")
            limit = self._limits.pts_within * CLOCK_HZ
            if limit and step > limit:
                add("pts-interval", where, f"{step / CLOCK_HZ:.3f} s")
        state.last_dts, state.last_pts = unit.dts, unit.pts
        if state.pcr is None:
            add("pcr-before-unit", where, "no clock so far")
            return
        lead = _distance(unit.dts, state.pcr)
        if lead < 0:
            add("pcr-after-dts", where, f"arrives {-lead / CLOCK_HZ:.3f} s late")
        elif lead > DELAY.get(unit.kind, CLOCK_HZ) and unit.kind in VIDEO | AUDIO:
            add("delay", where, f"{lead / CLOCK_HZ:.3f} s in the buffer")

    def _video(self, unit: Unit, payload: bytes, is_random_access: bool, where: str) -> None:
        add = self._findings.add
        if not payload.startswith(b"\0\0\0\1"):
            add("start-code", where, payload[:4].hex())
        nals = payload.split(b"\0\0\1")[1:]
        if unit.kind == H264:
            types = [nal[0] & 0x1F for nal in nals if nal]
            delimiter, sets, recovery = 9, {7, 8}, 6
            unit.is_key = 5 in types
            pictures = sum(bool(nal[1] & 0x80) for nal in nals if len(nal) > 1 and _is_slice(nal))
        else:
            types = [nal[0] >> 1 & 0x3F for nal in nals if nal]
            delimiter, sets, recovery = 35, {32, 33, 34}, 39
            unit.is_key = any(16 <= kind <= 21 for kind in types)
            pictures = sum(
                bool(nal[2] & 0x80) for nal in nals if len(nal) > 2 and nal[0] >> 1 & 0x3F < 32
            )
        unit.types = tuple(types)
        if unit.is_key:
            sps = 7 if unit.kind == H264 else 33
            unit.first = next(
                (nal for nal, kind in zip(nals, types, strict=False) if kind == sps), b""
            )
        if self._limits.delimiters:
            count = types.count(delimiter)
            if not types or types[0] != delimiter or count < pictures:
                add("delimiter", where, f"{count} for {pictures} pictures, {types[:4]}")
            elif count > max(1, pictures):
                add("delimiter-twice", where, f"{count} for {pictures} pictures")
        if unit.is_key and not sets <= set(types):
            add("parameter-sets", where, f"NAL units {types}")
        if is_random_access and not unit.is_key and recovery not in types:
            add("random-access", where, f"no decoder can start at {types}")
        if unit.is_key and not is_random_access and self._limits.random_access:
            add("random-access-missing", where)

    def _sound(self, unit: Unit, payload: bytes, where: str) -> None:
        unit.first = payload[:16]
        if unit.kind == AAC:
            at = 0
            while at < len(payload):
                head = payload[at : at + 7]
                size = int.from_bytes(head[3:6], "big") >> 5 & 0x1FFF if len(head) == 7 else 0
                if size < 8 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
                    self._findings.add("adts", where, f"no frame at byte {at}")
                    return
                at += size
            if at != len(payload):
                self._findings.add("adts", where, "the last frame is cut")
        elif unit.kind in SYNC_WORDS:
            mask, word = SYNC_WORDS[unit.kind]
            if int.from_bytes(payload[:2], "big") & mask != word:
                self._findings.add("sync-word", where, payload[:2].hex())


def _is_slice(nal: bytes) -> bool:
    """Whether an H.264 NAL unit begins a slice."""
    return nal[0] & 0x1F in (1, 2, 5)


def _distance(new: int, old: int) -> int:
    """How far a 33-bit time is ahead of another."""
    return (new - old + WRAP // 2) % WRAP - WRAP // 2
