"""Forwarding to `srt://`: FLUX calls, is called on a port of its own, or both call.

One attempt each; `flux.core.forwarding` decides when the next one is due. A target that listens
serves everybody who calls and goes on when they leave.
"""

import asyncio
import time

import structlog

from flux.base.errors import PeerError
from flux.bridges.srt.dial import LISTENER, dial, parse_url
from flux.bridges.srt.reader import figures_of, lag_of
from flux.bridges.srt.sender import SrtSender
from flux.bridges.srt.sessions import SrtSessions
from flux.core.forward import FAILED, RUNNING, ForwardFigures, OnState
from flux.core.scheduler import LoopScheduler
from media.feed_reader import START_GOP
from media.stream import Stream
from protocols.srt.endpoint import Endpoint
from protocols.srt.link import Channel, LinkHandler

PROTOCOL = "srt"
OPEN_TIMEOUT = 10.0  # seconds: a look-up and a socket
MAX_CALLERS = 64  # of a target that listens
RECEIVE_BUFFER_BYTES = 1 << 20  # for acknowledgements

logger = structlog.get_logger()


class _Line:
    """One link of a target, and who owns its sender."""

    def __init__(self, forward: "SrtForward", link: Channel, stream: Stream) -> None:
        """Raises PeerError: nothing can be sent there."""
        self.link = link
        self._forward = forward
        self._stream = stream
        self.sender = SrtSender(link, stream, START_GOP, self, LoopScheduler())

    def sender_ended(self, reason: str) -> None:
        """Nothing more is sent over this link."""
        self._forward.line_ended(self.link, reason)

    def sender_skips(self, lag: float, packets: int) -> None:
        """It is too slow."""
        self._stream.readers.skipped(PROTOCOL, self._forward.target, lag, packets)

    def sender_resumed(self, packets: int) -> None:
        """It gets media again."""
        self._forward.log.info("target goes on", missed=packets)


class SrtForward(LinkHandler):
    """One attempt to send one stream to one target. Satisfies `flux.core.forward.Forward`."""

    def __init__(
        self, name: str, url: str, on_state: OnState, sessions: SrtSessions | None = None
    ) -> None:
        """Raises `WireError` for a URL that is none."""
        self._url = parse_url(url)
        self._on_state = on_state
        self._sessions = SrtSessions() if sessions is None else sessions
        self._stream: Stream | None = None
        self._endpoint: Endpoint | None = None
        self._opening: asyncio.Task[None] | None = None
        self._lines: dict[Channel, _Line] = {}
        self._expected = 0  # links that were called or accepted, and are not there yet
        self._past = ForwardFigures()
        self._is_running = False
        self.target = str(self._url.address)
        self.log = logger.bind(stream=name, protocol=PROTOCOL, target=self.target)
        self.is_over = False

    # -- for the core ------------------------------------------------------------------------

    def start(self, stream: Stream) -> None:
        """Open the socket and call."""
        self._stream = stream
        loop = asyncio.get_running_loop()
        self._opening = loop.create_task(self._open(), name=f"srt forward {self._url.address}")

    def stop(self, reason: str) -> None:
        """End; nothing is said any more."""
        if self.is_over:
            return
        self.is_over = True
        if self._opening is not None:
            self._opening.cancel()
        for link in tuple(self._lines):
            self._leave(link)
        if self._endpoint is not None:
            self._endpoint.close(reason)

    async def wait_stopped(self) -> None:
        """Return once nothing of it is left."""
        if self._opening is not None:
            await asyncio.wait((self._opening,))

    def figures(self) -> ForwardFigures:
        """What was sent, and what the line is like."""
        sent, dropped, lag = self._past.sent_bytes, self._past.dropped, 0.0
        lost, round_trip = self._past.lost, None
        for link, line in self._lines.items():
            measured = figures_of(link)
            sent += line.sender.sent_bytes
            dropped += line.sender.dropped
            lost += measured.lost
            round_trip = measured.round_trip
            lag = max(lag, lag_of(link))
        return ForwardFigures(sent, dropped, lag, lost, round_trip)

    def description(self) -> bytes:
        """A transport stream needs none."""
        return b""

    # -- from the links ----------------------------------------------------------------------

    def connected(self, link: Channel, now: float) -> None:
        """Somebody is there: become a reader of the stream."""
        self._expected -= 1
        stream = self._stream
        if self.is_over or stream is None:
            return
        try:
            if not stream.is_open:
                raise PeerError(stream.reason or "source-lost")
            self._lines[link] = _Line(self, link, stream)
        except PeerError as error:
            if self._url.mode == LISTENER and stream.is_open:
                link.close(error.reason, now)  # of this caller's packets, not of the stream
            else:
                self._fail(error.reason)
            return
        self.log.info("forward connected", peer=link.peer[:2])
        if not self._is_running:
            self._is_running = True
            self._on_state(RUNNING, "")

    def refused(self, reason: str, code: int) -> None:
        """A caller's handshake came to nothing."""
        self._expected -= 1
        self.log.warning("caller refused", reason=reason, code=code)

    def closed(self, link: Channel, reason: str, code: int) -> None:
        """A link is over, or was refused."""
        if link.result is None:
            self._expected -= 1
        self._leave(link)
        if not self.is_over and self._url.mode != LISTENER:
            self.log.warning("forward failed", reason=reason, code=code)
            self._fail(reason)

    def line_ended(self, link: Channel, reason: str) -> None:
        """Nothing more is sent over a link: of many callers only this one goes."""
        stream = self._stream
        is_ready = stream is not None and stream.is_open
        if self._url.mode == LISTENER and is_ready:
            link.close(reason, time.monotonic())
        else:
            self._fail(reason)

    # -- inside ------------------------------------------------------------------------------

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                self._endpoint = await dial(self._url, RECEIVE_BUFFER_BYTES, self._take)
        except TimeoutError:
            self._opening = None  # that is us
            self._fail("open-timeout")
        except PeerError as error:
            self._opening = None
            self.log.warning("forward failed", reason=error.reason, detail=error.detail)
            self._fail(error.reason)
        except Exception:  # a fault of ours must be seen, and tried again
            self._opening = None
            self.log.exception("forward fault")
            self._fail("internal-error")
        if self.is_over and self._endpoint is not None:
            self._endpoint.close()

    def _take(self) -> LinkHandler | None:
        if self.is_over or len(self._lines) + self._expected >= MAX_CALLERS:
            return None
        self._expected += 1
        return self

    def _leave(self, link: Channel) -> None:
        line = self._lines.pop(link, None)
        if line is None:
            return
        sender = line.sender
        sender.close()
        past = self._past
        self._past = ForwardFigures(
            past.sent_bytes + sender.sent_bytes,
            past.dropped + sender.dropped,
            lost=past.lost + figures_of(link).lost,
        )

    def _fail(self, reason: str) -> None:
        """It cannot go on: let go of everything and say so."""
        if not self.is_over:
            self.stop(reason)
            self._on_state(FAILED, reason)
