"""What a segmenter remembers of a track."""

from media.frame import NO_TIME
from media.hls.lane import Lane
from media.hls.segment import TIME_HZ
from media.track import Kind, Track

LONG_PERCENT = 150  # of the frame before: a frame may be lost
SAME_BREAK = 5 * TIME_HZ  # in which the tracks of a source follow one after the other


class TrackState:
    """The last times and parameters; times in 90 kHz."""

    __slots__ = (
        "duration",
        "has_data",
        "is_between",
        "is_lead",
        "is_video",
        "lane",
        "last_dts",
        "latest",
        "owed_until",
        "parameters",
        "pause",
    )

    def __init__(self, track: Track, lead: Track | None, lane: Lane) -> None:
        self.is_video = track.kind is Kind.VIDEO
        self.is_lead = track is lead
        self.lane = lane
        self.parameters = track.parameters
        self.last_dts = NO_TIME  # since the last break
        self.latest = NO_TIME  # PTS since then
        self.is_between = False  # the frame at hand is shown before one that came before it
        self.duration = 0  # ticks of a frame, as last seen
        self.pause = 0  # the step before, if it was longer than frames last
        self.owed_until = NO_TIME  # until then a mark is of the break that has begun
        self.has_data = False

    def is_break(self, dts: int) -> bool:
        """Whether a mark at this time begins a break; else it is of one that another began."""
        owed, self.owed_until = self.owed_until, NO_TIME
        return self.last_dts != NO_TIME and dts >= owed

    def owes_mark(self, dts: int, first: "TrackState") -> None:
        """A break began at this time with a mark of the track `first`: that of this one comes."""
        self.owed_until = NO_TIME if first is self else dts + SAME_BREAK

    def timeline_broke(self) -> None:
        """Times begin anew."""
        self.last_dts = self.latest = NO_TIME

    def show(self, pts: int) -> None:
        """Note when a frame is shown."""
        self.is_between = pts < self.latest
        self.latest = max(self.latest, pts)

    def step(self, dts: int) -> None:
        """Note a frame's time."""
        passed = dts - self.last_dts if self.last_dts != NO_TIME else 0
        if passed > 0:
            # Once longer than before is a pause or a hole, no frame that lasts so long.
            is_long = 0 < self.duration * LONG_PERCENT < passed * 100
            if not is_long or 0 < passed * 100 <= self.pause * LONG_PERCENT:
                self.duration = passed
            self.pause = passed if is_long else 0
        self.last_dts = dts
