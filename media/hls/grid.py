"""Common cuts of a group of streams: the same number is the same time in every variant.

Theory of operation. All members live on one clock (`media/hls/group_clock.py`), and time on it is
divided into spans of one length, at least as long as every member's GOP. A member's segment `n`
starts with its first key frame from the start of span `n` on, give or take what is below.

- Key frames of a member lie somewhere beside the grid: its *phase*. A window of one GOP around the
  phase decides which key frame is the span's, so jitter never moves a cut by a whole GOP. A phase
  follows slowly.
- The grid follows the first member that delivers (the *lead*) as slowly: cameras' clocks are never
  exact, and a grid that did not follow would drift over a GOP in some hours.
- Where two members' key frames are near to each other but not at the same time, a player that
  changes from one to the other finds a small hole: too short to be seen in the playlist, too long
  to be played over. So such a phase is moved by a whole GOP: segments then overlap by that much.
- A break (parameters changed, a source came back) in a member that is in step begins the next span
  now, in all members, and all of them mark it as a discontinuity. One that comes back after the
  others went on joins them, with a new window and no mark.

RFC 8216 section 6.2.4: matching content has matching timestamps and discontinuity numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from math import ceil

from flux.base.units import rescale
from media.frame import Frame
from media.hls.rhythm import EARLY, FIRST_SEQUENCE, Start
from media.hls.segment import TIME_HZ
from media.hls.target import SLACK, TargetDuration
from media.track import Kind

NEAR = TIME_HZ * 60 // 1000  # ticks: about a frame; a hole like this is played over
FAR = TIME_HZ * 30 // 100  # ticks: players see that a segment starts so much later
FOLLOW = 25  # a phase and the grid move by at most one part in so many of a span
MAX_KEPT_BREAKS = 256


class Grid:
    """Spans of time and their numbers; times are ticks of 90 kHz on the group's clock."""

    def __init__(
        self,
        span: int,
        target_seconds: int,
        first_number: int = FIRST_SEQUENCE,
        first_break: int = 0,
    ) -> None:
        self.span = span
        self.target_seconds = target_seconds
        # The newest span that some member has begun; one is left for those whose phase is moved.
        self.newest = first_number + 1
        self._start: int | None = None  # of the newest span
        self._breaks: list[int] = []  # numbers of spans behind a discontinuity
        self._first_break = first_break
        if first_number > FIRST_SEQUENCE:
            self._breaks.append(first_number)  # it goes on where an earlier run has ended
        self._phases: dict[GroupRhythm, int] = {}

    @property
    def phases(self) -> Mapping["GroupRhythm", int]:
        """Where the members' key frames lie beside the spans; forgotten at a break."""
        return self._phases

    def number_at(self, time: int) -> int:
        """The number of the span that holds an instant."""
        if self._start is None:
            return self.newest
        return self.newest + (time - self._start) // self.span

    def offset(self, time: int, number: int) -> int:
        """How far an instant lies behind the start of a span."""
        start = time if self._start is None else self._start
        return time - start - (number - self.newest) * self.span

    def begin(self, time: int, number: int) -> None:
        """A member begins this span at this instant."""
        if self._start is None:
            self._start = time
        elif number > self.newest:
            self._start += (number - self.newest) * self.span
            self.newest = number

    def shift(self, ticks: int) -> None:
        """Follow the lead."""
        if self._start is not None:
            limit = self.span // FOLLOW
            self._start += max(-limit, min(limit, ticks))

    def break_at(self, time: int, following: int) -> int:
        """A member begins anew at this instant; `following` is the number after its last one's.

        Answers the number that it has to go on with.
        """
        if following > self.newest:
            self.newest, self._start = following, time
            self._phases.clear()
        if self.newest not in self._breaks:
            self._breaks.append(self.newest)
        while len(self._breaks) > MAX_KEPT_BREAKS:
            del self._breaks[0]
            self._first_break += 1
        return self.newest

    def is_break(self, number: int) -> bool:
        """Whether there is a discontinuity before this span."""
        return number in self._breaks

    def breaks_before(self, number: int) -> int:
        """The discontinuity sequence number of a playlist that starts with this span."""
        return self._first_break + sum(each < number for each in self._breaks)

    # -- phases ------------------------------------------------------------------------------

    def place(self, member: "GroupRhythm", time: int, gop: int, *others: int) -> None:
        """Find the phase of a member's key frames, one of which is at `time`.

        `others`: how many GOPs off the nearest one it may be, to keep clear of other members.
        """
        self._phases.pop(member, None)
        phase = (self.offset(time, self.newest) + gop // 2) % gop - gop // 2
        tries = sorted((phase, *(phase + count * gop for count in others)), key=abs)
        self._phases[member] = next((each for each in tries if self._is_clear(each)), phase)

    def move(self, member: "GroupRhythm", ticks: int) -> None:
        """Follow a member's key frames, slowly."""
        limit = self.span // FOLLOW
        self._phases[member] += max(-limit, min(limit, ticks))

    def leave(self, member: "GroupRhythm") -> None:
        """A member is gone."""
        self._phases.pop(member, None)

    def _is_clear(self, phase: int) -> bool:
        return all(not NEAR < abs(phase - other) < FAR for other in self._phases.values())


class GroupRhythm:
    """The rhythm of one member; see `media/hls/rhythm.py`.

    `gop` is the member's GOP in ticks as measured before, 0 for sound alone.
    """

    def __init__(self, grid: Grid, gop: int, *, is_lead: Callable[[], bool]) -> None:
        self.grid = grid
        self.target = TargetDuration(0, 0, fixed=grid.target_seconds)
        self.number = -1  # of the segment that runs
        self._gop = gop
        self._is_lead = is_lead

    def rest(self) -> None:
        """The member is away, for a while."""
        self.grid.leave(self)

    def close(self) -> None:
        """The member is gone for good."""
        self.grid.leave(self)
        self._is_lead = _never

    def is_due(self, frame: Frame, elapsed: int) -> bool:
        """Whether another span has begun."""
        time, grid = _time(frame), self.grid
        if self not in grid.phases and self._gop:
            # One GOP later, if that does not make this segment too long.
            most = self.target.limit - (grid.span - grid.offset(time - elapsed, self.number))
            grid.place(self, time, self._gop, *([1] if self._gop + self._gop // 2 < most else []))
        return grid.number_at(time + self._early) > self.number

    def is_late(self, frame: Frame, end: int) -> bool:
        """A cut without a key frame comes no later than the longest segment that is in step.

        One whose key frames lie behind the start of the span is in step as long as it ends there.
        """
        limit = self.target.limit
        if end > limit:
            return True
        phase = max(0, self.grid.phases.get(self, 0))
        return self.number >= 0 and self.grid.offset(_time(frame), self.number) > limit + phase

    def begin(self, frame: Frame, following: int, *, is_break: bool) -> Start:
        """Number a segment; the grid and the member's phase follow each other."""
        time, grid = _time(frame), self.grid
        if 0 < self.target.gop <= grid.span:  # what is longer is a gap in the media
            self._gop = self.target.gop
        is_key = frame.key and frame.track.kind is Kind.VIDEO
        if is_break and following >= grid.newest:
            number = grid.break_at(time, following)
            if is_key:
                grid.place(self, time, self._gop)
        else:
            if is_key and (is_break or self not in grid.phases):
                # It joins, or was left behind and joins again: no other needs a mark for that.
                grid.place(self, time, self._gop, -1, 1)
                self.number = -1
            number = max(following, grid.number_at(time + self._early))
            grid.begin(time, number)
            if is_key and self.number >= 0:
                self._follow(grid.offset(time, number) - grid.phases[self])
        self.number = number
        return Start(number, grid.is_break(number))

    def breaks_before(self, number: int) -> int:
        """As the grid counts them."""
        return self.grid.breaks_before(number)

    def is_break(self, number: int) -> bool:
        """Also if another member's break came while this one's segment ran."""
        return self.grid.is_break(number)

    @property
    def _early(self) -> int:
        """Ticks that a key frame may come before the start of its span."""
        return self._gop // 2 - self.grid.phases.get(self, 0)

    def _follow(self, ticks: int) -> None:
        if abs(ticks) > self._gop // 2:
            return  # no rhythm
        if self._is_lead():
            self.grid.shift(ticks)
        else:
            self.grid.move(self, ticks)


def _never() -> bool:
    return False


def plan(gops: Sequence[int], segment_duration: float, max_gop: float) -> tuple[int, int]:
    """Ticks of a span and seconds of the target duration for members with these GOPs (in ticks).

    A span is a whole number of the longest GOP. Where another one does not fit into it a whole
    number of times, its segments are sometimes longer by a GOP.
    """
    wanted = max(1, round(segment_duration * TIME_HZ) - EARLY)
    longest = min(max(gops, default=0), round(max_gop * TIME_HZ))
    span = (
        longest * max(1, ceil(wanted / longest)) if longest else round(segment_duration * TIME_HZ)
    )
    most = max((span + _excess(span, min(gop, longest)) for gop in gops), default=span)
    return span, ceil((most - EARLY) / TIME_HZ) + SLACK


def _excess(span: int, gop: int) -> int:
    rest = span % gop if gop else 0
    return gop if min(rest, gop - rest) * 20 > gop else 0


def _time(frame: Frame) -> int:
    return rescale(frame.pts, frame.track.clock_rate, TIME_HZ)
