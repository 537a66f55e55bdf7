"""Program specific information: PAT and PMT of one program; ISO/IEC 13818-1 section 2.4.4."""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct

from flux.base.checksum import crc32_forward
from media.mpegts.bulk import PAYLOAD_BYTES, SYNC_BYTE

PAT_PID = 0
PMT_PID = 0x1000
PROGRAM_NUMBER = 1
TRANSPORT_STREAM_ID = 1
VERSIONS = 32  # version_number has five bits
COUNTERS = 16  # so has continuity_counter four
MAX_STREAMS_BYTES = 1000  # of a PMT's entries: a section has at most 1024, 2.4.4.8

STREAM_H264 = 0x1B
STREAM_H265 = 0x24
STREAM_AAC_ADTS = 0x0F
STREAM_MPEG1_AUDIO = 0x03
STREAM_MPEG2_AUDIO = 0x04  # the low sample rates of ISO/IEC 13818-3
STREAM_AC3 = 0x81  # user private; ATSC A/53 part 3, what HLS and Blu-ray use too
STREAM_EAC3 = 0x87

_PAT_TABLE_ID = 0
_PMT_TABLE_ID = 2
_REGISTRATION_TAG = 5
_SECTION = Struct(">BHHBBB")  # table_id, length, id, version, section_number, last_section_number
_PROGRAM = Struct(">HH")
_STREAM = Struct(">BHH")
_U32 = Struct(">I")


def crc32(data: bytes) -> int:
    """CRC_32 of a section, annex A."""
    return crc32_forward(data)


@dataclass(frozen=True, slots=True)
class Stream:
    """One elementary stream as the PMT lists it."""

    pid: int
    stream_type: int
    descriptors: bytes = b""

    @property
    def size_bytes(self) -> int:
        """Of its entry."""
        return _STREAM.size + len(self.descriptors)


def registration(format_identifier: bytes) -> bytes:
    """The registration descriptor, which says whose user private stream type it is; 2.6.8."""
    return bytes((_REGISTRATION_TAG, len(format_identifier))) + format_identifier


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
    for each in streams:
        size = 0xF000 | len(each.descriptors)
        body.append(_STREAM.pack(each.stream_type, 0xE000 | each.pid, size) + each.descriptors)
    return _section(_PMT_TABLE_ID, PROGRAM_NUMBER, version, b"".join(body))


def tables(
    streams: Sequence[Stream], pcr_pid: int, version: int, counter: int = 0, pmt_counter: int = 0
) -> tuple[bytes, ...]:
    """PAT and PMT as packets, once for each continuity counter of the PAT, which is the index.

    The PMT may take several packets; its own counter is `pmt_counter` where the PAT's is `counter`.
    """
    head, body = pat(0), pmt(streams, pcr_pid, version)
    count = len(_packets(PMT_PID, 0, body))
    return tuple(
        b"".join(
            _packets(PAT_PID, at, head)
            + _packets(PMT_PID, pmt_counter + (at - counter) % COUNTERS * count, body)
        )
        for at in range(COUNTERS)
    )


def _section(table_id: int, extension: int, version: int, body: bytes) -> bytes:
    length = len(body) + 9  # five bytes of header and the CRC
    head = _SECTION.pack(table_id, 0xB000 | length, extension, 0xC1 | version % VERSIONS << 1, 0, 0)
    return head + body + _U32.pack(crc32(head + body))


def _packets(pid: int, counter: int, section: bytes) -> list[bytes]:
    """The section behind a pointer_field of 0, in as many packets as it takes; 2.4.4.1."""
    data = b"\0" + section
    packets: list[bytes] = []
    start = 0x40  # payload_unit_start_indicator
    for at in range(0, len(data), PAYLOAD_BYTES):
        head = bytes((SYNC_BYTE, start | pid >> 8, pid & 0xFF, 0x10 | counter & 15))
        packets.append(head + data[at : at + PAYLOAD_BYTES].ljust(PAYLOAD_BYTES, b"\xff"))
        counter += 1
        start = 0
    return packets
