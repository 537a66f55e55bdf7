"""What a timeline knows of one track: its offset, what it gave out, how long units travel."""

from media.dts import MAX_REORDER, DecodeClock
from media.frame import NO_TIME
from media.parameters import Parameters, VideoParameters
from media.track import Kind, Track

STEP_BACK = 0.8  # seconds that pictures may step back, or more if MAX_REORDER frames are longer
SOUND_STEP_BACK = 0.6  # the same of sound, which comes in order
HOLE = 1.0  # seconds without a picture, after which none that came before counts for its DTS
ADOPTION = 10.0  # seconds in which the other tracks adopt a correction


class TrackClock:
    """The state of one track; times in ticks of its clock unless a name says otherwise."""

    __slots__ = (
        "ahead",
        "anchor",
        "arrived",
        "decode",
        "dts",
        "end_ns",
        "epoch",
        "floor",
        "floor_next",
        "floor_until",
        "hole",
        "hz",
        "is_stale",
        "is_video",
        "leap",
        "offset",
        "placed",
        "reach",
        "report",
        "slew",
        "slew_rest",
        "top",
    )

    def __init__(self, track: Track) -> None:
        self.hz = track.clock_rate
        self.is_video = track.kind is Kind.VIDEO
        self.decode = DecodeClock()
        self.placed = False
        self.offset = 0
        self.top = 0  # greatest source timestamp since the last jump
        back = SOUND_STEP_BACK if track.kind is Kind.AUDIO else STEP_BACK
        self.reach = round(back * self.hz)  # ticks that a timestamp may lie below `top`
        self.ahead = 0  # greatest PTS - DTS
        self.dts = NO_TIME  # last DTS given out
        self.end_ns = 0  # stream time of the last unit of the runs before; 0 for none
        self.arrived = 0.0
        self.floor = 0.0  # windowed minimum of arrival minus media time, seconds
        self.floor_next = 0.0
        self.floor_until = 0.0
        self.hole = round(HOLE * self.hz)
        self.anchor: int | None = None  # source timestamp of the run's common instant
        self.report: tuple[int, int] | None = None  # (NTP, source timestamp)
        self.is_stale = False  # another track's report tells that this one is outdated
        self.slew = 0  # ticks that the offset must still move
        self.slew_rest = 0
        self.leap: tuple[float, float] | None = None  # arrival and seconds of such a departure
        self.epoch = 0  # number of the last correction of the run that this track has seen

    def configure(self, parameters: Parameters) -> None:
        """Take the reordering depth and the frame duration from new parameters."""
        if not isinstance(parameters, VideoParameters):
            return
        if parameters.frame_rate_num > 0:
            ticks = self.hz * parameters.frame_rate_den // parameters.frame_rate_num
        else:
            ticks = self.hz // 30
        self.hole = max(round(HOLE * self.hz), 4 * ticks)
        self.reach = max(round(STEP_BACK * self.hz), (MAX_REORDER + 1) * ticks)
        self.decode.configure(parameters.reorder_frames, ticks)

    def leapt(self, arrived: float) -> float:
        """Seconds of a departure so small that it was followed, but that may prove to be a jump."""
        if self.leap is None or arrived - self.leap[0] > ADOPTION:
            return 0.0
        return self.leap[1]

    def now(self, arrived: float) -> float:
        """Seconds of stream time that are decoded when what arrives now is."""
        return arrived - self.floor - self.ahead / self.hz
