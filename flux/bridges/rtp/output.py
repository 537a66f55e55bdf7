"""The RTP output of a stream: packets made once, for TCP and datagram readers together."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from flux.base.errors import PeerError
from flux.base.serial import add
from flux.base.units import NTP_SECOND, rescale
from flux.bridges.rtp.datagrams import (
    JOIN_PACKETS,
    DatagramFanout,
    DatagramReader,
    DatagramTarget,
)
from flux.bridges.rtp.packer import (
    FRAME_HEADER_BYTES,
    RTP_HEADER_BYTES,
    ChannelMap,
    RtpPacker,
    is_carried,
    rtp_tracks,
    split_frames,
)
from flux.net.udp_send import Run, make_runs
from media.events import WriteFailed, WriteResumed
from media.feed import Feed
from media.feed_log import Chunk
from media.feed_reader import START_GOP, START_KEY, FeedReader, Scheduler, Sink, Variant
from media.frame import Frame
from media.output import LEISURE
from media.stream import Emit, Stream
from media.track import Track

Closer = Callable[[str], None]  # hears the reason

KEEP_CUT = 2.0  # seconds that the log is kept as runs, too
OUTPUT = "rtp"  # key in `Stream.outputs`
_RANDOM = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class StartPoint:
    """Where a track of a joiner begins: RTP-Info of the PLAY answer, RFC 2326 section 12.33."""

    sequence: int  # 16 bits, of its first packet
    timestamp: int  # 32 bits, of an instant that is the same for all tracks
    packets: int  # that are sent to it at once
    octets: int
    begins: int = 0  # timestamp of its first packet


class Hold:
    """One who wants the output to stay. It says nothing of who that is: its owner keeps it."""

    __slots__ = ()


class RtpOutput:
    """One for each stream, while somebody reads it over RTP. Satisfies `media.stream.Output`."""

    name = OUTPUT
    leisure = LEISURE

    def __init__(self, stream: Stream, emit: Emit, scheduler: Scheduler) -> None:
        """Raises PeerError `no-playable-track`."""
        self._stream = stream
        self._emit = emit
        chosen = stream.choose(self.name, stream.tracks, is_carried)
        self.tracks = rtp_tracks(chosen, _RANDOM.getrandbits, _counter_of(stream))
        if not self.tracks:
            raise PeerError("no-playable-track", 415, stream.name)
        self._packer = RtpPacker(self.tracks)
        carried = tuple(track.track for track in self.tracks)
        self.feed = Feed(self._packer, carried, stream.options.feed, scheduler, self._skipped)
        self.feed.keyless = stream.keyless
        self.feed.seed(stream.gop.frames())
        self.datagrams = DatagramFanout(scheduler, self._write_fault)
        self.names: dict[FeedReader, tuple[str, str]] = {}  # protocol and id, for events
        self._closers: dict[DatagramReader, Closer] = {}
        self._holds: dict[Hold, Closer] = {}
        self._maps: WeakValueDictionary[tuple[int | None, ...], ChannelMap] = WeakValueDictionary()
        self._by_track = {track.track: track.index for track in self.tracks}
        self._scheduler = scheduler
        self._cut: dict[int, tuple[Chunk, list[Run]]] = {}  # by identity: the log's, as runs
        self.closed = False

    # -- for the stream ----------------------------------------------------------------------

    @property
    def size_bytes(self) -> int:
        """Bytes of the feed's log."""
        return self.feed.size_bytes

    def frame(self, frame: Frame) -> None:
        """One frame of the stream."""
        index = self._by_track.get(frame.track)
        if index is None or self.closed:
            return
        self.feed.keyless = self._stream.keyless
        self.feed.frame(frame)
        if self.datagrams.readers:
            packets = [packet[FRAME_HEADER_BYTES:] for packet in self._packer.packets]
            is_start = frame.key or self._stream.keyless
            is_video = self.feed.is_video(frame.track)
            self.datagrams.frame(index, packets, key=is_start and is_video)

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        """A description cannot change within a session: readers are closed and come again."""
        chosen = tracks_of(self._stream, tracks)
        if set(chosen) != {track.track for track in self.tracks}:
            self.close("tracks-changed")

    def close(self, reason: str) -> None:
        """End every reader."""
        if self.closed:
            return
        self.closed = True
        self.feed.close(reason)
        holds, self._holds = self._holds, {}
        closers, self._closers = self._closers, {}
        for reader, closer in closers.items():
            self.datagrams.detach(reader)
            closer(reason)
        self.datagrams.close()
        for on_closed in holds.values():
            on_closed(reason)
        self._leave()

    # -- for readers -------------------------------------------------------------------------

    def start_points(self, start: str = START_GOP) -> dict[int, StartPoint]:
        """By track index, what a reader that joins in this turn gets first; not all need be there.

        A track without one begins with the next packet that is made.
        """
        found: dict[int, StartPoint] = {}
        for index, packets in self._first_packets(start):
            octets = sum(map(len, packets)) - RTP_HEADER_BYTES * len(packets)
            before = found.get(index)
            if before is not None:
                found[index] = replace(
                    before,
                    packets=before.packets + len(packets),
                    octets=before.octets + octets,
                )
            else:
                first = packets[0]
                begins = int.from_bytes(first[4:8], "big")
                found[index] = StartPoint(
                    int.from_bytes(first[2:4], "big"), begins, len(packets), octets, begins
                )
        return self._at_one_instant(found)

    def _at_one_instant(self, found: dict[int, StartPoint]) -> dict[int, StartPoint]:
        """The timestamps of the earliest first packet's instant, for each track in its own clock.

        Players lay tracks upon each other by them until the first sender report.
        """
        since = {index: self.tracks[index].ntp_of(p.begins) for index, p in found.items()}
        begin = min(since.values(), default=0)
        return {
            index: replace(
                point,
                timestamp=add(
                    point.begins,
                    -rescale(since[index] - begin, NTP_SECOND, self.tracks[index].clock_rate),
                    32,
                ),
            )
            for index, point in found.items()
        }

    def hold(self, on_closed: Closer) -> "Hold":
        """Keep the output for one who reads later or pauses; `on_closed(reason)` when it ends."""
        hold = Hold()
        self._holds[hold] = on_closed
        return hold

    def release(self, hold: "Hold") -> None:
        """Undo `hold`."""
        self._holds.pop(hold, None)
        self.close_if_unused()

    def attach_stream(
        self,
        sink: Sink,
        channels: Mapping[int, int],
        start: str = START_GOP,
        variant: Variant | None = None,
    ) -> FeedReader:
        """Add a reader of interleaved frames; `channels`: by track index, that of its RTP.

        `variant` dresses the frames for this reader alone, channels included.
        """
        return self.feed.attach(sink, start, self.dress(channels) if variant is None else variant)

    def dress(self, channels: Mapping[int, int]) -> Variant | None:
        """The variant for these channels, one for all readers that want the same."""
        wanted = tuple(channels.get(track.index) for track in self.tracks)
        if wanted == tuple(2 * track.index for track in self.tracks):
            return None
        variant = self._maps.get(wanted)
        if variant is None:
            variant = self._maps[wanted] = ChannelMap(wanted)
        return variant

    def attach_datagrams(
        self,
        target: DatagramTarget,
        tracks: frozenset[int],
        on_closed: Closer,
        start: str = START_GOP,
        owner: tuple[str, str] = ("", ""),
    ) -> DatagramReader:
        """Add a reader of datagrams; `on_closed(reason)` when the output ends it."""
        reader = DatagramReader(target, tracks)
        reader.owner = owner
        first = self._first_runs(start)
        has_video = any(self.feed.is_video(self.tracks[index].track) for index in tracks)
        is_waiting = not first and start in (START_GOP, START_KEY) and has_video
        self.datagrams.attach(reader, first, waiting=is_waiting)
        self._closers[reader] = on_closed
        return reader

    def detach(self, reader: FeedReader | DatagramReader) -> None:
        """Forget a reader; the output ends after its last one."""
        if isinstance(reader, FeedReader):
            self.feed.detach(reader)
            self.names.pop(reader, None)
        else:
            self.datagrams.detach(reader)
            self._closers.pop(reader, None)
        self.close_if_unused()

    @property
    def readers(self) -> int:
        """How many readers there are."""
        return self.feed.readers + self.datagrams.readers

    def close_if_unused(self) -> None:
        """Give the output up after its last reader."""
        if not self.readers and not self._holds:
            self.close("no-readers")

    # -- inside ------------------------------------------------------------------------------

    def _first_packets(self, start: str) -> list[tuple[int, list[bytes]]]:
        chunks: list[Chunk] = self.feed.first_chunks(start)
        return [each for chunk in chunks for each in split_frames(chunk.data)]

    def _first_runs(self, start: str) -> list[Run]:
        """What a joiner begins with, cut once for all who join within a second or so."""
        before, self._cut = self._cut, {}
        for chunk in self.feed.first_chunks(start):
            known = before.get(id(chunk))
            if known is None:
                parts = split_frames(chunk.data)
                known = chunk, [r for index, p in parts for r in make_runs(index, p, JOIN_PACKETS)]
            self._cut[id(chunk)] = known
        if self._cut and not before:
            self._scheduler.call_later(KEEP_CUT, self._forget_cut)
        return [run for _, runs in self._cut.values() for run in runs]

    def _forget_cut(self) -> None:
        self._cut = {}

    def _write_fault(self, reader: DatagramReader, is_failing: bool) -> None:
        protocol, name = reader.owner
        if is_failing:
            self._stream.readers.lost(name)
            self._emit(WriteFailed(self._stream.name, protocol, name, "datagram-not-sent"))
        else:
            lost = reader.dropped - reader.dropped_before
            self._emit(WriteResumed(self._stream.name, protocol, name, lost))

    def _leave(self) -> None:
        if self._stream.outputs.get(self.name) is self:
            del self._stream.outputs[self.name]

    def _skipped(self, reader: FeedReader, lag: float, chunks: int) -> None:
        protocol, name = self.names.get(reader, ("", ""))
        self._stream.readers.skipped(protocol, name, lag, chunks)


def _counter_of(stream: Stream) -> Callable[[str], None]:
    """What packetizers tell of units that they cannot carry; they know nothing of the output."""

    def count(reason: str) -> None:
        stream.drops[reason] += 1

    return count


def tracks_of(stream: Stream, tracks: Sequence[Track]) -> tuple[Track, ...]:
    """Those of these tracks that RTP carries, whether or not anybody reads them."""
    return stream.recodings.choose(OUTPUT, tracks, is_carried)


def rtp_output_of(stream: Stream, emit: Emit, scheduler: Scheduler) -> RtpOutput:
    """The stream's RTP output, made for its first reader; PeerError `no-playable-track`."""
    output = stream.outputs.get(OUTPUT)
    if isinstance(output, RtpOutput):
        return output
    output = RtpOutput(stream, emit, scheduler)
    stream.outputs[OUTPUT] = output
    return output
