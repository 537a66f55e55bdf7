"""A reader of a feed: a cursor and a sink, not a task and not a queue."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from media.feed_log import ChunkLog

# Joined bytes of the feed in another dress. One object for all readers that want the same.
Variant = Callable[[bytes], bytes]


@runtime_checkable
class PieceVariant(Protocol):
    """A variant that dresses a list of chunks without joining it first."""

    def __call__(self, data: bytes, /) -> bytes:
        """Joined bytes."""
        ...

    def pieces(self, chunks: list[bytes]) -> list[bytes]:
        """The chunks of one reader, and what belongs between them."""
        ...


START_GOP, START_KEY, START_LIVE = "gop", "key", "live"  # where a reader begins


class Scheduler(Protocol):
    """The loop, as far as a feed needs one; virtual in tests."""

    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Run in the next turn."""
        ...

    def call_next(self, callback: Callable[[], None]) -> None:
        """Run behind what runs now, before others have their turn."""
        ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """Run after `delay` seconds."""
        ...

    def call_along(self, delay: float, slack: float, callback: Callable[[], None]) -> None:
        """Run after `delay` seconds, or up to `slack` before with somebody else who is due."""
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
class FeedReader:
    """One reader's place in the log. Counters are read by the API."""

    sink: Sink
    cursor: int  # index of the next chunk that it gets
    variant: Variant | None = None  # None: the bytes as they are
    audio_while_waiting: bool = False
    waiting: bool = False
    sent_bytes: int = 0
    dropped_chunks: int = 0
    skips: int = 0
    behind_since: float = 0.0  # 0 when in step
    held_bytes: int = 0  # what the sink held when last looked at while behind
    progress_at: float = 0.0
    start_bytes: int = 0  # `sent_bytes` when it was last given a list of chunks
    allowance: float = 0.0  # seconds in the list that it joined with: no lag while they drain
    closed: bool = False

    def write(self, pieces: list[bytes]) -> int:
        """Hand over several chunks of the log; answers their size."""
        variant = self.variant
        if variant is not None:
            if isinstance(variant, PieceVariant):
                pieces = variant.pieces(pieces)
            else:
                pieces = [variant(b"".join(pieces))]
            if not any(pieces):
                return 0
        size = sum(map(len, pieces))
        self.sent_bytes += size
        if len(pieces) == 1:
            self.sink.write(pieces[0])
        else:
            self.sink.writelines(pieces)
        return size


class Flush:
    """One flush under way: the joined bytes, and how far it has come."""

    __slots__ = (
        "_dressed",
        "apart",
        "data",
        "end",
        "fallen",
        "gone",
        "position",
        "readers",
        "start",
    )

    def __init__(self, start: int, end: int, data: bytes, in_step: Iterable[FeedReader]) -> None:
        self.start = start
        self.end = end
        self.data = data
        self.readers = list(in_step) if data else []
        self.position = 0
        self.fallen: list[FeedReader] = []  # out of step: their sinks hold too much
        self.gone: list[FeedReader] = []  # their sinks take nothing any more
        self.apart: deque[FeedReader] | None = None  # those still to be served, after the others
        self._dressed: dict[Variant, bytes] = {}

    def data_for(self, variant: Variant | None) -> bytes:
        """The joined bytes in this dress, made once."""
        if variant is None:
            return self.data
        data = self._dressed.get(variant)
        if data is None:
            data = self._dressed[variant] = variant(self.data)
        return data


class ByteRate:
    """Bytes a second of a feed, smoothed."""

    __slots__ = ("_bytes", "_since", "value")

    def __init__(self, now: float) -> None:
        self.value = 0.0
        self._since = now
        self._bytes = 0

    def add(self, size: int) -> None:
        """Count bytes."""
        self._bytes += size

    def seeded(self, seconds: float) -> None:
        """What was counted so far came at once but is media of so many seconds."""
        if seconds > 0.2:
            self.value = self._bytes / seconds
        self._bytes = 0

    def measure(self, now: float) -> None:
        """Take what came since the last measurement, if that was long enough ago."""
        elapsed = now - self._since
        if elapsed < 1.0:
            return
        rate = self._bytes / elapsed
        self.value = 0.7 * self.value + 0.3 * rate if self.value else rate
        self._since = now
        self._bytes = 0


class Ending:
    """The readers of a closed feed, each still owed the rest of the log and its end."""

    __slots__ = ("_log", "_readers", "_rests", "reason", "sent_bytes")

    def __init__(self, readers: Iterable[FeedReader], log: ChunkLog, reason: str) -> None:
        self._readers = deque(readers)
        self._log = log
        self._rests: dict[int, list[bytes]] = {}  # by cursor: most readers share one
        self.reason = reason
        self.sent_bytes = 0

    def run(self, clock: Callable[[], float], until: float) -> bool:
        """End readers until that time; whether some are left."""
        while self._readers:
            self._end(self._readers.popleft())
            if clock() >= until:
                return bool(self._readers)
        return False

    def _end(self, reader: FeedReader) -> None:
        if reader.closed:  # its peer left meanwhile
            return
        reader.closed = True
        cursor, end = reader.cursor, self._log.end
        if not reader.waiting and cursor < end:
            rest = self._rests.get(cursor)
            if rest is None:
                rest = [b"".join([chunk.data for chunk in self._log.slice(cursor, end)])]
                self._rests[cursor] = rest
            with contextlib.suppress(RuntimeError):  # see Feed._flush_slice
                self.sent_bytes += reader.write(rest)
        reader.sink.end(self.reason)
