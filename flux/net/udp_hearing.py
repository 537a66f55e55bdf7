"""What one turn of a UDP socket brought: datagrams by sender, each with the time when it came."""

import socket
import time
from collections.abc import Iterator, Sequence
from itertools import accumulate
from struct import Struct
from typing import Any, overload

from flux.net.udp_homes import Ancillary, Homes

SO_TIMESTAMPNS = 35  # asm-generic/socket.h; SCM_TIMESTAMPNS is the same
UDP_GRO = 104  # linux/udp.h
TIMESPEC = Struct("@qq")
GRO_SIZE = Struct("@i")
OLDEST = 1.0  # seconds; a stamp that is older, or of the future, is one of a clock that was set

Address = tuple[Any, ...]  # a socket address; the first two are host and port
Batch = tuple[float, Address, Sequence[bytes]]  # arrival in monotonic seconds, sender, datagrams


class Clock:
    """Turns kernel stamps into monotonic seconds.

    Stamps are wall time: arrival = now - (wall clock now - stamp), within `OLDEST`.
    """

    __slots__ = ("_now", "_shift")

    def __init__(self, now: float) -> None:
        self._now = now
        self._shift = now - time.time()

    def at(self, seconds: int, nanoseconds: int) -> float:
        """The moment of a stamp; of none, which is negative: now."""
        if seconds < 0:
            return self._now
        at = self._shift + seconds + nanoseconds * 1e-9
        return min(max(at, self._now - OLDEST), self._now)


class Joined(Sequence[bytes]):
    """Datagrams that lie in one piece, for who takes them as a stream of bytes.

    Public: all of them as `data`, and their `sizes`. Who asks for one gets it cut.
    """

    __slots__ = ("data", "sizes")

    def __init__(self, data: bytes, sizes: Sequence[int]) -> None:
        self.data = data
        self.sizes = sizes

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[bytes]:
        data = self.data
        for size, end in zip(self.sizes, accumulate(self.sizes), strict=True):
            yield data[end - size : end]

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if index == 0:
            return self.data[: self.sizes[0]]
        return list(self)[index]


class Heard:
    """One sender's datagrams of a turn, in order."""

    __slots__ = ("_clock", "_stamps", "address", "datagrams")

    def __init__(self, address: Address, clock: Clock) -> None:
        self.address = address
        self.datagrams: list[bytes] = []
        self._clock = clock
        # Few are ever asked for: from which datagram on, seconds, nanoseconds, their places there.
        self._stamps: list[tuple[int, Sequence[int], Sequence[int], Sequence[int]]] = []

    def add(
        self,
        datagrams: list[bytes],
        seconds: Sequence[int],
        nanoseconds: Sequence[int],
        places: Sequence[int] | None = None,
    ) -> None:
        """More of them; their stamps are at these places, or in the same order."""
        if places is None:
            places = range(len(datagrams))
        self._stamps.append((len(self.datagrams), seconds, nanoseconds, places))
        self.datagrams += datagrams

    def at(self, index: int) -> float:
        """When one came, in monotonic seconds."""
        if index < 0:
            index += len(self.datagrams)
        for first, seconds, nanoseconds, places in reversed(self._stamps):
            if index >= first:
                place = places[index - first]
                return self._clock.at(seconds[place], nanoseconds[place])
        raise IndexError(index)


class Hearing:
    """Public: `heard`, one entry a sender; `errors` of the system; `joins`: what comes is taken as
    a stream of bytes, so `take_joined` may be called."""

    __slots__ = ("_batches", "_clock", "_homes", "_senders", "errors", "heard", "joins")

    def __init__(self, now: float, homes: Homes | None, *, joins: bool = False) -> None:
        self.joins = joins
        self._batches: list[Batch] = []
        self._clock = Clock(now)
        self._homes = homes
        self._senders: dict[Address, Heard] = {}
        self.heard: list[Heard] = []
        self.errors = 0

    def take(self, data: bytes, ancillary: Ancillary, address: Address) -> None:
        """One message, perhaps of many datagrams that the kernel joined."""
        segment, stamp = 0, (-1, 0)
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
                stamp = TIMESPEC.unpack_from(value)
            elif level == socket.IPPROTO_UDP and kind == UDP_GRO:
                segment = GRO_SIZE.unpack_from(value)[0]
            elif self._homes is not None:
                self._homes.note(address, kind, value)
        pieces = _cut(data, segment)
        count = len(pieces)
        self._sender(address).add(pieces, [stamp[0]] * count, [stamp[1]] * count)

    def take_alike(
        self,
        messages: list[bytes],
        ancillary: Ancillary,
        addresses: Sequence[Address],
        seconds: Sequence[int],
        nanoseconds: Sequence[int],
    ) -> None:
        """Messages with the same ancillary data but for their times; one address may be of all."""
        segment = self._note(ancillary, addresses)
        if not segment:
            self._take_whole(messages, addresses, seconds, nanoseconds)
            return
        if len(addresses) == 1:
            addresses = [addresses[0]] * len(messages)
        for address, message, second, nanosecond in zip(
            addresses, messages, seconds, nanoseconds, strict=True
        ):
            pieces = _cut(message, segment)
            count = len(pieces)
            self._sender(address).add(pieces, [second] * count, [nanosecond] * count)

    def take_joined(
        self,
        data: bytes,
        sizes: Sequence[int],
        ancillary: Ancillary,
        address: Address,
        stamp: tuple[int, int],
    ) -> None:
        """The same of one sender in one piece, and the time of the first."""
        segment = self._note(ancillary, (address,))
        if segment:
            cuts = (range(0, size, segment) for size in sizes)
            sizes = [min(segment, cut.stop - at) for cut in cuts for at in cut or (0,)]
        self.batches()
        self._batches.append((self._clock.at(*stamp), address, Joined(data, sizes)))

    def batches(self) -> list[Batch]:
        """All that came, in order; what is not joined, by sender."""
        self._batches += [(each.at(0), each.address, each.datagrams) for each in self.heard]
        self.heard.clear()
        self._senders.clear()
        return self._batches

    def _note(self, ancillary: Ancillary, addresses: Sequence[Address]) -> int:
        """Remember where they came to; answers the bytes of each datagram, where the kernel joined
        them."""
        segment = 0
        for level, kind, value in ancillary:
            if level == socket.IPPROTO_UDP and kind == UDP_GRO:
                segment = GRO_SIZE.unpack_from(value)[0]
            elif self._homes is not None:
                for address in set(addresses):
                    self._homes.note(address, kind, value)
        return segment

    def _take_whole(
        self,
        messages: list[bytes],
        addresses: Sequence[Address],
        seconds: Sequence[int],
        nanoseconds: Sequence[int],
    ) -> None:
        """Messages of one datagram each."""
        if len(addresses) == 1:
            self._sender(addresses[0]).add(messages, seconds, nanoseconds)
            return
        columns: dict[Address, list[int]] = {}
        for index, address in enumerate(addresses):
            if address in columns:
                columns[address].append(index)
            else:
                columns[address] = [index]
        for address, indices in columns.items():
            some = [messages[index] for index in indices]
            self._sender(address).add(some, seconds, nanoseconds, indices)

    def _sender(self, address: Address) -> Heard:
        """What came from there."""
        found = self._senders.get(address)
        if found is None:
            found = self._senders[address] = Heard(address, self._clock)
            self.heard.append(found)
        return found


def _cut(data: bytes, segment: int) -> list[bytes]:
    """The datagrams that the kernel joined, if it did; an empty one is one too."""
    if len(data) <= segment or segment <= 0:
        return [data]
    return [data[at : at + segment] for at in range(0, len(data), segment)]
