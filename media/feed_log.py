"""The log of a feed: its chunks in order, and where a reader can start."""

from collections.abc import Callable
from dataclasses import dataclass

GAP = 1.0  # seconds without media, after which the GOP before it is no start any more
MAX_AHEAD = 32  # chunks of sound that may stand before the key chunk that they belong after
ENOUGH = 64  # chunks; a shorter log is not looked at for what can go


@dataclass(slots=True, eq=False)
class Chunk:
    """One frame in the feed's format."""

    time: float  # dts in seconds of stream time
    key: bool  # a reader can start here
    is_video: bool
    data: bytes


class ChunkLog:
    """Chunks by index; the index of a chunk never changes while it is here."""

    __slots__ = ("_max_bytes", "_max_seconds", "base", "chunks", "key", "key_header", "size_bytes")

    def __init__(self, max_seconds: float, max_bytes: int) -> None:
        self._max_seconds = max_seconds
        self._max_bytes = max_bytes
        self.chunks: list[Chunk] = []
        self.base = 0  # index of the first chunk
        self.size_bytes = 0
        self.key = -1  # index of the newest key chunk, -1 if there is none
        self.key_header = b""  # what a reader that starts there needs

    @property
    def end(self) -> int:
        """The index that the next chunk gets."""
        return self.base + len(self.chunks)

    @property
    def live(self) -> float:
        """Time of the newest chunk."""
        return self.chunks[-1].time if self.chunks else 0.0

    @property
    def is_large(self) -> bool:
        """It is worth while to look for what can go."""
        return len(self.chunks) > ENOUGH or self.size_bytes > self._max_bytes

    def append(self, chunk: Chunk, *, is_broken: bool) -> None:
        """Add the newest chunk; broken: its source was away before it."""
        if is_broken and self.chunks and chunk.time - self.live > GAP:
            self.key = -1  # nobody begins with what was before
        self.chunks.append(chunk)
        self.size_bytes += len(chunk.data)
        if chunk.key:
            self.key = self.end - 1

    def slice(self, start: int, end: int) -> list[Chunk]:
        """The chunks from `start` on, before `end`, as far as they are here."""
        return self.chunks[max(0, start - self.base) : end - self.base]

    def from_key(self) -> list[Chunk]:
        """All from the newest key chunk on, with the sound ahead of it; empty if there is none."""
        if self.key < 0:
            return []
        return self.sound_ahead(self.key) + self.chunks[self.key - self.base :]

    def sound_ahead(self, key: int) -> list[Chunk]:
        """The sound that stands before a key chunk in the log but belongs after it."""
        place = key - self.base
        start = self.chunks[place].time
        before = self.chunks[max(0, place - MAX_AHEAD) : place]
        return [c for c in before if not c.is_video and c.time >= start]

    def trim(self, handed_out: int, wanted: Callable[[int], int], patience: float) -> None:
        """Let go of chunks: all handed out, and older than the newest key and every cursor.

        `wanted(default)` is the lowest cursor; one farther behind than `patience` seconds will skip
        anyway, so it holds nothing back.
        """
        chunks, live = self.chunks, self.live
        needed = min(handed_out, self.key) if self.key >= 0 else handed_out
        # Mostly the log begins with the newest key: nothing to do, and no reader to look at.
        is_full = self.size_bytes > self._max_bytes or live - chunks[0].time > self._max_seconds
        if self.base >= needed and not is_full:
            return
        lowest = wanted(needed)
        drop = 0
        for index, chunk in enumerate(chunks, self.base):
            age = live - chunk.time
            is_old = index < needed and (index < lowest or age > patience)
            is_over = self.size_bytes > self._max_bytes or age > self._max_seconds
            if index >= handed_out or not (is_old or is_over):
                break
            drop += 1
            self.size_bytes -= len(chunk.data)
        if drop:
            del chunks[:drop]
            self.base += drop
            if self.key < self.base:
                self.key = -1
