"""One connection of a pull: a description becomes tracks, and packets become units."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from flux.base.errors import PeerError, WireError
from flux.bridges.rtp.events import SourceEnded, SourceRestarted
from flux.bridges.rtp.figures import RtpFigures
from flux.bridges.rtp.receiver import RtpSessionReceiver
from flux.bridges.rtp.tracks import RtpTrack, tracks_from_sdp
from flux.bridges.rtsp.client_keys import PullKeys
from flux.bridges.rtsp.described import group_of, one_of_each
from flux.bridges.rtsp.transport_stream import TS_CODEC, TsRun, transport_stream_of
from flux.net.timer import DeadlineTimer
from media.link import LinkFigures
from media.publisher import Publisher, Publishing
from protocols.rtsp import events
from protocols.rtsp.auth import Authenticator
from protocols.rtsp.client import RtspClient
from protocols.rtsp.dialogue import MAX_TRACKS
from protocols.rtsp.options import PullOptions
from protocols.rtsp.transport import Way
from protocols.rtsp.url import Url
from protocols.sdp import SessionDescription

LOCKED_OUT = "srtp-auth-failed"  # why a run ends of which nothing can be opened

logger = structlog.get_logger()


class PullRun:
    """One connection. `closed` gets the reason when all is over; nothing of it is left then."""

    def __init__(
        self,
        name: str,
        url: Url,
        options: PullOptions,
        authenticator: Authenticator,
        router: Publishing,
        on_playing: Callable[[], None],
        chance: random.Random,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._name = name
        self._router = router
        self._on_playing = on_playing
        self._random = chance
        self._is_secure = url.is_secure
        self._keys = PullKeys(chance.getrandbits(32), options.media_timeout)
        self._log = logger.bind(stream=name, protocol="rtsp")
        self._client = RtspClient(url, options, authenticator, self)
        self._timer = DeadlineTimer(loop, self._on_due)
        self._offered: tuple[RtpTrack, ...] = ()
        self._indexes: list[int] = []  # place in _offered of each track that was set up
        self.way = Way.TCP
        self.range = ""  # that the server says it plays
        self._sdp = b""
        self._publisher: Publisher | TsRun | None = None
        self.receiver: RtpSessionReceiver | None = None  # while it plays
        self.received = RtpFigures()  # once it is over
        self._ended: set[int] = set()  # tracks that said BYE
        self._is_leaving = False
        self._restarts, self._restart_logged_at = 0, 0.0
        self.closed: asyncio.Future[str] = loop.create_future()
        self.location = ""  # where the server sends us instead
        self.played_at: float | None = None
        self.media_at: float | None = None  # when something came last

    async def connect(self) -> None:
        """Connect; raises `PeerError`, and all is over then."""
        try:
            await self._client.connect()
        except PeerError as error:
            self.close(error.reason)
            raise

    def close(self, reason: str) -> None:
        """End: RTCP BYE, TEARDOWN; `closed` comes within the teardown timeout."""
        is_leaving, self._is_leaving = self._is_leaving, True
        if self.receiver is not None and not is_leaving:
            self.receiver.close(time.monotonic())
            self._send_reports(self.receiver)
        self._client.close(reason)

    async def wait_closed(self) -> None:
        """After `closed`: return once the connection is gone too."""
        await self._client.wait_closed()

    # From the client.

    def on_event(self, event: events.Event) -> None:
        """Take an event of the client."""
        match event:
            case events.Described():
                self._describe(event.sdp)
            case events.TrackRefused():
                control = self._offered[event.track_index].control
                self._log.warning("track refused", control=control, status=event.status)
            case events.TracksReady():
                self._ready(event)
            case events.Playing():
                self._play(event)
            case events.Announced() if event.sdp.strip() not in (b"", self._sdp.strip()):
                self.close("description-changed")
            case events.Redirected():
                self.location = event.location
            case events.Closed():
                self._finish(event)

    def on_packets(self, packets: list[tuple[int, bytes]], now: float) -> None:
        """Take RTP and RTCP packets, interleaved or datagrams."""
        receiver = self.receiver
        if receiver is not None:
            packets = self._keys.open(packets, now)
            if self._keys.drops:
                self._count(self._keys.drops)
                self._keys.drops.clear()
            if any(not channel & 1 for channel, _ in packets):
                self.media_at = now
            elif self._keys.is_locked_out(now):
                self.close(LOCKED_OUT)
                return
            receiver.receive_interleaved(packets, now)
            self._pump(receiver, now)

    # Inside.

    def _describe(self, sdp: bytes) -> None:
        self._sdp = sdp
        try:
            description = SessionDescription.parse(sdp)
        except WireError as error:
            self.close(error.reason)
            return
        found = tracks_from_sdp(description, is_secure=self._is_secure)
        tracks = one_of_each(description, found.tracks)
        stream = transport_stream_of(tracks)
        wanted = (stream,) if stream is not None else tracks[:MAX_TRACKS]
        self._offered, locked = self._keys.take_description(description, wanted)
        for refused in (*found.refused, *locked):
            self._log.info("media not taken", kind=refused.kind, reason=refused.reason)
        if not self._offered:
            self.close(locked[0].reason if locked else "no-usable-track")
            return
        groups = [group_of(description, description.media[t.media_index]) for t in self._offered]
        controls = [track.control for track in self._offered]
        self._client.set_up(controls, description.control, groups, self._keys.secured())

    def _ready(self, ready: events.TracksReady) -> None:
        self._indexes = [track.track_index for track in ready.tracks]
        self.way = ready.way
        try:
            self._keys.take_answers(ready.tracks)
        except WireError as error:
            self.close(error.reason)

    def _play(self, playing: events.Playing) -> None:
        now = time.monotonic()
        tracks = [self._offered[index] for index in self._indexes]
        try:
            publisher = self._publish(tracks, now)
        except PeerError as error:
            self.close(error.reason)
            return
        channels: dict[int, tuple[int, bool]] = {}
        rtptimes: dict[int, int] = {}
        for place, index in enumerate(self._indexes):
            channels[2 * index] = (place, False)
            channels[2 * index + 1] = (place, True)
            info = playing.infos[index]
            if info is not None and info.rtptime is not None:
                rtptimes[place] = info.rtptime
        receiver = RtpSessionReceiver(
            publisher,
            tracks,
            reliable=self.way is Way.TCP,
            ssrc=self._keys.ssrc,
            cname=f"flux-{self._random.getrandbits(64):016x}",
            random=self._random.random,
            now=now,
            channels=channels,
        )
        # quirk: cameras that know no better write seq=0;rtptime=0 for every track, against section
        # 12.33; test: test_rtp_info_of_zeros_is_no_anchor
        if any(rtptimes.values()):
            receiver.anchor(rtptimes)
        if self.way is not Way.TCP and self._client.is_buffer_clamped:
            self._log.warning("udp receive buffer clamped", advice="raise net.core.rmem_max")
        self._publisher, self.receiver = publisher, receiver
        publisher.on_ended = self.close  # it was kicked, or another one took over
        publisher.link = self._link
        self.played_at = now
        self.range = playing.range
        self._on_playing()
        self._arm(receiver, now)

    def _publish(self, tracks: Sequence[RtpTrack], now: float) -> Publisher | TsRun:
        """Begin the run, now or once a transport stream has shown what is in it."""
        if tracks[0].description.codec == TS_CODEC:
            return TsRun(self._name, self._router, tracks[0])
        descriptions = [track.description for track in tracks]
        return self._router.publish(self._name, descriptions, now=now, origin="rtsp")

    def _link(self) -> LinkFigures:
        """What came over RTP in this run."""
        figures = RtpFigures()
        if self.receiver is not None:
            figures.add(self.receiver)
        return LinkFigures(self.way.name.lower(), figures.lost, figures.jitter)

    def _on_due(self, now: float) -> None:
        if isinstance(self._publisher, TsRun):
            self._publisher.handle_timer(now)
        if self.receiver is not None:
            self.receiver.handle_timer(now)
            self._pump(self.receiver, now)

    def _arm(self, receiver: RtpSessionReceiver, now: float) -> None:
        due = receiver.get_timer()
        publisher = self._publisher
        if isinstance(publisher, TsRun):
            other = publisher.get_timer()
            if other is not None and (due is None or other < due):
                due = other
        self._timer.arm(due, now)

    def _pump(self, receiver: RtpSessionReceiver, now: float) -> None:
        while (event := receiver.next_event()) is not None:
            if isinstance(event, SourceEnded):
                self._ended.add(event.track_index)
            else:
                self._restarted(event, now)
        self._send_reports(receiver)
        if self.receiver is None:
            return  # it ended while packets went through
        self._arm(receiver, now)
        if len(self._ended) == len(self._indexes):
            self._ended.clear()
            self.close("source-ended")

    def _restarted(self, event: SourceRestarted, now: float) -> None:
        """Log at most one line a second: a broken camera does this with every packet."""
        self._restarts += 1
        if now - self._restart_logged_at >= 1.0:
            self._log.info("source restarted", reason=event.reason, count=self._restarts)
            self._restarts, self._restart_logged_at = 0, now

    def _send_reports(self, receiver: RtpSessionReceiver) -> None:
        for place, report in receiver.reports_to_send():
            index = self._indexes[place]
            self._client.send_rtcp(index, self._keys.protect(index, report))

    def _count(self, drops: Mapping[str, int]) -> None:
        assert self._publisher is not None  # only while it plays
        for reason, count in drops.items():
            self._publisher.dropped(reason, None, count)

    def _finish(self, event: events.Closed) -> None:
        self._timer.close()
        if self.receiver is not None:
            self.received.add(self.receiver)
        self.receiver = None
        if self._publisher is not None:
            self._count(self._client.drops)
            if self._client.junk_bytes:
                self._publisher.dropped("rtsp-junk", None, 1)
                self._log.warning("rtsp junk", bytes=self._client.junk_bytes)
            self._publisher.on_ended = None
            self._publisher.close(event.reason, time.monotonic())
            self._publisher = None
        if not self.closed.done():
            self.closed.set_result(event.reason)
