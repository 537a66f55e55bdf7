"""PES packet headers; ISO/IEC 13818-1 section 2.4.3.6."""

from dataclasses import dataclass
from struct import Struct

from flux.base.errors import WireError
from media.frame import NO_TIME

STREAM_ID_VIDEO = 0xE0
STREAM_ID_AUDIO = 0xC0  # MPEG's own
STREAM_ID_PRIVATE_1 = 0xBD  # other sound
STREAM_ID_METADATA = 0xFC
MAX_PES_LENGTH = 0xFFFF

_HEAD = Struct(">IHHB")  # start code and id, length, flags, header length
_DATA_ALIGNMENT = 0x8400  # '10', not scrambled, data_alignment_indicator
_PTS = 0x80
_PTS_DTS = 0xC0
_MARKERS = 1 << 32 | 1 << 16 | 1
_START_CODE = b"\0\0\1"
# Stream ids whose payload begins behind the length, table 2-22: maps, padding, private_stream_2,
# ECM, EMM, DSM-CC, H.222.1 type E, directory.
STREAM_ID_PADDING = 0xBE
_WITHOUT_HEADER = frozenset((0xBC, STREAM_ID_PADDING, 0xBF, 0xF0, 0xF1, 0xF2, 0xF8, 0xFF))


def _stamp(prefix: int, ticks: int) -> bytes:
    """A 33-bit time with its marker bits; `prefix` is 2 (PTS alone), 3 (PTS), 1 (DTS)."""
    return (
        prefix << 36
        | (ticks & 0x1C0000000) << 3
        | (ticks & 0x3FFF8000) << 2
        | (ticks & 0x7FFF) << 1
        | _MARKERS
    ).to_bytes(5, "big")


def pes_header(stream_id: int, pts: int, dts: int, payload_bytes: int) -> bytes:
    """The header in front of `payload_bytes` bytes; times in 90 kHz, wrapped here to 33 bits.

    Only video may leave the length open (0); it does where the length has no room. A length that
    is given lets a demultiplexer hand on the access unit without waiting for the next one.
    """
    if pts == dts:
        length = payload_bytes + 8
        flags, size, stamps = _PTS, 5, _stamp(2, pts)
    else:
        length = payload_bytes + 13
        flags, size, stamps = _PTS_DTS, 10, _stamp(3, pts) + _stamp(1, dts)
    if length > MAX_PES_LENGTH:
        length = 0
    return _HEAD.pack(0x100 | stream_id, length, _DATA_ALIGNMENT | flags, size) + stamps


@dataclass(slots=True)
class PesHeader:
    """A PES packet's header, read; times are 33 bits wide."""

    stream_id: int
    pts: int  # NO_TIME where there is none
    dts: int  # that of `pts` where there is none of its own
    payload_at: int  # where the payload begins


def parse_pes_header(data: bytes) -> PesHeader:
    """Read the header at the front of a PES packet; `WireError` if it is malformed or scrambled."""
    if len(data) < 6 or not data.startswith(_START_CODE):
        raise WireError("ts-pes-malformed", "start code")
    stream_id = data[3]
    if stream_id in _WITHOUT_HEADER:
        return PesHeader(stream_id, NO_TIME, NO_TIME, 6)
    if len(data) < 9 or data[6] & 0xC0 != 0x80:
        raise WireError("ts-pes-malformed", "marker bits")
    if data[6] & 0x30:
        raise WireError("ts-scrambled")
    flags = data[7] >> 6
    payload_at = 9 + data[8]
    if payload_at > len(data):
        raise WireError("ts-pes-malformed", "header length")
    pts = dts = NO_TIME
    if flags & 2:
        if data[8] < (10 if flags == 3 else 5):
            raise WireError("ts-pes-malformed", "time stamps")
        pts = dts = _read_stamp(data, 9)
        if flags == 3:
            dts = _read_stamp(data, 14)
    return PesHeader(stream_id, pts, dts, payload_at)


def _read_stamp(data: bytes, at: int) -> int:
    value = int.from_bytes(data[at : at + 5], "big")
    if value & _MARKERS != _MARKERS:
        raise WireError("ts-pes-malformed", "time stamps")
    return value >> 3 & 0x1C0000000 | value >> 2 & 0x3FFF8000 | value >> 1 & 0x7FFF
