"""One reader over SRT: a link that gets a stream's datagrams.

    waiting --stream ready and link connected--> sending --link or output closed--> over

A caller gets its answer when its stream is ready, or known not to come. As callers do not wait long
and an on-demand source may take its time, it is let in after `PATIENCE` all the same.

Several calls may be the links of one group. Those that come before the first is answered are
answered with it.
"""

import asyncio
import time
from collections.abc import Callable

from flux.base.errors import PeerError
from flux.bridges.srt.sender import SrtSender
from flux.bridges.srt.sessions import SrtSessions
from flux.core.scheduler import LoopScheduler
from flux.net.resolve import host_of
from media.events import ReaderClosed, ReaderJoined, WriteResumed
from media.link import Linked, LinkFigures
from media.mpegts.format import carries_track
from media.router import Lease, Router
from media.stream import Emit, Stream
from protocols.srt.events import DataReceived
from protocols.srt.link import Channel, LinkHandler
from protocols.srt.options import Options
from protocols.srt.packet import Address
from protocols.srt.reception import IncomingCall
from protocols.srt.reject import PREDEFINED, Reject

PROTOCOL = "srt"
PATIENCE = 1.5  # seconds; callers give up after 3
PUBLISHES = "reader-publishes"  # it was let in to read and sends media: `publish:` is missing
CODES = {429: Reject.OVERLOAD}  # statuses of HTTP that have no number of their own


class SrtReader(LinkHandler, Linked):
    """One reader as the API sees it, and the handler of its link."""

    def __init__(
        self,
        session: str,
        name: str,
        peer: Address,
        user_agent: str,
        start: str,
        emit: Emit,
        sessions: SrtSessions,
        on_refused: Callable[[str], None],
    ) -> None:
        """`on_refused(reason)`: it did not come in."""
        self.id = session
        self.name = name  # of the stream
        self.protocol = PROTOCOL
        self.address = host_of(peer)
        self.user_agent = user_agent
        self.since = time.time()
        self.is_over = False
        self._lease: Lease | None = None
        self._calls: list[IncomingCall] = []  # until they are answered
        self._options: Options | None = None
        self._began = time.monotonic()
        self._start = start
        self._emit = emit
        self._sessions = sessions
        self._tell = on_refused
        self._stream: Stream | None = None
        self._link: Channel | None = None
        self._sender: SrtSender | None = None

    # -- for the API -------------------------------------------------------------------------

    @property
    def sent_bytes(self) -> int:
        """Bytes of media that its link took."""
        return self._sender.sent_bytes if self._sender is not None else 0

    @property
    def dropped(self) -> int:
        """Datagrams that its link did not take."""
        return self._sender.dropped if self._sender is not None else 0

    def lag(self) -> float:
        """Seconds of media that wait in the link."""
        return lag_of(self._link)

    def link(self) -> LinkFigures:
        """The line as its connection measures it."""
        return figures_of(self._link)

    def end(self, reason: str) -> None:
        """Close it."""
        if self._link is not None:
            self._link.close(reason, time.monotonic())
        else:
            self._over(reason)

    # -- its beginning -----------------------------------------------------------------------

    @property
    def is_asking(self) -> bool:
        """Whether its call is not answered yet."""
        return bool(self._calls)

    def enter(self, router: Router, call: IncomingCall, options: Options) -> None:
        """Claim the stream, and answer the call."""
        self._calls, self._options = [call], options
        try:
            self._lease = router.open(self.name, self._ready, self._failed, time.monotonic())
        except PeerError as error:
            self._failed(error.reason, error.status)
            return
        if self.is_over:
            self._lease.close()  # refused before the lease was known
        elif self._calls:
            asyncio.get_running_loop().call_later(PATIENCE, self._let_in)

    def add(self, call: IncomingCall) -> None:
        """One more link of a group whose first call is not answered yet."""
        self._calls.append(call)

    def _ready(self, stream: Stream) -> None:
        """The stream can be read."""
        self._stream = stream
        reason = sending_fault(stream)
        if reason and self._calls:
            self._failed(reason, 415)
            return
        self._let_in()
        self._begin()

    def _failed(self, reason: str, status: int) -> None:
        """It cannot."""
        calls, self._calls = self._calls, []
        for call in calls:
            call.reject(code_of(status))
        if calls:
            self._tell(reason)
            self._over(reason)
        else:
            self.end(reason)

    def _let_in(self) -> None:
        calls, self._calls = self._calls, []
        if not calls or self._options is None:
            return
        calls[0].accept(self._options, self)
        for call in calls[1:]:
            call.join()

    # -- from the link -----------------------------------------------------------------------

    def connected(self, link: Channel, now: float) -> None:
        """The link is there."""
        self._link = link
        if self.is_over:  # it ended during the handshake
            link.close("reader-over", now)
        else:
            self._begin()

    def received(self, link: Channel, event: DataReceived, now: float) -> None:
        """It sends, though it asked to read."""
        del event
        link.close(PUBLISHES, now)

    def refused(self, reason: str, code: int) -> None:
        """The handshake came to nothing."""
        del code
        self._tell(reason)
        self._over(reason)

    def closed(self, link: Channel, reason: str, code: int) -> None:
        """The link is over."""
        del link, code
        self._over(reason)

    # -- from its sender ---------------------------------------------------------------------

    def sender_ended(self, reason: str) -> None:
        """There is nothing to send any more."""
        self.end(reason)

    def sender_skips(self, lag: float, packets: int) -> None:
        """It is too slow."""
        if self._stream is not None:
            self._stream.readers.skipped(PROTOCOL, self.id, lag, packets)

    def sender_resumed(self, packets: int) -> None:
        """It gets media again."""
        self._emit(WriteResumed(self.name, PROTOCOL, self.id, packets))

    # -- inside ------------------------------------------------------------------------------

    def _begin(self) -> None:
        link, stream = self._link, self._stream
        if link is None or stream is None or self._sender is not None or self.is_over:
            return
        try:
            self._sender = SrtSender(link, stream, self._start, self, LoopScheduler())
        except PeerError as error:
            self.end(error.reason)
            return
        stream.readers.enter(self)
        self._sessions.add(self.id, link)
        seconds = time.monotonic() - self._began
        self._emit(ReaderJoined(stream.name, PROTOCOL, self.id, seconds))

    def _over(self, reason: str) -> None:
        if self.is_over:
            return
        self.is_over = True
        self._sessions.remove(self.id)
        sender, stream = self._sender, self._stream
        if sender is not None and stream is not None:
            sender.close()
            stream.readers.leave(self.id, reason)
            stream.sent_bytes += sender.sent_bytes
            self._emit(ReaderClosed(stream.name, PROTOCOL, self.id, reason, sender.sent_bytes))
        if self._lease is not None:
            self._lease.close()


def code_of(status: int) -> int:
    """The reject code that says what a status of HTTP says."""
    if not 400 <= status < 600:
        return Reject.FORBIDDEN
    return CODES.get(status, PREDEFINED + status)


def sending_fault(stream: Stream) -> str:
    """Why nothing of this stream can be sent; empty: something can."""
    return "" if any(map(carries_track, stream.tracks)) else "no-playable-track"


def figures_of(link: Channel | None) -> LinkFigures:
    """What a link tells of its line."""
    figures = LinkFigures("udp")
    if link is not None:
        figures.round_trip = link.rtt
        state = link.state
        if state is not None:
            figures.lost = state.skipped + state.given_up
    return figures


def lag_of(link: Channel | None) -> float:
    """Seconds of media that wait to be confirmed."""
    state = link.state if link is not None else None
    if state is None or state.waiting_since is None:
        return 0.0
    return max(time.monotonic() - state.waiting_since, 0.0)
