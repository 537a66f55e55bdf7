"""Bit reading for parameter sets: fixed fields and Exp-Golomb codes (H.264 section 9.1)."""

from flux.base.errors import WireError

MAX_GOLOMB_ZEROS = 32


class BitReader:
    """Reads big-endian bit fields from bytes; running out raises `WireError("bits-truncated")`."""

    __slots__ = ("_length", "_position", "_value")

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._length = len(data) * 8
        self._position = 0

    @property
    def remaining(self) -> int:
        """Bits that are left."""
        return self._length - self._position

    def bits(self, count: int) -> int:
        """The next `count` bits as an unsigned number, u(n)."""
        end = self._position + count
        if count < 0 or end > self._length:
            raise WireError("bits-truncated")
        self._position = end
        return (self._value >> (self._length - end)) & ((1 << count) - 1)

    def flag(self) -> bool:
        """The next bit, u(1)."""
        return self.bits(1) == 1

    def skip(self, count: int) -> None:
        """Step over `count` bits."""
        end = self._position + count
        if count < 0 or end > self._length:
            raise WireError("bits-truncated")
        self._position = end

    def golomb(self) -> int:
        """An unsigned Exp-Golomb number, ue(v)."""
        # One look ahead instead of a read for each zero: hostile sets are full of long codes.
        ahead = min(MAX_GOLOMB_ZEROS + 1, self.remaining)
        end = self._position + ahead
        window = (self._value >> (self._length - end)) & ((1 << ahead) - 1)
        zeros = ahead - window.bit_length()
        if zeros > MAX_GOLOMB_ZEROS:
            raise WireError("golomb-too-long")
        self.skip(zeros + 1)  # runs out where all that is left is zeros
        return (1 << zeros) - 1 + self.bits(zeros)

    def signed_golomb(self) -> int:
        """A signed Exp-Golomb number, se(v)."""
        code = self.golomb()
        return (code + 1) // 2 if code & 1 else -(code // 2)
