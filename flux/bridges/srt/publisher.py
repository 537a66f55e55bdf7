"""What comes over one link becomes a stream: of a publisher, or of a source that calls."""

import asyncio
import time
from collections.abc import Callable, Sequence

from flux.bridges.mpegts import TsReceiver
from flux.bridges.srt.reader import PROTOCOL, figures_of
from flux.bridges.srt.sessions import SrtSessions
from flux.net.resolve import host_of
from flux.net.timer import DeadlineTimer
from media.link import LinkFigures
from media.output import leisure_of
from media.publisher import Publisher
from media.router import Router
from media.track import TrackDescription
from protocols.srt.events import DataReceived
from protocols.srt.link import Channel, Link, LinkHandler
from protocols.srt.options import Mode
from protocols.srt.pace import defer

# While nobody watches: seconds that datagrams may lie in the socket, and when their time has come.
UNSEEN_REST = 0.200
DEFERRED = 0.5
PACKETS = 7  # transport packets of a datagram that is missing: as many as most have


class SrtPublisher(LinkHandler):
    """The handler of a link that brings a transport stream. `on_over(reason, code)` comes once."""

    def __init__(
        self,
        name: str,
        user_agent: str,
        router: Router,
        sessions: SrtSessions,
        media_timeout: float,
        on_over: Callable[[str, int], None],
        on_playing: Callable[[], None] | None = None,
    ) -> None:
        """`media_timeout`: seconds without a packet, after which the link is closed."""
        self.name = name
        self.link: Channel | None = None
        self.running_since: float | None = None  # monotonic seconds of the first run
        self.packets = 0  # that came
        self.lost = 0  # that were given up
        self._user_agent = user_agent
        self._router = router
        self._sessions = sessions
        self._media_timeout = media_timeout
        self._on_over = on_over
        self._on_playing = on_playing
        self._receiver: TsReceiver | None = None
        self._publisher: Publisher | None = None  # of the last run
        self._session = ""
        self._heard_at = 0.0
        self._timer = DeadlineTimer(asyncio.get_running_loop(), self._on_due)
        self._is_over = False

    # -- from the link -----------------------------------------------------------------------

    def connected(self, link: Channel, now: float) -> None:
        """The handshake is done."""
        self.link = link
        self._heard_at = now
        self._receiver = TsReceiver(
            self.name,
            self,
            PROTOCOL,
            self.end,
            on_playing=self._on_playing,
            on_wanted=lambda: self._rest(time.monotonic()),
        )
        self._arm(now)

    def received(self, link: Channel, event: DataReceived, now: float) -> None:
        """Datagrams whose time has come."""
        receiver = self._receiver
        if receiver is None:
            return
        self._heard_at = now
        self.packets += len(event.payloads)
        if event.lost:
            self.lost += event.lost
            receiver.dropped("srt-packet-lost", event.lost)
            receiver.gap(event.lost * PACKETS, now)
        if link.result is not None and link.result.mode != Mode.LIVE:
            receiver.receive(b"".join(event.payloads), now)
        else:
            receiver.receive_datagrams(event.payloads, now)
        self._rest(now)
        if not self._is_over:
            self._arm(now)

    def refused(self, reason: str, code: int) -> None:
        """The handshake came to nothing."""
        self._over(reason, code)

    def closed(self, link: Channel, reason: str, code: int) -> None:
        """The link is over."""
        del link
        self._over(reason, code)

    # -- for the owner -----------------------------------------------------------------------

    def end(self, reason: str) -> None:
        """Close the link, and with it the run."""
        if self.link is not None:
            self.link.close(reason, time.monotonic())

    # -- for the receiver of the transport stream --------------------------------------------

    def publish(
        self, name: str, descriptions: Sequence[TrackDescription], *, now: float, origin: str
    ) -> Publisher:
        """Begin a run that says who publishes it; raises `PeerError`."""
        publisher = self._router.publish(name, descriptions, now=now, origin=origin)
        self._publisher = publisher
        link = self.link
        if link is not None:
            publisher.address = host_of(link.peer)
            publisher.user_agent = self._user_agent
            publisher.link = self.figures
            self._sessions.remove(self._session)
            self._session = publisher.session
            self._sessions.add(self._session, link)
        if self.running_since is None:
            self.running_since = now
        return publisher

    def figures(self) -> LinkFigures:
        """The line as its connection measures it."""
        return figures_of(self.link)

    # -- inside ------------------------------------------------------------------------------

    def _rest(self, now: float) -> None:
        """Say how long what comes may lie: while nobody watches, much is read at once."""
        link, publisher = self.link, self._publisher
        if isinstance(link, Link) and publisher is not None:
            is_unseen = publisher.is_unseen
            link.leisure = (
                UNSEEN_REST if is_unseen else leisure_of(publisher.stream.outputs.values())
            )
            defer(link, DEFERRED if is_unseen else 0.0, now)

    def _arm(self, now: float) -> None:
        due = self._heard_at + self._media_timeout
        timer = self._receiver.get_timer() if self._receiver is not None else None
        self._timer.arm(due if timer is None else min(due, timer), now)

    def _on_due(self, now: float) -> None:
        receiver = self._receiver
        if receiver is None:
            return
        if now >= self._heard_at + self._media_timeout:
            self.end("no-media" if self.running_since is None else "media-timeout")
            return
        receiver.handle_timer(now)
        if not self._is_over:
            self._arm(now)

    def _over(self, reason: str, code: int) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._timer.close()
        self._sessions.remove(self._session)
        self._publisher = None
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.close(reason, time.monotonic())
        on_over, self._on_over = self._on_over, _nobody  # whoever hears of it may hold this
        self._on_playing = None
        on_over(reason, code)


def _nobody(reason: str, code: int) -> None:
    """The end has been told."""
