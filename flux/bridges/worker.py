"""Workers as sources: what a child process sends in the wire form becomes a stream.

`WorkerRun` is one run of the process: it decodes what comes on the socket and writes it to a
publisher. `WorkerSource` keeps such runs going between `start` and `stop`, through
`flux.core.children`, and tells its state: connecting, running, waiting, stopped. When to start and
stop is the router's to decide.

A worker that sends nonsense, falls silent or ends is replaced after a delay, and nobody but its
own stream notices.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from flux.base.errors import PeerError, WireError
from flux.core.children import REASON_CLOSED, Child, ChildOptions, Children, worker_command
from media.announcement import describe
from media.frame import NO_TIME
from media.publisher import Publisher, Publishing
from media.track import H264, H265, Track
from media.wire import Bye, Decoder, Dropped, Hello, Message, TrackChanged, Tracks, WireFrame

SILENCE_TIMEOUT = 10.0  # seconds without a byte, after which a worker is taken to hang
ORIGIN = "worker"
MODULES = {"testcard": "flux.workers.testcard"}  # by URL scheme

logger = structlog.get_logger()


def command_for(url: str) -> tuple[str, ...]:
    """The command of the worker that serves a URL; raises `WireError` if there is none."""
    module = MODULES.get(url.partition(":")[0])
    if module is None:
        raise WireError("url-scheme", url)
    return worker_command(module, url)


class WorkerRun(asyncio.Protocol):
    """One connection: bytes of the wire form in, units of a publisher out.

    `on_running` is called when the stream is published, `on_over` with the reason when this run
    cannot go on; the owner then calls `close`.
    """

    def __init__(
        self,
        name: str,
        router: Publishing,
        on_running: Callable[[], None],
        on_over: Callable[[str], None],
        silence_timeout: float,
        *,
        is_wanted: bool = True,
    ) -> None:
        self._name = name
        self._router = router
        self._on_running = on_running
        self._on_over = on_over
        self._silence_timeout = silence_timeout
        self._decoder = Decoder()
        self._publisher: Publisher | None = None
        self._tracks: dict[int, Track] = {}
        self._new_sets: dict[int, tuple[bytes, ...]] = {}  # go in front of the track's next frame
        self._over = not is_wanted  # stopped before it began
        self._heard_at = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._log = logger.bind(stream=name, protocol="worker")

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The process runs; it has to speak from now on."""
        del transport
        self._heard_at = time.monotonic()
        self._listen(self._silence_timeout)

    def data_received(self, data: bytes) -> None:
        """Take a piece of the stream."""
        if self._over:
            return
        now = time.monotonic()
        self._heard_at = now
        decoder = self._decoder
        try:
            decoder.receive_data(data)
            while not self._over and (message := decoder.next_message()) is not None:
                if isinstance(message, WireFrame):
                    self._write(message, now)
                else:
                    self._handle(message, now)
        except WireError as error:
            self._log.warning("worker sent nonsense", reason=error.reason, detail=error.detail)
            self._end(error.reason)
        except PeerError as error:
            self._end(error.reason)

    def connection_lost(self, exc: Exception | None) -> None:
        """The worker's end is closed."""
        del exc
        self._end(REASON_CLOSED)

    # From the owner.

    def close(self, reason: str) -> None:
        """End the publication; nothing is written after this."""
        self._over = True
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._leave(reason, time.monotonic())

    # Inside.

    def _leave(self, reason: str, now: float) -> None:
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.finish(reason, now)

    def _end(self, reason: str) -> None:
        if not self._over:
            self._over = True
            self._on_over(reason)

    def _listen(self, delay: float) -> None:
        loop = asyncio.get_running_loop()
        self._watch = loop.call_later(delay, self._on_silence)

    def _on_silence(self) -> None:
        silent = time.monotonic() - self._heard_at
        if silent >= self._silence_timeout:
            self._end("worker-silent")
        else:
            self._listen(self._silence_timeout - silent)

    def _write(self, frame: WireFrame, now: float) -> None:
        publisher = self._publisher
        if publisher is None:  # the decoder lets no frame through before the tracks
            return
        track_id = frame.track_id
        payload = frame.payload
        if not payload or b"" in payload:
            publisher.dropped("worker-empty-frame", self._tracks[track_id])
            return
        if self._new_sets and track_id in self._new_sets:
            payload = self._new_sets.pop(track_id) + payload
        dts = frame.dts
        if dts > frame.pts:
            publisher.dropped("worker-dts-after-pts", self._tracks[track_id])
            dts = NO_TIME
        publisher.write(self._tracks[track_id], frame.pts, payload, now, dts)

    def _handle(self, message: Message, now: float) -> None:
        match message:
            case Tracks():
                self._publish(message, now)
            case TrackChanged():
                self._change(message)
            case Dropped():
                if self._publisher is not None:
                    track = None if message.track_id is None else self._tracks[message.track_id]
                    self._publisher.dropped(message.reason, track, message.count)
            case Bye():
                self._end(message.reason)
            case Hello():
                pass
            case _:
                self._log.info("message of a later version", message=type(message).__name__)

    def _publish(self, tracks: Tracks, now: float) -> None:
        """Begin, or begin anew with another set of tracks."""
        descriptions = [describe(track) for track in tracks.tracks]
        self._leave("tracks-changed", now)
        publisher = self._router.publish(self._name, descriptions, now=now, origin=ORIGIN)
        publisher.on_ended = self._end  # it was kicked, or another one took over
        self._publisher = publisher
        ids = [track.id for track in tracks.tracks]
        self._tracks = dict(zip(ids, publisher.tracks, strict=True))
        self._new_sets.clear()
        # The wire form says so: timestamp 0 is one instant.
        publisher.anchor(dict.fromkeys(publisher.tracks, 0))
        self._on_running()

    def _change(self, message: TrackChanged) -> None:
        """New parameters of a track: in band, where the stream finds those of every source."""
        track = message.track
        describe(track)  # WireError if they are broken
        if track.codec != self._tracks[track.id].codec or track.codec not in (H264, H265):
            raise PeerError("tracks-changed", detail=track.codec)
        self._new_sets[track.id] = track.configuration


class _Life:
    """The time from one `start` to its `stop`; one life may end slowly while the next begins."""

    def __init__(self, source: "WorkerSource", make_run: Callable[["_Life"], WorkerRun]) -> None:
        self._source = source
        self._make_run = make_run
        self.child: Child | None = None
        self.run: WorkerRun | None = None

    def connect(self) -> WorkerRun:
        """The protocol of the next run's socket."""
        self.run = self._make_run(self)
        return self.run

    def on_over(self, reason: str) -> None:
        """The run cannot go on."""
        if self.child is not None:
            self.child.fail(reason)

    def on_state(self, state: str, reason: str) -> None:
        """The child tells its state."""
        if state in ("waiting", "stopped"):
            self.close_run(reason)
        self._source.life_state(self, state, reason)

    def close_run(self, reason: str) -> None:
        """End what is published."""
        run, self.run = self.run, None
        if run is not None:
            run.close(reason)


class WorkerSource:
    """Runs one worker for one stream. `on_state(state, reason)` is told every change."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        router: Publishing,
        children: Children,
        on_state: Callable[[str, str], None],
        options: ChildOptions | None = None,
        silence_timeout: float = SILENCE_TIMEOUT,
    ) -> None:
        self._name = name
        self._command = tuple(command)
        self._router = router
        self._children = children
        self._on_state = on_state
        self._options = options
        self._silence_timeout = silence_timeout
        self._life: _Life | None = None
        self._log = logger.bind(stream=name, protocol="worker")

    def start(self) -> None:
        """Begin, and go on through failures, until `stop`."""
        if self._life is None:
            self._life = life = _Life(self, self._make_run)
            life.child = self._children.spawn(
                self._name, self._command, life.connect, life.on_state, self._options
            )

    def stop(self, reason: str) -> None:
        """End. The publication ends now, the process within the child's stop timeout."""
        life, self._life = self._life, None
        if life is not None and life.child is not None:
            life.close_run(reason)
            life.child.stop(reason)
            self._on_state("stopped", reason)

    def life_state(self, life: _Life, state: str, reason: str) -> None:
        """A life tells its state; one that was stopped is not listened to."""
        if life is not self._life:
            return
        if state == "waiting":
            self._log.warning("worker failed", reason=reason)
        elif state == "stopped":  # by the server's end, not by our `stop`
            self._life = None
        self._on_state(state, reason)

    def _make_run(self, life: _Life) -> WorkerRun:
        return WorkerRun(
            self._name,
            self._router,
            lambda: self.life_state(life, "running", ""),
            life.on_over,
            self._silence_timeout,
            is_wanted=life is self._life,
        )
