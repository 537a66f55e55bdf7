"""The listening side of an endpoint: callers are asked about, let in as links, or sent away.

It owns the listener's machine and has no socket: its endpoint feeds it and sends for it.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from protocols.srt.events import ConnectionRequested, Established, KeyNeeded, RequestEnded
from protocols.srt.group_link import GroupLink
from protocols.srt.handshake import RandomBytes
from protocols.srt.link import Link, LinkHandler
from protocols.srt.listener import Listener
from protocols.srt.options import GroupType, ListenerOptions, Options
from protocols.srt.packet import Address, Run
from protocols.srt.reject import Reject, slug_of
from protocols.srt.timed import Timed


class Host(Protocol):
    """What the reception needs of its endpoint."""

    def transmit(self, runs: Iterable[Run]) -> None:
        """Send."""

    def derive(self, question: KeyNeeded, answer: Callable[[bytes, float], None]) -> None:
        """Compute a key and call `answer(key, now)`, now or later."""

    def rearm(self, part: Timed, at: float) -> None:
        """Call `handle_timer` then."""

    def draw_id(self) -> int | None:
        """A socket id that nobody has; None: there is no room for one more link."""

    def draw_group_id(self) -> int:
        """A new id of a group."""

    def add_link(self, socket_id: int, options: Options, handler: LinkHandler, handle: int) -> Link:
        """A link of this side."""

    def call_failed(self, request: ConnectionRequested, error: Exception) -> None:
        """What is told of callers raised."""

    def now(self) -> float:
        """The time."""


class IncomingCall:
    """A caller that waits for an answer; unanswered it is refused after some seconds."""

    __slots__ = ("_reception", "request")

    def __init__(self, reception: "Reception", request: ConnectionRequested) -> None:
        self._reception = reception
        self.request = request

    @property
    def group(self) -> GroupLink | None:
        """The group that is there already and that this caller brings one more link of."""
        return self._reception.group_of(self.request)

    def join(self) -> None:
        """Let it in as one more link of its group."""
        group = self.group
        if group is None:
            self.reject(Reject.GROUP)
        else:
            self._reception.join(self.request, group)

    def accept(self, options: Options, handler: LinkHandler) -> None:
        """Let it in; `handler` hears of it once the two sides agree, or that they do not.

        The first link of a group makes the group, and `handler` gets that.
        """
        if self.request.group is None:
            self._reception.accept(self.request, options, handler)
        else:
            self._reception.join(
                self.request, self._reception.make_group(self.request, options, handler)
            )

    def reject(self, code: int) -> None:
        """Refuse it with a `Reject` or another code."""
        self._reception.reject(self.request, code)

    def ignore(self, reason: str) -> None:
        """Refuse it without a word; counted under `reason`."""
        self._reception.ignore(self.request, reason)


class Reception:
    """One for each endpoint that listens."""

    def __init__(
        self,
        host: Host,
        options: ListenerOptions,
        on_call: Callable[[IncomingCall], None],
        random: RandomBytes,
    ) -> None:
        self._host = host
        self._on_call = on_call
        self._machine = Listener(options, random, host.now())
        self._accepted: dict[int, tuple[Options, LinkHandler, int]] = {}
        self._groups: dict[tuple[int, GroupType, str], GroupLink] = {}
        self._timer_at: float | None = None  # what the endpoint was told
        self._is_busy = False
        self._is_open = True

    @property
    def counters(self) -> dict[str, int]:
        """What came to nothing, by reason."""
        return self._machine.counters

    @property
    def ids(self) -> set[int]:
        """Socket ids that callers will get whose handshake is not over."""
        return {socket_id for _, _, socket_id in self._accepted.values()}

    # -- for the application -----------------------------------------------------------------

    def group_of(self, request: ConnectionRequested) -> GroupLink | None:
        """The group of a caller, if another link of it is there. It must want the same."""
        return self._groups.get(group_key(request))

    def make_group(
        self, request: ConnectionRequested, options: Options, handler: LinkHandler
    ) -> GroupLink:
        """A group for a caller who brings the first link of one."""
        offer, key = request.group, group_key(request)
        assert offer is not None  # the caller of this has looked

        def over() -> None:
            if self._groups.get(key) is group:
                del self._groups[key]

        group_id = self._host.draw_group_id()
        group = GroupLink(self._host, group_id, offer.kind, options, handler, on_over=over)
        self._groups[key] = group
        return group

    def join(self, request: ConnectionRequested, group: GroupLink) -> None:
        """See `IncomingCall.join`."""
        weight = request.group.weight if request.group is not None else 0
        self.accept(request, group.options, group.member(weight), group.group_id)

    def accept(
        self,
        request: ConnectionRequested,
        options: Options,
        handler: LinkHandler,
        group_id: int = 0,
    ) -> None:
        """See `IncomingCall.accept`."""
        if not self._is_open:
            handler.refused(slug_of(Reject.CLOSED), Reject.CLOSED)
            return
        socket_id = self._host.draw_id()
        if socket_id is None:
            self.reject(request, Reject.OVERLOAD)
            handler.refused(slug_of(Reject.OVERLOAD), Reject.OVERLOAD)
            return
        now = self._host.now()
        handle = request.handle
        self._accepted[handle] = (options, handler, socket_id)
        if not self._machine.accept(handle, options, socket_id, now, group_id):
            del self._accepted[handle]
            handler.refused(slug_of(Reject.TIMEOUT), Reject.TIMEOUT)
        self.flush(now)

    def reject(self, request: ConnectionRequested, code: int) -> None:
        """See `IncomingCall.reject`."""
        if self._is_open:
            now = self._host.now()
            self._machine.reject(request.handle, code, now)
            self.flush(now)

    def ignore(self, request: ConnectionRequested, reason: str) -> None:
        """See `IncomingCall.ignore`."""
        if self._is_open:
            now = self._host.now()
            self._machine.ignore(request.handle, reason, now)
            self.flush(now)

    def close(self) -> None:
        """Let nobody in any more."""
        self._is_open = False
        accepted, self._accepted = self._accepted, {}
        for _, handler, _ in accepted.values():
            handler.refused(slug_of(Reject.CLOSED), Reject.CLOSED)

    # -- for the endpoint --------------------------------------------------------------------

    def receive(self, datagrams: list[bytes], address: Address, now: float) -> None:
        """Datagrams for nobody else; `flush` is to follow."""
        self._machine.receive_datagrams(datagrams, address, now)

    def forget(self, handle: int, now: float) -> None:
        """The link of this call is closed."""
        self._machine.forget(handle, now)

    def handle_timer(self, at: float, now: float) -> bool:
        """The time `at` has come, as told; whether it still mattered, and `flush` is to follow."""
        if at != self._timer_at or not self._is_open:
            return False
        self._timer_at = None
        self._machine.handle_timer(now)
        return True

    def flush(self, now: float) -> None:
        """Tell what happened, send what is to be sent, say when to come again."""
        if self._is_busy or not self._is_open:
            return  # called from within `on_call`: the turn under way does it
        self._is_busy = True
        try:
            while (event := self._machine.next_event()) is not None:
                self._take(event, now)
        finally:
            self._is_busy = False
        self._host.transmit(self._machine.datagrams_to_send(now))
        at = self._machine.get_timer()
        if at is not None and (self._timer_at is None or at < self._timer_at):
            self._timer_at = at
            self._host.rearm(self, at)

    # -- inside ------------------------------------------------------------------------------

    def _take(self, event: object, now: float) -> None:
        if isinstance(event, ConnectionRequested):
            try:
                self._on_call(IncomingCall(self, event))
            except Exception as error:  # a fault of ours must not stop the endpoint
                self._host.call_failed(event, error)
                self._machine.reject(event.handle, Reject.INTERNAL, now)
        elif isinstance(event, KeyNeeded):
            self._ask(event)
        elif isinstance(event, Established):
            accepted = self._accepted.pop(event.handle, None)
            self._host.transmit(self._machine.datagrams_to_send(now))  # before the first data
            if accepted is not None:
                options, handler, socket_id = accepted
                link = self._host.add_link(socket_id, options, handler, event.handle)
                link.establish(event.result, now)
                link.flush(now)
        elif isinstance(event, RequestEnded):
            accepted = self._accepted.pop(event.handle, None)
            if accepted is not None:
                accepted[1].refused(event.reason, event.code)

    def _ask(self, question: KeyNeeded) -> None:
        def answer(key: bytes, now: float) -> None:
            self._machine.provide_key(question.handle, key, now)
            self.flush(now)

        self._host.derive(question, answer)


def group_key(request: ConnectionRequested) -> tuple[int, GroupType, str]:
    """What links of one group have in common: the peer's group, its kind, and what is wanted."""
    offer = request.group
    if offer is None:
        return 0, GroupType.UNDEFINED, request.stream_id
    return offer.group_id, offer.kind, request.stream_id
