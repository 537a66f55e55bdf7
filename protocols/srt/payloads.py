"""Payloads that are given to be sent together, measured once for all links that send them."""

from collections.abc import Iterable, Sequence


class Payloads(list[bytes]):
    """A list that must not change once it is made; it has one payload at least.

    Public: `size_bytes` of all together, `shortest`, `longest`; `is_even`: all are as long as the
    first but the last, which may be shorter, so that they leave as one run.
    """

    __slots__ = ("is_even", "longest", "shortest", "size_bytes")

    def __init__(self, payloads: Iterable[bytes]) -> None:
        super().__init__(payloads)
        sizes = list(map(len, self))
        self.size_bytes = sum(sizes)
        self.longest = max(sizes)
        last = sizes[-1]
        self.shortest = min(sizes)
        full = sizes.count(self.longest)
        self.is_even = full == len(sizes) or (
            full == len(sizes) - 1 and last == self.shortest and sizes[0] == self.longest
        )

    @classmethod
    def of(cls, payloads: Sequence[bytes]) -> "Payloads":
        """These; the same object where they are measured already."""
        return payloads if isinstance(payloads, cls) else cls(payloads)
