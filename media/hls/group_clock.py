"""One clock for all members of a group: their capture time.

Each stream counts media time from its own start; what they have in common is the NTP time of their
frames. A member's frames are moved by one offset so that equal NTP is equal time, on all of its
tracks alike. The offset follows the stream's NTP, which is slewed against the system clock, at each
key frame and so slowly that nothing shows it.
"""

from dataclasses import dataclass

from flux.base.units import NTP_SECOND, rescale
from media.frame import NO_TIME, Frame
from media.hls.segment import TIME_HZ
from media.track import Track

LEAD_IN = 10 * TIME_HZ  # so that nothing is before 0
FOLLOW_PER_MILLE = 1
IMPLAUSIBLE = 10 * TIME_HZ  # ticks between capture time and arrival
STEP = TIME_HZ // 2  # a departure that is followed at once: the clock was set


@dataclass(slots=True)
class GroupClock:
    """The capture time that is 0 on the group's clock."""

    epoch: int | None = None  # 64-bit NTP
    _arrived: float = 0.0  # monotonic seconds of the frame that made the clock

    def ticks(self, ntp: int, arrived: float) -> int:
        """90 kHz ticks of a capture time; the first one asked for makes the clock.

        One that has nothing to do with when its frame arrived is of a clock that is wrong.
        """
        if self.epoch is None:
            self.epoch = ntp - LEAD_IN * NTP_SECOND // TIME_HZ
            self._arrived = arrived
        by_arrival = LEAD_IN + round((arrived - self._arrived) * TIME_HZ)
        ticks = (ntp - self.epoch) * TIME_HZ // NTP_SECOND
        return ticks if abs(ticks - by_arrival) <= IMPLAUSIBLE else by_arrival

    def ntp(self, ticks: int, hz: int) -> int:
        """The capture time of an instant in ticks of any rate."""
        return (self.epoch or 0) + ticks * NTP_SECOND // hz


class Retimer:
    """Puts the frames of one member on the group's clock."""

    def __init__(self, clock: GroupClock) -> None:
        self._clock = clock
        self._shift: int | None = None  # 90 kHz
        self._looked_at = 0
        self._last: dict[Track, int] = {}

    def __call__(self, frame: Frame) -> Frame:
        """The frame at its place; the same parameters and payload."""
        track = frame.track
        hz = track.clock_rate
        time = rescale(frame.pts, hz, TIME_HZ)
        shift, is_broken = self._shift, frame.discontinuity
        if shift is None or frame.key or frame.discontinuity:
            wanted = self._clock.ticks(frame.ntp, frame.arrived) - time
            if shift is None or abs(wanted - shift) > STEP:
                is_broken = is_broken or shift is not None
                shift = wanted
                self._looked_at = time
            else:
                most = max(0, time - self._looked_at) * FOLLOW_PER_MILLE // 1000
                if most or frame.discontinuity:
                    shift += max(-most, min(most, wanted - shift))
                    self._looked_at = time
            self._shift = shift
        offset = rescale(shift, TIME_HZ, hz)
        pts, dts = frame.pts + offset, frame.dts + offset
        last = self._last.get(track, NO_TIME)
        if dts <= last and not is_broken:
            dts = last + 1
        self._last[track] = dts
        ntp = self._clock.ntp(pts, hz)
        return Frame(
            track, pts, dts, ntp, frame.arrived, frame.key, is_broken, frame.parameters,
            frame.payload,
        )  # fmt: skip
