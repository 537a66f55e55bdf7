"""Datagrams joined to runs as the kernel cuts them: equal sizes, only the last may be shorter."""

from collections.abc import Sequence

from flux.base.twins import twin
from protocols.srt import packing
from protocols.srt.packet import HEADER_BYTES, Address, Run
from protocols.srt.packing import HEAD_STEP
from protocols.srt.payloads import Payloads

MAX_SEGMENTS = 64
MAX_BYTES = 65_000

_pack_even, _pack_row = twin(packing.pack_even), twin(packing.pack_row)


class RunBuilder:
    """Collects what one connection sends in one turn, in order."""

    __slots__ = ("_address", "_bytes", "_count", "_is_open", "_parts", "_runs", "_segment")

    def __init__(self, address: Address) -> None:
        self._address = address
        self._runs: list[Run] = []
        self._parts: list[bytes] = []
        self._segment = 0
        self._count = 0
        self._bytes = 0
        self._is_open = False  # the last one had the full size

    def add(self, datagram: bytes) -> None:
        """One datagram."""
        size = len(datagram)
        if not (
            self._is_open
            and size <= self._segment
            and self._count < MAX_SEGMENTS
            and self._bytes + size <= MAX_BYTES
        ):
            self._cut()
            self._segment = size
            self._is_open = True
        self._parts.append(datagram)
        self._count += 1
        self._bytes += size
        if size < self._segment:
            self._is_open = False

    def add_equal(self, headers: Sequence[bytes], payloads: Sequence[bytes]) -> None:
        """Datagrams of one size, each of a header and a payload; the last may be shorter."""
        size = len(headers[0]) + len(payloads[0])
        is_last_short = len(payloads[-1]) < len(payloads[0])
        count = len(headers) - is_last_short
        start = 0
        while start < count:
            if not (self._is_open and self._segment == size):
                self._cut()
                self._segment = size
                self._is_open = True
            room = min(MAX_SEGMENTS - self._count, (MAX_BYTES - self._bytes) // size)
            if room <= 0:
                self._cut()
                self._segment = size
                self._is_open = True
                room = max(min(MAX_SEGMENTS, MAX_BYTES // size), 1)
            end = min(start + room, count)
            parts: list[bytes] = [b""] * (2 * (end - start))
            parts[::2] = headers[start:end]
            parts[1::2] = payloads[start:end]
            self._parts += parts
            self._count += end - start
            self._bytes += size * (end - start)
            start = end
        if is_last_short:
            self.add(headers[-1] + payloads[-1])

    def add_even(self, head: int, tail: bytes, payloads: Payloads) -> None:
        """Packets as in `packing.pack_even`."""
        count, size = len(payloads), HEADER_BYTES + payloads.longest
        most = max(min(MAX_SEGMENTS, MAX_BYTES // size), 1)
        start = 0
        while start < count:
            if not (self._is_open and self._segment == size and self._count < most):
                self._cut()
                self._segment = size
            end = min(start + most - self._count, count)
            some = payloads if end - start == count else payloads.part(start, end - start)
            at = head + start * HEAD_STEP
            if some.data is None:
                data = _pack_even(at, tail, some.items)
            else:
                data = _pack_row(at, tail, some.data, some.start, some.end, some.step)
            self._parts.append(data)
            self._count += end - start
            self._bytes += len(data)
            self._is_open = len(data) == size * len(some)
            start = end

    def _cut(self) -> None:
        if self._parts:
            self._runs.append((self._address, self._segment, b"".join(self._parts)))
            self._parts = []
        self._count = self._bytes = 0
        self._is_open = False

    def take(self) -> list[Run]:
        """The runs so far."""
        self._cut()
        runs, self._runs = self._runs, []
        return runs
