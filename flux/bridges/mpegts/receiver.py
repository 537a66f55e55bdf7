"""TS in: bytes of one transport stream become units of a publisher.

Theory of operation. A run can begin when it is known what the program holds, and only the streams
themselves tell that: sample rates and parameter sets are not in the PMT. So units are kept until
every stream of the PMT has been described, for START_TIMEOUT at most; then

- video goes in as it is: its parameters may come with its next key frame,
- sound that has not come is left out; when it comes after all, that is a change of tracks,
- data go in, since they may say nothing for hours.

A change of the PMT, or of a stream's sample rate, is weighed in the same way. Where kinds, codecs
and clock rates stay what they are, in the same order, the run goes on with the new PIDs; where not,
it ends with `tracks-changed` and a new one begins at once under the same name.

While nobody watches, the stream is only skimmed (`media/mpegts/skim.py`). The publisher tells so,
and that somebody comes.

All streams of a program count from one clock. The router is told so by an anchor for the first
units, and by reports for a stream whose first unit comes much later.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from flux.base.units import ntp_from_unix, rescale
from flux.net.udp import Joined
from media.codecs.aac import AacParameters
from media.frame import NO_TIME
from media.mpegts.bulk import PACKET_BYTES
from media.mpegts.clock import CLOCK_HZ
from media.mpegts.demuxer import TsDemuxer
from media.mpegts.events import TrackDescribed, TracksChanged, TsEvent, TsHead, TsTrack, TsUnit
from media.publisher import Publisher, Publishing
from media.receiver import RUN_PAUSE, Receiver, anchor
from media.track import H264, H265, Track, TrackDescription

START_TIMEOUT = 3.0  # seconds from the PMT on, in which streams may show what they are
PROGRAM_TIMEOUT = 10.0  # seconds of bytes without any program
MAX_KEPT_BYTES = 16 << 20  # of units that wait for a run
# Datagrams that are walked at once, up to twice as many if that saves a walk: what they become on
# the way fits into the caches.
WALK = 64
LATE = 5.0  # seconds after the run's begin, from which on a stream's first unit needs a report

MAX_LOG_BYTES = 4 << 20  # that are taken apart at once when somebody comes: some 15 ms
LOG_PAUSE = 60.0  # seconds without skimming after a log that grew too long

NO_PROGRAM = "ts-no-program"


@dataclass(slots=True)
class _Carried:
    """A stream that is part of the run."""

    track: Track
    last: int = NO_TIME  # timestamp of its last unit, in ticks of its clock


class TsReceiver(Receiver[TsUnit]):
    """One transport stream in: bytes and `now` in; units go to the router's publisher."""

    def __init__(
        self,
        name: str,
        router: Publishing,
        origin: str,
        on_ended: Callable[[str], None],
        *,
        on_playing: Callable[[], None] | None = None,
        on_wanted: Callable[[], None] | None = None,
        program: int | None = None,
    ) -> None:
        """See `Receiver`; `program` is the number of the one to take.

        `on_wanted()` is called when somebody comes after nobody had wanted the media for a while.
        """
        super().__init__(name, router, origin, on_ended, on_playing, MAX_KEPT_BYTES)
        self._demuxer = TsDemuxer(self.dropped, program=program)
        self._carried: dict[TsTrack, _Carried] = {}  # those of the run
        self._listed: tuple[TsTrack, ...] = ()  # those of the PMT
        self._is_deciding = False
        self._base: tuple[int, float] | None = None  # 90 kHz and Unix time of the run's begin
        self._on_wanted = on_wanted
        self._is_skimming = False  # or waits for a place to begin with that
        self._skims_from = 0.0  # not before
        self._is_catching_up = False

    @property
    def packets(self) -> int:
        """Transport packets that came."""
        return self._demuxer.packets

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes of a reliable stream, cut anywhere."""
        self._receive((data,), now, is_datagram=False)

    def receive_datagrams(self, datagrams: Sequence[bytes], now: float) -> None:
        """Take datagrams in the order they came."""
        joined = datagrams if isinstance(datagrams, Joined) else None
        sizes = set(map(len, datagrams) if joined is None else joined.sizes)  # one or two
        is_whole = not any(size % PACKET_BYTES for size in sizes)
        pieces: Iterable[bytes] = datagrams
        if is_whole and joined is not None:
            pieces = (joined.data,)
        elif is_whole and len(datagrams) > 1:
            # One walk for many packets.
            step = -(-len(datagrams) // max(len(datagrams) // WALK, 1))
            starts = range(0, len(datagrams), step)
            pieces = (b"".join(datagrams[at : at + step]) for at in starts)
        self._receive(pieces, now, is_datagram=True)

    def gap(self, packets: int, now: float) -> None:
        """It is known that at least so many transport packets are missing here."""
        if not self.closed:
            self._now = now
            self._take(self._demuxer.gap(packets))

    def _decide_late(self) -> None:
        if not self._is_deciding:
            self._end(NO_PROGRAM)
            return
        self._take(self._demuxer.settle())
        if self._is_deciding:
            self._decide(is_late=True)

    def _let_go(self) -> None:
        self._on_wanted = None
        if self._is_skimming and self._publisher is not None:
            self._is_skimming = False
            self._publisher.stream.kept_bytes = 0
        self._demuxer.close()

    # -- what came ---------------------------------------------------------------------------

    def _receive(self, pieces: Iterable[bytes], now: float, *, is_datagram: bool) -> None:
        if self.closed:
            return
        self._now = now
        if self._deadline is None and not self._listed:
            self._deadline = now + PROGRAM_TIMEOUT
        feed = self._demuxer.feed
        for data in pieces:
            events = feed(data, now, is_datagram=is_datagram)
            if events:
                self._take(events)
        if self._deadline is not None and now >= self._deadline:
            self.handle_timer(now)
        publisher = self._publisher
        if publisher is not None and (publisher.is_unseen or self._is_skimming):
            self._look(publisher)

    def _take(self, events: Sequence[TsEvent]) -> None:
        for event in events:
            if self.closed:
                return
            if type(event) is TsUnit:
                carried = self._carried.get(event.track)
                if carried is not None:
                    self._carry(carried, event)
                elif self._is_deciding:  # else sound that was left out, until it is described
                    self._keep(event, "ts-start-overflow")
            elif type(event) is TsHead:
                self._count(event)
            elif type(event) is TracksChanged:
                self._list(event.tracks)
            elif type(event) is TrackDescribed:
                self._weigh(event.track)

    # -- skimming ----------------------------------------------------------------------------

    def dropped(self, reason: str, count: int = 1) -> None:
        """See `Receiver`."""
        if not self._is_catching_up:
            super().dropped(reason, count)

    def _look(self, publisher: Publisher) -> None:
        """Skim while nobody watches, as long as the log is short."""
        log = self._demuxer.log
        if log is not None and log.size_bytes > MAX_LOG_BYTES:
            self._skims_from = self._now + LOG_PAUSE
            self._read_on()
        elif not publisher.is_unseen:
            self._read_on()
        elif not self._is_skimming and not self._is_deciding and self._now >= self._skims_from:
            self._is_skimming = True
            self._demuxer.skim()
        if publisher.is_unseen:
            publisher.on_wanted = self._wanted
        if self._is_skimming:
            log = self._demuxer.log
            publisher.stream.kept_bytes = log.size_bytes if log is not None else 0

    def _wanted(self) -> None:
        """Somebody comes."""
        self._read_on()
        if self._on_wanted is not None:
            self._on_wanted()

    def _read_on(self) -> None:
        """Take everything apart again, beginning with what was kept."""
        self._is_skimming = False
        self._is_catching_up = True
        try:
            # Who is described anew begins a run, and what was kept is for that one.
            self._take(sorted(self._demuxer.read_on(), key=_is_for_later))
        finally:
            self._is_catching_up = False
        if self._publisher is not None:
            self._publisher.stream.kept_bytes = 0

    def _count(self, head: TsHead) -> None:
        """Units that came, and nobody wants to see."""
        publisher, carried = self._publisher, self._carried.get(head.track)
        if publisher is not None and carried is not None:
            start = head.pts if head.is_start else NO_TIME
            publisher.count(carried.track, head.units, head.size_bytes, start, self._now)

    # -- runs --------------------------------------------------------------------------------

    def _list(self, tracks: tuple[TsTrack, ...]) -> None:
        """The PMT lists these streams now."""
        self._is_skimming = False
        if self._publisher is not None:
            self._publisher.stream.kept_bytes = 0
        self._listed = tracks
        self._take_kept()
        if not tracks:  # they may come again
            self._is_deciding = False
            self._deadline = self._now + PROGRAM_TIMEOUT
            return
        self._is_deciding = True
        self._deadline = self._now + START_TIMEOUT
        self._decide(is_late=False)

    def _weigh(self, track: TsTrack) -> None:
        """A stream has shown what it is."""
        if self._is_deciding:
            self._kept = [unit for unit in self._kept if unit.track is not track]
            self._decide(is_late=False)
            return
        carried = self._carried.get(track)
        description = track.description
        if description is None:
            return
        if carried is None or _differs(carried.track, description):
            self._carried.pop(track, None)  # what comes from now on is for the next run
            self._is_deciding = True
            self._decide(is_late=True)

    def _decide(self, *, is_late: bool) -> None:
        """Begin a run, or go on with the one there is, if enough is known."""
        listed = self._listed
        chosen: list[tuple[TsTrack, TrackDescription]] = []
        for track in listed:
            description = track.description
            if description is None and is_late and track.codec in (H264, H265):
                description = TrackDescription(track.kind, track.codec, CLOCK_HZ)
            if description is not None:
                chosen.append((track, description))
            elif not is_late:
                return
        if not chosen:
            self._deadline = self._now + START_TIMEOUT
            return
        self._is_deciding = False
        self._deadline = None
        self._run([track for track, _ in chosen], [each for _, each in chosen])

    def _run(self, chosen: list[TsTrack], descriptions: list[TrackDescription]) -> None:
        """Publish these streams."""
        publisher = self._publisher
        if publisher is not None:
            tracks = publisher.tracks
            is_same = len(tracks) == len(descriptions) and not any(
                _differs(track, each) or _sounds_other(track, each)
                for track, each in zip(tracks, descriptions, strict=True)
            )
            if not is_same and self._now < self._run_at + RUN_PAUSE:
                self._is_deciding = True
                self._deadline = self._run_at + RUN_PAUSE
                return
            if not is_same:
                self._carried = {}
                self._leave()
                publisher = None
        if publisher is None:
            publisher = self._publish(descriptions)
            if publisher is None:
                return
            self._base = None
            self._carried = self._joined(chosen, publisher)
            self._anchor(publisher)
            self._play()
        else:
            self._carried = self._joined(chosen, publisher)
        for unit in self._take_kept():
            carried = self._carried.get(unit.track)
            if carried is not None and not self.closed:
                self._carry(carried, unit)

    def _joined(self, chosen: Sequence[TsTrack], publisher: Publisher) -> dict[TsTrack, _Carried]:
        joined: dict[TsTrack, _Carried] = {}
        for ours, theirs in zip(chosen, publisher.tracks, strict=True):
            old = self._carried.get(ours)
            joined[ours] = old if old is not None and old.track is theirs else _Carried(theirs)
        return joined

    # -- units -------------------------------------------------------------------------------

    def _carry(self, carried: _Carried, unit: TsUnit) -> None:
        publisher = self._publisher
        if publisher is None:
            return
        if carried.last == NO_TIME:
            self._place(publisher, carried, unit)
        carried.last = unit.pts
        self._write(carried.track, unit, unit.arrived)

    def _anchor(self, publisher: Publisher) -> None:
        """Tell which timestamps are the same instant, by the first units."""
        if not self._kept:
            return
        base = min(_in_clock(unit.dts, unit.track.clock_rate) for unit in self._kept)
        self._begin_at(publisher, base)

    def _begin_at(self, publisher: Publisher, base: int) -> None:
        """The run begins at this instant of the program's clock."""
        self._base = base, publisher.since
        anchor(publisher, base, (each.track for each in self._carried.values()))

    def _place(self, publisher: Publisher, carried: _Carried, unit: TsUnit) -> None:
        """The first unit of a stream in this run."""
        time = _in_clock(unit.pts, carried.track.clock_rate)
        if self._base is None:
            self._begin_at(publisher, time)
        elif abs(time - self._base[0]) > LATE * CLOCK_HZ:
            for each in self._carried.values():
                if each.last != NO_TIME:
                    self._report(publisher, each.track, each.last)
            self._report(publisher, carried.track, unit.pts)

    def _report(self, publisher: Publisher, track: Track, timestamp: int) -> None:
        if self._base is None:
            return
        base, unix = self._base
        seconds = (_in_clock(timestamp, track.clock_rate) - base) / CLOCK_HZ
        publisher.sender_report(track, ntp_from_unix(unix + seconds), timestamp, self._now)


def _is_for_later(event: TsEvent) -> bool:
    """Of what was kept; in the order of the others that it holds."""
    return type(event) is TsUnit


def _differs(track: Track, description: TrackDescription) -> bool:
    """Whether a track cannot go on as what is described."""
    return (track.kind, track.codec, track.clock_rate) != (
        description.kind,
        description.codec,
        description.clock_rate,
    )


def _sounds_other(track: Track, description: TrackDescription) -> bool:
    """Whether another AAC stream takes a track's place, whose configuration nobody would tell."""
    old, new = track.parameters, description.parameters
    return (
        isinstance(old, AacParameters)
        and isinstance(new, AacParameters)
        and (old.config != new.config)
    )


def _in_clock(ticks: int, clock_rate: int) -> int:
    return rescale(ticks, clock_rate, CLOCK_HZ)
