"""Key frames in, JPEGs out, by one worker process for all streams; never in the loop.

Jobs wait in the bounded queue of `flux.core.orders`, each at most `wait_timeout`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from flux.core.children import ChildOptions, Children, worker_command
from flux.core.orders import Orders, Worker
from media.track import Kind
from media.wire import (
    FLAG_KEY,
    Announcement,
    Dropped,
    Message,
    WireFrame,
    serialize_frame,
    serialize_tracks,
)

NAME = "snapshot"
COMMAND = worker_command("flux.workers.snapshot")
PICTURE, JPEG_TRACK = 0, 1  # track ids, see flux/workers/snapshot.py
JPEG = "jpeg"
CLOCK_HZ = 90_000

REASON_BUSY = "snapshot-busy"
REASON_FAILED = "snapshot-worker-failed"

Done = Callable[[bytes, str], None]  # the JPEG, or no bytes and the reason


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
    timer: asyncio.TimerHandle | None = None  # while it waits
    jpeg: bytes = b""
    refusal: str = ""  # why there is none

    def serialize(self, number: int) -> bytes:
        """The request as the worker reads it."""
        width = str(self.width).encode()
        wanted = Announcement(JPEG_TRACK, Kind.VIDEO, JPEG, CLOCK_HZ, configuration=(width,))
        tracks = serialize_tracks((self.source, wanted))
        return tracks + serialize_frame(PICTURE, FLAG_KEY, number, number, self.ntp, self.payload)

    def hear(self, message: Message, number: int) -> bool:
        """Take the answer."""
        if isinstance(message, WireFrame) and message.pts == number:
            self.jpeg = b"".join(message.payload)
            self.refusal = "" if self.jpeg else REASON_FAILED
            return True
        if isinstance(message, Dropped):
            self.refusal = message.reason
            return True
        return False

    def finish(self, reason: str) -> None:
        """Answer it."""
        if self.timer is not None:
            self.timer.cancel()
        self.done(self.jpeg, reason or self.refusal)


class Darkroom:
    """The jobs that are not answered yet."""

    def __init__(self, children: Children, options: DarkroomOptions) -> None:
        self._options = options
        worker = Worker(
            NAME,
            COMMAND,
            options.child,
            options.run_timeout,
            options.idle_after,
            silent="snapshot-worker-silent",
            timeout="snapshot-timeout",
            failed=REASON_FAILED,
        )
        self._queue = Orders(children, worker)
        self.developed = 0

    @property
    def pid(self) -> int:
        """The worker's process id; 0 while there is none."""
        return self._queue.pid

    def develop(self, job: Job) -> None:
        """Take a job; it is answered exactly once, possibly before this returns."""
        if len(self._queue) >= self._options.queue:
            job.finish(REASON_BUSY)
            return
        answer = job.done

        def done(jpeg: bytes, reason: str) -> None:
            self.developed += bool(jpeg)
            answer(jpeg, reason)

        job.done = done
        loop = asyncio.get_running_loop()
        job.timer = loop.call_later(self._options.wait_timeout, self._waited, job)
        self._queue.add(job)

    def close(self) -> None:
        """End the worker; every job that waits is refused."""
        self._queue.close()

    def _waited(self, job: Job) -> None:
        """A job was not taken in time, if it still waits."""
        if self._queue.withdraw(job):
            job.finish(REASON_BUSY)
