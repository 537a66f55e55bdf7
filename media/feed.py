"""A feed: one output format of one stream, encoded once, however many readers there are.

Theory of operation. `frame()` appends one chunk of immutable bytes to the log. When the write
window closes, the chunks since the last flush are joined once, and every reader that is in step
gets that one shared object. The flush works in slices and gives the loop back in between.

A reader is a cursor and a sink. Its states:

    in-step   its cursor is the flush's start: it gets the joined bytes
    behind    its sink holds too much: it gets nothing until that has drained, then the list of its
              chunks up to the flush, and is in step again
    waiting   it waits for a key frame (it skipped, or began so); a reader that skipped keeps its
              sound meanwhile

    in-step --sink over the low mark--> behind --drained--> in-step
    behind  --lag over the bound------> waiting --key chunk--> in-step
    behind  --no progress for STALL---> closed

The window grows with what a flush costs: readers x cost of one write / WINDOW_SHARE, so that a few
readers get every frame at once and many readers share few system calls.
"""

from collections.abc import Callable

from media.feed_reader import (
    START_GOP,
    START_LIVE,
    Chunk,
    FeedOptions,
    FeedReader,
    Flush,
    Scheduler,
    Sink,
)
from media.format import Format
from media.frame import Frame
from media.track import Kind, Track

SLICE = 0.002  # seconds of writes before the loop gets its turn
WINDOW_SHARE = 0.05  # share of the core that the writes of one feed aim at
FIRST_COST = 25e-6  # seconds of one write, until it is measured
COST_WEIGHT = 0.05  # of the newest measurement
MAX_AHEAD = 32  # chunks of sound that may stand before the key chunk that they belong after


class Feed:
    """The log of one format and the readers that follow it."""

    def __init__(
        self,
        form: Format,
        tracks: tuple[Track, ...],
        options: FeedOptions,
        scheduler: Scheduler,
        on_skip: Callable[[FeedReader, float, int], None],
    ) -> None:
        self.format = form
        self.tracks = tracks
        self._carried = frozenset(tracks)
        self._has_video = any(track.kind is Kind.VIDEO for track in tracks)
        self._options = options
        self._scheduler = scheduler
        self._on_skip = on_skip
        self._log: list[Chunk] = []
        self._base = 0  # index of the log's first chunk
        self._log_bytes = 0
        self._key = -1  # index of the newest key chunk, -1 if there is none in the log
        self._key_header = b""  # what a reader that starts there needs
        self._flushed = 0  # everything before this index has been handed out
        self._in_step: list[FeedReader] = []
        self._apart: list[FeedReader] = []  # behind or waiting
        self._cost = FIRST_COST
        self._flush_at = 0.0  # when the last flush began
        self._scheduled = False
        self._job: Flush | None = None
        self._rate = 0.0  # bytes a second, smoothed
        self._rate_time = scheduler.now()
        self._rate_bytes = 0
        self.keyless = False  # start anywhere: no key frame came for too long
        self.sent_bytes = 0
        self.closed = False

    # -- what the API reads ------------------------------------------------------------------

    @property
    def readers(self) -> int:
        """How many readers follow this feed."""
        return len(self._in_step) + len(self._apart)

    @property
    def size_bytes(self) -> int:
        """Bytes that the log holds."""
        return self._log_bytes

    @property
    def window(self) -> float:
        """The write window that holds now, in seconds."""
        return min(self._options.window, self.readers * self._cost / WINDOW_SHARE)

    @property
    def write_cost(self) -> float:
        """Measured seconds of one write."""
        return self._cost

    def lag(self, reader: FeedReader) -> float:
        """Seconds from the live edge to what has left this machine for `reader`."""
        if not self._log:
            return 0.0
        held = reader.sink.unsent_bytes() / self._rate if self._rate else 0.0
        index = max(0, min(reader.cursor - self._base, len(self._log) - 1))
        behind = self._log[-1].time - self._log[index].time
        return held + (behind if reader.cursor < self._base + len(self._log) else 0.0)

    # -- input -------------------------------------------------------------------------------

    def seed(self, frames: tuple[Frame, ...]) -> None:
        """Encode what the GOP cache holds, for the first readers to start from."""
        for frame in frames:
            self._append(frame)
        self._flushed = self._base + len(self._log)
        if self._log and (span := self._log[-1].time - self._log[0].time) > 0.2:
            self._rate = self._rate_bytes / span
        self._rate_bytes = 0

    def frame(self, frame: Frame) -> None:
        """Encode one frame; it goes out when the write window closes."""
        if self.closed:
            return
        self._append(frame)
        if not self._scheduled and (self._in_step or self._apart):
            self._scheduled = True
            wait = self._flush_at + self.window - self._scheduler.now()
            if wait > 0:
                self._scheduler.call_later(wait, self._flush)
            else:
                self._scheduler.call_soon(self._flush)

    def _append(self, frame: Frame) -> None:
        track = frame.track
        if track not in self._carried:
            return
        data = self.format.encode(frame)
        if not data:
            return
        is_video = track.kind is Kind.VIDEO
        key = (is_video or not self._has_video) and (frame.key or self.keyless)
        self._log.append(Chunk(frame.dts / track.clock_rate, key, is_video, data))
        self._log_bytes += len(data)
        self._rate_bytes += len(data)
        if key:
            self._key = self._base + len(self._log) - 1
            self._key_header = self.format.header()
        if not self.readers:
            self._flushed = self._base + len(self._log)
        if len(self._log) > 64 or self._log_bytes > self._options.log_bytes:
            self._trim()

    def _trim(self) -> None:
        """Let go of chunks: all handed out, and older than the newest key and every cursor.

        A reader farther behind than the lag bound will skip anyway, so it holds nothing back.
        """
        log, options = self._log, self._options
        live = log[-1].time
        handed_out = self._flushed if self._job is None else self._job.start
        needed = min(handed_out, self._key) if self._key >= 0 else handed_out
        wanted = min((reader.cursor for reader in self._apart), default=needed)
        drop = 0
        for index, chunk in enumerate(log, self._base):
            age = live - chunk.time
            is_old = index < needed and (index < wanted or age > options.lag_bound)
            is_over = self._log_bytes > options.log_bytes or age > options.log_seconds
            if index >= handed_out or not (is_old or is_over):
                break
            drop += 1
            self._log_bytes -= len(chunk.data)
        if drop:
            self._forget(drop)

    def _forget(self, count: int) -> None:
        del self._log[:count]
        self._base += count
        if self._key < self._base:
            self._key = -1

    # -- readers -----------------------------------------------------------------------------

    def attach(self, sink: Sink, start: str = START_GOP) -> FeedReader:
        """Add a reader; its first bytes go out at once, not at the next flush."""
        end = self._base + len(self._log)
        reader = FeedReader(sink, self._flushed, progress_at=self._scheduler.now())
        is_at_key = start == START_GOP and self._key >= 0
        header = self._key_header if is_at_key else self.format.header()
        first = [header] if header else []
        if is_at_key:
            first += self._sound_ahead()
            first += [chunk.data for chunk in self._slice(self._key, end)]
            reader.cursor = end
        elif start != START_LIVE:
            reader.waiting = True
        if first:
            self.sent_bytes += reader.write(first)
        # A reader that already has what the next flush brings to the others comes into step there.
        is_in_step = not reader.waiting and reader.cursor == self._flushed
        (self._in_step if is_in_step else self._apart).append(reader)
        return reader

    def detach(self, reader: FeedReader) -> None:
        """Forget a reader whose connection is gone."""
        if not reader.closed:
            reader.closed = True
            for group in (self._in_step, self._apart):
                if reader in group:
                    group.remove(reader)

    def close(self, reason: str) -> None:
        """End every reader, after what is still in the log for it."""
        if self.closed:
            return
        self.closed = True
        readers = self._in_step + self._apart
        self._in_step, self._apart, self._job = [], [], None
        end = self._base + len(self._log)
        for reader in readers:
            if reader.closed:
                continue
            reader.closed = True
            if not reader.waiting and reader.cursor < end:
                self.sent_bytes += reader.write([c.data for c in self._slice(reader.cursor, end)])
            reader.sink.end(reason)
        self._log.clear()
        self._log_bytes = 0

    # -- the flush ---------------------------------------------------------------------------

    def _flush(self) -> None:
        """The write window has closed: hand out what came since the last time."""
        self._scheduled = False
        if self.closed or self._job is not None:
            return
        now = self._flush_at = self._scheduler.now()
        start, end = self._flushed, self._base + len(self._log)
        if start == end and not self._apart:
            return
        self._measure_rate(now)
        data = b"".join([chunk.data for chunk in self._slice(start, end)])
        self._job = Flush(start, end, data, self._in_step, now)
        self._flushed = end
        self._flush_slice()

    def _flush_slice(self) -> None:
        """Write to as many readers as fit into a slice, then let the loop have a turn."""
        job = self._job
        if job is None:
            return
        now = self._scheduler.now()
        if job.written:
            cost = (now - job.slice_at) / job.written
            self._cost += COST_WEIGHT * (min(cost, 4 * self._cost) - self._cost)
        job.slice_at = now
        job.written = 0
        low = self._low_mark_bytes()
        count = max(8, int(SLICE / self._cost))
        readers, data, size, end = job.readers, job.data, len(job.data), job.end
        stop = min(job.position + count, len(readers))
        for position in range(job.position, stop):
            reader = readers[position]
            if reader.closed:
                continue
            sink = reader.sink
            if sink.pending_bytes() > low:
                job.fallen.append(reader)
                continue
            sink.write(data)
            reader.cursor = end
            reader.sent_bytes += size
            job.written += 1
        self.sent_bytes += job.written * size
        job.position = stop
        if stop < len(readers):
            self._scheduler.call_soon(self._flush_slice)
            return
        self._finish(job, now)

    def _finish(self, job: Flush, now: float) -> None:
        self._job = None
        for reader in job.fallen:
            if not reader.closed:
                self._in_step.remove(reader)
                self._apart.append(reader)
                reader.behind_since = reader.progress_at = now
                reader.held_bytes = reader.sink.unsent_bytes()
        if self._apart:
            self._serve_apart(job.end, now)
        if self.format.is_exhausted:
            self.close("format-exhausted")
            return
        if self._base + len(self._log) > self._flushed and not self._scheduled:
            self._scheduled = True
            wait = max(0.0, self._flush_at + self.window - self._scheduler.now())
            self._scheduler.call_later(wait, self._flush)

    def _serve_apart(self, end: int, now: float) -> None:
        """Readers that are behind or wait for a key frame: each gets its own list of chunks."""
        low = self._low_mark_bytes()
        options = self._options
        for reader in list(self._apart):
            if reader.sink.pending_bytes() <= low:
                self._catch_up(reader, end, now)
                continue
            if not reader.behind_since:
                reader.behind_since = reader.progress_at = now
            held = reader.sink.unsent_bytes()
            if held < reader.held_bytes:
                reader.progress_at = now
            reader.held_bytes = held
            if now - reader.progress_at > options.stall_timeout:
                self._apart.remove(reader)
                reader.closed = True
                reader.sink.end("reader-stalled")
            elif reader.waiting:
                self._move_on(reader, end)
            elif self._behind(reader, now) > options.lag_bound:
                self._skip(reader)

    def _behind(self, reader: FeedReader, now: float) -> float:
        """Lag of a reader that is apart: by the log where it reaches, by its sink's bytes too."""
        if reader.cursor < self._base:
            return now - reader.behind_since + self._options.lag_bound
        return self.lag(reader)

    def _skip(self, reader: FeedReader) -> None:
        """Give up what the reader missed; it goes on at a key frame."""
        lag = self.lag(reader)
        end = self._base + len(self._log)
        target = self._key if self._key > reader.cursor else end
        missed = target - reader.cursor
        reader.waiting = True
        reader.audio_while_waiting = target == end
        reader.cursor = target
        reader.dropped_chunks += missed
        reader.skips += 1
        self._on_skip(reader, lag, missed)

    def _move_on(self, reader: FeedReader, end: int) -> None:
        """A reader that waits and still takes nothing: what it would get grows old."""
        target = self._key if self._key >= reader.cursor else end
        reader.dropped_chunks += target - reader.cursor
        reader.cursor = target

    def _catch_up(self, reader: FeedReader, end: int, now: float) -> None:
        """The sink has drained: hand over the reader's chunks; in step again unless it waits."""
        reader.progress_at = now
        if reader.cursor > end:  # it joined while this flush was under way
            return
        if reader.cursor < self._base:  # the log could not wait for it
            self._skip(reader)
        pieces: list[bytes] = []
        if reader.waiting:
            for chunk in self._slice(reader.cursor, end):
                reader.cursor += 1
                if chunk.key:
                    if reader.skips:
                        pieces.append(self.format.resume())
                    reader.waiting = False
                    reader.cursor -= 1
                    break
                if reader.audio_while_waiting and not chunk.is_video:
                    pieces.append(chunk.data)
                else:
                    reader.dropped_chunks += 1 if reader.skips else 0
        if not reader.waiting:
            pieces += [chunk.data for chunk in self._slice(reader.cursor, end)]
            reader.cursor = end
            reader.behind_since = 0.0
            self._apart.remove(reader)
            self._in_step.append(reader)
        if pieces:
            self.sent_bytes += reader.write(pieces)

    # -- small parts -------------------------------------------------------------------------

    def _slice(self, start: int, end: int) -> list[Chunk]:
        return self._log[max(0, start - self._base) : end - self._base]

    def _low_mark_bytes(self) -> float:
        return max(65536.0, self._options.low_mark * self._rate)

    def _sound_ahead(self) -> list[bytes]:
        """Sound that stands before the newest key chunk in the log but belongs after it."""
        place = self._key - self._base
        start = self._log[place].time
        before = self._log[max(0, place - MAX_AHEAD) : place]
        return [c.data for c in before if not c.is_video and c.time >= start]

    def _measure_rate(self, now: float) -> None:
        elapsed = now - self._rate_time
        if elapsed < 1.0:
            return
        rate = self._rate_bytes / elapsed
        self._rate = rate if not self._rate else 0.7 * self._rate + 0.3 * rate
        self._rate_time = now
        self._rate_bytes = 0
