"""Makes the sound of streams anew for outputs that cannot carry what the source sends.

One worker process (`flux/workers/recode.py`) for each track that is made. It is started when the
first output uses the track and ended some seconds after the last one is gone, or with the stream's
run. Frames go to it and come back in the wire form; nothing in the loop waits for it. One that does
not keep up loses frames, which is counted; one that fails is started again with back-off.
"""

import asyncio
import time
from collections.abc import Sequence

import structlog

from flux.core.children import Child, ChildOptions, Children, worker_command
from flux.core.worker_socket import WorkerSocket
from media.announcement import announce
from media.frame import Frame
from media.parameters import Parameters
from media.recoding import Recoding
from media.stream import Stream
from media.wire import (
    FLAG_DISCONTINUITY,
    FLAG_KEY,
    Dropped,
    Message,
    WireFrame,
    serialize_frame,
    serialize_track,
    serialize_tracks,
)

NAME = "recode"
COMMAND = worker_command("flux.workers.recode")
SOURCE, TARGET = 0, 1  # track ids, see flux/workers/recode.py
MOST_UNSENT = 256 << 10  # bytes that the worker has not taken, after which frames are left out
KEEP = 10.0  # seconds that it goes on without a user

logger = structlog.get_logger()


class _Run(WorkerSocket):
    """One run of the worker."""

    def __init__(self, maker: "Maker") -> None:
        super().__init__(NAME)
        self._maker = maker
        self._parameters: Parameters | None = None  # that it knows of the source

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The process runs: tell it what is wanted."""
        super().connection_made(transport)
        recoding = self._maker.recoding
        self._parameters = recoding.source.parameters
        tracks = announce(recoding.source, SOURCE), announce(recoding.track, TARGET)
        self.send(serialize_tracks(tracks))
        self._maker.begin(self)

    def take(self, frame: Frame) -> bool:
        """Give it a frame of the source; False if it has too many already."""
        if self.unsent_bytes > MOST_UNSENT:
            return False
        data = b""
        if frame.parameters is not self._parameters:
            self._parameters = frame.parameters
            data = serialize_track(announce(frame.track, SOURCE))
        flags = FLAG_KEY | (FLAG_DISCONTINUITY if frame.discontinuity else 0)
        data += serialize_frame(SOURCE, flags, frame.pts, frame.dts, frame.ntp, frame.payload)
        return self.send(data)

    def heard(self, message: Message) -> None:
        """Take what it made."""
        if isinstance(message, WireFrame):
            self._maker.made(message)
        elif isinstance(message, Dropped):
            self._maker.dropped(message.reason, message.count)

    def over(self, reason: str) -> None:
        """It cannot go on."""
        self._maker.fail(reason)


class Maker:
    """Makes one track, from its first user to its last."""

    def __init__(self, stream: Stream, recoding: Recoding, recoders: "Recoders") -> None:
        self.stream = stream
        self.recoding = recoding
        self.unused_since: float | None = None
        self._recoders = recoders
        self._child: Child | None = None
        self._run: _Run | None = None
        recoding.sink = self._take
        recoding.on_end = self.stop

    def start(
        self, children: Children, command: Sequence[str], options: ChildOptions | None
    ) -> None:
        """Start the worker."""
        name = f"{NAME} {self.stream.name}"
        self._child = children.spawn(name, command, lambda: _Run(self), self._on_state, options)

    def stop(self, reason: str) -> None:
        """End it; nothing more is made."""
        self._run = None
        self.recoding.sink = self.recoding.on_end = None
        self._recoders.forget(self)
        child, self._child = self._child, None
        if child is not None:
            child.stop(reason)

    def is_used(self) -> bool:
        """Whether an output carries what is made."""
        recoding = self.recoding
        recoding.users &= self.stream.outputs.keys()
        return bool(recoding.users)

    # -- called by the run -------------------------------------------------------------------

    def begin(self, run: _Run) -> None:
        """A run of the worker takes frames."""
        self._run = run

    def made(self, frame: WireFrame) -> None:
        """A unit came back."""
        if self._child is not None and frame.payload:
            self.stream.publish_recoded(
                self.recoding.track,
                frame.pts,
                frame.ntp,
                frame.payload[0],
                time.monotonic(),
                is_broken=bool(frame.flags & FLAG_DISCONTINUITY),
            )

    def dropped(self, reason: str, count: int) -> None:
        """It could not make something of some units."""
        self.stream.drops[reason] += count

    def fail(self, reason: str) -> None:
        """The run cannot go on."""
        self._run = None
        if self._child is not None:
            self._child.fail(reason)

    # -- inside ------------------------------------------------------------------------------

    def _take(self, frame: Frame) -> None:
        run = self._run
        if run is not None and not run.take(frame):
            self.stream.drops["recoder-slow"] += 1

    def _on_state(self, state: str, reason: str) -> None:
        if state == "waiting":
            self._run = None
            logger.warning("recoding failed", stream=self.stream.name, reason=reason)


class Recoders:
    """All tracks that are being made."""

    def __init__(
        self,
        children: Children,
        options: ChildOptions | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._children = children
        self._options = options
        self._command = command
        self._makers: dict[Recoding, Maker] = {}

    def __len__(self) -> int:
        return len(self._makers)

    def use(self, stream: Stream, recoding: Recoding) -> None:
        """An output carries this track."""
        if recoding not in self._makers:
            maker = self._makers[recoding] = Maker(stream, recoding, self)
            maker.start(self._children, self._command, self._options)

    def tick(self, now: float) -> None:
        """About once a second: end what nobody uses."""
        for maker in tuple(self._makers.values()):
            if maker.is_used():
                maker.unused_since = None
            elif maker.unused_since is None:
                maker.unused_since = now
            elif now - maker.unused_since >= KEEP:
                maker.stop("no-readers")

    def forget(self, maker: Maker) -> None:
        """It makes nothing more."""
        self._makers.pop(maker.recoding, None)

    def close(self, reason: str) -> None:
        """End them all."""
        for maker in tuple(self._makers.values()):
            maker.stop(reason)
