"""What forwards to `rtp://` and `udp://` share: the look-up, the sockets, the end."""

import asyncio
from abc import ABC, abstractmethod

import structlog

from config.datagram_url import DatagramUrl
from flux.base.errors import PeerError
from flux.bridges.rtp.datagrams import DatagramReader
from flux.bridges.udp.target import DatagramEndpoint, look_up
from flux.core.forward import FAILED, RUNNING, ForwardFigures, OnState
from flux.core.scheduler import LoopScheduler
from media.stream import Stream

CHECK_INTERVAL = 1.0  # seconds between two looks at whether anything goes out
SEND_PATIENCE = 3  # looks in a row with nothing but errors, and the target has failed

logger = structlog.get_logger()


class DatagramForward(ABC):
    """One attempt to send one stream to one host. Satisfies `flux.core.forward.Forward`."""

    def __init__(self, name: str, url: str, on_state: OnState) -> None:
        """Raises PeerError `url-invalid`."""
        try:
            self.url = DatagramUrl.parse_target(url)
        except ValueError as error:
            raise PeerError("url-invalid", 400, str(error)) from error
        self.scheduler = LoopScheduler()
        self.endpoint: DatagramEndpoint | None = None
        self.reader: DatagramReader | None = None
        self.log = logger.bind(stream=name, target=url)
        self._on_state = on_state
        self._opening: asyncio.Task[None] | None = None
        self.is_over = False
        self._seen = (0, 0)  # bytes sent and errors at the last look
        self._failures = 0

    def start(self, stream: Stream) -> None:
        """Look the host up, then send."""
        loop = asyncio.get_running_loop()
        self._opening = loop.create_task(self._open(stream), name=f"forward {stream.name}")

    def stop(self, reason: str) -> None:
        """End; nothing is said any more."""
        if self.is_over:
            return
        self.is_over = True
        if self._opening is not None:
            self._opening.cancel()
        self.detach(reason)
        if self.endpoint is not None:
            self.endpoint.close()

    async def wait_stopped(self) -> None:
        """Return once nothing of it is left."""
        if self._opening is not None:
            await asyncio.wait((self._opening,))

    def figures(self) -> ForwardFigures:
        """What was sent."""
        reader = self.reader
        if reader is None:
            return ForwardFigures()
        return ForwardFigures(reader.sent_bytes, reader.dropped)

    def description(self) -> bytes:
        """Nothing, unless a kind has one."""
        return b""

    # -- what a kind does --------------------------------------------------------------------

    @abstractmethod
    def attach(self, stream: Stream, endpoint: DatagramEndpoint) -> DatagramReader:
        """Become a reader of the stream; raises `PeerError`."""

    @abstractmethod
    def detach(self, reason: str) -> None:
        """Let go of the stream; say goodbye. Called once."""

    def receive_reports(self, datagrams: list[bytes], now: float) -> None:
        """Take RTCP of the target; a kind without RTCP has no use for it."""
        del datagrams, now

    # -- inside ------------------------------------------------------------------------------

    def fail(self, reason: str) -> None:
        """It cannot go on: let go of everything and say so."""
        if not self.is_over:
            self.stop(reason)
            self._on_state(FAILED, reason)

    async def _open(self, stream: Stream) -> None:
        try:
            family, address = await look_up(self.url)
            if not stream.is_open:
                raise PeerError(stream.reason or "source-lost")
            self.endpoint = DatagramEndpoint(
                self.url, family, address, self._sent, self.receive_reports
            )
            self.reader = self.attach(stream, self.endpoint)
        except PeerError as error:
            self._opening = None  # that is us
            self.log.warning("forward failed", reason=error.reason, detail=error.detail)
            self.fail(error.reason)
        except Exception:  # a fault of ours must be seen, and tried again
            self._opening = None
            self.log.exception("forward fault")
            self.fail("internal-error")
        else:
            self.scheduler.call_later(CHECK_INTERVAL, self._check)

    def _sent(self) -> None:
        if not self.is_over:
            self._on_state(RUNNING, "")

    def _check(self) -> None:
        if self.is_over or self.endpoint is None or self.reader is None:
            return
        self.scheduler.call_later(CHECK_INTERVAL, self._check)
        sent, errors = self.reader.sent_bytes, self.endpoint.errors
        is_failing = errors > self._seen[1] and sent == self._seen[0]
        self._failures = self._failures + 1 if is_failing else 0
        self._seen = (sent, errors)
        if self._failures >= SEND_PATIENCE:
            self.fail("send-failed")
