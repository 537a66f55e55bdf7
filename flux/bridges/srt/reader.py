"""One reader over SRT: a link that gets a stream's datagrams.

    waiting --stream ready and link connected--> sending --link or output closed--> over

A caller gets its answer when its stream is ready, or known not to come. As callers do not wait long
and an on-demand source may take its time, it is let in after `PATIENCE` all the same.
"""

import asyncio
import time
from collections.abc import Callable

from flux.base.errors import PeerError
from flux.bridges.rtp.datagrams import DatagramReader
from flux.bridges.srt.output import SrtOutput, srt_output_of
from flux.bridges.srt.sessions import SrtSessions
from flux.core.scheduler import LoopScheduler
from flux.net.resolve import host_of
from flux.net.udp_send import Run
from media.events import ReaderClosed, ReaderJoined
from media.link import Linked, LinkFigures
from media.router import Lease, Router
from media.stream import Emit, Stream
from protocols.srt.link import Channel, LinkHandler
from protocols.srt.options import Options
from protocols.srt.packet import Address
from protocols.srt.reception import IncomingCall
from protocols.srt.reject import PREDEFINED, Reject

PROTOCOL = "srt"
PATIENCE = 1.5  # seconds; callers give up after 3
CODES = {429: Reject.OVERLOAD}  # statuses of HTTP that have no number of their own


class SrtSender:
    """Sends one stream over one link. Satisfies `DatagramTarget`; readers and forwards have one."""

    def __init__(
        self, link: Channel, stream: Stream, start: str, on_closed: Callable[[str], None]
    ) -> None:
        """Raises PeerError `no-playable-track`."""
        self._link = link
        self._output: SrtOutput = srt_output_of(stream, LoopScheduler())
        self._reader: DatagramReader = self._output.attach(self, start, on_closed)

    @property
    def sent_bytes(self) -> int:
        """Bytes of media that the link took."""
        return self._reader.sent_bytes

    @property
    def dropped(self) -> int:
        """Datagrams that it did not take."""
        return self._reader.dropped

    def send(self, run: Run) -> bool:
        """Send a run."""
        payloads = self._output.payloads_of(run)
        return self._link.send(payloads, time.monotonic()) == len(payloads)

    def send_rtcp(self, track_index: int, data: bytes) -> None:
        """There is none."""
        del track_index, data

    def close(self) -> None:
        """Leave the output; the link stays."""
        self._output.detach(self._reader)


class SrtReader(LinkHandler, Linked):
    """One reader as the API sees it, and the handler of its link."""

    def __init__(
        self,
        session: str,
        peer: Address,
        user_agent: str,
        start: str,
        emit: Emit,
        sessions: SrtSessions,
    ) -> None:
        self.id = session
        self.protocol = PROTOCOL
        self.address = host_of(peer)
        self.user_agent = user_agent
        self.since = time.time()
        self.is_over = False
        self._lease: Lease | None = None
        self._call: IncomingCall | None = None  # until it is answered
        self._options: Options | None = None
        self._began = time.monotonic()
        self._start = start
        self._emit = emit
        self._sessions = sessions
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

    def enter(self, router: Router, name: str, call: IncomingCall, options: Options) -> None:
        """Claim the stream, and answer the call."""
        self._call, self._options = call, options
        try:
            self._lease = router.open(name, self._ready, self._failed, time.monotonic())
        except PeerError as error:
            self._failed(error.reason, error.status)
            return
        if self.is_over:
            self._lease.close()  # refused before the lease was known
        elif self._call is not None:
            asyncio.get_running_loop().call_later(PATIENCE, self._let_in)

    def _ready(self, stream: Stream) -> None:
        """The stream can be read."""
        self._stream = stream
        self._let_in()
        self._begin()

    def _failed(self, reason: str, status: int) -> None:
        """It cannot."""
        call, self._call = self._call, None
        if call is not None:
            call.reject(code_of(status))
            self._over(reason)
        else:
            self.end(reason)

    def _let_in(self) -> None:
        call, self._call = self._call, None
        if call is not None and self._options is not None:
            call.accept(self._options, self)

    # -- from the link -----------------------------------------------------------------------

    def connected(self, link: Channel, now: float) -> None:
        """The link is there."""
        del now
        self._link = link
        self._begin()

    def refused(self, reason: str, code: int) -> None:
        """The handshake came to nothing."""
        del code
        self._over(reason)

    def closed(self, link: Channel, reason: str, code: int) -> None:
        """The link is over."""
        del link, code
        self._over(reason)

    # -- inside ------------------------------------------------------------------------------

    def _begin(self) -> None:
        link, stream = self._link, self._stream
        if link is None or stream is None or self._sender is not None or self.is_over:
            return
        try:
            self._sender = SrtSender(link, stream, self._start, self.end)
        except PeerError as error:
            self.end(error.reason)
            return
        stream.readers[self.id] = self
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
            stream.readers.pop(self.id, None)
            stream.sent_bytes += sender.sent_bytes
            self._emit(ReaderClosed(stream.name, PROTOCOL, self.id, reason, sender.sent_bytes))
        if self._lease is not None:
            self._lease.close()


def code_of(status: int) -> int:
    """The reject code that says what a status of HTTP says."""
    if not 400 <= status < 600:
        return Reject.FORBIDDEN
    return CODES.get(status, PREDEFINED + status)


def figures_of(link: Channel | None) -> LinkFigures:
    """What a link tells of its line."""
    figures = LinkFigures("udp")
    if link is not None:
        figures.round_trip = link.rtt
        measured = link.statistics(time.monotonic())
        if measured is not None:
            values = measured.values
            figures.lost = int(values["pktRcvDropTotal"] + values["pktSndDropTotal"])
    return figures


def lag_of(link: Channel | None) -> float:
    """Seconds of media that wait to be acknowledged."""
    measured = link.statistics(time.monotonic()) if link is not None else None
    return 0.0 if measured is None else measured.values["msSndBuf"] / 1000
