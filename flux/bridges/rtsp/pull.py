"""RTSP pull: a camera becomes a stream, for as long as it is wanted and through all its failures.

`PullRun` is one connection from DESCRIBE to TEARDOWN: it turns the description into tracks, and
what comes into units of a publisher. `RtspSource` runs one after the other, waits between them
(longer and longer; much longer where the camera says no, since it may lock the account) and tells
its state: connecting, running, waiting, stopped.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from flux.base.errors import PeerError, WireError
from flux.bridges.rtp.events import SourceEnded, SourceRestarted
from flux.bridges.rtp.receiver import RtpSessionReceiver
from flux.bridges.rtp.tracks import RtpTrack, tracks_from_sdp
from flux.net.backoff import Backoff
from flux.net.timer import DeadlineTimer
from media.publisher import Publisher
from media.track import TrackDescription
from protocols.rtsp import events
from protocols.rtsp.auth import Authenticator
from protocols.rtsp.client import RtspClient
from protocols.rtsp.connection import MAX_TRACKS
from protocols.rtsp.options import PullOptions
from protocols.rtsp.url import Url
from protocols.sdp import SessionDescription

REFUSALS = frozenset({"rtsp-unauthorized", "rtsp-auth-unsupported", "rtsp-403", "rtsp-404"})
STABLE_AFTER = 30.0  # of play, after which a failure is the first one again
MAX_REDIRECTS = 5  # in a row

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Retries:
    """How a source waits between its attempts; seconds, each with some jitter."""

    first: float = 1.0
    longest: float = 30.0
    refused_first: float = 30.0  # after REFUSALS
    refused_longest: float = 300.0


@dataclass(slots=True)
class RtpFigures:
    """What came in over RTP, all tracks together, since the source was made."""

    packets: int = 0
    lost: int = 0
    duplicates: int = 0
    reordered: int = 0
    jitter: float = 0.0  # seconds, of the worst track of the run that is open

    def add(self, receiver: RtpSessionReceiver) -> None:
        """Add what the tracks of one run received."""
        for track in receiver.tracks:
            reception = track.reception
            self.packets += reception.packets
            self.lost += reception.lost
            self.duplicates += reception.duplicates
            self.reordered += reception.reordered
            self.jitter = max(self.jitter, reception.jitter)

    def count(self, run: "RtpFigures") -> None:
        """Add the figures of a run that is over; its jitter is past."""
        self.packets += run.packets
        self.lost += run.lost
        self.duplicates += run.duplicates
        self.reordered += run.reordered


class Publishing(Protocol):
    """What a source needs of the router."""

    def publish(
        self, name: str, descriptions: Sequence[TrackDescription], *, now: float, origin: str
    ) -> Publisher:
        """Begin a run; raises `PeerError` where the name cannot be published."""


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
        self._log = logger.bind(stream=name, protocol="rtsp")
        self._client = RtspClient(url, options, authenticator, self)
        self._timer = DeadlineTimer(loop, self._on_due)
        self._offered: tuple[RtpTrack, ...] = ()
        self._indexes: list[int] = []  # place in _offered of each track that was set up
        self._is_udp = False
        self._sdp = b""
        self._publisher: Publisher | None = None
        self.receiver: RtpSessionReceiver | None = None  # while it plays
        self.received = RtpFigures()  # once it is over
        self._ended: set[int] = set()  # tracks that said BYE
        self._is_leaving = False
        self._restarts, self._restart_logged_at = 0, 0.0
        self.closed: asyncio.Future[str] = loop.create_future()
        self.location = ""  # where the server sends us instead
        self.played_at: float | None = None

    async def connect(self) -> None:
        """Connect; raises `PeerError`, and `closed` then never comes."""
        await self._client.connect()

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
                self._indexes = [track.track_index for track in event.tracks]
                self._is_udp = event.is_udp
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
        found = tracks_from_sdp(description)
        for refused in found.refused:
            self._log.info("media not taken", kind=refused.kind, reason=refused.reason)
        if not found.tracks:
            self.close("no-usable-track")
            return
        self._offered = found.tracks[:MAX_TRACKS]
        self._client.set_up([track.control for track in self._offered], description.control)

    def _play(self, playing: events.Playing) -> None:
        now = time.monotonic()
        tracks = [self._offered[index] for index in self._indexes]
        descriptions = [track.description for track in tracks]
        try:
            publisher = self._router.publish(self._name, descriptions, now=now, origin="rtsp")
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
            reliable=not self._is_udp,
            ssrc=self._random.getrandbits(32),
            cname=f"flux-{self._random.getrandbits(64):016x}",
            random=self._random.random,
            now=now,
            channels=channels,
        )
        # quirk: cameras that know no better write seq=0;rtptime=0 for every track, against section
        # 12.33; test: test_rtp_info_of_zeros_is_no_anchor
        if any(rtptimes.values()):
            receiver.anchor(rtptimes)
        if self._is_udp and self._client.is_buffer_clamped:
            self._log.warning("udp receive buffer clamped", advice="raise net.core.rmem_max")
        self._publisher, self.receiver = publisher, receiver
        publisher.on_ended = self.close  # it was kicked, or another one took over
        self.played_at = now
        self._on_playing()
        self._timer.arm(receiver.get_timer(), now)

    def _on_due(self, now: float) -> None:
        if self.receiver is not None:
            self.receiver.handle_timer(now)
            self._pump(self.receiver, now)

    def _pump(self, receiver: RtpSessionReceiver, now: float) -> None:
        while (event := receiver.next_event()) is not None:
            if isinstance(event, SourceEnded):
                self._ended.add(event.track_index)
            else:
                self._restarted(event, now)
        self._send_reports(receiver)
        if self.receiver is None:
            return  # it ended while packets went through
        self._timer.arm(receiver.get_timer(), now)
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
            self._client.send_rtcp(self._indexes[place], report)

    def _finish(self, event: events.Closed) -> None:
        self._timer.cancel()
        if self.receiver is not None:
            self.received.add(self.receiver)
        self.receiver = None
        if self._publisher is not None:
            for reason, count in self._client.drops.items():
                if count:
                    self._publisher.dropped(reason, None, count)
            if self._client.junk_bytes:
                self._publisher.dropped("rtsp-junk", None, 1)
                self._log.warning("rtsp junk", bytes=self._client.junk_bytes)
            self._publisher.on_ended = None
            self._publisher.close(event.reason, time.monotonic())
            self._publisher = None
        if not self.closed.done():
            self.closed.set_result(event.reason)


@dataclass(slots=True)
class _Life:
    """The time from one `start` to its `stop`."""

    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = "cancelled"
    connecting: "asyncio.Task[None] | None" = None
    run: PullRun | None = None


class RtspSource:
    """Pulls one URL into one stream. `on_state(state, reason)` is told every change."""

    def __init__(
        self,
        name: str,
        url: str,
        router: Publishing,
        on_state: Callable[[str, str], None],
        options: PullOptions | None = None,
        retries: Retries | None = None,
        chance: random.Random | None = None,
    ) -> None:
        """Raises `WireError` for a URL that is none."""
        self._name = name
        self._url = Url.parse(url)
        self._router = router
        self._on_state = on_state
        self._options = options or PullOptions()
        self._random = chance or random.SystemRandom()
        self._authenticator = self._authenticator_for(self._url)
        wait = retries or Retries()
        self._quick = Backoff(wait.first, wait.longest, self._random.random)
        self._slow = Backoff(wait.refused_first, wait.refused_longest, self._random.random)
        self._past = RtpFigures()  # of the runs that are over
        self._life: _Life | None = None
        self._task: asyncio.Task[None] | None = None
        self._log = logger.bind(stream=name, protocol="rtsp", url=self._url.request)

    def start(self) -> None:
        """Begin, and go on through failures, until `stop`."""
        if self._life is None:
            self._life = _Life()
            self._task = asyncio.get_running_loop().create_task(
                self._live(self._life, self._task), name=f"rtsp source {self._name}"
            )

    def stop(self, reason: str) -> None:
        """End; TEARDOWN goes out in the background and waits no longer than its timeout."""
        life, self._life = self._life, None
        if life is None:
            return
        life.reason = reason
        life.stopping.set()
        if life.connecting is not None:
            life.connecting.cancel()
        if life.run is not None:
            life.run.close(reason)

    def figures(self) -> RtpFigures:
        """What came in over RTP so far."""
        figures = replace(self._past)
        run = self._life.run if self._life is not None else None
        if run is not None and run.receiver is not None:
            figures.add(run.receiver)
        return figures

    @property
    def is_at_rest(self) -> bool:
        """Nothing of any life is left."""
        return self._task is None or self._task.done()

    async def wait_stopped(self) -> None:
        """Return once nothing of the last life is left."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    def _authenticator_for(self, url: Url) -> Authenticator:
        cnonce = f"{self._random.getrandbits(64):016x}"
        return Authenticator(url.username, url.password, cnonce)

    async def _live(self, life: _Life, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait((before,))
        url, redirects = self._url, 0
        try:
            while not life.stopping.is_set():
                self._on_state("connecting", "")
                try:
                    reason, location = await self._attempt(life, url)
                except Exception:  # a fault of ours must not be the end of a camera
                    self._log.exception("source fault")
                    reason, location = "internal-error", ""
                    if life.run is not None:
                        life.run.close(reason)
                        life.run = None
                if life.stopping.is_set():
                    break
                following = self._follow(url, location) if location else None
                if following is not None and redirects < MAX_REDIRECTS:
                    self._log.info("redirected", to=following.request)
                    url, redirects = following, redirects + 1
                    continue
                url, redirects = self._url, 0
                backoff = self._slow if reason in REFUSALS else self._quick
                delay = backoff.next_delay()
                self._log.warning("source failed", reason=reason, retry_in=round(delay, 1))
                self._on_state("waiting", reason)
                try:
                    async with asyncio.timeout(delay):
                        await life.stopping.wait()
                except TimeoutError:
                    continue
        finally:
            if life.run is not None:
                life.run.close("cancelled")
            self._on_state("stopped", life.reason)

    async def _attempt(self, life: _Life, url: Url) -> tuple[str, str]:
        """One connection from begin to end: why it ended, and where the server sent us."""
        is_own = url.host == self._url.host
        authenticator = self._authenticator if is_own else self._authenticator_for(url)
        run = PullRun(
            self._name,
            url,
            self._options,
            authenticator,
            self._router,
            lambda: self._on_state("running", ""),
            self._random,
        )
        life.connecting = asyncio.get_running_loop().create_task(run.connect())
        try:
            await asyncio.wait((life.connecting,))
            if life.connecting.cancelled():
                run.close(life.reason)  # the connection may just have been made
                return life.reason, ""
            life.connecting.result()
        except PeerError as error:
            return error.reason, ""
        finally:
            life.connecting.cancel()
            life.connecting = None
        life.run = run
        if life.stopping.is_set():
            run.close(life.reason)
        reason = await run.closed
        await run.wait_closed()
        life.run = None
        if run.played_at is not None and time.monotonic() - run.played_at >= STABLE_AFTER:
            self._quick.reset()
            self._slow.reset()
        return reason, run.location

    def _follow(self, url: Url, location: str) -> Url | None:
        """The URL of a redirect. Credentials go to the host that they were given for only."""
        try:
            return Url.parse(url.origin + location if location.startswith("/") else location)
        except WireError:
            return None
