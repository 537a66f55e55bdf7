"""Wrap-around arithmetic: the only place that compares numbers of a fixed width (RFC 1982)."""


def add(value: int, step: int, bits: int) -> int:
    """`value + step`, wrapped to `bits` bits; `step` may be negative."""
    return (value + step) & ((1 << bits) - 1)


def distance(newer: int, older: int, bits: int) -> int:
    """Signed shortest way from `older` to `newer`, in -(2^(bits-1)) .. 2^(bits-1)-1."""
    half = 1 << (bits - 1)
    return ((newer - older + half) & ((half << 1) - 1)) - half


def extend(value: int, reference: int, bits: int) -> int:
    """The integer congruent to `value` that lies nearest to the unwrapped `reference`."""
    return reference + distance(value, reference & ((1 << bits) - 1), bits)


class Unwrapper:
    """Turns a wrapping counter into a growing integer; small steps back are kept as such."""

    __slots__ = ("_bits", "_last")

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._last: int | None = None

    def unwrap(self, value: int) -> int:
        """The unwrapped number of `value`; the first call answers `value` itself."""
        last = self._last
        result = value if last is None else extend(value, last, self._bits)
        self._last = result
        return result

    def reset(self) -> None:
        """Forget the past: the next value is taken as it is."""
        self._last = None
