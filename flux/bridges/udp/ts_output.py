"""MPEG-TS as datagrams: packets made once a stream, for all of its `udp://` targets.

A datagram holds whole transport packets, seven of them by default (1316 bytes); an access unit
begins a new one and its last may be shorter, so nothing waits for the next frame. How datagrams are
spread over time is `flux.bridges.rtp.datagrams`' business.
"""

from collections.abc import Callable

from flux.base.errors import PeerError
from flux.bridges.rtp.datagrams import (
    JOIN_PACKETS,
    DatagramFanout,
    DatagramReader,
    DatagramTarget,
)
from flux.net.udp_send import make_runs
from media.feed_reader import Scheduler
from media.frame import Frame
from media.mpegts.format import carries_track
from media.mpegts.muxer import TsMuxer
from media.output import LEISURE
from media.stream import Stream
from media.track import Kind, Track

OUTPUT = "udp-ts"  # key in `Stream.outputs`
START_SPAN = 2.0  # seconds of media that a target may begin with; a receiver has no more room
START_BYTES = 4 << 20
WHOLE = frozenset({0})  # the one track of a run: the program

Closer = Callable[[str], None]  # hears the reason


class TsDatagramOutput:
    """One for each stream, while it has such targets. Satisfies `media.stream.Output`."""

    name = OUTPUT
    leisure = LEISURE

    def __init__(self, stream: Stream, scheduler: Scheduler) -> None:
        """Raises PeerError `no-playable-track`."""
        self._stream = stream
        self._scheduler = scheduler
        self._tracks: frozenset[Track] = frozenset()
        self._has_video = False
        carried = self._choose(stream.tracks)
        if not carried:
            raise PeerError("no-playable-track", 415, stream.name)
        self._muxer = TsMuxer(carried, is_live=True)
        self._fanouts: dict[int, DatagramFanout] = {}  # by bytes of a datagram
        self._closers: dict[DatagramReader, tuple[int, Closer]] = {}
        self._start: list[bytes] = []  # from the newest key frame on, while that is near
        self._start_bytes = 0
        self._start_time: float | None = None
        self._closed = False
        for frame in stream.gop.frames():
            self._encode(frame)

    # -- for the stream ----------------------------------------------------------------------

    @property
    def size_bytes(self) -> int:
        """Bytes kept for joiners."""
        return self._start_bytes

    def frame(self, frame: Frame) -> None:
        """Send one frame of the stream to everybody."""
        if self._closed or frame.track not in self._tracks:
            return
        data = self._encode(frame)
        if not data:
            return
        key = self._is_start(frame)
        for size, fanout in self._fanouts.items():
            fanout.frame(0, split(data, size), key=key)

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        """The program has other tracks from now on: a new version of the PMT says so."""
        carried = self._choose(tracks)
        if not carried:
            self.close("no-playable-track")
        elif carried != self._muxer.tracks:
            self._muxer.set_tracks(carried)

    def close(self, reason: str) -> None:
        """End every reader."""
        if self._closed:
            return
        self._closed = True
        closers, self._closers = self._closers, {}
        for reader, (size, closer) in closers.items():
            self._fanouts[size].detach(reader)
            closer(reason)
        if self._stream.outputs.get(self.name) is self:
            del self._stream.outputs[self.name]

    # -- for targets -------------------------------------------------------------------------

    def attach(
        self, target: DatagramTarget, packet_bytes: int, on_closed: Closer
    ) -> DatagramReader:
        """Add a target; it begins with the newest key frame, or with the next one."""
        fanout = self._fanouts.get(packet_bytes)
        if fanout is None:
            fanout = self._fanouts[packet_bytes] = DatagramFanout(self._scheduler)
        reader = DatagramReader(target, WHOLE)
        first = b"".join(self._start)
        start = make_runs(0, split(first, packet_bytes), JOIN_PACKETS)
        fanout.attach(reader, start, waiting=not first and self._has_video)
        self._closers[reader] = (packet_bytes, on_closed)
        return reader

    def detach(self, reader: DatagramReader) -> None:
        """Forget a target; the output ends after its last one."""
        found = self._closers.pop(reader, None)
        if found is None:
            return
        size, _ = found
        fanout = self._fanouts[size]
        fanout.detach(reader)
        if not fanout.readers:
            del self._fanouts[size]
        if not self._closers:
            self.close("no-readers")

    # -- inside ------------------------------------------------------------------------------

    def _choose(self, tracks: tuple[Track, ...]) -> tuple[Track, ...]:
        carried = self._stream.choose(self.name, tracks, carries_track)
        self._tracks = frozenset(carried)
        self._has_video = any(track.kind is Kind.VIDEO for track in carried)
        return carried

    def _is_start(self, frame: Frame) -> bool:
        is_video = frame.track.kind is Kind.VIDEO
        return (frame.key or self._stream.keyless) and (is_video or not self._has_video)

    def _encode(self, frame: Frame) -> bytes:
        if frame.track not in self._tracks:
            return b""
        data = self._muxer.encode(frame)
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


def split(data: bytes, size: int) -> list[bytes]:
    """Datagrams of `size` bytes, the last one of what is left."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def ts_datagrams_of(stream: Stream, scheduler: Scheduler) -> TsDatagramOutput:
    """The stream's output, made for its first target; PeerError `no-playable-track`."""
    output = stream.outputs.get(OUTPUT)
    if isinstance(output, TsDatagramOutput):
        return output
    output = TsDatagramOutput(stream, scheduler)
    stream.outputs[OUTPUT] = output
    return output
