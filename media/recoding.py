"""Sound in another codec, for outputs that cannot carry the source's own.

A `Recoding` is a track that no source publishes: it is made of a sound track of the stream, in the
same times. It is announced with the others from the start, for its parameters are known, but made
only while an output uses it: who makes it (a worker, see `flux/bridges/recoder.py`) sets `sink` and
gives the frames back to the stream. An output that can carry the source's own track takes that one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from media.codecs.aac import AacParameters, make_config
from media.codecs.opus import CLOCK_RATE, OpusParameters
from media.codecs.tracker import tracker_for
from media.frame import NO_TIME, Frame
from media.parameters import AudioParameters
from media.track import AAC, AC3, EAC3, G722, L16, MP3, OPUS, PCMA, PCMU, Kind, Track
from media.track_input import TrackInput

AudioPolicy = Literal["keep", "aac", "opus", "drop"]

SOURCES = frozenset({AAC, OPUS, PCMA, PCMU, G722, L16, MP3, AC3, EAC3})
AAC_RATES = (16000, 22050, 24000, 32000, 44100, 48000)  # what every player takes
STEREO = 2  # more channels are mixed down


@dataclass(slots=True, eq=False)
class Recoding:
    """One track that is made of another one."""

    state: TrackInput
    source: Track
    users: set[str] = field(default_factory=set)  # names of outputs
    last_pts: int = NO_TIME
    sink: Callable[[Frame], None] | None = None  # takes the source's frames while it is made
    on_end: Callable[[str], None] | None = None  # it is made no more, for this reason

    @property
    def track(self) -> Track:
        """The track that is made."""
        return self.state.track

    def end(self, reason: str) -> None:
        """Let go of who makes it."""
        on_end, self.on_end, self.sink = self.on_end, None, None
        if on_end is not None:
            on_end(reason)


class Recodings:
    """What is made of the sound of one stream."""

    def __init__(self, policy: AudioPolicy) -> None:
        self.policy = policy
        self._made: dict[Track, Recoding] = {}  # by source

    def __iter__(self) -> Iterator[Recoding]:
        return iter(tuple(self._made.values()))

    def extend(self, tracks: Sequence[Track], first_id: int) -> tuple[Track, ...]:
        """What outputs see of these tracks: behind them those that can be made of their sound.

        Tracks that went are forgotten, and so are their recodings. `first_id` is that of the first
        track which is made.
        """
        if self.policy == "keep":
            return tuple(tracks)
        for source in [source for source in self._made if source not in tracks]:
            self._made.pop(source).end("tracks-changed")
        for source in tracks:
            if source not in self._made:
                track = recoded(source, self.policy, first_id + len(self._made))
                if track is not None:
                    self._made[source] = Recoding(TrackInput(track, tracker_for(track)), source)
        return (*tracks, *(each.track for each in self._made.values()))

    def of(self, track: Track) -> Recoding | None:
        """The recoding that makes this track."""
        source = track.recoded_from
        return self._made.get(source) if source is not None else None

    def feed(self, frame: Frame) -> None:
        """A frame of the stream, for whoever makes something of it."""
        recoding = self._made.get(frame.track)
        if recoding is not None and recoding.sink is not None:
            recoding.sink(frame)

    def clear(self, reason: str) -> None:
        """The stream's run is over."""
        made, self._made = self._made, {}
        for recoding in made.values():
            recoding.end(reason)


def recoded(source: Track, policy: AudioPolicy, track_id: int) -> Track | None:
    """The track that can be made of this one; None if there is none, or no need."""
    parameters = source.parameters
    if source.codec not in SOURCES or not isinstance(parameters, AudioParameters):
        return None
    channels = min(parameters.channels or 1, STEREO)
    if policy == OPUS and source.codec != OPUS:
        opus = OpusParameters(sample_rate=CLOCK_RATE, channels=channels)
        return Track(track_id, Kind.AUDIO, OPUS, CLOCK_RATE, opus, source.language, source)
    if policy == AAC and source.codec != AAC:
        rate = next((rate for rate in AAC_RATES if rate >= parameters.sample_rate), AAC_RATES[-1])
        aac = AacParameters.build(make_config(rate, channels), rate)
        return Track(track_id, Kind.AUDIO, AAC, rate, aac, source.language, source)
    return None


def choose(
    tracks: Sequence[Track],
    carries: Callable[[Track], bool],
    is_welcome: Callable[[Track], bool] = lambda _: True,
) -> tuple[Track, ...]:
    """What an output carries of these tracks: each one, else what is made of it, else nothing.

    A track that is carried but not welcome, since few players take it so, is the last choice.
    """
    chosen: list[Track] = []
    for track in tracks:
        if track.recoded_from is not None:
            continue
        ways = (track, *(each for each in tracks if each.recoded_from is track))
        carried = sorted(filter(carries, ways), key=lambda way: not is_welcome(way))
        chosen += carried[:1]
    return tuple(chosen)
