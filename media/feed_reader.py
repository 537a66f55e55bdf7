"""A reader of a feed: a cursor and a sink, not a task and not a queue."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

START_GOP, START_KEY, START_LIVE = "gop", "key", "live"  # where a reader begins


class Scheduler(Protocol):
    """The loop, as far as a feed needs one; virtual in tests."""

    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Run in the next turn."""
        ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """Run after `delay` seconds."""
        ...


class Sink(Protocol):
    """Where a reader's bytes go: a transport, as far as a feed sees it."""

    def write(self, data: bytes) -> None:
        """Hand over bytes; never blocks."""
        ...

    def writelines(self, chunks: list[bytes]) -> None:
        """Hand over several pieces at once."""
        ...

    def pending_bytes(self) -> int:
        """Bytes handed over that the transport has not given to the kernel."""
        ...

    def unsent_bytes(self) -> int:
        """The same and what the kernel still holds; a system call."""
        ...

    def end(self, reason: str) -> None:
        """The feed is over for this reader: send what is pending, then close."""
        ...


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """Limits of one feed, in seconds and bytes."""

    window: float = 0.1  # bound of the write window
    low_mark: float = 0.5  # a sink that holds more gets no write
    lag_bound: float = 3.0  # a reader farther behind skips to a key frame
    stall_timeout: float = 10.0  # a sink that takes nothing for so long is closed
    log_seconds: float = 20.0  # what the log keeps at most, even if the GOP is longer
    log_bytes: int = 64 << 20


@dataclass(slots=True, eq=False)
class Chunk:
    """One frame in the feed's format."""

    time: float  # dts in seconds of stream time
    key: bool  # a reader can start here
    is_video: bool
    data: bytes


@dataclass(slots=True, eq=False)
class FeedReader:
    """One reader's place in the log. Counters are read by the API."""

    sink: Sink
    cursor: int  # index of the next chunk that it gets
    audio_while_waiting: bool = False
    waiting: bool = False
    sent_bytes: int = 0
    dropped_chunks: int = 0
    skips: int = 0
    behind_since: float = 0.0  # 0 when in step
    held_bytes: int = 0  # what the sink held when last looked at while behind
    progress_at: float = 0.0
    closed: bool = False

    def write(self, pieces: list[bytes]) -> int:
        """Hand over several chunks of the log; answers their size."""
        size = sum(map(len, pieces))
        self.sent_bytes += size
        if len(pieces) == 1:
            self.sink.write(pieces[0])
        else:
            self.sink.writelines(pieces)
        return size


class Flush:
    """One flush under way: the joined bytes, and how far it has come."""

    __slots__ = ("data", "end", "fallen", "position", "readers", "slice_at", "start", "written")

    def __init__(
        self, start: int, end: int, data: bytes, in_step: list[FeedReader], now: float
    ) -> None:
        self.start = start
        self.end = end
        self.data = data
        self.readers = list(in_step)
        self.position = 0
        self.written = 0  # in this slice
        self.slice_at = now
        self.fallen: list[FeedReader] = []  # out of step: their sinks hold too much
