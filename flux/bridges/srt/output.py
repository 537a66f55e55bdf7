"""What SRT readers of one stream get: MPEG-TS in datagrams, made once for all of them.

A datagram holds seven transport packets. The packets of an access unit leave together with what
came before them, sound mostly, and with those that came in the same turn, so that a reader costs
one call of the system for each picture at the most; what has no picture to wait for leaves after
the next turn. A joiner begins with PAT and PMT, then all from the newest key frame on, as fast as
its line confirms it (`sender`). How datagrams are spread over time is
`flux.bridges.rtp.datagrams`' business.
"""

from collections.abc import Callable, Sequence

from flux.base.errors import PeerError
from flux.bridges.rtp.datagrams import (
    JOIN_PACKETS,
    DatagramFanout,
    DatagramReader,
    DatagramTarget,
)
from flux.net.udp_send import Run
from media.feed_reader import START_GOP, START_LIVE, Scheduler
from media.frame import Frame
from media.mpegts.format import TsFormat, carries_track
from media.output import LEISURE
from media.stream import Stream
from media.track import Kind, Track
from protocols.srt.payloads import Payloads

TABLES = b"\x47\x40\x00"  # a packet that a PAT begins in
OUTPUT = "srt"  # key in `Stream.outputs`
PACKET_BYTES = 7 * 188  # of a datagram: what libsrt takes by default
# Sound waits for the picture that the source's next turn may bring, and so many seconds longer;
# or shorter, rather than that it wakes the process by itself.
WINDOW_SLACK = 0.015
# To one reader, then a pause: receivers of SRT have twice the usual buffer, as they ask for more
# than they get, and that holds some 180. Waking up for the next ones costs as much as sending them.
RUN_PACKETS = 128
PACE_PAUSE = 0.003  # seconds
MAX_PENDING = RUN_PACKETS * PACKET_BYTES
MIN_SPAN = 0.5  # seconds of media, less tell nothing of its rate
WHOLE = frozenset({0})  # the one track of a run: the program

Closer = Callable[[str], None]  # hears the reason


class SrtOutput:
    """One for each stream, while it has SRT readers. Satisfies `media.stream.Output`.

    `leisure` is that of the least patient reader.
    """

    name = OUTPUT

    def __init__(self, stream: Stream, scheduler: Scheduler) -> None:
        """Raises PeerError `no-playable-track`."""
        self._stream = stream
        self._scheduler = scheduler
        self._tracks: frozenset[Track] = frozenset()
        self._has_video = False
        carried = self._choose(stream.tracks)
        if not carried:
            raise PeerError("no-playable-track", 415, stream.name)
        self._format = TsFormat(carried)
        self._fanout = DatagramFanout(scheduler, pace_packets=RUN_PACKETS, pace_pause=PACE_PAUSE)
        self._closers: dict[DatagramReader, Closer] = {}
        self._leisures: dict[DatagramReader, float] = {}
        self.leisure = LEISURE
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._is_key = False  # the pending bytes begin with a key frame
        self._is_flush_due = self._is_turn_due = False
        self._time = self._key_time = 0.0  # of the newest frame, and key frame, in seconds
        self._start: list[Run] = []  # from the newest key frame on, within the limits of the GOP
        self._start_bytes = 0
        self._start_time: float | None = None
        self._closed = False
        for frame in stream.gop.frames():
            if frame.track in self._tracks:
                self._encode(frame)
                if frame.track.kind is Kind.VIDEO:
                    self._flush()
        self._flush()

    # -- for the stream ----------------------------------------------------------------------

    @property
    def size_bytes(self) -> int:
        """Bytes kept for joiners."""
        return self._start_bytes

    @property
    def packet_rate(self) -> float:
        """Datagrams per second since the newest key frame; 0: not known."""
        if self._start_time is None:
            return 0.0
        span = max(self._time - self._start_time, MIN_SPAN)
        return self._start_bytes / PACKET_BYTES / span

    def frame(self, frame: Frame) -> None:
        """Send one frame of the stream to everybody."""
        if self._closed or frame.track not in self._tracks:
            return
        if not self._encode(frame):
            return
        if self._pending_bytes >= MAX_PENDING:
            self._flush()
        elif frame.track.kind is Kind.VIDEO:
            if not self._is_turn_due:  # a turn of the source may bring more than one picture
                self._is_turn_due = True
                self._scheduler.call_next(self._flush_turn)
        elif not self._is_flush_due:
            self._is_flush_due = True
            delay = self.leisure + WINDOW_SLACK
            self._scheduler.call_along(delay, WINDOW_SLACK, self._flush_late)

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        """The program has other tracks from now on: a new version of the PMT says so."""
        carried = self._choose(tracks)
        if not carried:
            self.close("no-playable-track")
        elif carried != self._format.tracks:
            self._format.set_tracks(carried)

    def close(self, reason: str) -> None:
        """End every reader."""
        if self._closed:
            return
        self._flush()
        self._closed = True
        closers, self._closers = self._closers, {}
        for reader, closer in closers.items():
            self._fanout.detach(reader)
            closer(reason)
        if self._stream.outputs.get(self.name) is self:
            del self._stream.outputs[self.name]

    # -- for readers -------------------------------------------------------------------------

    def attach(
        self, target: DatagramTarget, start: str, on_closed: Closer, leisure: float = LEISURE
    ) -> DatagramReader:
        """Add a reader; `start` is gop, key or live; `leisure` as `Output` has it."""
        self._flush()
        reader = DatagramReader(target, WHOLE)
        first = self._start if start == START_GOP else []  # tables go before a key
        is_waiting = not first and start != START_LIVE and self._has_video
        if not first and not is_waiting:
            first = runs_of([self._format.header()])
        runs = [part for run in first for part in parts_of(run, JOIN_PACKETS)]
        self._fanout.attach(reader, runs, waiting=is_waiting)
        self._closers[reader] = on_closed
        self._leisures[reader] = leisure
        self.leisure = min(self._leisures.values())
        return reader

    def rest(self, reader: DatagramReader, leisure: float) -> None:
        """Another leisure of a reader, see `attach`."""
        if reader in self._leisures:
            self._leisures[reader] = leisure
            self.leisure = min(self._leisures.values())

    def skip(self, reader: DatagramReader) -> None:
        """Give this reader nothing more until a key frame that finds it not held."""
        self._fanout.skip(reader)

    def detach(self, reader: DatagramReader) -> None:
        """Forget a reader; the output ends after its last one."""
        if self._closers.pop(reader, None) is None:
            return
        self._fanout.detach(reader)
        del self._leisures[reader]
        self.leisure = min(self._leisures.values(), default=LEISURE)
        if not self._closers:
            self.close("no-readers")

    # -- inside ------------------------------------------------------------------------------

    def _choose(self, tracks: tuple[Track, ...]) -> tuple[Track, ...]:
        carried = self._stream.choose(self.name, tracks, carries_track)
        self._tracks = frozenset(carried)
        self._has_video = any(track.kind is Kind.VIDEO for track in carried)
        return carried

    def _flush_turn(self) -> None:
        self._is_turn_due = False
        self._flush()

    def _flush_late(self) -> None:
        self._is_flush_due = False
        self._flush()

    def _flush(self) -> None:
        if not self._pending or self._closed:
            return
        runs = runs_of(self._pending)
        is_key, self._is_key = self._is_key, False
        self._pending, self._pending_bytes = [], 0
        if is_key:
            self._start, self._start_bytes, self._start_time = [], 0, self._key_time
        if self._start_time is not None:
            self._start += runs
            self._start_bytes += sum([run.size_bytes for run in runs])
            limits = self._stream.options.gop
            is_far = self._time - self._start_time > limits.seconds
            if is_far or self._start_bytes > limits.size_bytes:
                self._start, self._start_bytes, self._start_time = [], 0, None
        self._fanout.send(0, runs, key=is_key)

    def _encode(self, frame: Frame) -> bool:
        """Put a frame's packets behind those that wait; whether there are any."""
        time = frame.dts / frame.track.clock_rate
        data = self._format.encode(frame)
        if not data:
            return False
        # Tables go before each key frame; sound alone has them now and then.
        if (frame.key or self._stream.keyless) and (
            frame.track.kind is Kind.VIDEO if self._has_video else data.startswith(TABLES)
        ):
            self._flush()  # who waits for a key frame begins with a datagram of its own
            self._is_key, self._key_time = True, time
        self._time = time
        self._pending.append(data)
        self._pending_bytes += len(data)
        return True


def runs_of(chunks: Sequence[bytes]) -> list[Run]:
    """Runs of datagrams, seven packets each; readers get their very payloads."""
    data = b"".join(chunks)  # the same object, where it is one
    step = RUN_PACKETS * PACKET_BYTES
    return [
        _run_of(Payloads.row(data, at, min(at + step, len(data)), PACKET_BYTES))
        for at in range(0, len(data), step)
    ]


def _run_of(payloads: Payloads) -> Run:
    return Run.of(0, payloads, payloads.size_bytes)


def parts_of(run: Run, most: int) -> list[Run]:
    """The same payloads in runs of at most so many."""
    payloads = Payloads.of(run.datagrams())
    starts = range(0, len(payloads), most)
    return [_run_of(payloads.part(at, most)) for at in starts]


def srt_output_of(stream: Stream, scheduler: Scheduler) -> SrtOutput:
    """The stream's output, made for its first reader; PeerError `no-playable-track`."""
    output = stream.outputs.get(OUTPUT)
    if isinstance(output, SrtOutput):
        return output
    output = SrtOutput(stream, scheduler)
    stream.outputs[OUTPUT] = output
    return output
