"""The requests that a listener remembers, each kind bounded.

| state | how many | until |
|---|---|---|
| WAITING | `max_waiting`, `max_waiting_per_host` | answered, or `answer_timeout` |
| ACCEPTED | as many as the owner accepts | the owner forgets it |
| ENDED, refused | `max_rejections`, the oldest go first | `linger` |
| ENDED, its connection closed | `max_closed`, the oldest go first | its cookie is good no more |

A request is known by the caller's address and socket id for its whole life, so that a conclusion
that comes again gets the same answer. One that comes after its end gets the rejection again, or
nothing if the connection was closed: it is an echo of the past.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum

from protocols.srt.handshake_wire import Handshake
from protocols.srt.negotiation import Offer
from protocols.srt.options import ListenerOptions
from protocols.srt.packet import Address
from protocols.srt.responder import Decision

Key = tuple[Address, int]  # the caller's address and socket id
NEVER = float("inf")


class RequestState(IntEnum):
    """See the table above."""

    WAITING = 0
    ACCEPTED = 1
    ENDED = 2


@dataclass(slots=True)
class Acceptance:
    """What the application wants."""

    decision: Decision
    socket_id: int
    group_id: int


@dataclass(slots=True)
class Request:
    """One caller with a valid cookie.

    `answer` is what it gets, None: nothing (yet); `acceptance` is there while a key is awaited.
    """

    handle: int
    address: Address
    handshake: Handshake
    offer: Offer
    arrived: float
    peer_started_at: float
    state: RequestState = RequestState.WAITING
    acceptance: Acceptance | None = None
    answer: Handshake | None = None
    answer_at: float = 0.0  # not before

    @property
    def key(self) -> Key:
        """What tells it from others."""
        return self.address, self.handshake.socket_id


@dataclass(slots=True)
class RequestTable:
    """All of them; those of one kind end in the order in which they began."""

    options: ListenerOptions
    _by_key: dict[Key, Request] = field(default_factory=dict)
    _by_handle: dict[int, Request] = field(default_factory=dict)
    _waiting: dict[str, int] = field(default_factory=dict)  # by host
    _waiting_total: int = 0
    _deadlines: dict[int, float] = field(default_factory=dict)  # of WAITING, by handle
    _ends: deque[tuple[float, Request]] = field(default_factory=deque)  # of ENDED, refused
    _closed: deque[tuple[float, Request]] = field(default_factory=deque)  # of ENDED, closed
    _accepted: dict[str, int] = field(default_factory=dict)  # by host
    _handle: int = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def find(self, address: Address, socket_id: int) -> Request | None:
        """The request of that caller."""
        return self._by_key.get((address, socket_id))

    def get(self, handle: int) -> Request | None:
        """The request of that handle."""
        return self._by_handle.get(handle)

    def has_room(self, host: str) -> bool:
        """Whether one more may wait."""
        return (
            self._waiting_total < self.options.max_waiting
            and self._waiting.get(host, 0) < self.options.max_waiting_per_host
        )

    def is_crowded(self, host: str) -> bool:
        """Whether a host has as many connections as it may."""
        return self._accepted.get(host, 0) >= self.options.max_accepted_per_host

    def add(
        self, address: Address, handshake: Handshake, offer: Offer, now: float, peer_start: float
    ) -> Request:
        """A new one; `has_room` was asked."""
        self._handle += 1
        request = Request(self._handle, address, handshake, offer, now, peer_start)
        self._by_key[request.key] = self._by_handle[request.handle] = request
        self._waiting_total += 1
        host = str(address[0])
        self._waiting[host] = self._waiting.get(host, 0) + 1
        self._deadlines[request.handle] = now + self.options.answer_timeout
        return request

    def accept(self, request: Request, answer: Handshake) -> None:
        """It is a connection now."""
        self._leave_waiting(request)
        host = str(request.address[0])
        self._accepted[host] = self._accepted.get(host, 0) + 1
        request.state = RequestState.ACCEPTED
        request.answer = answer
        request.acceptance = None

    def end(self, request: Request, answer: Handshake | None, now: float) -> None:
        """It was refused with that answer, or its connection is closed."""
        self._leave_waiting(request)
        if request.state == RequestState.ENDED:
            return
        options, was_accepted = self.options, request.state == RequestState.ACCEPTED
        request.state = RequestState.ENDED
        request.answer = answer
        request.acceptance = None
        if was_accepted:
            _take_one(self._accepted, str(request.address[0]))
            self._closed.append((now + 2 * options.cookie_lifetime, request))
        else:
            self._ends.append((now + options.linger, request))
        if len(self._ends) > options.max_rejections:
            self._remove(self._ends.popleft()[1])
        if len(self._closed) > options.max_closed:
            self._remove(self._closed.popleft()[1])

    def expired(self, now: float) -> list[Request]:
        """Those that waited too long; ended ones that are old enough are forgotten."""
        for ends in (self._ends, self._closed):
            while ends and ends[0][0] <= now:
                self._remove(ends.popleft()[1])
        late = []
        for handle, deadline in self._deadlines.items():
            if deadline > now:
                break
            late.append(self._by_handle[handle])
        return late

    def next_at(self) -> float:
        """When `expired` has something to do; infinity: never."""
        first_deadline = next(iter(self._deadlines.values()), NEVER)
        return min([first_deadline, *(ends[0][0] for ends in (self._ends, self._closed) if ends)])

    def forget(self, request: Request) -> None:
        """One that has ended is of no interest any more."""
        self._by_key.pop(request.key, None)

    def _leave_waiting(self, request: Request) -> None:
        if request.state != RequestState.WAITING:
            return
        del self._deadlines[request.handle]
        self._waiting_total -= 1
        _take_one(self._waiting, str(request.address[0]))

    def _remove(self, request: Request) -> None:
        if self._by_key.get(request.key) is request:
            del self._by_key[request.key]
        self._by_handle.pop(request.handle, None)


def _take_one(counts: dict[str, int], host: str) -> None:
    """One less of that host."""
    left = counts.get(host, 1) - 1
    if left:
        counts[host] = left
    else:
        counts.pop(host, None)
