"""Key frames in, JPEGs out, by one worker process for all streams; never in the loop.

Theory of operation. Jobs wait in a bounded queue; one is with the worker at a time, so an answer
needs no more than to be the answer. The worker is started by the first job and ended when there
was none for a while. A job that takes longer than `run_timeout` costs the worker its life: decoders
can hang in what a camera sends. Another one follows after the delay of `flux.core.children`, and
the jobs behind it wait on, each at most `wait_timeout`.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import structlog

from flux.base.errors import WireError
from flux.core.children import REASON_CLOSED, Child, ChildOptions, Children, worker_command
from media.track import Kind
from media.wire import (
    FLAG_KEY,
    Announcement,
    Decoder,
    Dropped,
    Tracks,
    WireFrame,
    serialize_frame,
    serialize_hello,
    serialize_tracks,
)

NAME = "snapshot"
COMMAND = worker_command("flux.workers.snapshot")
PICTURE, JPEG_TRACK = 0, 1  # track ids, see flux/workers/snapshot.py
JPEG = "jpeg"
CLOCK_HZ = 90_000

START_TIMEOUT = 30.0  # seconds from the start of the process to its first word

REASON_SILENT = "snapshot-worker-silent"
REASON_BUSY = "snapshot-busy"
REASON_TIMEOUT = "snapshot-timeout"
REASON_FAILED = "snapshot-worker-failed"
REASON_STOPPING = "server-stopping"

Done = Callable[[bytes, str], None]  # the JPEG, or no bytes and the reason

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DarkroomOptions:
    """Bounds; seconds."""

    queue: int = 64  # jobs that may wait
    run_timeout: float = 3.0  # for one picture
    wait_timeout: float = 5.0  # from the request to the worker taking it
    idle_after: float = 120.0  # without a job the worker is ended
    child: ChildOptions = ChildOptions()  # noqa: RUF009 - frozen


@dataclass(slots=True, eq=False)
class Job:
    """One picture that is wanted."""

    source: Announcement  # of the video track, with the parameter sets of this key frame
    payload: tuple[bytes, ...]
    ntp: int
    width: int  # pixels; 0 is the picture's own
    done: Done
    timer: asyncio.TimerHandle | None = None

    def finish(self, jpeg: bytes, reason: str) -> None:
        """Answer it."""
        if self.timer is not None:
            self.timer.cancel()
        self.done(jpeg, reason)

    def serialize(self, number: int) -> bytes:
        """The request as the worker reads it."""
        width = str(self.width).encode()
        wanted = Announcement(JPEG_TRACK, Kind.VIDEO, JPEG, CLOCK_HZ, configuration=(width,))
        tracks = serialize_tracks((self.source, wanted))
        return tracks + serialize_frame(PICTURE, FLAG_KEY, number, number, self.ntp, self.payload)


class _Run(asyncio.Protocol):
    """One run of the worker: its socket. `on_answer(number, jpeg, reason)` hears what it says.

    It is ready once it has announced its track, after its imports: until then no clock runs for
    the first job.
    """

    def __init__(
        self,
        on_ready: Callable[["_Run"], None],
        on_answer: Callable[[int | None, bytes, str], None],
        on_over: Callable[[str], None],
    ) -> None:
        self._on_ready = on_ready
        self._on_answer = on_answer
        self._on_over = on_over
        self._decoder = Decoder()
        self._transport: asyncio.WriteTransport | None = None
        self._starting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The process runs."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is no subclass
        self._transport.write(serialize_hello(NAME))
        loop = asyncio.get_running_loop()
        self._starting = loop.call_later(START_TIMEOUT, self._on_over, REASON_SILENT)

    def send(self, data: bytes) -> None:
        """Give it a request."""
        if self._transport is not None:
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Take what it says."""
        try:
            self._decoder.receive_data(data)
            while (message := self._decoder.next_message()) is not None:
                if isinstance(message, Tracks):
                    self._stop_clock()
                    self._on_ready(self)
                elif isinstance(message, WireFrame):
                    self._on_answer(message.pts, b"".join(message.payload), "")
                elif isinstance(message, Dropped):
                    self._on_answer(None, b"", message.reason)
        except WireError as error:
            self._on_over(error.reason)

    def connection_lost(self, exc: Exception | None) -> None:
        """Its end is closed."""
        del exc
        self._transport = None
        self._stop_clock()
        self._on_over(REASON_CLOSED)

    def _stop_clock(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            self._starting = None


class _Life:
    """The time from one start of the worker to its stop, through all restarts."""

    def __init__(self, room: "Darkroom") -> None:
        self._room = room
        self.child: Child | None = None
        self.run: _Run | None = None

    def connect(self) -> _Run:
        """The protocol of the next run's socket."""
        return _Run(self._ready, self._answer, self._over)

    def on_state(self, state: str, reason: str) -> None:
        """The child tells its state."""
        if state in ("waiting", "stopped"):
            self.run = None
            self._room.run_over(self, state, reason)

    def _ready(self, run: _Run) -> None:
        self.run = run
        self._room.run_ready(self)

    def _answer(self, number: int | None, jpeg: bytes, reason: str) -> None:
        self._room.answered(self, number, jpeg, reason)

    def _over(self, reason: str) -> None:
        self.run = None
        if self.child is not None:
            self.child.fail(reason)


class Darkroom:
    """The queue and its worker."""

    def __init__(self, children: Children, options: DarkroomOptions) -> None:
        self._children = children
        self._options = options
        self._queue: deque[Job] = deque()
        self._current: Job | None = None
        self._number = 0  # of the current job
        self._life: _Life | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._closed = False
        self.developed = 0

    @property
    def pid(self) -> int:
        """The worker's process id; 0 while there is none."""
        return self._life.child.pid if self._life is not None and self._life.child else 0

    def develop(self, job: Job) -> None:
        """Take a job; it is answered exactly once, possibly before this returns."""
        if self._closed:
            job.finish(b"", REASON_STOPPING)
            return
        if len(self._queue) >= self._options.queue:
            job.finish(b"", REASON_BUSY)
            return
        loop = asyncio.get_running_loop()
        job.timer = loop.call_later(self._options.wait_timeout, self._waited, job)
        self._queue.append(job)
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._life is None:
            self._life = life = _Life(self)
            life.child = self._children.spawn(
                NAME, COMMAND, life.connect, life.on_state, self._options.child
            )
        self._next()

    def close(self) -> None:
        """End the worker; every job that waits is refused."""
        self._closed = True
        self._end(REASON_STOPPING)
        while self._queue:
            self._queue.popleft().finish(b"", REASON_STOPPING)

    # -- called by the life ------------------------------------------------------------------

    def run_ready(self, life: _Life) -> None:
        """The worker takes requests."""
        if life is self._life:
            self._next()

    def answered(self, life: _Life, number: int | None, jpeg: bytes, reason: str) -> None:
        """The worker has answered the current job."""
        if life is not self._life or self._current is None:
            return
        if number is not None and number != self._number:
            return
        self.developed += bool(jpeg)
        self._finish(jpeg, reason or ("" if jpeg else REASON_FAILED))
        self._next()

    def run_over(self, life: _Life, state: str, reason: str) -> None:
        """A run has ended; the child starts another one, unless it was stopped."""
        if life is not self._life:
            return
        if state == "waiting":
            logger.warning("snapshot worker failed", reason=reason)
        else:
            self._life = None
        self._finish(b"", REASON_FAILED if state == "waiting" else REASON_STOPPING)

    # -- inside ------------------------------------------------------------------------------

    def _next(self) -> None:
        """Give the worker its next job, or let it go after a while."""
        life = self._life
        if life is None or life.run is None or self._current is not None:
            return
        loop = asyncio.get_running_loop()
        if not self._queue:
            if self._idle is None:
                self._idle = loop.call_later(self._options.idle_after, self._end, "idle")
            return
        job = self._current = self._queue.popleft()
        if job.timer is not None:
            job.timer.cancel()
        job.timer = loop.call_later(self._options.run_timeout, self._hangs)
        self._number += 1
        life.run.send(job.serialize(self._number))

    def _finish(self, jpeg: bytes, reason: str) -> None:
        job, self._current = self._current, None
        if job is not None:
            job.finish(jpeg, reason)

    def _hangs(self) -> None:
        """The worker has had its time."""
        self._finish(b"", REASON_TIMEOUT)
        if self._life is not None:
            self._life.run = None
            if self._life.child is not None:
                self._life.child.fail(REASON_TIMEOUT)

    def _waited(self, job: Job) -> None:
        """A job was not taken in time."""
        if job in self._queue:
            self._queue.remove(job)
            job.finish(b"", REASON_BUSY)

    def _end(self, reason: str) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        life, self._life = self._life, None
        if life is not None and life.child is not None:
            life.child.stop(reason)
        self._finish(b"", reason)
