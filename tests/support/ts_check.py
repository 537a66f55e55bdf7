"""A judge of MPEG transport streams; ISO/IEC 13818-1. It imports nothing from FLUX.

`check(data)` reads whole packets and answers the PES packets of each PID and a list of slugs of
broken rules. One program; H.264, H.265, ADTS AAC, MPEG audio, AC-3 and E-AC-3.
"""

from dataclasses import dataclass, field

WRAP = 1 << 33
H264, H265, AAC = 0x1B, 0x24, 0x0F
SOUNDS = {  # stream_type to how a frame begins and the registration it needs
    0x03: (b"\xff", b""),
    0x04: (b"\xff", b""),
    0x81: (b"\x0b\x77", b"AC-3"),
    0x87: (b"\x0b\x77", b"EAC3"),
}
START = b"\0\0\0\1"


@dataclass(slots=True)
class Pes:
    """One access unit as it came."""

    pid: int
    pts: int
    dts: int
    payload: bytes
    is_random_access: bool
    is_discontinuity: bool

    @property
    def nals(self) -> tuple[bytes, ...]:
        """The NAL units of a video access unit."""
        return tuple(self.payload.split(START)[1:])


@dataclass(slots=True)
class Report:
    """What a stream holds and which rules it breaks."""

    problems: list[str] = field(default_factory=list)
    streams: dict[int, int] = field(default_factory=dict)  # PID to stream_type
    pcr_pid: int = -1
    units: dict[int, list[Pes]] = field(default_factory=dict)
    pcrs: list[int] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)  # of each PMT
    tables: int = 0

    def add(self, problem: str) -> None:
        """Note a broken rule once."""
        if problem not in self.problems:
            self.problems.append(problem)


@dataclass(slots=True)
class _Pid:
    counter: int = -1
    data: list[bytes] = field(default_factory=list)
    is_random_access: bool = False
    is_discontinuity: bool = False
    started_at: int = -1  # the last PCR up to the first packet of the unit in hand


def crc(data: bytes) -> int:
    """The CRC of annex A, one bit after the other."""
    value = 0xFFFFFFFF
    for byte in data:
        for bit in range(7, -1, -1):
            top = value >> 31 ^ byte >> bit & 1
            value = (value << 1 & 0xFFFFFFFF) ^ (0x04C11DB7 if top else 0)
    return value


TABLES_WITHIN = 9_000 + 3_600  # 100 ms; when a packet comes is known to one PCR interval only


def check(data: bytes, *, tables_within: int = TABLES_WITHIN) -> Report:
    """Read whole packets; tables must be at most `tables_within` ticks apart, 0: not judged."""
    reader = _Reader(tables_within)
    if not data or len(data) % 188:
        reader.report.add("packet-size")
    for at in range(0, len(data) - 187, 188):
        reader.packet(data[at : at + 188])
    reader.finish()
    return reader.report


class _Reader:
    def __init__(self, tables_within: int) -> None:
        self.report = Report()
        self._tables_within = tables_within
        self._pids: dict[int, _Pid] = {}
        self._pmt_pid = -1
        self._pmt_body = b""
        self._pat_at: int | None = None  # PCR
        self._last_dts: dict[int, int] = {}

    def packet(self, packet: bytes) -> None:
        add = self.report.add
        if packet[0] != 0x47:
            add("sync")
            return
        if packet[1] & 0x80 or packet[3] & 0xC0:
            add("header-bits")
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        control, counter = packet[3] >> 4 & 3, packet[3] & 15
        state = self._pids.setdefault(pid, _Pid())
        flags, at = 0, 4
        if control & 2:
            size = packet[4]
            at = 5 + size
            if size > 183 or (control == 3 and size > 182) or (control == 2 and size != 183):
                add("adaptation-length")
                return
            if size:
                flags = packet[5]
                self._adaptation(pid, packet[4:at])
        if control & 1:
            if state.counter >= 0 and counter != state.counter + 1 & 15 and not flags & 0x80:
                add("continuity")
            state.counter = counter
        elif control == 0:
            add("adaptation-control")
        elif state.counter >= 0 and counter != state.counter:
            add("continuity")
        if not control & 1:
            state.is_discontinuity = state.is_discontinuity or bool(flags & 0x80)
            return
        self._payload(pid, state, bool(packet[1] & 0x40), flags, packet[at:])

    def _payload(self, pid: int, state: _Pid, starts: bool, flags: int, payload: bytes) -> None:
        if pid == 0 or pid == self._pmt_pid:
            if not starts:
                self.report.add("section-start")
                return
            self._section(pid, payload)
            return
        if pid not in self.report.streams:
            self.report.add("unknown-pid")
            return
        if starts:
            self._end_pes(pid, state)
            state.is_random_access = bool(flags & 0x40)
            state.is_discontinuity = state.is_discontinuity or bool(flags & 0x80)
            state.data = [payload]
            state.started_at = self.report.pcrs[-1] if self.report.pcrs else -1
        elif state.data:
            state.data.append(payload)
        else:
            self.report.add("pes-start")

    def _adaptation(self, pid: int, adaptation: bytes) -> None:
        size, flags = adaptation[0], adaptation[1]
        used = 1
        if flags & 0x10:
            if size < 7:
                self.report.add("adaptation-length")
                return
            value = int.from_bytes(adaptation[2:8], "big")
            used = 7
            self._pcr(pid, value >> 15, bool(flags & 0x80))
        if flags & 0x2F or adaptation[1 + used :] != b"\xff" * (size - used):
            self.report.add("stuffing")

    def _pcr(self, pid: int, pcr: int, is_discontinuity: bool) -> None:
        report = self.report
        if pid != report.pcr_pid:
            report.add("pcr-pid")
        if report.pcrs and not is_discontinuity:
            step = pcr - report.pcrs[-1] % WRAP
            step = (step + WRAP // 2) % WRAP - WRAP // 2
            if step <= 0:
                report.add("pcr-order")
            elif step > 9_000:
                report.add("pcr-interval")
            pcr = report.pcrs[-1] + step
        elif is_discontinuity:
            self._pat_at = None
        report.pcrs.append(pcr)
        if self._pat_at is None:
            self._pat_at = pcr
        elif self._tables_within and pcr - self._pat_at > self._tables_within:
            report.add("tables-interval")

    def _section(self, pid: int, payload: bytes) -> None:
        report = self.report
        section = payload[1 + payload[0] :]
        length = (section[1] & 15) << 8 | section[2]
        section, rest = section[: 3 + length], section[3 + length :]
        if rest.strip(b"\xff"):
            report.add("section-filler")
        if crc(section) != 0:
            report.add("section-crc")
            return
        body = section[8:-4]
        if pid == 0:
            if section[0] != 0 or len(body) != 4:
                report.add("pat")
                return
            self._pmt_pid = (body[2] & 0x1F) << 8 | body[3]
            self._pat_at = None  # the next PCR's time
            return
        report.tables += 1
        version = section[5] >> 1 & 0x1F
        if self._pmt_body and (body != self._pmt_body) != (version != report.versions[-1]):
            report.add("pmt-version")
        report.versions.append(version)
        self._pmt_body = body
        report.pcr_pid = (body[0] & 0x1F) << 8 | body[1]
        at = 4 + ((body[2] & 15) << 8 | body[3])
        report.streams = {}
        while at < len(body):
            report.streams[(body[at + 1] & 0x1F) << 8 | body[at + 2]] = body[at]
            _, wanted = SOUNDS.get(body[at], (b"", b""))
            if wanted and body[at + 5 : at + 11] != b"\x05\x04" + wanted:
                report.add("registration")
            at += 5 + ((body[at + 3] & 15) << 8 | body[at + 4])
        if report.pcr_pid not in report.streams:
            report.add("pcr-pid")

    def _end_pes(self, pid: int, state: _Pid) -> None:
        if not state.data:
            return
        data, add = b"".join(state.data), self.report.add
        state.data = []
        if len(data) < 14 or data[:3] != b"\0\0\1" or data[6] & 0xC0 != 0x80:
            add("pes-header")
            return
        length, flags, size = int.from_bytes(data[4:6], "big"), data[7] >> 6, data[8]
        kind = self.report.streams[pid]
        if length and length != len(data) - 6:
            add("pes-length")
        if not length and kind not in (H264, H265):
            add("pes-length")
        if flags not in (2, 3) or size < (10 if flags == 3 else 5):
            add("pes-time")
            return
        pts = self._time(data[9:14], flags)
        dts = self._time(data[14:19], 1) if flags == 3 else pts
        if flags == 3 and dts == pts:
            add("pes-time")
        unit = Pes(pid, pts, dts, data[9 + size :], state.is_random_access, state.is_discontinuity)
        state.is_discontinuity = False
        if state.started_at < 0:
            add("pcr-missing")
        elif (dts - state.started_at - 1) % WRAP > WRAP // 2:
            add("pcr-after-dts")
        self._unit(unit, kind)

    def _time(self, data: bytes, prefix: int) -> int:
        value = int.from_bytes(data, "big")
        if value >> 36 != prefix or not value & value >> 16 & value >> 32 & 1:
            self.report.add("pes-time")
        return (
            value >> 33 << 30 & 0x1C0000000 | value >> 17 << 15 & 0x3FFF8000 | value >> 1 & 0x7FFF
        )

    def _unit(self, unit: Pes, kind: int) -> None:
        add = self.report.add
        last = self._last_dts.get(unit.pid)
        if last is not None and not unit.is_discontinuity:
            step = (unit.dts - last + WRAP // 2) % WRAP - WRAP // 2
            if step <= 0:
                add("dts-order")
        self._last_dts[unit.pid] = unit.dts
        if (unit.pts - unit.dts) % WRAP > WRAP // 2:
            add("pts-before-dts")
        if kind == AAC:
            self._adts(unit.payload)
        elif kind in SOUNDS:
            if not unit.payload.startswith(SOUNDS[kind][0]):
                add("sync-word")
        elif kind in (H264, H265):
            self._video(unit, kind)
        else:
            add("stream-type")
        self.report.units.setdefault(unit.pid, []).append(unit)

    def _video(self, unit: Pes, kind: int) -> None:
        add = self.report.add
        if not unit.payload.startswith(START):
            add("start-code")
            return
        if kind == H264:
            types = [nal[0] & 0x1F for nal in unit.nals]
            aud, sets, is_key = 9, {7, 8}, 5 in types
        else:
            types = [nal[0] >> 1 & 0x3F for nal in unit.nals]
            aud, sets, is_key = 35, {32, 33, 34}, any(16 <= t <= 21 for t in types)
        if types[0] != aud or types.count(aud) != 1:
            add("access-unit-delimiter")
        if is_key and not sets <= set(types):
            add("parameter-sets")
        if is_key != unit.is_random_access:
            add("random-access")

    def _adts(self, payload: bytes) -> None:
        at = 0
        while at < len(payload):
            head = payload[at : at + 7]
            size = int.from_bytes(head[3:6], "big") >> 5 & 0x1FFF if len(head) == 7 else 0
            if size < 8 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or at + size > len(payload):
                self.report.add("adts")
                return
            at += size

    def finish(self) -> None:
        for pid, state in self._pids.items():
            if pid in self.report.streams:
                self._end_pes(pid, state)
        if not self.report.tables:
            self.report.add("tables-missing")
