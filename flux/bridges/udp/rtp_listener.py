"""The open ports of an RTP session: who is heard, when a run begins, when it is over."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from flux.base.errors import PeerError
from flux.bridges.rtp.figures import RtpFigures
from flux.bridges.udp.peer import PeerLock
from flux.bridges.udp.plan import MediaPlan, SessionPlan
from flux.bridges.udp.port import ReceivePort, open_port
from flux.bridges.udp.rtp_run import LOG_INTERVAL, RtpRun
from flux.bridges.udp.source import DatagramOptions
from flux.net.multicast import is_multicast
from flux.net.timer import DeadlineTimer
from flux.net.udp import Address, Batch
from media.publisher import Publishing

EARLY_REPORTS = 4  # RTCP of one track that came before the first packet
EARLY_AGE = 2.0  # seconds after which it is old
RTP_HEADER_BYTES = 12
RTCP_TYPES = range(192, 224)  # of the second byte, RFC 5761 section 4

logger = structlog.get_logger()


class _Channel:
    """One track: its ports and its sender."""

    __slots__ = ("early", "head", "is_muxed", "lock", "media", "rtcp", "rtcp_peer", "rtp")

    def __init__(self, media: MediaPlan) -> None:
        self.media = media
        self.head = media.track.payload_type
        self.is_muxed = media.rtcp_port == media.port
        self.lock = PeerLock(media.senders)
        self.rtp: ReceivePort | None = None
        self.rtcp: ReceivePort | None = None  # the same as `rtp` where muxed
        self.rtcp_peer: Address | None = None
        self.early: deque[tuple[float, bytes]] = deque(maxlen=EARLY_REPORTS)

    def is_media(self, data: bytes) -> bool:
        """Whether a datagram may be a packet of this track."""
        return len(data) > RTP_HEADER_BYTES and data[0] >> 6 == 2 and data[1] & 0x7F == self.head


class RtpListener:
    """Satisfies `flux.bridges.udp.source.Listener`."""

    def __init__(
        self,
        name: str,
        plan: SessionPlan,
        router: Publishing,
        options: DatagramOptions,
        on_running: Callable[[], None],
        past: RtpFigures,
        chance: random.Random,
    ) -> None:
        """`past` gets what the run received, once it is over."""
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[str] = loop.create_future()
        self.running_since: float | None = None
        self.run: RtpRun | None = None
        self._name = name
        self._router = router
        self._options = options
        self._on_running = on_running
        self._past = past
        self._random = chance
        self._channels = [_Channel(media) for media in plan.media]
        self._timer = DeadlineTimer(loop, self._on_due)
        self._heard_at = time.monotonic()
        self._changes_logged_at = 0.0
        self._is_closed = False
        self._log = logger.bind(stream=name, protocol="rtp")

    async def open(self, interface: str) -> None:
        """Open every port; raises `PeerError`, and then nothing is left open."""
        try:
            for index, channel in enumerate(self._channels):
                take = partial(self._take_rtp, index, channel)
                channel.rtp = await self._open_port(channel.media, take, interface)
                if channel.is_muxed:
                    channel.rtcp = channel.rtp
                elif channel.media.rtcp_port:
                    await self._open_rtcp(index, channel, interface)
        except BaseException:
            self.close("open-failed")
            raise
        if any(channel.rtp is not None and channel.rtp.is_clamped for channel in self._channels):
            self._log.warning("udp receive buffer clamped", advice="raise net.core.rmem_max")
        self._heard_at = time.monotonic()
        self._arm(self._heard_at)

    async def _open_rtcp(self, index: int, channel: _Channel, interface: str) -> None:
        """Without RTCP there is less to align tracks by, but there is media."""
        take = partial(self._take_rtcp, index, channel)
        port = channel.media.rtcp_port
        try:
            channel.rtcp = await self._open_port(channel.media, take, interface, port)
        except PeerError as error:
            self._log.warning("no rtcp", port=port, reason=error.reason)

    async def _open_port(
        self,
        media: MediaPlan,
        take: Callable[[Sequence[Batch], float], None],
        interface: str,
        port: int = 0,
    ) -> ReceivePort:
        return await open_port(
            media.host,
            port or media.port,
            media.senders,
            partial(self._guarded, take),
            interface=interface,
            buffer_bytes=self._options.receive_buffer_bytes,
            timeout=self._options.lookup_timeout,
        )

    def add_figures(self, figures: RtpFigures) -> None:
        """Add what came so far."""
        if self.run is not None:
            figures.add(self.run.receiver)

    def close(self, reason: str) -> None:
        """Close the ports and end the run; calling it twice does no harm."""
        if self._is_closed:
            return
        self._is_closed = True
        self._timer.cancel()
        run, self.run = self.run, None
        if run is not None:
            for channel in self._channels:
                if channel.lock.foreign:
                    run.dropped("udp-foreign-sender", channel.lock.foreign)
            run.close(reason)
            self._past.add(run.receiver)
            self._past.jitter = 0.0
        for channel in self._channels:
            for port in (channel.rtp, channel.rtcp):
                if port is not None:
                    port.close()
        self._end(reason)

    # -- what comes --------------------------------------------------------------------------

    def _guarded(
        self, take: Callable[[Sequence[Batch], float], None], batches: Sequence[Batch], now: float
    ) -> None:
        if self.ended.done():
            return
        try:
            take(batches, now)
        except Exception:  # a fault of ours must not come back with every packet
            self._log.exception("source fault")
            self._end("internal-error")

    def _take_rtp(
        self, index: int, channel: _Channel, batches: Sequence[Batch], now: float
    ) -> None:
        for arrived, address, datagrams in batches:
            if channel.is_muxed:
                reports, datagrams = part(datagrams)
                if channel.lock.address is None:
                    self._take_reports(index, channel, address, reports, arrived)
                self._take_media(index, channel, address, datagrams, arrived)
                self._take_reports(index, channel, address, reports, arrived)
            else:
                self._take_media(index, channel, address, datagrams, arrived)
        if self.run is not None:
            self._pump(self.run, now)

    def _take_media(
        self,
        index: int,
        channel: _Channel,
        address: Address,
        datagrams: Sequence[bytes],
        now: float,
    ) -> None:
        lock = channel.lock
        if not datagrams or self.ended.done():
            return
        if address != lock.address and not self._take_sender(channel, address, datagrams, now):
            return
        run = self.run or self._begin(channel, datagrams, now)
        if run is not None and run.receive_rtp(index, datagrams, now):
            lock.heard_at = self._heard_at = now

    def _take_sender(
        self, channel: _Channel, address: Address, datagrams: Sequence[bytes], now: float
    ) -> bool:
        lock = channel.lock
        if not any(map(channel.is_media, datagrams)):
            lock.foreign += len(datagrams)
            return False
        before = lock.address
        if before is None and channel.rtcp is not None and not channel.is_muxed:
            channel.rtcp.read()  # a report that came with the first packet says where it belongs
        if not lock.take(address, len(datagrams), now):
            return False
        if before is not None and self.run is not None:
            channel.rtcp_peer = None
            self.run.dropped("rtp-sender-changed")
            if now - self._changes_logged_at >= LOG_INTERVAL:
                self._changes_logged_at = now
                self._log.info("sender changed", before=before[:2], after=address[:2])
        return True

    def _take_rtcp(
        self, index: int, channel: _Channel, batches: Sequence[Batch], now: float
    ) -> None:
        for arrived, address, datagrams in batches:
            self._take_reports(index, channel, address, datagrams, arrived)
        if self.run is not None:
            self._pump(self.run, now)

    def _take_reports(
        self,
        index: int,
        channel: _Channel,
        address: Address,
        datagrams: Sequence[bytes],
        now: float,
    ) -> None:
        if not datagrams:
            return
        if not channel.lock.is_same_host(address):
            channel.lock.foreign += len(datagrams)
            return
        channel.rtcp_peer = address
        if self.run is None:
            channel.early += [(now, data) for data in datagrams]
        else:
            self.run.receive_rtcp(index, datagrams, now)

    # -- the run -----------------------------------------------------------------------------

    def _begin(self, channel: _Channel, datagrams: Sequence[bytes], now: float) -> RtpRun | None:
        """The first packet: publish. None if that is refused, or if it is no media."""
        if not any(map(channel.is_media, datagrams)):
            return None
        media = [each.media for each in self._channels]
        try:
            run = RtpRun(
                self._name, media, self._router, self._send_rtcp, self._end, self._random, now
            )
        except PeerError as error:
            self._end(error.reason)
            return None
        self.run = run
        self.running_since = now
        for index, each in enumerate(self._channels):
            fresh = [data for at, data in each.early if now - at < EARLY_AGE]
            each.early.clear()
            run.receive_rtcp(index, fresh, now)
        self._on_running()
        return run

    def _pump(self, run: RtpRun, now: float) -> None:
        run.pump(now)
        if not self.ended.done():
            self._arm(now)

    def _arm(self, now: float) -> None:
        due = self._heard_at + self._options.media_timeout
        timer = self.run.get_timer() if self.run is not None else None
        self._timer.arm(due if timer is None else min(due, timer), now)

    def _on_due(self, now: float) -> None:
        if self.ended.done():
            return
        if now >= self._heard_at + self._options.media_timeout:
            self._end("media-timeout" if self.run is not None else "no-media")
            return
        if self.run is not None:
            self.run.handle_timer(now)
            self._pump(self.run, now)
        else:
            self._arm(now)

    def _send_rtcp(self, index: int, report: bytes) -> None:
        """To where the sender's own reports come from; nothing into a group."""
        channel = self._channels[index]
        if channel.rtcp is None or channel.rtcp_peer is None or is_multicast(channel.media.host):
            return
        channel.rtcp.send(report, channel.rtcp_peer)

    def _end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)


def part(datagrams: Sequence[bytes]) -> tuple[Sequence[bytes], Sequence[bytes]]:
    """RTCP and RTP of one port, RFC 5761 section 4."""
    reports = [data for data in datagrams if len(data) > 1 and data[1] in RTCP_TYPES]
    if not reports:
        return reports, datagrams
    return reports, [data for data in datagrams if len(data) < 2 or data[1] not in RTCP_TYPES]
