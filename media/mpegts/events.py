"""What a demuxer tells."""

from dataclasses import dataclass, field

from media.mpegts.tables import Entry
from media.parameters import Parameters
from media.track import Kind, TrackDescription


@dataclass(slots=True, eq=False)
class TsTrack:
    """One elementary stream. The demuxer alone changes it, and says so by an event."""

    entry: Entry  # PID, stream_type and descriptors of the PMT
    kind: Kind = Kind.DATA
    codec: str = ""  # empty: only its first payload will tell
    clock_rate: int = 0  # Hz; 0: not known yet
    parameters: Parameters | None = field(default=None)

    @property
    def pid(self) -> int:
        """The PID of its packets."""
        return self.entry.pid

    @property
    def description(self) -> TrackDescription | None:
        """What a router wants to know; None as long as the stream has not shown it."""
        if not self.clock_rate:
            return None
        return TrackDescription(
            self.kind, self.codec, self.clock_rate, self.parameters, self.entry.language
        )


@dataclass(frozen=True, slots=True)
class TracksChanged:
    """The chosen program lists these streams now; tracks that stay are the same objects."""

    program: int  # 0: there is none any more
    tracks: tuple[TsTrack, ...]


@dataclass(frozen=True, slots=True)
class TrackDescribed:
    """A track's description is known, or another one from its next unit on."""

    track: TsTrack


@dataclass(slots=True)
class TsUnit:
    """One access unit of video, one packet of audio or data; times unwrapped, in track ticks."""

    track: TsTrack
    pts: int
    dts: int
    payload: tuple[bytes, ...]  # as in `Frame.payload`
    arrived: float  # monotonic seconds when its first byte came in


@dataclass(slots=True)
class TsHead:
    """A PES packet that was skimmed (`skim.py`); negative ones: it comes again, as units."""

    track: TsTrack
    units: int  # that it holds
    size_bytes: int  # of its payload
    pts: int  # in 90 kHz, unwrapped; NO_TIME where it has none
    is_start: bool  # a decoder can start there
    place: int  # of its first packet in the log; 0: before it


TsEvent = TracksChanged | TrackDescribed | TsUnit | TsHead
