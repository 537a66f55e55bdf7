"""One stream's media time: jumps, drift and missing DTS are repaired here, once, for every output.

Theory of operation. Each track has an offset that turns the source's timestamp into stream time;
stream time is the same instant on all tracks when pts / clock_rate is the same. Offsets are set

- when a run of a source begins, by what the source says is one instant (RTP-Info), else by sender
  reports that were already there, else by arrival;
- when the source's clock jumps: media time runs ahead of arrival time by more than JUMP against its
  windowed minimum, or steps back by more than any reordering does. A stall of the network with a
  catch-up afterwards moves arrival, not media time, and is none. The tracks of a source jump
  together: the first to jump sets the correction, the others adopt it when they are seen to have
  jumped too;
- softly, when sender reports show that two tracks are apart: by at most SLEW of media time.

A returning source is placed at the last DTS plus the wall time that has passed, all tracks by one
offset. What joins, as a slate does, goes on where its first track ended, and leaves out of the
others what would lie behind them (`is_behind`). Nothing here ever goes backwards: DTS grow strictly
within a track.

NTP is the stream's wall anchor plus media time; the anchor follows the system clock by at most
ANCHOR_SLEW. The source's own wall clock only aligns tracks, unless it is trusted by configuration.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from flux.base.units import NTP_SECOND, ntp_from_unix, rescale
from media.frame import NO_TIME
from media.parameters import AudioParameters, Parameters
from media.track import Track
from media.track_clock import ADOPTION, TrackClock

JUMP = 3.0  # seconds that media time may run ahead of arrival time
SMALL_JUMP = 0.5  # seconds, from which on a track follows another one's jump
MAX_CORRECTIONS = 16  # that can be adopted; a clock that jumps more often makes its own
SLEW_PER_MILLE = 5  # ticks per 1000 ticks of media time: 5 ms a second
REPORT_STEP = 0.5  # seconds that a source's wall clock may be off what media time says
SLEW_DEAD_BAND = 0.001  # seconds: sender reports are not better than this
IMPLAUSIBLE_OFFSET = 10.0  # seconds between tracks; more is a broken clock, not an offset
ANCHOR_SLEW = 0.0005  # seconds a second
TRANSIT_WINDOW = 10.0  # seconds of the windowed minimum
ANCHOR_TOLERANCE = 10.0  # an RTP-Info farther than this from the first frame is rubbish
JOINABLE = 1.0  # seconds that other tracks may be ahead of the one that a joining run goes on with
NANOS = 1_000_000_000


@dataclass(slots=True)
class Jump:
    """The source's clock stepped; `seconds` is by how much against arrival."""

    seconds: float


class Timeline:
    """Gives every frame of one stream its place. Pure: times come in as arguments."""

    def __init__(self, *, trust_source_clock: bool = False) -> None:
        self._clocks: dict[Track, TrackClock] = {}
        self._trust = trust_source_clock
        self._start_ns = 0  # stream time of this run's common instant
        self._start_arrived: float | None = None
        # Number, arrival, nanoseconds: each for all tracks of the run, for a while.
        self._corrections: deque[tuple[int, float, int]] = deque(maxlen=MAX_CORRECTIONS)
        self._epoch = 0  # how many corrections there were in this run
        self._end_ns = self._decoded_ns = 0  # greatest PTS of the runs before, and DTS of pictures
        self._lead_ns = 0  # by which the last picture of the run before was shown after its DTS
        self._joins = False  # whether this run goes on where its first track ended
        self._last_ns: int | None = None  # greatest DTS given out, as stream time
        self._last_arrived = 0.0
        self._anchor_ntp: int | None = None  # NTP of stream time 0
        self._anchor_at = 0.0
        self.wall_offset = 0.0  # Unix time minus monotonic time
        self.jump: Jump | None = None  # set by place() when that frame broke the timeline
        self.implausible_reports = 0

    def set_wall_offset(self, wall_offset: float) -> None:
        """Unix time minus monotonic time, read again from time to time by the owner."""
        self.wall_offset = wall_offset

    def begin(self, tracks: tuple[Track, ...], now: float, *, joins: bool = False) -> None:
        """A run of a source starts. The tracks of a returning source may be the old ones.

        One that `joins` begins with a unit of the track that is to go on without a hole, and asks
        for all others which units `is_behind` tells to leave out.
        """
        old = self._clocks
        self._joins = joins
        self._lead_ns = 0
        for clock in old.values():
            if clock.placed:
                self._note_end(clock)
        self._clocks = {}
        for track in tracks:
            clock = old.get(track) or TrackClock(track)
            clock.placed = False
            clock.anchor = clock.report = None
            clock.slew = clock.slew_rest = 0
            clock.leap = None
            clock.epoch = 0
            clock.decode.reset()
            self._clocks[track] = clock
            if track.parameters is not None:
                self.configure(track, track.parameters)
        self._corrections.clear()
        self._epoch = 0
        self._start_arrived = None

    def configure(self, track: Track, parameters: Parameters) -> None:
        """Take the reordering depth and the frame duration from a track's new parameters."""
        self._clocks[track].configure(parameters)

    def anchor(self, timestamps: Mapping[Track, int]) -> None:
        """These source timestamps are one instant (RTP-Info); used by tracks not yet placed."""
        for track, timestamp in timestamps.items():
            clock = self._clocks.get(track)
            if clock is not None and not clock.placed:
                clock.anchor = timestamp

    def place(self, track: Track, timestamp: int, dts: int, arrived: float) -> tuple[int, int, int]:
        """(pts, dts, ntp) of a frame with the source's `timestamp`; see `jump` afterwards.

        `dts` is the source's own decode time on the same clock, or NO_TIME.
        """
        clock = self._clocks[track]
        self.jump = None
        if not clock.placed:
            self._place_first(clock, timestamp, arrived)
        else:
            transit = arrived - (timestamp + clock.offset) / clock.hz
            departure = transit - clock.floor
            if (
                departure < -JUMP
                or timestamp < clock.top - clock.reach
                or (self._corrections and self._is_explained(clock, arrived, departure))
            ):
                self._follow_jump(clock, timestamp, arrived, departure)
            elif transit < clock.floor:
                if departure < -SMALL_JUMP:
                    clock.leap = (arrived, departure)
                clock.floor = clock.floor_next = transit
                clock.floor_until = arrived + TRANSIT_WINDOW
            else:
                if transit < clock.floor_next:
                    clock.floor_next = transit
                if arrived >= clock.floor_until:
                    clock.floor = clock.floor_next
                    clock.floor_next = transit
                    clock.floor_until = arrived + TRANSIT_WINDOW
            if timestamp > clock.top:
                if timestamp - clock.top > clock.hole:
                    # Else DTS would still be of the time before.
                    clock.decode.reset(max(0, clock.ahead - clock.decode.delay))
                if clock.slew:
                    self._slew(clock, timestamp - clock.top)
                clock.top = timestamp
        pts = timestamp + clock.offset
        if dts != NO_TIME:
            dts += clock.offset
            if dts <= clock.dts:
                dts = clock.dts + 1
            if clock.is_video and pts - dts > clock.ahead:
                clock.ahead = pts - dts
        elif clock.is_video:
            dts = clock.decode.next(pts)
            if dts > pts and not clock.decode.reorder_frames:
                pts = dts  # equal times: the second picture is shown a tick later
            if pts - dts > clock.ahead:
                clock.ahead = pts - dts
        else:
            if pts <= clock.dts:
                pts = clock.dts + 1
            dts = pts
        clock.dts = dts
        clock.arrived = arrived
        self._last_ns = max(self._last_ns or 0, dts * NANOS // clock.hz)
        self._last_arrived = arrived
        return pts, dts, self._ntp(clock, pts, arrived)

    def sender_report(self, track: Track, ntp: int, timestamp: int) -> None:
        """The source's wall clock at one of its timestamps: aligns this track with the first."""
        clock = self._clocks.get(track)
        if clock is None:
            return
        if clock.report is not None:
            passed = (ntp - clock.report[0]) / NTP_SECOND
            if abs(passed - (timestamp - clock.report[1]) / clock.hz) > REPORT_STEP:
                for other in self._clocks.values():
                    other.is_stale, other.slew = True, 0  # its wall clock was set: all begins anew
        clock.report, clock.is_stale = (ntp, timestamp), False
        lead = self._lead()
        if lead is None:
            return
        targets = [c for c in self._clocks.values() if c is not lead] if clock is lead else [clock]
        for target in targets:
            self._align(lead, target)

    @property
    def last_arrived(self) -> float:
        """When the last unit came that was given out, in monotonic seconds."""
        return self._last_arrived

    @property
    def lead(self) -> float:
        """Seconds by which the last pictures of the run before were shown after their DTS."""
        return self._lead_ns / NANOS

    def is_behind(self, track: Track, timestamp: int, arrived: float) -> bool:
        """Whether a track's first unit of this run belongs before what the last run gave out."""
        clock = self._clocks[track]
        if clock.placed or clock.dts == NO_TIME or self._start_arrived is None:
            return False
        known = track.parameters
        length = known.frame_samples if isinstance(known, AudioParameters) else 0
        end = clock.dts + max(1, length)
        return timestamp + self._first_offset(clock, timestamp, arrived) < end

    # -- the start of a run ------------------------------------------------------------------

    def _note_end(self, clock: TrackClock) -> None:
        """A track's run is over: the next one is shown behind it, and decoded behind it."""
        decoded_ns = clock.dts * NANOS // clock.hz
        shown_ns = max((clock.top + clock.offset) * NANOS // clock.hz, decoded_ns)
        self._end_ns = max(self._end_ns, shown_ns)
        clock.end_ns = shown_ns
        if clock.is_video:
            self._decoded_ns = max(self._decoded_ns, decoded_ns)
            self._lead_ns = max(self._lead_ns, shown_ns - decoded_ns)

    def _place_first(self, clock: TrackClock, timestamp: int, arrived: float) -> None:
        """Set the offset of a track whose first frame of the run this is."""
        if self._start_arrived is None:
            start = self._start_arrived = arrived
            if self._last_ns is None:
                self._start_ns = 0
            else:
                passed = max(0.0, start - self._last_arrived)
                lead_in = max(c.decode.delay * NANOS // c.hz for c in self._clocks.values())
                is_near = self._joins and self._end_ns - clock.end_ns < JOINABLE * NANOS
                end_ns = clock.end_ns if is_near else self._end_ns
                self._start_ns = max(end_ns, self._decoded_ns + lead_in)
                self._start_ns += int(passed * NANOS) + NANOS // clock.hz + 1
            self._rebase_anchors(clock, timestamp)
        clock.offset = self._first_offset(clock, timestamp, arrived)
        clock.epoch = self._epoch
        clock.placed = True
        clock.top = timestamp
        clock.ahead = clock.decode.delay
        clock.decode.reset()
        self._restart_floor(clock, timestamp, arrived)

    def _rebase_anchors(self, clock: TrackClock, timestamp: int) -> None:
        """Make the common instant that of the first frame, so that a run begins where it is put."""
        if clock.anchor is None:
            return
        ahead = (timestamp - clock.anchor) / clock.hz
        if abs(ahead) > ANCHOR_TOLERANCE:
            for other in self._clocks.values():
                other.anchor = None
            return
        if self._last_ns is not None:
            self._start_ns -= int(ahead * NANOS)

    def _first_offset(self, clock: TrackClock, timestamp: int, arrived: float) -> int:
        """Offset of a track by RTP-Info, by sender reports, or by arrival: the first that holds."""
        if clock.anchor is not None:
            near = abs(timestamp - clock.anchor) <= ANCHOR_TOLERANCE * clock.hz
            if near and not self._epoch:  # after a jump it may be about another clock
                return rescale(self._start_ns, NANOS, clock.hz) - clock.anchor
            clock.anchor = None
        lead = self._lead()
        if lead is None:
            return rescale(self._start_ns, NANOS, clock.hz) - timestamp
        by_arrival = round(lead.now(arrived) * clock.hz) - timestamp
        if clock.is_video:
            by_arrival += clock.decode.delay
        if lead.report is None or clock.report is None:
            return by_arrival
        apart = (clock.report[0] - lead.report[0]) / NTP_SECOND
        instant = (lead.report[1] + lead.offset) / lead.hz + apart
        by_report = round(instant * clock.hz) - clock.report[1]
        if abs(by_report - by_arrival) > IMPLAUSIBLE_OFFSET * clock.hz:
            self.implausible_reports += 1
            return by_arrival
        return by_report

    def _lead(self) -> TrackClock | None:
        """The track that the others are aligned with: the first one that has begun."""
        return next((clock for clock in self._clocks.values() if clock.placed), None)

    def _restart_floor(self, clock: TrackClock, timestamp: int, arrived: float) -> None:
        clock.floor = clock.floor_next = arrived - (timestamp + clock.offset) / clock.hz
        clock.floor_until = arrived + TRANSIT_WINDOW

    # -- jumps and slewing -------------------------------------------------------------------

    def _follow_jump(
        self, clock: TrackClock, timestamp: int, arrived: float, departure: float
    ) -> None:
        """Go on without the jump: adopt a correction another track has begun, or make one."""
        self.jump = Jump(-departure)
        departure += clock.leapt(arrived)
        clock.leap = None
        clock.decode.reset()
        clock.report = None
        clock.slew = clock.slew_rest = 0
        clock.top = timestamp
        self._expire(arrived)
        best, epoch, nearest = 0, 0, JUMP
        pending = 0
        for number, _, nanos in self._corrections:
            if number > clock.epoch:
                pending += nanos
                rest = abs(departure - pending / NANOS)
                if rest <= nearest:
                    best, epoch, nearest = pending, number, rest
        if epoch:
            clock.offset += rescale(best, NANOS, clock.hz)
            clock.epoch = epoch
            self._restart_floor(clock, timestamp, arrived)
            return
        passed = max(0.0, arrived - clock.arrived)
        target = clock.dts + max(1, int(passed * clock.hz))
        if clock.is_video:
            target += clock.decode.delay
        # If it jumped otherwise than the one that began, its correction is now the rule.
        correction = rescale(target - (timestamp + clock.offset), clock.hz, NANOS) - pending
        self._epoch += 1
        self._corrections.append((self._epoch, arrived, correction))
        clock.epoch = self._epoch
        clock.offset = target - timestamp
        self._restart_floor(clock, timestamp, arrived)

    def _expire(self, arrived: float) -> None:
        """What the other tracks have not adopted for so long was not about them."""
        corrections = self._corrections
        while corrections and arrived - corrections[0][1] > ADOPTION:
            corrections.popleft()

    def _is_explained(self, clock: TrackClock, arrived: float, departure: float) -> bool:
        """Whether a correction that another track began fits a jump too small to be seen alone."""
        self._expire(arrived)
        departure += clock.leapt(arrived)
        pending = 0
        for number, _, nanos in self._corrections:
            if number > clock.epoch:
                pending += nanos
                if abs(departure - pending / NANOS) * 2 < abs(departure) > SMALL_JUMP:
                    return True
        return False

    def _has_pending(self, clock: TrackClock) -> bool:
        """Whether there is a correction that this track may yet have to adopt."""
        return bool(self._corrections) and clock.epoch < self._corrections[-1][0]

    def _align(self, lead: TrackClock, clock: TrackClock) -> None:
        """Plan the slewing of `clock` so that it agrees with `lead` by their sender reports."""
        if lead.report is None or clock.report is None or not (lead.placed and clock.placed):
            return
        if lead.is_stale or clock.is_stale:
            return
        self._expire(self._last_arrived)
        if self._has_pending(lead) or self._has_pending(clock):
            return
        apart = (clock.report[0] - lead.report[0]) / NTP_SECOND
        lead_time = (lead.report[1] + lead.offset) / lead.hz
        error = lead_time + apart - (clock.report[1] + clock.offset) / clock.hz
        if abs(error) > IMPLAUSIBLE_OFFSET:
            self.implausible_reports += 1
            return
        clock.slew = round(error * clock.hz) if abs(error) > SLEW_DEAD_BAND else 0

    def _slew(self, clock: TrackClock, elapsed: int) -> None:
        """Move the offset by what `elapsed` ticks of media time allow."""
        if elapsed <= 0:
            return
        budget = elapsed * SLEW_PER_MILLE + clock.slew_rest
        allowed, clock.slew_rest = divmod(budget, 1000)
        step = max(-allowed, min(allowed, clock.slew))
        clock.slew -= step
        clock.offset += step

    # -- capture time ------------------------------------------------------------------------

    def _ntp(self, clock: TrackClock, pts: int, arrived: float) -> int:
        """64-bit NTP of the instant `pts`."""
        if self._trust and clock.report is not None:
            ntp, timestamp = clock.report
            return ntp + (pts - clock.offset - timestamp) * NTP_SECOND // clock.hz
        media = pts * NTP_SECOND // clock.hz
        if self._anchor_ntp is None:
            self._anchor_ntp = ntp_from_unix(arrived + self.wall_offset) - media
            self._anchor_at = arrived
        elif arrived - self._anchor_at >= 1.0:
            # Nothing arrives before it was captured: the fastest track tells the most.
            floor = min(
                each.floor
                for each in self._clocks.values()
                if each.placed and arrived - each.arrived < TRANSIT_WINDOW
            )
            wanted = ntp_from_unix(floor + self.wall_offset)
            allowed = int((arrived - self._anchor_at) * ANCHOR_SLEW * NTP_SECOND)
            error = wanted - self._anchor_ntp
            self._anchor_ntp += max(-allowed, min(allowed, error))
            self._anchor_at = arrived
        return self._anchor_ntp + media
