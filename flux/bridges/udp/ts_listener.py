"""The open port of a transport stream: plain in datagrams, or in RTP; each batch tells which.

The first byte of a transport packet is 0x47, that of an RTP packet has the version 2 in its first
two bits. A datagram that begins in the middle of a transport packet may have that, too, so an RTP
packet has to hold whole transport packets to be known as one.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from flux.base.errors import WireError
from flux.bridges.mpegts import TsReceiver
from flux.bridges.rtp.figures import RtpFigures
from flux.bridges.udp.peer import PeerLock
from flux.bridges.udp.plan import Senders
from flux.bridges.udp.port import ReceivePort, open_port
from flux.bridges.udp.source import DatagramOptions
from flux.bridges.udp.ts_in_rtp import TsInRtp
from flux.net.timer import DeadlineTimer
from flux.net.udp import Address, Batch
from media.output import LEISURE, leisure_of
from media.publisher import Publisher, Publishing
from media.track import TrackDescription
from protocols.rtp.packet import payload_bounds

SYNC = 0x47
TS_PACKET = 188
RTP_VERSION = 2

logger = structlog.get_logger()


class TsListener:
    """Satisfies `flux.bridges.udp.source.Listener`."""

    def __init__(
        self,
        name: str,
        origin: str,
        router: Publishing,
        options: DatagramOptions,
        senders: Senders,
        on_running: Callable[[], None],
        past: RtpFigures,
    ) -> None:
        """`past` gets what was received, once it is over."""
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[str] = loop.create_future()
        self.running_since: float | None = None
        self._name = name
        self._origin = origin
        self._router = router
        self._options = options
        self._on_running = on_running
        self._past = past
        self._lock = PeerLock(senders)
        self._senders = senders
        self._port: ReceivePort | None = None
        self._receiver: TsReceiver | None = None
        self._rtp: TsInRtp | None = None
        self._publisher: Publisher | None = None  # of the last run
        self._datagrams = 0
        self._timer = DeadlineTimer(loop, self._on_due)
        self._heard_at = time.monotonic()
        self._is_closed = False
        self._log = logger.bind(stream=name, protocol=origin)

    async def open(self, host: str, port: int, interface: str) -> None:
        """Open the port; raises `PeerError`, and then nothing is left open."""
        self._port = await open_port(
            host,
            port,
            self._senders,
            self._guarded,
            interface=interface,
            buffer_bytes=self._options.receive_buffer_bytes,
            timeout=self._options.lookup_timeout,
            rest=LEISURE,
        )
        if self._port.is_clamped:
            self._log.warning("udp receive buffer clamped", advice="raise net.core.rmem_max")
        self._heard_at = time.monotonic()
        self._arm(self._heard_at)

    def add_figures(self, figures: RtpFigures) -> None:
        """Add what came so far: RTP packets, or datagrams where there is no RTP."""
        if self._rtp is None:
            figures.packets += self._datagrams
            return
        reception = self._rtp.reception
        figures.packets += reception.packets
        figures.lost += reception.lost
        figures.duplicates += reception.duplicates
        figures.reordered += reception.reordered
        figures.jitter = max(figures.jitter, reception.jitter)

    def close(self, reason: str) -> None:
        """Close the port and end the run; calling it twice does no harm."""
        if self._is_closed:
            return
        self._is_closed = True
        self._timer.cancel()
        if self._port is not None:
            self._port.close()
        receiver = self._receiver
        if receiver is not None:
            self._count()
            receiver.close(reason, time.monotonic())
        self.add_figures(self._past)
        self._past.jitter = 0.0
        self._end(reason)

    def publish(
        self, name: str, descriptions: Sequence[TrackDescription], *, now: float, origin: str
    ) -> Publisher:
        """The router, as the receiver sees it: media comes."""
        publisher = self._router.publish(name, descriptions, now=now, origin=origin)
        self._publisher = publisher
        if self.running_since is None:
            self.running_since = now
        self._on_running()
        return publisher

    # -- what comes --------------------------------------------------------------------------

    def _guarded(self, batches: Sequence[Batch], now: float) -> None:
        if self.ended.done():
            return
        try:
            for arrived, address, datagrams in batches:
                self._take(address, datagrams, arrived)
        except Exception:  # a fault of ours must not come back with every packet
            self._log.exception("source fault")
            self._end("internal-error")
        if self._port is not None:
            # A transport stream has a clock of its own; that of RTP is found by arrival.
            self._port.joins = self._rtp is None
            if self._publisher is not None:
                self._port.rest = leisure_of(self._publisher.stream.outputs.values())
        if not self.ended.done():
            self._arm(now)

    def _take(self, address: Address, datagrams: Sequence[bytes], now: float) -> None:
        lock = self._lock
        if address != lock.address:
            before = lock.address
            if not any(map(is_media, datagrams)):
                lock.foreign += len(datagrams)
                return
            if not lock.take(address, len(datagrams), now):
                return
            if before is not None:
                self._rtp = None  # another sender may wrap its packets, or not
                self._log.info("sender changed", before=before[:2], after=address[:2])
        lock.heard_at = self._heard_at = now
        self._datagrams += len(datagrams)
        receiver = self._receiver
        if receiver is None:
            receiver = self._receiver = TsReceiver(self._name, self, self._origin, self._end)
        first = datagrams[0]
        # quirk: ffmpeg cuts packets in two, so that a plain datagram may begin with any byte.
        if self._rtp is None and is_rtp(first):
            self._rtp = TsInRtp(first[1] & 0x7F, receiver)
        if self._rtp is not None and first and first[0] >> 6 == RTP_VERSION:
            self._rtp.receive(datagrams, now)
        else:
            receiver.receive_datagrams(datagrams, now)

    def _count(self) -> None:
        """Tell the stream what was not used."""
        drops = dict(self._rtp.drops) if self._rtp is not None else {}
        drops["udp-foreign-sender"] = self._lock.foreign
        drops["rtp-sender-changed"] = self._lock.changes
        if self._publisher is not None:
            for reason, count in drops.items():
                if count:
                    self._publisher.dropped(reason, None, count)

    # -- time --------------------------------------------------------------------------------

    def _arm(self, now: float) -> None:
        dues = [self._heard_at + self._options.media_timeout]
        for part in (self._receiver, self._rtp):
            timer = part.get_timer() if part is not None else None
            if timer is not None:
                dues.append(timer)
        self._timer.arm(min(dues), now)

    def _on_due(self, now: float) -> None:
        if self.ended.done():
            return
        if now >= self._heard_at + self._options.media_timeout:
            self._end("no-media" if self._receiver is None else "media-timeout")
            return
        if self._rtp is not None:
            self._rtp.handle_timer(now)
        if self._receiver is not None:
            self._receiver.handle_timer(now)
        if not self.ended.done():
            self._arm(now)

    def _end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)


def is_media(data: bytes) -> bool:
    """Whether a datagram begins a transport packet, plainly or in RTP."""
    return len(data) >= TS_PACKET and (data[0] == SYNC or is_rtp(data))


def is_rtp(data: bytes) -> bool:
    """Whether a datagram is an RTP packet of nothing but transport packets; RFC 2250 section 2."""
    if len(data) < TS_PACKET or data[0] >> 6 != RTP_VERSION:
        return False
    try:
        start, end = payload_bounds(data)
    except WireError:
        return False
    row = data[start:end:TS_PACKET]
    return (end - start) % TS_PACKET == 0 and bool(row) and row == bytes((SYNC,)) * len(row)
