"""Program specific information: PAT and PMT of one program; ISO/IEC 13818-1 section 2.4.4."""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct

from media.mpegts.packet import PACKET_BYTES, PAYLOAD_BYTES, SYNC_BYTE

PAT_PID = 0
PMT_PID = 0x1000
PROGRAM_NUMBER = 1
TRANSPORT_STREAM_ID = 1
VERSIONS = 32  # version_number has five bits
COUNTERS = 16  # so has continuity_counter four

STREAM_H264 = 0x1B
STREAM_H265 = 0x24
STREAM_AAC_ADTS = 0x0F

_PAT_TABLE_ID = 0
_PMT_TABLE_ID = 2
_SECTION = Struct(">BHHBBB")  # table_id, length, id, version, section_number, last_section_number
_PROGRAM = Struct(">HH")
_STREAM = Struct(">BHH")
_U32 = Struct(">I")
_POLYNOMIAL = 0x04C11DB7


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1) ^ (_POLYNOMIAL if value & 0x80000000 else 0)
        table.append(value & 0xFFFFFFFF)
    return tuple(table)


_CRC_TABLE = _crc_table()


def crc32(data: bytes) -> int:
    """CRC_32 of a section: annex A, most significant bit first (not the one of zlib)."""
    value = 0xFFFFFFFF
    for byte in data:
        value = (value << 8 & 0xFFFFFFFF) ^ _CRC_TABLE[value >> 24 ^ byte]
    return value


@dataclass(frozen=True, slots=True)
class Stream:
    """One elementary stream as the PMT lists it."""

    pid: int
    stream_type: int


def pat(version: int) -> bytes:
    """The program association section; 2.4.4.3."""
    return _section(
        _PAT_TABLE_ID,
        TRANSPORT_STREAM_ID,
        version,
        _PROGRAM.pack(PROGRAM_NUMBER, 0xE000 | PMT_PID),
    )


def pmt(streams: Sequence[Stream], pcr_pid: int, version: int) -> bytes:
    """The program map section; 2.4.4.8."""
    body = [_PROGRAM.pack(0xE000 | pcr_pid, 0xF000)]
    body += [_STREAM.pack(each.stream_type, 0xE000 | each.pid, 0xF000) for each in streams]
    return _section(_PMT_TABLE_ID, PROGRAM_NUMBER, version, b"".join(body))


def tables(streams: Sequence[Stream], pcr_pid: int, version: int) -> tuple[bytes, ...]:
    """PAT and PMT as two packets, once for each continuity counter."""
    sections = ((PAT_PID, pat(0)), (PMT_PID, pmt(streams, pcr_pid, version)))
    return tuple(
        b"".join(_packet(pid, counter, section) for pid, section in sections)
        for counter in range(COUNTERS)
    )


def _section(table_id: int, extension: int, version: int, body: bytes) -> bytes:
    length = len(body) + 9  # five bytes of header and the CRC
    head = _SECTION.pack(table_id, 0xB000 | length, extension, 0xC1 | version % VERSIONS << 1, 0, 0)
    return head + body + _U32.pack(crc32(head + body))


def _packet(pid: int, counter: int, section: bytes) -> bytes:
    """The section in one packet, behind a pointer_field of 0; it is far shorter than a packet."""
    head = bytes((SYNC_BYTE, 0x40 | pid >> 8, pid & 0xFF, 0x10 | counter, 0))
    filler = PAYLOAD_BYTES - 1 - len(section)
    packet = head + section + b"\xff" * filler
    if len(packet) != PACKET_BYTES:
        raise ValueError("a section of more than one packet")
    return packet
