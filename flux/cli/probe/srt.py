"""SRT: the same caller and the same receiver of transport streams as the server's own sources."""

import asyncio
import time
from collections.abc import Sequence

from flux.base.errors import PeerError, WireError
from flux.bridges.mpegts import TsReceiver
from flux.bridges.srt.dial import dial, parse_url
from flux.cli.probe.engine import ProbeFailed, ProbeOptions
from flux.cli.probe.figures import Board
from flux.cli.probe.gauge import Gauge
from media.publisher import Publisher
from media.track import TrackDescription
from protocols.srt.events import DataReceived
from protocols.srt.link import Channel, LinkHandler

RECEIVE_BUFFER_BYTES = 4 << 20
LOST = "srt-packet-lost"
PACKETS = 7  # transport packets of a datagram that is missing: as many as most have


class SrtProbe(LinkHandler):
    """Reads an `srt://` URL, as the side that the URL says."""

    def __init__(self, url: str, options: ProbeOptions) -> None:
        try:
            self._url = parse_url(url)
        except WireError as error:
            raise ProbeFailed("url", error.detail) from None
        self._timeout = options.timeout
        self._board: Board | None = None
        self._receiver: TsReceiver | None = None
        self._link: Channel | None = None
        self._heard_at = 0.0
        self._over: asyncio.Future[str] | None = None

    async def run(self, board: Board) -> str:
        """Read until cancelled, or until the other side ends it."""
        self._board = board
        board.protocol, board.transport = "srt", "udp"
        over = self._over = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._timeout):
                endpoint = await dial(self._url, RECEIVE_BUFFER_BYTES, self._take)
        except TimeoutError:
            raise ProbeFailed("dns-timeout") from None
        except PeerError as error:
            raise ProbeFailed(error.reason, error.detail) from None
        self._heard_at = time.monotonic()
        try:
            while not over.done():
                now = time.monotonic()
                left = self._heard_at + self._timeout - now
                if left <= 0:
                    over.set_result("media-timeout")
                    break
                receiver = self._receiver
                timer = receiver.get_timer() if receiver is not None else None
                wait = left if timer is None else min(left, timer - now)
                await asyncio.wait((over,), timeout=max(0.0, wait))
                if receiver is not None and not receiver.closed:
                    receiver.handle_timer(time.monotonic())
            reason: str = over.result()
        finally:
            board.now = time.monotonic()
            if self._receiver is not None:
                self._receiver.close("probe-over", board.now)
            endpoint.close("probe-over")
        if board.frames == 0:
            raise ProbeFailed(reason)
        return reason

    def refresh(self, board: Board) -> None:
        """Nothing else counts: what is lost is in the notes."""

    # -- from the link -----------------------------------------------------------------------

    def connected(self, link: Channel, now: float) -> None:
        """The handshake is done."""
        self._link, self._heard_at = link, now
        self._receiver = TsReceiver("probe", self, "probe", self._end)

    def received(self, link: Channel, event: DataReceived, now: float) -> None:
        """Datagrams whose time has come."""
        del link
        receiver, board = self._receiver, self._board
        if receiver is None or board is None or receiver.closed:
            return
        self._heard_at = now
        if event.lost:
            board.notes[LOST] += event.lost
            receiver.gap(event.lost * PACKETS, now)
        receiver.receive_datagrams(event.payloads, now)

    def refused(self, reason: str, code: int) -> None:
        """The other side does not want us."""
        del code
        self._end(reason)

    def closed(self, link: Channel, reason: str, code: int) -> None:
        """The link is over."""
        del link, code
        self._end(reason)

    # -- for the receiver of the transport stream --------------------------------------------

    def publish(
        self, name: str, descriptions: Sequence[TrackDescription], *, now: float, origin: str
    ) -> Publisher:
        """What a run asks of a router."""
        del name, now, origin
        assert self._board is not None  # set before the run
        return Gauge(self._board, descriptions)

    # -- inside ------------------------------------------------------------------------------

    def _take(self) -> LinkHandler | None:
        return self if self._link is None else None

    def _end(self, reason: str) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(reason)
