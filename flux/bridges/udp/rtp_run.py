"""One run of an RTP session without signalling: from its first packet to its end."""

import random
import time
from collections.abc import Callable, Sequence

import structlog

from flux.bridges.rtp.events import SourceEnded, SourceRestarted
from flux.bridges.rtp.receiver import RtpSessionReceiver
from flux.bridges.udp.plan import MediaPlan
from media.publisher import Publishing

ORIGIN = "rtp"
LOG_INTERVAL = 1.0  # seconds between two lines of a fault that repeats

logger = structlog.get_logger()


class RtpRun:
    """Packets in, units of a publisher out. `on_over` is called once, with the reason."""

    def __init__(
        self,
        name: str,
        media: Sequence[MediaPlan],
        router: Publishing,
        send_rtcp: Callable[[int, bytes], None],
        on_over: Callable[[str], None],
        chance: random.Random,
        now: float,
    ) -> None:
        """Publish; raises `PeerError` where the name cannot be published."""
        tracks = [each.track for each in media]
        descriptions = [track.description for track in tracks]
        self._publisher = router.publish(name, descriptions, now=now, origin=ORIGIN)
        self.receiver = RtpSessionReceiver(
            self._publisher,
            tracks,
            reliable=False,
            ssrc=chance.getrandbits(32),
            cname=f"flux-{chance.getrandbits(64):016x}",
            random=chance.random,
            now=now,
        )
        self._publisher.on_ended = self._kicked
        self._send_rtcp = send_rtcp
        self._on_over = on_over
        self._ended: set[int] = set()  # tracks that said BYE
        self._restarts, self._restart_logged_at = 0, 0.0
        self._log = logger.bind(stream=name, protocol=ORIGIN)
        self.is_over = False

    def receive_rtp(self, index: int, datagrams: Sequence[bytes], arrived: float) -> bool:
        """Take RTP of one track; whether there was media in it."""
        reception = self.receiver.tracks[index].reception
        before = reception.packets
        self.receiver.receive_rtp(index, datagrams, arrived)
        return reception.packets != before

    def receive_rtcp(self, index: int, datagrams: Sequence[bytes], arrived: float) -> None:
        """Take RTCP of one track."""
        self.receiver.receive_rtcp(index, datagrams, arrived)

    def dropped(self, reason: str, count: int = 1) -> None:
        """Count what came and is not used."""
        self._publisher.dropped(reason, None, count)

    def get_timer(self) -> float | None:
        """When to call handle_timer next."""
        return self.receiver.get_timer()

    def handle_timer(self, now: float) -> None:
        """Release what waited too long; send the reports that are due."""
        self.receiver.handle_timer(now)

    def pump(self, now: float) -> None:
        """After every verb: take note of what happened, send what is to be sent."""
        while (event := self.receiver.next_event()) is not None:
            if isinstance(event, SourceEnded):
                self._ended.add(event.track_index)
            else:
                self._ended.discard(event.track_index)
                self._restarted(event, now)
        self._send_reports()
        if len(self._ended) == len(self.receiver.tracks):
            self._ended.clear()
            self._on_over("source-ended")

    def close(self, reason: str) -> None:
        """End: RTCP BYE to a sender that we know; nothing is called back."""
        if self.is_over:
            return
        self.is_over = True
        now = time.monotonic()
        self.receiver.close(now)
        self._send_reports()
        self._publisher.finish(reason, now)

    def _kicked(self, reason: str) -> None:
        """Somebody else ended it: it was kicked, or another one took over."""
        self._on_over(reason)

    def _restarted(self, event: SourceRestarted, now: float) -> None:
        self._restarts += 1
        if now - self._restart_logged_at >= LOG_INTERVAL:
            self._log.info("source restarted", reason=event.reason, count=self._restarts)
            self._restarts, self._restart_logged_at = 0, now

    def _send_reports(self) -> None:
        for index, report in self.receiver.reports_to_send():
            self._send_rtcp(index, report)
