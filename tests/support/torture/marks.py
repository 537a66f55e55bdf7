"""Numbers of units in their last bytes; none of them can be part of a start code."""

MARK_BYTES = 5
_SIGN = 0xA5
_BITS = 7


def marked(payload: tuple[bytes, ...], number: int) -> tuple[bytes, ...]:
    """The payload with its number behind it."""
    digits = bytes(0x80 | number >> _BITS * n & 0x7F for n in (3, 2, 1, 0))
    return (*payload[:-1], payload[-1] + bytes((_SIGN,)) + digits)


def number_of(tail: bytes) -> int | None:
    """The number that stands at the end of a unit; None: there is none."""
    mark = tail[-MARK_BYTES:]
    if len(mark) < MARK_BYTES or mark[0] != _SIGN or min(mark) < 0x80:
        return None
    number = 0
    for digit in mark[1:]:
        number = number << _BITS | digit & 0x7F
    return number
