"""What SRT readers of one stream get: MPEG-TS in datagrams, made once for all of them.

A datagram holds seven transport packets. The packets of an access unit leave together with what
came before them, sound mostly, so that a reader costs one call of the system for each picture; what
has no picture to wait for leaves after `WINDOW`. A joiner begins with PAT and PMT, then the newest
key frame while that is near, else the next one. How datagrams are spread over time is
`flux.bridges.rtp.datagrams`' business.
"""

from collections.abc import Callable

from flux.base.errors import PeerError
from flux.bridges.rtp.datagrams import (
    JOIN_PACKETS,
    DatagramFanout,
    DatagramReader,
    DatagramTarget,
)
from flux.net.udp_send import Run, make_runs
from media.feed_reader import START_GOP, START_LIVE, Scheduler
from media.frame import Frame
from media.mpegts.format import TsFormat, carries_track
from media.stream import Stream
from media.track import Kind, Track

OUTPUT = "srt"  # key in `Stream.outputs`
PACKET_BYTES = 7 * 188  # of a datagram: what libsrt takes by default
WINDOW = 0.04  # seconds that sound may wait for a picture
PACE_PACKETS = 48  # to one reader, then a pause: what one call of the system takes
MAX_PENDING = 32 * PACKET_BYTES
START_SPAN = 2.0  # seconds of media that a reader may begin with
START_BYTES = 4 << 20
WHOLE = frozenset({0})  # the one track of a run: the program

Closer = Callable[[str], None]  # hears the reason


class SrtOutput:
    """One for each stream, while it has SRT readers. Satisfies `media.stream.Output`."""

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
        self._fanout = DatagramFanout(scheduler, pace_packets=PACE_PACKETS)
        self._closers: dict[DatagramReader, Closer] = {}
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._is_key = False  # the pending bytes begin with a key frame
        self._is_flush_due = False
        self._start: list[bytes] = []  # from the newest key frame on, while that is near
        self._start_bytes = 0
        self._start_time: float | None = None
        self._run: Run | None = None
        self._payloads: list[bytes] = []
        self._closed = False
        for frame in stream.gop.frames():
            self._encode(frame)

    def payloads_of(self, run: Run) -> list[bytes]:
        """The datagrams of a run; the same objects for every reader that it goes to."""
        if run is not self._run:
            self._run, self._payloads = run, run.datagrams()
        return self._payloads

    # -- for the stream ----------------------------------------------------------------------

    @property
    def size_bytes(self) -> int:
        """Bytes kept for joiners."""
        return self._start_bytes

    def frame(self, frame: Frame) -> None:
        """Send one frame of the stream to everybody."""
        if self._closed or frame.track not in self._tracks:
            return
        is_start = self._is_start(frame)
        if is_start:
            self._flush()  # who waits for a key frame begins with a datagram of its own
            self._is_key = True
        data = self._encode(frame)
        if not data:
            return
        self._pending.append(data)
        self._pending_bytes += len(data)
        if frame.track.kind is Kind.VIDEO or self._pending_bytes >= MAX_PENDING:
            self._flush()
        elif not self._is_flush_due:
            self._is_flush_due = True
            self._scheduler.call_later(WINDOW, self._flush_late)

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

    def attach(self, target: DatagramTarget, start: str, on_closed: Closer) -> DatagramReader:
        """Add a reader; `start` is gop, key or live."""
        self._flush()
        reader = DatagramReader(target, WHOLE)
        first = b"".join(self._start) if start == START_GOP else b""  # tables go before a key
        is_waiting = not first and start != START_LIVE and self._has_video
        if not first and not is_waiting:
            first = self._format.header()
        runs = make_runs(0, split(first), JOIN_PACKETS)
        self._fanout.attach(reader, runs, waiting=is_waiting)
        self._closers[reader] = on_closed
        return reader

    def skip(self, reader: DatagramReader) -> None:
        """Give this reader nothing more until a key frame that finds it not held."""
        self._fanout.skip(reader)

    def detach(self, reader: DatagramReader) -> None:
        """Forget a reader; the output ends after its last one."""
        if self._closers.pop(reader, None) is None:
            return
        self._fanout.detach(reader)
        if not self._closers:
            self.close("no-readers")

    # -- inside ------------------------------------------------------------------------------

    def _choose(self, tracks: tuple[Track, ...]) -> tuple[Track, ...]:
        carried = tuple(track for track in tracks if carries_track(track))
        for track in tracks:
            if track not in carried:
                self._stream.note_dropped_track(self.name, track)
        self._tracks = frozenset(carried)
        self._has_video = any(track.kind is Kind.VIDEO for track in carried)
        return carried

    def _is_start(self, frame: Frame) -> bool:
        is_video = frame.track.kind is Kind.VIDEO
        return (frame.key or self._stream.keyless) and (is_video or not self._has_video)

    def _flush_late(self) -> None:
        self._is_flush_due = False
        self._flush()

    def _flush(self) -> None:
        if not self._pending or self._closed:
            return
        data = b"".join(self._pending)
        is_key, self._is_key = self._is_key, False
        self._pending, self._pending_bytes = [], 0
        self._fanout.frame(0, split(data), key=is_key)

    def _encode(self, frame: Frame) -> bytes:
        if frame.track not in self._tracks:
            return b""
        data = self._format.encode(frame)
        time = frame.dts / frame.track.clock_rate
        if self._is_start(frame):
            self._start, self._start_bytes, self._start_time = [], 0, time
        if self._start_time is None:
            return data
        self._start.append(data)
        self._start_bytes += len(data)
        if time - self._start_time > START_SPAN or self._start_bytes > START_BYTES:
            self._start, self._start_bytes, self._start_time = [], 0, None
        return data


def split(data: bytes, size: int = PACKET_BYTES) -> list[bytes]:
    """Datagrams of `size` bytes, seven packets if nothing is said, the last one of what is left."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def srt_output_of(stream: Stream, scheduler: Scheduler) -> SrtOutput:
    """The stream's output, made for its first reader; PeerError `no-playable-track`."""
    output = stream.outputs.get(OUTPUT)
    if isinstance(output, SrtOutput):
        return output
    output = SrtOutput(stream, scheduler)
    stream.outputs[OUTPUT] = output
    return output
