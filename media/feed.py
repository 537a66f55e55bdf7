"""A feed: one output format of one stream, encoded once, however many readers there are.

Theory of operation. `frame()` appends one chunk of immutable bytes to the log. When the write
window closes, the chunks since the last flush are joined once, and every reader that is in step
gets that one shared object. The flush works in slices and gives the loop back in between; so does
the end of a feed.

A reader is a cursor and a sink. Its states:

    in-step   its cursor is the flush's start: it gets the joined bytes
    behind    its sink holds too much: it gets nothing until that has drained, then the list of its
              chunks up to the flush, and is in step again
    waiting   it waits for a key frame (it skipped, or began so); a reader that skipped keeps its
              sound meanwhile

    in-step --sink over the low mark--> behind --drained--> in-step
    behind  --lag over the bound------> waiting --key chunk--> in-step
    behind  --no progress for STALL---> closed

What a reader gets when it joins may be many seconds of media. As long as it drains them they are no
lag, and the log keeps what comes meanwhile.

Readers may want the same bytes in another dress: framed for a WebSocket, with other interleaved
channels. A `Variant` makes them from the joined bytes, once a flush for all readers that share it.

The window grows with what a flush costs: readers x cost of one write / WINDOW_SHARE, so that a few
readers get every frame at once and many readers share few system calls.
"""

from collections import deque
from collections.abc import Callable

from media.feed_log import Chunk, ChunkLog
from media.feed_reader import (
    START_GOP,
    START_LIVE,
    ByteRate,
    Ending,
    FeedOptions,
    FeedReader,
    Flush,
    Scheduler,
    Sink,
    Variant,
)
from media.format import Delaying, Following, Format
from media.format import Ending as EndingFormat
from media.frame import Frame
from media.track import Kind, Track

SLICE = 0.002  # seconds of writes before the loop gets its turn
END_SLICE = 0.0005  # of ends: each transport that closes has work for the loop's next turn, too
WINDOW_SHARE = 0.05  # share of the core that the writes of one feed aim at
FIRST_COST = 25e-6  # seconds of one write, until it is measured
BATCH = 16  # writes between two looks at the clock
COST_WEIGHT = 0.05  # of the newest measurement


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
        self._delaying = form if isinstance(form, Delaying) else None
        self._use(tracks)
        self._options = options
        self._scheduler = scheduler
        self._on_skip = on_skip
        self._log = ChunkLog(options.log_seconds, options.log_bytes)
        self._flushed = 0  # everything before this index has been handed out
        # Dictionaries, for an order and for the thousands that may leave at once.
        self._in_step: dict[FeedReader, None] = {}
        self._apart: dict[FeedReader, None] = {}  # behind or waiting
        self._allowance = 0.0  # the greatest of the readers that are behind
        self._cost = FIRST_COST
        self._flush_at = 0.0  # when the last flush began
        self._scheduled = False
        self._job: Flush | None = None
        self._rate = ByteRate(scheduler.now())
        self.keyless = False  # start anywhere: no key frame came for too long
        self.sent_bytes = 0
        self.closed = False

    def is_video(self, track: Track) -> bool:
        """Whether readers wait for a key frame of this track."""
        return track.kind is Kind.VIDEO or (not self._has_video and track in self._carried)

    # -- what the API reads ------------------------------------------------------------------

    @property
    def readers(self) -> int:
        """How many readers follow this feed."""
        return len(self._in_step) + len(self._apart)

    @property
    def size_bytes(self) -> int:
        """Bytes that the log holds."""
        return self._log.size_bytes

    @property
    def window(self) -> float:
        """The write window that holds now, in seconds."""
        return min(self._options.window, self.readers * self._cost / WINDOW_SHARE)

    @property
    def write_cost(self) -> float:
        """Measured seconds of one write."""
        return self._cost

    def lag(self, reader: FeedReader, *, is_exact: bool = False) -> float:
        """Seconds from the live edge to what left the process; exact: the machine, by a call."""
        log = self._log
        if not log.chunks:
            return 0.0
        rate = self._rate.value
        size = reader.sink.unsent_bytes() if is_exact else reader.sink.pending_bytes()
        held = size / rate if rate else 0.0
        if reader.cursor >= log.end:
            return held
        return held + log.live - log.chunks[max(0, reader.cursor - log.base)].time

    # -- input -------------------------------------------------------------------------------

    def seed(self, frames: tuple[Frame, ...]) -> None:
        """Encode what the GOP cache holds, for the first readers to start from."""
        for frame in frames:
            self._append(frame)
        self._flushed = self._log.end
        if self._log.chunks:
            self._rate.seeded(self._log.live - self._log.chunks[0].time)

    def set_tracks(self, tracks: tuple[Track, ...]) -> bool:
        """Carry other tracks from the next frame on; False: this format cannot, nothing changed."""
        if not isinstance(self.format, Following):
            return False
        self.format.set_tracks(tracks)
        self._use(tracks)
        return True

    def _use(self, tracks: tuple[Track, ...]) -> None:
        self.tracks = tracks
        self._carried = frozenset(tracks)
        self._has_video = any(track.kind is Kind.VIDEO for track in tracks)

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
        if frame.track not in self._carried:
            return
        if self._delaying is not None:
            for each, data in self._delaying.release(frame):
                self._keep(each, data)
        elif data := self.format.encode(frame):
            self._keep(frame, data)

    def _keep(self, frame: Frame, data: bytes) -> None:
        track = frame.track
        is_video = track.kind is Kind.VIDEO
        key = (is_video or not self._has_video) and (frame.key or self.keyless)
        log = self._log
        chunk = Chunk(frame.dts / track.clock_rate, key, is_video, data)
        log.append(chunk, is_broken=frame.discontinuity)
        self._rate.add(len(data))
        if key:
            log.key_header = self.format.header()
        if not self.readers:
            self._flushed = log.end
        if log.is_large:
            # A reader farther behind than the lag bound will skip, so it holds nothing back.
            handed_out = self._flushed if self._job is None else self._job.start
            log.trim(handed_out, self._lowest_cursor, self._options.lag_bound + self._allowance)

    def _lowest_cursor(self, default: int) -> int:
        return min((reader.cursor for reader in self._apart), default=default)

    # -- readers -----------------------------------------------------------------------------

    def first_chunks(self, start: str = START_GOP) -> list[Chunk]:
        """What a reader that joined now would get at once; empty if it has to wait."""
        return self._log.from_key() if start == START_GOP else []

    def attach(
        self, sink: Sink, start: str = START_GOP, variant: Variant | None = None
    ) -> FeedReader:
        """Add a reader; its first bytes go out at once, not at the next flush."""
        log = self._log
        reader = FeedReader(sink, self._flushed, variant, progress_at=self._scheduler.now())
        is_at_key = start == START_GOP and log.key >= 0
        header = log.key_header if is_at_key else self.format.header()
        first = [header] if header else []
        if is_at_key:
            first += [chunk.data for chunk in log.from_key()]
            reader.cursor = log.end
            reader.allowance = log.live - log.chunks[log.key - log.base].time
        elif start != START_LIVE:
            reader.waiting = True
        if first:
            self.sent_bytes += reader.write(first)
        reader.start_bytes = reader.sent_bytes
        # A reader that already has what the next flush brings to the others comes into step there.
        is_in_step = not reader.waiting and reader.cursor == self._flushed
        (self._in_step if is_in_step else self._apart)[reader] = None
        return reader

    def detach(self, reader: FeedReader) -> None:
        """Forget a reader whose connection is gone."""
        reader.closed = True
        self._in_step.pop(reader, None)
        self._apart.pop(reader, None)

    def close(self, reason: str) -> None:
        """End every reader, after what is still in the log for it; many take several turns."""
        if self.closed:
            return
        self.closed = True
        if isinstance(self.format, EndingFormat) and (trailer := self.format.trailer()):
            self._log.append(Chunk(self._log.live, False, False, trailer), is_broken=False)
        ending = Ending((*self._in_step, *self._apart), self._log, reason)
        self._in_step, self._apart, self._job = {}, {}, None
        self._log = ChunkLog(0.0, 0)
        self._on_skip = _nobody
        self._end_some(ending)

    def _end_some(self, ending: Ending) -> None:
        clock = self._scheduler.now
        if ending.run(clock, clock() + END_SLICE):
            self._scheduler.call_soon(lambda: self._end_some(ending))
        else:
            self.sent_bytes += ending.sent_bytes

    # -- the flush ---------------------------------------------------------------------------

    def _flush(self) -> None:
        """The write window has closed: hand out what came since the last time."""
        self._scheduled = False
        if self.closed or self._job is not None:
            return
        now = self._flush_at = self._scheduler.now()
        start, end = self._flushed, self._log.end
        if start == end and not self._apart:
            return
        self._rate.measure(now)
        data = b"".join([chunk.data for chunk in self._log.slice(start, end)])
        self._job = Flush(start, end, data, self._in_step)
        self._flushed = end
        self._flush_slice()

    def _flush_slice(self) -> None:
        """Serve as many readers as fit into a slice, then let the loop have a turn."""
        job = self._job
        if job is None:
            return
        clock = self._scheduler.now
        now = began = clock()
        low = self._low_mark_bytes()
        readers, end = job.readers, job.end
        written = sent = 0
        variant, data = None, job.data
        size = len(data)
        while job.position < len(readers) and now - began < SLICE:
            for reader in readers[job.position : job.position + BATCH]:
                if reader.closed:
                    continue
                sink = reader.sink
                if sink.pending_bytes() > low:
                    job.fallen.append(reader)
                    continue
                if reader.variant is not variant:  # mostly all have the same one
                    variant = reader.variant
                    data = job.data_for(variant)
                    size = len(data)
                try:
                    if data:
                        sink.write(data)
                except RuntimeError:  # of uvloop: the transport is gone, and nobody told us
                    job.gone.append(reader)
                    continue
                reader.cursor = end
                reader.sent_bytes += size
                sent += size
                written += 1
            job.position += BATCH
            now = clock()
        if written:
            self.sent_bytes += sent
            # A flush that fits into one slice needs no shorter window: small writes cost more.
            if len(readers) * self._cost > SLICE:
                cost = min((now - began) / written, 4 * self._cost)
                self._cost += COST_WEIGHT * (cost - self._cost)
        if job.position < len(readers):
            self._scheduler.call_soon(self._flush_slice)
            return
        if job.apart is None:
            self._sort_out(job, now)
            job.apart = deque(self._apart)
        while job.apart and now - began < SLICE:
            self._serve_apart(job.apart.popleft(), job.end, now)
            now = clock()
        if job.apart:
            self._scheduler.call_soon(self._flush_slice)
        else:
            self._finish()

    def _sort_out(self, job: Flush, now: float) -> None:
        """Readers that got nothing: those whose sink holds too much are behind from now on."""
        for reader in job.gone:
            self._end(reader, "peer-closed")
        for reader in job.fallen:
            if reader.closed:
                continue
            del self._in_step[reader]
            self._apart[reader] = None
            reader.behind_since = reader.progress_at = now
            reader.held_bytes = reader.sink.unsent_bytes()
            if reader.sent_bytes == reader.start_bytes:
                self._allowance = max(self._allowance, reader.allowance)
            else:  # what it began with it had taken
                reader.allowance = 0.0

    def _finish(self) -> None:
        self._job = None
        if self._allowance:
            self._allowance = max((reader.allowance for reader in self._apart), default=0.0)
        if self.format.is_exhausted:
            self.close("format-exhausted")
            return
        if self._log.end > self._flushed and not self._scheduled:
            self._scheduled = True
            wait = max(0.0, self._flush_at + self.window - self._scheduler.now())
            self._scheduler.call_later(wait, self._flush)

    def _serve_apart(self, reader: FeedReader, end: int, now: float) -> None:
        """A reader that is behind or waits for a key frame gets its own list of chunks."""
        if reader.closed or reader.cursor > end:  # it joined while this flush was under way
            return
        if reader.sink.pending_bytes() <= self._low_mark_bytes():
            try:
                self._catch_up(reader, end, now)
            except RuntimeError:  # see _flush_slice
                self._end(reader, "peer-closed")
            return
        if not reader.behind_since:
            reader.behind_since = reader.progress_at = now
        held = reader.sink.unsent_bytes()
        if held < reader.held_bytes:
            reader.progress_at = now
        reader.held_bytes = held
        if now - reader.progress_at > self._options.stall_timeout:
            self._end(reader, "reader-stalled")
        elif reader.waiting:
            self._move_on(reader, end)
        elif self._behind(reader, now) > self._options.lag_bound + reader.allowance:
            self._skip(reader)

    def _end(self, reader: FeedReader, reason: str) -> None:
        """Part with a reader."""
        if not reader.closed:
            self.detach(reader)
            reader.sink.end(reason)

    def _behind(self, reader: FeedReader, now: float) -> float:
        """Lag of a reader that is apart: by the log where it reaches, by its sink's bytes too."""
        if reader.cursor < self._log.base:
            return now - reader.behind_since + self._options.lag_bound + reader.allowance
        return self.lag(reader, is_exact=True)

    def _skip(self, reader: FeedReader) -> None:
        """Give up what the reader missed; it goes on at a key frame."""
        lag = self.lag(reader, is_exact=True)
        end = self._log.end
        target = self._log.key if self._log.key > reader.cursor else end
        missed = target - reader.cursor
        reader.waiting = True
        reader.audio_while_waiting = target == end
        reader.cursor = target
        reader.allowance = 0.0
        reader.dropped_chunks += missed
        reader.skips += 1
        self._on_skip(reader, lag, missed)

    def _move_on(self, reader: FeedReader, end: int) -> None:
        """A reader that waits and still takes nothing: what it would get grows old."""
        is_key_ahead = self._log.key >= reader.cursor
        target = self._log.key if is_key_ahead else end
        reader.audio_while_waiting = reader.skips > 0 and not is_key_ahead
        if reader.skips:  # else it has not begun
            reader.dropped_chunks += target - reader.cursor
        reader.cursor = target

    def _catch_up(self, reader: FeedReader, end: int, now: float) -> None:
        """The sink has drained: hand over the reader's chunks; in step again unless it waits."""
        reader.progress_at = now
        if reader.cursor < self._log.base:  # the log could not wait for it
            self._skip(reader)
        pieces: list[bytes] = []
        if reader.waiting:
            for chunk in self._log.slice(reader.cursor, end):
                reader.cursor += 1
                if chunk.key:
                    reader.waiting = False
                    reader.cursor -= 1
                    if reader.skips:
                        pieces.append(self.format.resume())
                    else:  # it begins here, as one that joined now
                        pieces += [c.data for c in self._log.sound_ahead(reader.cursor)]
                    break
                if reader.audio_while_waiting and not chunk.is_video:
                    pieces.append(chunk.data)
                else:
                    reader.dropped_chunks += 1 if reader.skips else 0
        if not reader.waiting:
            chunks = self._log.slice(reader.cursor, end)
            pieces += [chunk.data for chunk in chunks]
            if reader.allowance:  # what came while it drained: less each time, if its line is good
                span = chunks[-1].time - chunks[0].time if chunks else 0.0
                reader.allowance = min(reader.allowance, span)
            reader.cursor = end
            reader.behind_since = 0.0
            del self._apart[reader]
            self._in_step[reader] = None
        if pieces:
            self.sent_bytes += reader.write(pieces)
            reader.start_bytes = reader.sent_bytes

    # -- small parts -------------------------------------------------------------------------

    def _low_mark_bytes(self) -> float:
        return max(65536.0, self._options.low_mark * self._rate.value)


def _nobody(reader: FeedReader, lag: float, chunks: int) -> None:
    """The owner of a closed feed, which holds it, hears no more."""
