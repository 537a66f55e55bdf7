"""Payloads that are given to be sent together, measured once for all links that send them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import overload


class Payloads(Sequence[bytes]):
    """They must not change once they are made; there is one at least.

    A row lies in one piece, `step` bytes each, only the last may be shorter. It is cut once
    somebody asks for all of them, as who encrypts them, and is no row any more. Public:
    `size_bytes` of all together, `shortest`, `longest`; `is_even`: all are as long as the first but
    the last, which may be shorter, so that they leave as one run; of a row `data`, its `start` and
    `end` there, `step`; of others `data` is None.
    """

    __slots__ = (
        *("_count", "_items", "data", "end", "is_even", "longest", "shortest", "size_bytes"),
        *("start", "step"),
    )

    size_bytes: int
    shortest: int
    longest: int
    is_even: bool

    def __init__(self, payloads: Iterable[bytes], like: "Payloads | None" = None) -> None:
        """`like`: each is as long as these are."""
        items = self._items = list(payloads)
        self._count = len(items)
        self.data: bytes | None = None
        self.start = self.end = self.step = 0
        if like is not None:
            self.size_bytes, self.is_even = like.size_bytes, like.is_even
            self.longest, self.shortest = like.longest, like.shortest
            return
        sizes = list(map(len, items))
        self.size_bytes = sum(sizes)
        self.longest = max(sizes)
        last = sizes[-1]
        self.shortest = min(sizes)
        full = sizes.count(self.longest)
        self.is_even = full == len(sizes) or (
            full == len(sizes) - 1 and last == self.shortest and sizes[0] == self.longest
        )

    @classmethod
    def row(cls, data: bytes, start: int, end: int, step: int) -> "Payloads":
        """What lies in `data` from `start` to `end`, which is not empty."""
        self = cls.__new__(cls)
        size = self.size_bytes = end - start
        count = self._count = (size + step - 1) // step
        self._items = []
        self.data, self.start, self.end, self.step = data, start, end, step
        self.longest = min(step, size)
        self.shortest = size - (count - 1) * step
        self.is_even = True
        return self

    @classmethod
    def of(cls, payloads: Sequence[bytes]) -> "Payloads":
        """These; the same object where they are measured already."""
        return payloads if isinstance(payloads, cls) else cls(payloads)

    @property
    def items(self) -> list[bytes]:
        """Each by itself, the same objects each time; nobody may change the list."""
        data, step, end = self.data, self.step, self.end
        if data is not None:
            self._items = [data[at : min(at + step, end)] for at in range(self.start, end, step)]
            self.data = None  # else it would be kept twice
        return self._items

    def size_of(self, index: int) -> int:
        """Bytes of one."""
        if self.data is None:
            return len(self._items[index])
        return min(self.step, self.size_bytes - index * self.step)

    def part(self, start: int, count: int) -> "Payloads":
        """Some of them, one at least."""
        if self.data is None:
            return Payloads(self._items[start : start + count])
        at = self.start + start * self.step
        return Payloads.row(self.data, at, min(at + count * self.step, self.end), self.step)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.items)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if self.data is None or isinstance(index, slice) or not 0 <= index < self._count:
            return self.items[index]
        at = self.start + index * self.step
        return self.data[at : min(at + self.step, self.end)]
