"""Datagrams joined to runs as the kernel cuts them: equal sizes, only the last may be shorter."""

from collections.abc import Sequence

from protocols.srt.packet import Address, Run

MAX_SEGMENTS = 64
MAX_BYTES = 65_000


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

    def add_equal(self, size: int, headers: Sequence[bytes], payloads: Sequence[bytes]) -> None:
        """Datagrams of one size, each of a header and a payload."""
        count = len(headers)
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
