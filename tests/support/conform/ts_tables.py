"""The tables of a transport stream: sections, PAT and PMT; ISO/IEC 13818-1 section 2.4.4."""

from collections.abc import Iterator

from tests.support.conform.problem import Findings

AC3, EAC3, PRIVATE = 0x81, 0x87, 0x06
REGISTRATION, DVB_AC3, DVB_EAC3 = 0x05, 0x6A, 0x7A
NEEDED = {AC3: b"AC-3", EAC3: b"EAC3"}  # ATSC A/53 part 3
# The last PCR before a table may be one PCR interval old, so may that before the next one.
SLACK = 0.04


def crc32(data: bytes) -> int:
    """The CRC of annex A."""
    value = 0xFFFFFFFF
    for byte in data:
        value = (value << 8 & 0xFFFFFFFF) ^ _CRC[value >> 24 ^ byte]
    return value


def _crc_row(index: int) -> int:
    value = index << 24
    for _ in range(8):
        value = (value << 1 & 0xFFFFFFFF) ^ (0x04C11DB7 if value >> 31 else 0)
    return value


_CRC = [_crc_row(index) for index in range(256)]


class Tables:
    """Reads the PAT and the PMT of one program."""

    def __init__(self, findings: Findings, within: float) -> None:
        self._findings = findings
        self._within = within
        self._partial: dict[int, bytes] = {}
        self._known: dict[int, tuple[int, bytes]] = {}  # PID to version and content
        self._whole: dict[int, bytes] = {}  # the section as it last came
        self._program = -1
        self._time: float | None = None
        self._due: set[int] = set()  # PIDs whose table came since the last PCR
        self._came: dict[int, float] = {}  # when a table came last, by PID
        self.pmt_pid = -1
        self.pcr_pid = -1
        self.streams: dict[int, int] = {}
        self.versions: list[int] = []
        self.count = 0
        self.since_unit: set[int] = set()  # PIDs of the tables since the last unit began

    def clock(self, time: float, is_break: bool, where: str) -> None:
        """The next PCR in seconds: now it is known when the tables before it came."""
        if is_break:
            self._came = {}
        for pid in self._due:
            self._came[pid] = time
        self._due = set()
        self._time = time
        if not self._within:
            return
        for pid in (0, self.pmt_pid):
            last = self._came.setdefault(pid, time)
            if time - last > self._within + SLACK:
                text = f"{time - last:.3f} s without PID {pid}"
                self._findings.add("tables-interval", where, text)
                self._came[pid] = time

    def finish(self) -> None:
        """The stream is over."""
        if self.pmt_pid < 0:
            self._findings.add("pat-missing", "stream")
        elif not self.count:
            self._findings.add("pmt-missing", "stream")

    def payload(self, pid: int, starts: bool, payload: bytes, where: str) -> None:
        """The payload of a packet with sections."""
        if not starts:
            if pid in self._partial:
                self._collect(pid, self._partial.pop(pid) + payload, where)
            return
        pointer = payload[0]
        if pointer >= len(payload):
            self._findings.add("section-pointer", where, str(pointer))
            return
        if pid in self._partial:
            self._collect(pid, self._partial.pop(pid) + payload[1 : 1 + pointer], where)
            if pid in self._partial:
                self._findings.add("section-length", where, "another one starts in its midst")
                del self._partial[pid]
        elif pointer:
            self._findings.add("section-pointer", where, "nothing goes on here")
        self._collect(pid, payload[1 + pointer :], where)

    def _collect(self, pid: int, data: bytes, where: str) -> None:
        """Sections one behind the other, then stuffing."""
        while data and data[0] != 0xFF:
            if len(data) < 3:
                self._partial[pid] = data
                return
            length = (data[1] & 15) << 8 | data[2]
            if length > 1021 or length < 9:
                self._findings.add("section-length", where, str(length))
                return
            if len(data) < 3 + length:
                self._partial[pid] = data
                return
            self._section(pid, data[: 3 + length], where)
            data = data[3 + length :]
        if data.strip(b"\xff"):
            self._findings.add("section-stuffing", where, "bytes behind the last section")

    def _section(self, pid: int, section: bytes, where: str) -> None:
        add = self._findings.add
        if self._whole.get(pid) != section:
            if crc32(section):
                add("section-crc", where, f"PID {pid}")
                return
            self._whole[pid] = section
            table = 0 if pid == 0 else 2
            if section[0] != table or section[1] & 0xC0 != 0x80 or section[6] > section[7]:
                add("section-header", where, section[:8].hex())
                return
            if not section[5] & 1:
                return  # the next version; not in force
            version = section[5] >> 1 & 0x1F
            is_new = self._judge_version(pid, version, section[3:5] + section[8:-4], where)
            if pid == 0:
                self._pat(section, where)
            elif is_new or not self.streams:
                self._pmt(section, where)
        self.since_unit.add(pid)
        self._due.add(pid)
        if pid == self.pmt_pid:
            self.count += 1

    def _judge_version(self, pid: int, version: int, body: bytes, where: str) -> bool:
        """Whether this is another table than the last one; its number has to say the same."""
        add = self._findings.add
        name = "pat-version" if pid == 0 else "pmt-version"
        known = self._known.get(pid)
        self._known[pid] = (version, body)
        if known is None:
            return True
        if (known[0] != version) != (known[1] != body):
            text = f"version {known[0]} then {version}, content the same: {known[1] == body}"
            add(name, where, text)
        elif pid and version not in (known[0], known[0] + 1 & 0x1F):
            add("pmt-version-step", where, f"{version} after {known[0]}")
        return known[1] != body

    def _pat(self, section: bytes, where: str) -> None:
        add = self._findings.add
        programs = {}
        for at in range(8, len(section) - 4, 4):
            number = int.from_bytes(section[at : at + 2], "big")
            pid = int.from_bytes(section[at + 2 : at + 4], "big") & 0x1FFF
            if number:
                programs[number] = pid
        if (len(section) - 12) % 4 or len(programs) != 1:
            add("pat-programs", where, f"{len(programs)} programs; one is what players read")
        if not programs:
            return
        self._program, pmt_pid = next(iter(programs.items()))
        if not 0x10 <= pmt_pid < 0x1FFF:
            add("pat-programs", where, f"PID {pmt_pid} for the PMT")
        if pmt_pid != self.pmt_pid:
            self._known.pop(self.pmt_pid, None)
            self.pmt_pid = pmt_pid

    def _pmt(self, section: bytes, where: str) -> None:
        add = self._findings.add
        if int.from_bytes(section[3:5], "big") != self._program:
            add("pmt-program", where, "not the number of the PAT")
        self.versions.append(section[5] >> 1 & 0x1F)
        self.pcr_pid = int.from_bytes(section[8:10], "big") & 0x1FFF
        info = int.from_bytes(section[10:12], "big") & 0xFFF
        self._descriptors(section[12 : 12 + info], where)
        at, end = 12 + info, len(section) - 4
        self.streams = {}
        while at + 5 <= end:
            kind = section[at]
            pid = int.from_bytes(section[at + 1 : at + 3], "big") & 0x1FFF
            size = int.from_bytes(section[at + 3 : at + 5], "big") & 0xFFF
            found = self._descriptors(section[at + 5 : at + 5 + size], where)
            if pid in self.streams or not 0x10 <= pid < 0x1FFF or pid == self.pmt_pid:
                add("pmt-pid", where, f"PID {pid} for a stream")
            self._judge_registration(kind, found, where)
            self.streams[pid] = kind
            at += 5 + size
        if at != end:
            add("section-length", where, "the streams do not end where the section does")
        if not (0x10 <= self.pcr_pid <= 0x1FFF):
            add("pmt-pid", where, f"PID {self.pcr_pid} for the PCR")

    def _judge_registration(self, kind: int, found: dict[int, bytes], where: str) -> None:
        registration = found.get(REGISTRATION, b"")[:4]
        needed = NEEDED.get(kind)
        if needed and registration != needed:
            self._findings.add("registration", where, f"{registration!r} for type 0x{kind:02x}")
        if kind == PRIVATE and not found:
            self._findings.add("registration", where, "private data of which nothing is said")

    def _descriptors(self, data: bytes, where: str) -> dict[int, bytes]:
        found = {}
        for tag, content in _each(data):
            if content is None:
                self._findings.add("descriptors", where, "the last one is cut")
            else:
                found[tag] = content
        return found


def _each(data: bytes) -> Iterator[tuple[int, bytes | None]]:
    at = 0
    while at < len(data):
        size = data[at + 1] if at + 1 < len(data) else len(data)
        whole = at + 2 + size <= len(data)
        yield data[at], data[at + 2 : at + 2 + size] if whole else None
        at += 2 + size
