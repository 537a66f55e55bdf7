"""Reading program specific information: PAT, PMT and descriptors; ISO/IEC 13818-1 section 2.4.4."""

from dataclasses import dataclass
from struct import Struct
from typing import Self

from flux.base.errors import WireError
from media.mpegts.psi import crc32

PAT_TABLE_ID = 0
PMT_TABLE_ID = 2
MAX_SECTION_BYTES = 1024  # 2.4.4.1 and 2.4.4.8: PAT and PMT are no longer
MAX_PROGRAMS = 256
_HEADER_BYTES = 8
_CRC_BYTES = 4
_SECTION = Struct(">BHHBBB")
_PAIR = Struct(">HH")
_STREAM = Struct(">BHH")
_NO_MORE = b"\xff"  # a table_id of stuffing, 2.4.4.1

DESCRIPTOR_REGISTRATION = 0x05
DESCRIPTOR_LANGUAGE = 0x0A
DESCRIPTOR_METADATA = 0x26
DESCRIPTOR_METADATA_STD = 0x27
DESCRIPTOR_AC3 = 0x6A  # ETSI EN 300 468 annex D
DESCRIPTOR_EAC3 = 0x7A
DESCRIPTOR_EXTENSION = 0x7F
EXTENSION_OPUS = 0x80  # in DVB's extension descriptor, a value that its users may define


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One descriptor; 2.6.1."""

    tag: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One elementary stream as the PMT lists it."""

    pid: int
    stream_type: int
    descriptors: tuple[Descriptor, ...] = ()

    def find(self, tag: int) -> bytes | None:
        """The content of the first descriptor with this tag."""
        return next((each.data for each in self.descriptors if each.tag == tag), None)

    @property
    def registration(self) -> bytes:
        """The format_identifier of a registration descriptor; empty without one."""
        return (self.find(DESCRIPTOR_REGISTRATION) or b"")[:4]

    @property
    def language(self) -> str:
        """ISO 639-2 code; empty where none is given."""
        return (self.find(DESCRIPTOR_LANGUAGE) or b"")[:3].decode("ascii", "ignore")


@dataclass(frozen=True, slots=True)
class Section:
    """The frame around a table."""

    table_id: int
    extension: int  # transport_stream_id, program_number
    version: int
    is_current: bool
    number: int
    last_number: int
    body: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """A whole section with its CRC; `WireError` where it is damaged."""
        if len(data) < _HEADER_BYTES + _CRC_BYTES:
            raise WireError("ts-section-malformed", "too short")
        if crc32(data):
            raise WireError("ts-section-crc")
        table_id, length, extension, version, number, last_number = _SECTION.unpack_from(data)
        if length & 0x8000 == 0 or length & 0xFFF != len(data) - 3:
            raise WireError("ts-section-malformed", "length")
        return cls(
            table_id,
            extension,
            version >> 1 & 31,
            bool(version & 1),
            number,
            last_number,
            data[_HEADER_BYTES:-_CRC_BYTES],
        )


@dataclass(frozen=True, slots=True)
class Pmt:
    """A program map."""

    program: int
    version: int
    pcr_pid: int
    entries: tuple[Entry, ...]


def parse_pat(section: Section) -> dict[int, int]:
    """PMT PIDs by program number, in the order of the table; 2.4.4.3."""
    body = section.body
    programs: dict[int, int] = {}
    for at in range(0, len(body) - 3, 4):
        number, pid = _PAIR.unpack_from(body, at)
        if number:  # 0 is the network PID
            programs[number] = pid & 0x1FFF
    return programs


def parse_pmt(section: Section) -> Pmt:
    """The program map of a section; `WireError` where its lengths do not fit."""
    body = section.body
    if len(body) < _PAIR.size:
        raise WireError("ts-pmt-malformed", "too short")
    pcr_pid, length = _PAIR.unpack_from(body)
    at = _PAIR.size + (length & 0xFFF)
    entries: list[Entry] = []
    while at < len(body):
        if at + _STREAM.size > len(body):
            raise WireError("ts-pmt-malformed", "stream")
        stream_type, pid, length = _STREAM.unpack_from(body, at)
        at += _STREAM.size
        end = at + (length & 0xFFF)
        if end > len(body):
            raise WireError("ts-pmt-malformed", "descriptors")
        entries.append(Entry(pid & 0x1FFF, stream_type, _descriptors(body[at:end])))
        at = end
    if at != len(body):
        raise WireError("ts-pmt-malformed", "program descriptors")
    return Pmt(section.extension, section.version, pcr_pid & 0x1FFF, tuple(entries))


def _descriptors(data: bytes) -> tuple[Descriptor, ...]:
    """The descriptors of one stream; one that is cut ends the list, the stream stays."""
    found: list[Descriptor] = []
    at = 0
    while at + 2 <= len(data):
        end = at + 2 + data[at + 1]
        if end > len(data):
            break
        found.append(Descriptor(data[at], data[at + 2 : end]))
        at = end
    return tuple(found)


class SectionReader:
    """Assembles the sections of one PID from the payloads of its packets; 2.4.4.1.

    A section whose packet was lost is forgotten: it comes again soon.
    """

    __slots__ = ("_data", "_is_open")

    def __init__(self) -> None:
        self._data = b""
        self._is_open = False

    @property
    def is_open(self) -> bool:
        """Whether a section has begun that is not whole, or one could begin in the next packet."""
        return self._is_open

    def reset(self) -> None:
        """A packet is missing."""
        self._data = b""
        self._is_open = False

    def push(self, payload: bytes, is_start: bool) -> list[bytes]:
        """Take a packet's payload; whole sections, unchecked. `WireError` drops what was open."""
        found: list[bytes] = []
        if is_start:
            pointer = payload[0] if payload else 0
            if 1 + pointer > len(payload):
                self.reset()
                raise WireError("ts-section-malformed", "pointer_field")
            if self._is_open:
                self._data += payload[1 : 1 + pointer]
                self._cut(found)
            self._data = payload[1 + pointer :]
            self._is_open = True
        elif self._is_open:
            self._data += payload
        if self._is_open:
            self._cut(found)
        return found

    def _cut(self, found: list[bytes]) -> None:
        """Take whole sections off the front."""
        data = self._data
        while len(data) >= 3 and not data.startswith(_NO_MORE):
            size = 3 + ((data[1] & 15) << 8 | data[2])
            if size > MAX_SECTION_BYTES:
                self.reset()
                raise WireError("ts-section-malformed", "too long")
            if len(data) < size:
                self._data = data
                return
            found.append(data[:size])
            data = data[size:]
        self._data = data
        if data.startswith(_NO_MORE):
            self.reset()
