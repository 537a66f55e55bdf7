"""AV1: OBUs (AV1 Bitstream Specification, sections 4.10.5, 5.2, 5.3 and 5.9.2).

OBUs are kept as RTP carries them: without size field (obu_has_size_field is 0), each a `bytes` of
its own, and no temporal delimiters among them.
"""

from collections.abc import Iterable

from flux.base.errors import WireError

SEQUENCE_HEADER = 1
TEMPORAL_DELIMITER = 2
FRAME_HEADER = 3
TILE_GROUP = 4
METADATA = 5
FRAME = 6
REDUNDANT_FRAME_HEADER = 7
TILE_LIST = 8
PADDING = 15

HAS_EXTENSION, HAS_SIZE = 4, 2  # bits of obu_header
FORBIDDEN = 0x80
MAX_LEB128_BYTES = 8


def obu_type(obu: bytes) -> int:
    """The type of an OBU that is not empty."""
    return obu[0] >> 3 & 15


def read_leb128(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at` and where it ends, section 4.10.5; `WireError` if it does not."""
    value = 0
    for index, byte in enumerate(data[at : at + MAX_LEB128_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise WireError("av1-malformed", "leb128")


def leb128(value: int) -> bytes:
    """A number as few bytes as it needs."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def without_size(obu: bytes) -> bytes:
    """One whole OBU without its size field, and without what lies behind its end.

    Raises `WireError` where it is no OBU.
    """
    if not obu or obu[0] & FORBIDDEN:
        raise WireError("av1-malformed", "obu header")
    head = 2 if obu[0] & HAS_EXTENSION else 1
    if len(obu) < head:
        raise WireError("av1-malformed", "obu header")
    if not obu[0] & HAS_SIZE:
        return obu
    size, at = read_leb128(obu, head)
    if at + size > len(obu):
        raise WireError("av1-malformed", "obu size")
    return bytes((obu[0] & ~HAS_SIZE,)) + obu[1:head] + obu[at : at + size]


def with_size(obu: bytes) -> bytes:
    """An OBU of `without_size` with its size field."""
    head = 2 if obu[0] & HAS_EXTENSION else 1
    return bytes((obu[0] | HAS_SIZE,)) + obu[1:head] + leb128(len(obu) - head) + obu[head:]


def split_obus(data: bytes) -> tuple[bytes, ...]:
    """The OBUs of a low-overhead bitstream (section 5.2), such as a sample of MP4, without sizes.

    Temporal delimiters and padding are left out. Raises `WireError`.
    """
    obus: list[bytes] = []
    at = 0
    while at < len(data):
        head = at + (2 if data[at] & HAS_EXTENSION else 1)
        if data[at] & HAS_SIZE:
            size, start = read_leb128(data, head)
            end = start + size
        else:
            end = len(data)  # the last one may come without
        if end > len(data):
            raise WireError("av1-malformed", "obu size")
        obu = without_size(data[at:end])
        if obu_type(obu) not in (TEMPORAL_DELIMITER, PADDING):
            obus.append(obu)
        at = end
    return tuple(obus)


def join_obus(obus: Iterable[bytes]) -> bytes:
    """The reverse: a temporal unit without its temporal delimiter."""
    return b"".join(map(with_size, obus))


def is_key_unit(obus: Iterable[bytes], is_reduced: bool = False) -> bool:
    """Tell whether a temporal unit begins with a key frame that is shown, section 5.9.2."""
    for obu in obus:
        kind = obu_type(obu) if obu else PADDING
        if kind in (FRAME, FRAME_HEADER):
            at = 2 if obu[0] & HAS_EXTENSION else 1
            # show_existing_frame(1) is 0, frame_type(2) is KEY_FRAME, show_frame(1) is 1
            return len(obu) > at and (is_reduced or obu[at] >> 4 == 1)
    return False
