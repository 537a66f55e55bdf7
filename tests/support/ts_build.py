"""Transport streams made by hand, for tests: every field as the test wants it. Nothing of FLUX."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.support.ts_check import crc

PACKET = 188
PMT_PID = 0x1000
VIDEO_PID, AUDIO_PID, DATA_PID = 0x100, 0x101, 0x102
NONE = -1


def stamp(prefix: int, ticks: int) -> bytes:
    """A PTS or DTS field."""
    ticks %= 1 << 33
    return bytes(
        (
            prefix << 4 | ticks >> 30 << 1 | 1,
            ticks >> 22 & 0xFF,
            ticks >> 15 << 1 & 0xFF | 1,
            ticks >> 7 & 0xFF,
            ticks << 1 & 0xFF | 1,
        )
    )


def pes(
    payload: bytes,
    pts: int = NONE,
    dts: int = NONE,
    *,
    stream_id: int = 0xE0,
    length: int | None = None,
) -> bytes:
    """A PES packet; `length` of its field: None for the true one, 0 for none."""
    times = b""
    flags = 0
    if pts != NONE:
        flags = 0x80 if dts == NONE else 0xC0
        times = stamp(2 if dts == NONE else 3, pts)
        if dts != NONE:
            times += stamp(1, dts)
    size = 3 + len(times) + len(payload) if length is None else length
    head = b"\0\0\1" + bytes((stream_id,)) + (size & 0xFFFF).to_bytes(2, "big")
    return head + bytes((0x80, flags, len(times))) + times + payload


def section(table_id: int, extension: int, version: int, body: bytes, **fields: int) -> bytes:
    """A section with its CRC; `number`, `last` and `current` may be given."""
    length = len(body) + 9
    head = bytes((table_id, 0xB0 | length >> 8, length & 0xFF, extension >> 8, extension & 0xFF))
    head += bytes(
        (
            0xC0 | version % 32 << 1 | fields.get("current", 1),
            fields.get("number", 0),
            fields.get("last", 0),
        )
    )
    return head + body + crc(head + body).to_bytes(4, "big")


def pat(programs: dict[int, int], version: int = 0, **fields: int) -> bytes:
    """A PAT: PMT PIDs by program number."""
    body = b"".join(
        number.to_bytes(2, "big") + (0xE000 | pid).to_bytes(2, "big")
        for number, pid in programs.items()
    )
    return section(0, 1, version, body, **fields)


def pmt(
    streams: Sequence[tuple[int, int] | tuple[int, int, bytes]],
    *,
    program: int = 1,
    version: int = 0,
    pcr_pid: int = VIDEO_PID,
    info: bytes = b"",
    **fields: int,
) -> bytes:
    """A PMT: (stream_type, PID, descriptors) of each stream."""
    body = (0xE000 | pcr_pid).to_bytes(2, "big") + (0xF000 | len(info)).to_bytes(2, "big") + info
    for stream_type, pid, *rest in streams:
        descriptors = rest[0] if rest else b""
        assert isinstance(descriptors, bytes)
        body += bytes((stream_type,)) + (0xE000 | pid).to_bytes(2, "big")
        body += (0xF000 | len(descriptors)).to_bytes(2, "big") + descriptors
    return section(2, program, version, body, **fields)


def registration(name: bytes) -> bytes:
    """A registration descriptor."""
    return bytes((5, len(name))) + name


@dataclass(slots=True)
class Mux:
    """Cuts PES packets and sections into transport packets, counting continuity."""

    counters: dict[int, int] = field(default_factory=dict)

    def packet(
        self,
        pid: int,
        payload: bytes,
        *,
        start: bool = False,
        discontinuity: bool = False,
        scrambled: int = 0,
        pcr: int = NONE,
    ) -> bytes:
        """One packet; what is missing of its payload is stuffed in the adaptation field."""
        counter = self.counters.get(pid, 0)
        fields = b""
        flags = 0x80 * discontinuity
        if pcr != NONE:
            flags |= 0x10
            fields = (pcr % (1 << 33) << 15 | 0x7E00).to_bytes(6, "big")
        room = 184 - len(payload)
        adaptation = b""
        if room or flags:
            assert room >= (2 + len(fields) if flags else 1)
            body = (bytes((flags,)) + fields).ljust(room - 1, b"\xff") if room > 1 else b""
            adaptation = bytes((room - 1,)) + body
        control = 0x10 * bool(payload) | 0x20 * bool(adaptation)
        if payload:
            self.counters[pid] = counter + 1 & 15
        else:
            counter = counter - 1 & 15
        head = bytes(
            (0x47, 0x40 * start | pid >> 8, pid & 0xFF, scrambled << 6 | control | counter)
        )
        return head + adaptation + payload

    def unit(
        self, pid: int, data: bytes, *, discontinuity: bool = False, first: int = 184
    ) -> bytes:
        """A PES packet; `first` is how much of it the first packet takes."""
        out = []
        at = 0
        take = min(first, 184 - 2 * discontinuity)
        while at < len(data):
            size = min(take, len(data) - at)
            out.append(
                self.packet(
                    pid,
                    data[at : at + size],
                    start=not at,
                    discontinuity=discontinuity and not at,
                )
            )
            at += size
            take = 184
        return b"".join(out)

    def table(self, pid: int, *sections: bytes) -> bytes:
        """Sections one behind the other, from the start of a packet."""
        data = b"\0" + b"".join(sections)
        return b"".join(
            self.packet(pid, data[at : at + 184].ljust(184, b"\xff"), start=not at)
            for at in range(0, len(data), 184)
        )

    def tables(
        self,
        streams: Sequence[tuple[int, int] | tuple[int, int, bytes]],
        version: int = 0,
        pcr_pid: int = VIDEO_PID,
    ) -> bytes:
        """PAT and PMT of one program."""
        head = self.table(0, pat({1: PMT_PID}))
        return head + self.table(PMT_PID, pmt(streams, version=version, pcr_pid=pcr_pid))


def packets_of(data: bytes) -> list[bytes]:
    """A stream as its packets."""
    return [data[at : at + PACKET] for at in range(0, len(data), PACKET)]


def pid_of(packet: bytes) -> int:
    """The PID of a packet."""
    return (packet[1] & 0x1F) << 8 | packet[2]


def join(packets: Iterable[bytes]) -> bytes:
    """Packets as a stream."""
    return b"".join(packets)
