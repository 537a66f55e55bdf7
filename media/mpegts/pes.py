"""PES packet headers; ISO/IEC 13818-1 section 2.4.3.6."""

from struct import Struct

STREAM_ID_VIDEO = 0xE0
STREAM_ID_AUDIO = 0xC0
MAX_PES_LENGTH = 0xFFFF

_HEAD = Struct(">IHHB")  # start code and id, length, flags, header length
_DATA_ALIGNMENT = 0x8400  # '10', not scrambled, data_alignment_indicator
_PTS = 0x80
_PTS_DTS = 0xC0
_MARKERS = 1 << 32 | 1 << 16 | 1


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
