"""NAL units as bytes: start codes, emulation prevention, SEI (H.264 and H.265 Annex B)."""

from math import gcd

from flux.base.twins import twin
from media.codecs import start_codes

MAX_SET_BYTES = 65536  # a parameter set that is longer is not one
MAX_PARSED_BYTES = 1024  # all that a parser reads of a parameter set or SEI; bounds its work
MAX_SEI_MESSAGES = 64
MAX_FRAME_RATE = 300  # more is nonsense of an encoder that never set its clock

split_start_codes = twin(start_codes.split_start_codes)


def unescape(data: bytes) -> bytes:
    """The RBSP of a NAL unit: without emulation prevention bytes (H.264 section 7.4.1)."""
    return data.replace(b"\0\0\3", b"\0\0")


def split_annexb(data: bytes) -> list[bytes]:
    """NAL units of a byte stream; zeros around the start codes belong to none of them.

    Bytes before the first start code are taken as a NAL unit too.
    """
    return [nal for piece in split_start_codes(data) if (nal := piece.rstrip(b"\0"))]


def has_sei_message(rbsp: bytes, payload_type: int) -> bool:
    """Tell whether an SEI RBSP, without NAL header, has a message of a type below 255.

    H.264 section 7.3.2.3.1, H.265 section 7.3.5.
    """
    at = 0
    end = len(rbsp)
    for _ in range(MAX_SEI_MESSAGES):
        if at + 2 > end:
            break
        if rbsp[at] == payload_type:
            return True
        while rbsp[at] == 255:
            at += 1
            if at == end:
                return False
        at += 1
        size = 0
        while at < end and rbsp[at] == 255:
            size += 255
            at += 1
        if at == end:
            break
        at += 1 + size + rbsp[at]
    return False


def frame_rate(num: int, den: int) -> tuple[int, int]:
    """Frames a second as a reduced fraction; (0, 1) where the numbers make no sense."""
    if not 0 < num <= MAX_FRAME_RATE * den:
        return 0, 1
    divisor = gcd(num, den)
    return num // divisor, den // divisor
