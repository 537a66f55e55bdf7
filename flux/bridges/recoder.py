"""Makes the sound of streams anew for outputs that cannot carry what the source sends.

One worker process (`flux/workers/recode.py`) for each track that is made. It is started when the
first output uses the track and ended some seconds after the last one is gone, or with the stream's
run. Frames go to it and come back in the wire form; nothing in the loop waits for it. One that does
not keep up loses frames, which is counted; one that fails is started again with back-off.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import cast

import structlog

from flux.base.errors import WireError
from flux.core.children import REASON_CLOSED, Child, ChildOptions, Children, worker_command
from media.announcement import announce
from media.frame import Frame
from media.parameters import Parameters
from media.recoding import Recoding
from media.stream import Stream
from media.wire import (
    FLAG_DISCONTINUITY,
    FLAG_KEY,
    Decoder,
    Dropped,
    WireFrame,
    serialize_frame,
    serialize_hello,
    serialize_track,
    serialize_tracks,
)

NAME = "recode"
COMMAND = worker_command("flux.workers.recode")
SOURCE, TARGET = 0, 1  # track ids, see flux/workers/recode.py
MOST_UNSENT = 256 << 10  # bytes that the worker has not taken, after which frames are left out
KEEP = 10.0  # seconds that it goes on without a user

logger = structlog.get_logger()


class _Run(asyncio.Protocol):
    """One run of the worker: its socket."""

    def __init__(self, maker: "Maker") -> None:
        self._maker = maker
        self._decoder = Decoder()
        self._transport: asyncio.WriteTransport | None = None
        self._parameters: Parameters | None = None  # that it knows of the source

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The process runs: tell it what is wanted."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is no subclass
        recoding = self._maker.recoding
        self._parameters = recoding.source.parameters
        tracks = announce(recoding.source, SOURCE), announce(recoding.track, TARGET)
        self._transport.write(serialize_hello(NAME) + serialize_tracks(tracks))
        self._maker.begin(self)

    def send(self, frame: Frame) -> bool:
        """Give it a frame of the source; False if it has too many already."""
        transport = self._transport
        if transport is None or transport.get_write_buffer_size() > MOST_UNSENT:
            return False
        data = b""
        if frame.parameters is not self._parameters:
            self._parameters = frame.parameters
            data = serialize_track(announce(frame.track, SOURCE))
        flags = FLAG_KEY | (FLAG_DISCONTINUITY if frame.discontinuity else 0)
        data += serialize_frame(SOURCE, flags, frame.pts, frame.dts, frame.ntp, frame.payload)
        transport.write(data)
        return True

    def data_received(self, data: bytes) -> None:
        """Take what it made."""
        try:
            self._decoder.receive_data(data)
            while (message := self._decoder.next_message()) is not None:
                if isinstance(message, WireFrame):
                    self._maker.made(message)
                elif isinstance(message, Dropped):
                    self._maker.dropped(message.reason, message.count)
        except WireError as error:
            self._maker.fail(error.reason)

    def connection_lost(self, exc: Exception | None) -> None:
        """Its end is closed."""
        del exc
        self._transport = None
        self._maker.fail(REASON_CLOSED)


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
        if run is not None and not run.send(frame):
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
