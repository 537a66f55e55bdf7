"""A judge of MPEG transport streams, clause by clause. It imports nothing of FLUX.

`check_ts(data)` answers what is wrong with whole packets of one program; `read_ts` what is in them
as well. What ISO/IEC 13818-1 leaves open and players need is judged by `TsLimits`.
"""

from dataclasses import dataclass

from tests.support.conform.problem import Findings, Problem
from tests.support.conform.ts_tables import Tables
from tests.support.conform.ts_units import ELEMENTARY_RULES, Unit, Units

ISO = "ISO/IEC 13818-1"
PACKET = 188
WRAP = 1 << 33
PCR_HZ = 27_000_000
NULL_PID = 0x1FFF

RULES = {
    "packet-size": f"{ISO} 2.4.3.2",
    "sync-byte": f"{ISO} 2.4.3.3",
    "transport-error": f"{ISO} 2.4.3.3",
    "scrambling": f"{ISO} 2.4.3.3",
    "reserved-pid": f"{ISO} 2.4.3.3",
    "adaptation-control": f"{ISO} 2.4.3.3",
    "continuity": f"{ISO} 2.4.3.3",
    "duplicate": f"{ISO} 2.4.3.3",
    "null-packet": f"{ISO} 2.4.3.3",
    "adaptation-length": f"{ISO} 2.4.3.5",
    "adaptation-fields": f"{ISO} 2.4.3.5",
    "stuffing": f"{ISO} 2.4.3.5",
    "pcr-extension": f"{ISO} 2.4.3.5",
    "pcr-pid": f"{ISO} 2.4.4.9",
    "pcr-missing": f"{ISO} 2.4.2.2",
    "pcr-order": f"{ISO} 2.4.2.2",
    "pcr-interval": f"{ISO} 2.7.2",
    "section-pointer": f"{ISO} 2.4.4.2",
    "section-header": f"{ISO} 2.4.4.3",
    "section-length": f"{ISO} 2.4.4.3",
    "section-crc": f"{ISO} 2.4.4.3",
    "section-stuffing": f"{ISO} 2.4.4",
    "pat-missing": f"{ISO} 2.4.4.3",
    "pat-programs": f"{ISO} 2.4.4.3",
    "pat-version": f"{ISO} 2.4.4.5",
    "pmt-missing": f"{ISO} 2.4.4.8",
    "pmt-program": f"{ISO} 2.4.4.9",
    "pmt-pid": f"{ISO} 2.4.4.9",
    "pmt-version": f"{ISO} 2.4.4.9",
    "pmt-version-step": f"{ISO} 2.4.4.9",
    "descriptors": f"{ISO} 2.6.1",
    "registration": f"{ISO} 2.6.8",
    "unannounced-pid": f"{ISO} 2.4.4.8",
    "tables-interval": "ETSI TR 101 290 5.2.1",
    "tables-first": "RFC 8216 3.2",
    "tables-at-key": "reference 5.5 row 51",
    **ELEMENTARY_RULES,
}


@dataclass(frozen=True, slots=True)
class TsLimits:
    """What is asked of a stream beyond its syntax; times in seconds, 0: not judged."""

    tables_within: float = 0.5
    pcr_within: float = 0.1
    pts_within: float = 0.7  # 2.7.4
    is_segment: bool = False  # begins with PAT and PMT, as a segment of HLS
    tables_at_keys: bool = False  # each video access point has PAT and PMT before it
    delimiters: bool = True  # H.264 and H.265 have access unit delimiters
    random_access: bool = True  # random_access_indicator at every key frame


@dataclass(slots=True)
class TsContent:
    """A stream that was read."""

    problems: list[Problem]
    streams: dict[int, int]  # PID to stream_type, by the last PMT
    units: dict[int, list[Unit]]  # PES packets by PID
    pcrs: list[int]  # 27 MHz, unwrapped
    versions: list[int]  # of the PMTs, each change once
    tables: int  # how often a PMT came
    counters: dict[int, tuple[int, int]]  # first and last continuity counter by PID


@dataclass(slots=True)
class _Pid:
    counter: int = -1
    first: int = -1  # the first counter with payload
    last: bytes = b""  # the last packet with payload
    copies: int = 0
    is_excused: bool = False  # discontinuity_indicator since the last packet with payload


def check_ts(data: bytes, limits: TsLimits | None = None) -> list[Problem]:
    """The broken rules of whole packets of one program."""
    return read_ts(data, limits).problems


def read_ts(data: bytes, limits: TsLimits | None = None) -> TsContent:
    """Read whole packets of one program."""
    reader = TsReader(limits or TsLimits())
    reader.feed(data)
    return reader.finish()


class TsReader:
    """Reads a stream that comes in pieces of whole packets."""

    def __init__(self, limits: TsLimits) -> None:
        self._limits = limits
        self._findings = Findings(RULES)
        self._tables = Tables(self._findings, limits.tables_within)
        self._units = Units(self._findings, limits)
        self._pids: dict[int, _Pid] = {}
        self._number = 0
        self._pcrs: list[int] = []
        self._pcr_is_excused = False
        self._first: list[int] = []  # PIDs of the first two packets

    def feed(self, data: bytes) -> None:
        """Read more packets."""
        if not data or len(data) % PACKET:
            self._findings.add("packet-size", f"packet {self._number}", f"{len(data)} bytes")
        for at in range(0, len(data) - PACKET + 1, PACKET):
            self._packet(data[at : at + PACKET])
            self._number += 1

    def finish(self) -> TsContent:
        """All has been fed."""
        self._units.finish()
        self._tables.finish()
        if self._limits.is_segment and self._first != [0, self._tables.pmt_pid]:
            self._findings.add("tables-first", "packet 0", f"PIDs {self._first}")
        if self._units.has_any and not self._pcrs:
            self._findings.add("pcr-missing", "stream", "no PCR at all")
        return TsContent(
            self._findings.problems,
            self._tables.streams,
            self._units.units,
            self._pcrs,
            self._tables.versions,
            self._tables.count,
            {pid: (state.first, state.counter) for pid, state in self._pids.items()},
        )

    @property
    def _where(self) -> str:
        return f"packet {self._number}"

    def _packet(self, packet: bytes) -> None:
        add, where = self._findings.add, self._where
        if packet[0] != 0x47:
            add("sync-byte", where, f"0x{packet[0]:02x}")
            return
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        control = packet[3] >> 4 & 3
        if len(self._first) < 2:
            self._first.append(pid)
        if packet[1] & 0x80:
            add("transport-error", where)
        if pid == NULL_PID:
            if control != 1 or packet[1] & 0x40:
                add("null-packet", where, "has to be payload alone, without a start")
            return
        if packet[3] & 0xC0:
            add("scrambling", where)
        if 2 < pid < 0x10:
            add("reserved-pid", where, f"PID {pid}")
        state = self._pids.setdefault(pid, _Pid())
        at = 4
        flags = 0
        if control == 0:
            add("adaptation-control", where, "reserved value 0")
            return
        if control & 2:
            size = packet[4]
            at = 5 + size
            if size > (182 if control == 3 else 183) or (control == 2 and size != 183):
                add("adaptation-length", where, f"{size} bytes with control {control}")
                return
            if size:
                flags = packet[5]
                self._adaptation(pid, state, packet[4:at])
        if control & 1:
            if not self._is_next(state, packet):
                return
            self._payload(pid, bool(packet[1] & 0x40), flags, packet[at:])
        elif state.counter >= 0 and packet[3] & 15 != state.counter:
            if not state.is_excused:
                add("continuity", where, f"PID {pid}: moved without payload")
            state.counter = packet[3] & 15

    def _is_next(self, state: _Pid, packet: bytes) -> bool:
        """Judge the counter of a packet with payload; False for a duplicate."""
        counter = packet[3] & 15
        if counter == state.counter and _same(packet, state.last):
            state.copies += 1
            if state.copies > 1:
                self._findings.add("duplicate", self._where, "sent more than twice")
            return False
        expected = state.counter + 1 & 15
        if state.counter >= 0 and counter != expected and not state.is_excused:
            text = f"{counter} after {state.counter}"
            self._findings.add("continuity", self._where, text)
        if state.first < 0:
            state.first = counter
        state.counter, state.last, state.copies, state.is_excused = counter, packet, 0, False
        return True

    def _adaptation(self, pid: int, state: _Pid, field_: bytes) -> None:
        """The fields behind adaptation_field_length, which is their first byte."""
        add, where = self._findings.add, self._where
        size, flags = field_[0], field_[1]
        used = 2
        if flags & 0x80:
            state.is_excused = True
            if pid == self._tables.pcr_pid:
                self._pcr_is_excused = True
            self._units.discontinuity(pid)
        if flags & 0x10:
            if size < used + 5:
                add("adaptation-fields", where, "no room for the PCR")
                return
            value = int.from_bytes(field_[used : used + 6], "big")
            used += 6
            self._pcr(pid, value, bool(flags & 0x80))
        if flags & 0x08:
            used += 6  # OPCR
        if flags & 0x04:
            used += 1  # splice_countdown
        for bit in (0x02, 0x01):  # private data, extension: each tells its length
            if flags & bit:
                used += 1 + (field_[used] if used <= size else 0)
        if used > size + 1:
            add("adaptation-fields", where, f"{used - 1} bytes of fields in {size}")
        elif field_[used:].strip(b"\xff"):
            add("stuffing", where, "adaptation stuffing is not 0xFF")

    def _pcr(self, pid: int, value: int, is_marked: bool) -> None:
        add, where = self._findings.add, self._where
        if self._tables.pcr_pid not in (-1, pid):
            add("pcr-pid", where, f"PID {pid}, the PMT says {self._tables.pcr_pid}")
            return
        extension = value & 0x1FF
        if extension >= 300:
            add("pcr-extension", where, str(extension))
        pcr = (value >> 15) * 300 + extension
        is_break = is_marked or self._pcr_is_excused
        self._pcr_is_excused = False
        if self._pcrs:
            turn = WRAP * 300
            step = (pcr - self._pcrs[-1] + turn // 2) % turn - turn // 2
            limit = self._limits.pcr_within * PCR_HZ
            if is_break:
                self._units.time_base_broke()
            elif step <= 0:
                add("pcr-order", where, f"{step / PCR_HZ:.3f} s")
            elif limit and step > limit:
                add("pcr-interval", where, f"{step / PCR_HZ:.3f} s")
            pcr = self._pcrs[-1] + step
        self._pcrs.append(pcr)
        self._units.pcr = pcr // 300
        self._tables.clock(pcr / PCR_HZ, is_break, where)

    def _payload(self, pid: int, starts: bool, flags: int, payload: bytes) -> None:
        tables = self._tables
        if pid == 0 or pid == tables.pmt_pid:
            tables.payload(pid, starts, payload, self._where)
        elif pid in tables.streams:
            if starts and flags & 0x40 and self._limits.tables_at_keys:
                self._judge_access_point(pid)
            kind = tables.streams[pid]
            self._units.payload(pid, kind, starts, flags, payload, self._number)
            if starts:
                tables.since_unit = set()
        elif not (pid == 1 or 0x10 <= pid < 0x20):  # CAT; what DVB has there
            text = f"PID {pid} is in no PMT"
            self._findings.add("unannounced-pid", self._where, text)

    def _judge_access_point(self, pid: int) -> None:
        """An access point of the video has the tables right before it."""
        if self._units.is_video(self._tables.streams[pid]) and len(self._tables.since_unit) < 2:
            self._findings.add("tables-at-key", self._where, "no PAT and PMT since the last unit")


def _same(packet: bytes, other: bytes) -> bool:
    """Whether one is a duplicate of the other: a PCR may differ, 2.4.3.3."""
    if packet == other:
        return True
    if len(other) != PACKET or packet[:6] != other[:6]:
        return False
    has_pcr = packet[3] & 0x20 and packet[4] > 6 and packet[5] & 0x10
    return bool(has_pcr) and packet[12:] == other[12:]
