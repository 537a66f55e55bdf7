"""The slate: what a stream shows while its source is away, encoded beforehand, played in the loop.

A `SlateLoop` holds the units of some seconds in the stream's own codecs. A `SlatePlayer` is a paced
publisher of it: asked often enough (`advance`), it publishes what is due, with the stream's tracks,
for as long as it takes. Nothing is started when a source is lost but this.

Time. All tracks count from one instant. The units of a track lie on an even grid that goes on
through all repetitions; which unit of the loop a place on the grid shows follows from the time
within the repetition, so sound and picture of a loop stay together however their lengths differ.
It begins where the source's last units ended, so that players find no hole, and keeps the source's
distance between DTS and PTS, so that there is none either when it returns.
A player that nobody reads sleeps; it wakes at a key frame, on the same grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from media.frame import NO_TIME
from media.stream import Stream
from media.track import Kind, Track, TrackDescription

LATE = 0.5  # seconds behind, from which on units are left out
FILL = 3.0  # seconds without a unit before the start that are filled
MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class SlateTrack:
    """The units of one track: a unit lasts `unit_num / unit_den` seconds."""

    place: int  # among the tracks of the stream that it was made for
    description: TrackDescription
    units: tuple[tuple[bytes, ...], ...]
    keys: tuple[int, ...]  # which of them a decoder can start with, ascending, 0 the first
    unit_num: int
    unit_den: int


@dataclass(frozen=True, slots=True)
class SlateLoop:
    """One repetition of a slate, made for a stream with tracks of `shape`."""

    shape: tuple[tuple[Kind, str, int], ...]  # kind, codec and clock rate of each
    tracks: tuple[SlateTrack, ...]  # the video first
    seconds: float

    @property
    def size_bytes(self) -> int:
        """Bytes of its units."""
        return sum(len(piece) for each in self.tracks for unit in each.units for piece in unit)

    def fits(self, stream: Stream) -> bool:
        """Whether it can go on where the stream's source stopped."""
        return bool(stream.tracks) and self.shape == shape_of(tuple(stream.inputs))


def shape_of(tracks: Sequence[Track | TrackDescription]) -> tuple[tuple[Kind, str, int], ...]:
    """What must be the same so that a run goes on with the tracks of the one before."""
    return tuple((track.kind, track.codec, track.clock_rate) for track in tracks)


class _Lane:
    """Where the player is in one track."""

    __slots__ = ("delay", "lead", "next", "ticks_den", "ticks_num", "track", "units")

    def __init__(self, units: SlateTrack, track: Track, lead: float) -> None:
        is_video = track.kind is Kind.VIDEO
        self.units = units
        self.track = track
        self.next = 0  # number of the next unit on the grid
        self.lead = round(lead * track.clock_rate) if is_video else 0  # ticks from DTS to PTS
        self.delay = 0.0 if is_video else lead  # seconds from its time to its turn
        self.ticks_num = units.unit_num * track.clock_rate
        self.ticks_den = units.unit_den

    @property
    def timestamp(self) -> int:
        """Of the next unit."""
        return self.next * self.ticks_num // self.ticks_den

    def due(self) -> float:
        """Seconds from the start to the next unit's turn."""
        return self.next * self.units.unit_num / self.units.unit_den + self.delay

    def choose(self, loop_us: int) -> int:
        """Index of the unit that is shown at the next place."""
        units = self.units
        if self.track.kind is Kind.VIDEO:
            return self.next % len(units.units)
        at_us = self.next * units.unit_num * MICROS // units.unit_den % loop_us
        index = (at_us * units.unit_den + units.unit_num * MICROS // 2) // (units.unit_num * MICROS)
        return index % len(units.units)

    def skip(self, seconds: float) -> None:
        """Go on with the last place to start at that is due at `seconds`, unless it was shown."""
        units = self.units
        place = int((seconds - self.delay) * units.unit_den / units.unit_num + 1e-6)
        if self.track.kind is Kind.VIDEO:
            rounds, index = divmod(place, len(units.units))
            place = rounds * len(units.units) + max(key for key in units.keys if key <= index)
        self.next = max(self.next, place)


class SlatePlayer:
    """Publishes a loop into a stream from now on, until its owner stops asking."""

    def __init__(self, stream: Stream, loop: SlateLoop, now: float, reason: str) -> None:
        """Take the stream over, whose source is lost for this reason; publish what comes first."""
        self.loop = loop
        first = loop.tracks[0]
        begin = stream.timeline.last_arrived + first.unit_num / first.unit_den
        self.started_at = max(now - FILL, min(now, begin))
        self.is_asleep = False
        self._is_started = False
        self._stream = stream
        self._loop_us = max(1, round(loop.seconds * MICROS))
        shown = set(stream.tracks)
        before = tuple(stream.inputs)
        wanted = {each.place: each.description for each in loop.tracks}
        descriptions = [
            wanted.get(place) or TrackDescription(track.kind, track.codec, track.clock_rate)
            for place, track in enumerate(before)
        ]
        tracks = stream.begin(descriptions, now, slate_for=reason)
        lead = stream.timeline.lead
        on_air = [each for each in loop.tracks if tracks[each.place] in shown]
        self._lanes = [_Lane(each, tracks[each.place], lead) for each in on_air]
        stream.timeline.anchor({lane.track: 0 for lane in self._lanes})
        if self._lanes:
            self._publish(self._lanes[0], self.started_at)
        for lane in self._lanes[1:]:
            self._join(lane)
        self.advance(now)

    def _join(self, lane: _Lane) -> None:
        """Begin where the source's own units of this track end, before or behind the picture's."""
        most = int(FILL * lane.units.unit_den / lane.units.unit_num)
        lane.next = -most
        timeline = self._stream.timeline
        while lane.next < most and timeline.is_behind(lane.track, lane.timestamp, self.started_at):
            lane.next += 1

    def advance(self, now: float) -> None:
        """Publish what is due; it sleeps while there is nobody to see it."""
        if self.is_asleep:
            return
        elapsed = now - self.started_at
        if self._is_started and any(elapsed - lane.due() > LATE for lane in self._lanes):
            self._skip(elapsed)
        self._is_started = True
        while self._lanes:
            lane = min(self._lanes, key=_Lane.due)
            due = lane.due()
            if due > elapsed:
                return
            self._publish(lane, self.started_at + due)

    def finish(self, now: float) -> None:
        """A source takes over: sound goes on to where its picture will begin."""
        video = next((each for each in self._lanes if each.track.kind is Kind.VIDEO), None)
        if self.is_asleep or video is None:
            return
        end = video.due()
        for lane in self._lanes:
            while lane is not video and lane.due() - lane.delay < end:
                self._publish(lane, now)

    def wake(self, now: float) -> None:
        """Somebody wants to see it: what belongs to the group of pictures of now comes at once."""
        if self.is_asleep:
            self.is_asleep = False
            self._skip(now - self.started_at)
            self.advance(now)

    def _skip(self, elapsed: float) -> None:
        """Leave out what is over; sound goes on where the picture does."""
        video = next((each for each in self._lanes if each.track.kind is Kind.VIDEO), None)
        if video is not None:
            video.skip(elapsed)
            elapsed = video.due()
        for lane in self._lanes:
            if lane is not video:
                lane.skip(elapsed)

    def _publish(self, lane: _Lane, arrived: float) -> None:
        stream = self._stream
        received = stream.received_bytes
        payload = lane.units.units[lane.choose(self._loop_us)]
        timestamp = lane.timestamp
        lane.next += 1
        dts = timestamp - lane.lead if lane.lead else NO_TIME
        stream.publish(lane.track, timestamp, payload, arrived, dts)
        stream.received_bytes = received  # nobody sent it
