"""What a segmenter remembers of a track."""

from media.frame import NO_TIME
from media.hls.lane import Lane
from media.hls.segment import TIME_HZ
from media.track import Kind, Track

MUCH = 8  # times the frame before
SAME_BREAK = 5 * TIME_HZ  # in which the tracks of a source follow one after the other


class TrackState:
    """The last times and parameters; times in 90 kHz."""

    __slots__ = (
        "duration",
        "has_data",
        "is_lead",
        "is_video",
        "lane",
        "last_dts",
        "owed_until",
        "parameters",
        "was_long",
    )

    def __init__(self, track: Track, lead: Track | None, lane: Lane) -> None:
        self.is_video = track.kind is Kind.VIDEO
        self.is_lead = track is lead
        self.lane = lane
        self.parameters = track.parameters
        self.last_dts = NO_TIME  # since the last break
        self.duration = 0  # ticks of a frame, as last seen
        self.was_long = False  # the step before
        self.owed_until = NO_TIME  # until then a mark is of the break that has begun
        self.has_data = False

    def is_break(self, dts: int) -> bool:
        """Whether a mark at this time begins a break; else it is of one that another began."""
        owed, self.owed_until = self.owed_until, NO_TIME
        return self.last_dts != NO_TIME and dts >= owed

    def owes_mark(self, dts: int, first: "TrackState") -> None:
        """A break began at this time with a mark of the track `first`: that of this one comes."""
        self.owed_until = NO_TIME if first is self else dts + SAME_BREAK

    def step(self, dts: int) -> None:
        """Note a frame's time."""
        passed = dts - self.last_dts if self.last_dts != NO_TIME else 0
        if passed > 0:
            # Once much longer than before is a pause, no frame that lasts so long.
            is_long = 0 < self.duration * MUCH < passed
            if not is_long or self.was_long:
                self.duration = passed
            self.was_long = is_long
        self.last_dts = dts
