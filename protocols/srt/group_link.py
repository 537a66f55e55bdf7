"""A group as the endpoint and the application hold it: several links that look like one.

The application's handler is told of the group: connected with its first link, closed after its
last. What the links bring comes out of the inbox that they share; what is sent goes over those that
`group.GroupSender` chooses.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from protocols.srt.connection import Connection
from protocols.srt.events import DataReceived
from protocols.srt.group import GroupSender, Member
from protocols.srt.link import NO_CODE, NOBODY, Channel, Link, LinkHandler
from protocols.srt.link_state import LinkState
from protocols.srt.options import GroupType, Options
from protocols.srt.packet import Address
from protocols.srt.playout import Playout
from protocols.srt.result import HandshakeResult
from protocols.srt.statistics import Statistics
from protocols.srt.timed import Timed
from protocols.srt.tsbpd import PlayClock


class Waker(Protocol):
    """What a group needs of an endpoint."""

    def rearm(self, part: Timed, at: float) -> None:
        """Call `handle_timer` then."""


class GroupLink:
    """Satisfies `link.Channel`. Public: `group_id` (ours), `links` by socket id."""

    def __init__(
        self,
        waker: Waker,
        group_id: int,
        kind: GroupType,
        options: Options,
        handler: LinkHandler,
        on_lost: Callable[[Link], bool] = lambda _link: False,
        on_over: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_lost` is told of a link that is gone, and says whether another one is on its way."""
        self._waker = waker
        self._handler = handler
        self._on_lost = on_lost
        self._on_over = on_over
        self._sender: GroupSender | None = None
        self._inbox: Playout | None = None
        self._timer_at: float | None = None  # what the endpoint was told
        self._is_busy = False
        self._end = ""
        self._result: HandshakeResult | None = None
        self._last: Link | None = None  # that was connected
        self.group_id = group_id
        self.kind = kind
        self.options = options
        self.links: dict[int, Link] = {}
        self.attachment: object = None

    # -- for the application -----------------------------------------------------------------

    @property
    def peer(self) -> Address:
        """Of the first link that is there."""
        for link in self.links.values():
            return link.peer
        return self._result.peer if self._result is not None else ()

    @property
    def result(self) -> HandshakeResult | None:
        """Of the first link that was connected."""
        return self._result

    @property
    def end(self) -> str:
        """The reason, once it is closed."""
        return self._end

    @property
    def rtt(self) -> float | None:
        """The longest of all links."""
        found = [link.rtt for link in self.links.values() if link.rtt is not None]
        return max(found) if found else None

    @property
    def members(self) -> tuple[Member, ...]:
        """How each link is doing."""
        return () if self._sender is None else self._sender.members

    @property
    def max_payload_bytes(self) -> int:
        """The longest payload that all links take; 0: there is none."""
        return min((link.max_payload_bytes for link in self.links.values()), default=0)

    @property
    def state(self) -> LinkState | None:
        """How sending goes over the links that are in use; None: there is none."""
        return LinkState.of_group(
            each.link.state
            for each in self.members
            if each.is_active and isinstance(each.link, Connection)
        )

    def statistics(self, now: float, *, is_clearing: bool = False) -> Statistics | None:
        """Of the link that was connected last."""
        return None if self._last is None else self._last.statistics(now, is_clearing=is_clearing)

    def send(self, payloads: Sequence[bytes], now: float) -> int:
        """Send over the links; how many payloads some link took."""
        if self._sender is None or self._end:
            return 0
        taken = self._sender.send(payloads, now)
        for link in tuple(self.links.values()):
            link.flush(now)
        return taken

    def close(self, reason: str, now: float) -> None:
        """End all links."""
        if self._end:
            return
        self._finish(reason)
        for link in tuple(self.links.values()):
            link.close(reason, now)
        self._handler.closed(self, reason, NO_CODE)
        self._let_go()

    # -- for the endpoint --------------------------------------------------------------------

    def member(self, weight: int) -> LinkHandler:
        """The handler of one more link."""
        return _Member(self, weight)

    @property
    def first_sequence(self) -> int | None:
        """What the next link that we call with has to begin with; None: the first one chooses."""
        return None if self._sender is None else self._sender.next_sequence

    def handle_timer(self, at: float, now: float) -> bool:
        """The time `at` has come, as told; whether it still mattered, and `flush` is to follow."""
        if at != self._timer_at or self._end:
            return False
        self._timer_at = None
        sender = self._sender
        if sender is not None:
            due = sender.get_timer()
            if due is not None and due <= now:
                sender.handle_timer(now)
        return True

    def flush(self, now: float) -> None:
        """Play out what is due, send what the sender has for its links, say when to come again."""
        if self._is_busy or self._end:
            return
        self._is_busy = True
        try:
            for event in self._inbox.release(now) if self._inbox is not None else ():
                self._handler.received(self, event, now)
            for link in tuple(self.links.values()):
                link.flush(now)
        finally:
            self._is_busy = False
        if not self._end:
            self._rearm()

    # -- from the links ----------------------------------------------------------------------

    def share_inbox(self, result: HandshakeResult) -> Playout:
        """The inbox of all links, made for the first."""
        if self._inbox is None:
            clock = PlayClock(result.peer_started_at, result.receive_latency_ms / 1000)
            self._inbox = Playout(
                result.receive_sequence,
                clock,
                self.options.receive_buffer_packets,
                self.options.repair.drops_late,
            )
        return self._inbox

    def joined(self, link: Link, weight: int, now: float) -> None:
        """A link is connected."""
        connection, result = link.connection, link.result
        if self._end:  # it was on its way when the group was closed
            link.close(self._end, now)
        if connection is None or result is None or self._end:
            return
        self.links[link.socket_id] = self._last = link
        is_first = self._sender is None
        if self._sender is None:
            self._result = result
            self._sender = GroupSender(
                self.kind, result.send_sequence, result.send_latency_ms / 1000
            )
        self._sender.join(link.socket_id, connection, weight, now)
        if is_first:
            self._handler.connected(self, now)

    def left(self, link: Link, reason: str, code: int, now: float) -> None:
        """A link is closed, or did not come to be."""
        self.links.pop(link.socket_id, None)
        if self._sender is not None:
            self._sender.leave(link.socket_id, now)
        is_going_on = self._on_lost(link)
        if not self.links and not is_going_on and not self._end:
            self._finish(reason)
            self._handler.closed(self, reason, code)
            self._let_go()
        self.flush(now)

    def refused(self, reason: str, code: int) -> None:
        """A call of a link was accepted and came to nothing; the others go on."""
        if self._sender is None and not self._end:
            self._finish(reason)
            self._handler.refused(reason, code)
            self._let_go()

    # -- inside ------------------------------------------------------------------------------

    def _finish(self, reason: str) -> None:
        self._end = reason
        self._on_over()

    def _let_go(self) -> None:
        """All is told: hold on to nobody who may hold this."""
        self._handler = NOBODY
        self._on_lost = _is_last
        self._on_over = _nothing

    def _rearm(self) -> None:
        dues = []
        if self._inbox is not None:
            dues.append(self._inbox.get_timer())
        timer = self._sender.get_timer() if self._sender is not None else None
        if timer is not None:
            dues.append(timer)
        due = min(dues, default=float("inf"))
        if due < float("inf") and (self._timer_at is None or due < self._timer_at):
            self._timer_at = due
            self._waker.rearm(self, due)


def _is_last(link: Link) -> bool:
    """No other link is on its way."""
    del link
    return False


def _nothing() -> None:
    """It has been told."""


class _Member(LinkHandler):
    """The handler of one link of a group."""

    def __init__(self, group: GroupLink, weight: int) -> None:
        self._group = group
        self._weight = weight
        self._now = 0.0

    def inbox(self, result: HandshakeResult) -> Playout | None:
        """That of the group."""
        return self._group.share_inbox(result)

    def connected(self, link: Channel, now: float) -> None:
        """One more."""
        if isinstance(link, Link):
            self._group.joined(link, self._weight, now)

    def received(self, link: Channel, event: DataReceived, now: float) -> None:
        """Nothing comes this way: the group releases what came."""
        del link, event, now

    def turned(self, link: Channel, now: float) -> None:
        """The link may have brought something."""
        del link
        self._now = now
        self._group.flush(now)

    def refused(self, reason: str, code: int) -> None:
        """One less."""
        self._group.refused(reason, code)

    def closed(self, link: Channel, reason: str, code: int) -> None:
        """One less."""
        if isinstance(link, Link):
            self._group.left(link, reason, code, self._now)
