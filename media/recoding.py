"""Sound in another codec, for outputs that cannot carry the source's own.

A `Recoding` is a track that no source publishes: it is made of a sound track of the stream, in the
same times. It is announced with the others from the start, for its parameters are known, but made
only while an output uses it: who makes it (a worker, see `flux/bridges/recoder.py`) sets `sink` and
gives the frames back to the stream. An output that can carry the source's own track takes that one,
unless it was asked to have another codec. All outputs that take a track share what is made.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from media.codecs.aac import AacParameters, make_config
from media.codecs.opus import CLOCK_RATE, OpusParameters
from media.codecs.tracker import tracker_for
from media.frame import NO_TIME, Frame
from media.parameters import AudioParameters
from media.track import AAC, AC3, EAC3, G722, G726, L16, MP3, OPUS, PCMA, PCMU, Kind, Track
from media.track_input import TrackInput

AudioPolicy = Literal["keep", "aac", "opus", "drop"]
ByOutput = Mapping[str, AudioPolicy]  # what single outputs are asked to have; by `family_of`
NOBODY_ASKS: ByOutput = MappingProxyType({})

SOURCES = frozenset({AAC, OPUS, PCMA, PCMU, G722, G726, L16, MP3, AC3, EAC3})
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

    def __init__(self, policy: AudioPolicy, by_output: ByOutput = NOBODY_ASKS) -> None:
        """`policy` is for all outputs that are not in `by_output`."""
        self._policy = policy
        self._by_output = by_output
        self._codecs = tuple(dict.fromkeys((policy, *by_output.values())))
        self._made: dict[Track, dict[str, Recoding]] = {}  # by source, by codec
        self.is_mute = self._codecs == ("drop",)  # no output has any sound

    def __iter__(self) -> Iterator[Recoding]:
        return iter([each for made in self._made.values() for each in made.values()])

    def extend(self, tracks: Sequence[Track], first_id: int) -> tuple[Track, ...]:
        """What outputs see of these tracks: behind them those that can be made of their sound.

        Tracks that went are forgotten, and so are their recodings. `first_id` is that of the first
        track which is made.
        """
        for source in [source for source in self._made if source not in tracks]:
            for gone in self._made.pop(source).values():
                gone.end("tracks-changed")
        for source in tracks:
            if source in self._made:
                continue
            made: dict[str, Recoding] = {}
            for policy in self._codecs:
                track_id = first_id + sum(map(len, self._made.values())) + len(made)
                track = recoded(source, policy, track_id)
                if track is not None:
                    made[track.codec] = Recoding(TrackInput(track, tracker_for(track)), source)
            if made:
                self._made[source] = made
        return (*tracks, *(each.track for each in self))

    def of(self, track: Track) -> Recoding | None:
        """The recoding that makes this track."""
        source = track.recoded_from
        return self._made.get(source, {}).get(track.codec) if source is not None else None

    def feed(self, frame: Frame) -> None:
        """A frame of the stream, for whoever makes something of it."""
        for recoding in self._made.get(frame.track, {}).values():
            if recoding.sink is not None:
                recoding.sink(frame)

    def clear(self, reason: str) -> None:
        """The stream's run is over."""
        made = tuple(self)
        self._made = {}
        for recoding in made:
            recoding.end(reason)

    # -- what an output takes ----------------------------------------------------------------

    def choose(
        self,
        output: str,
        tracks: Sequence[Track],
        carries: Callable[[Track], bool],
        is_welcome: Callable[[Track], bool] = lambda _: True,
    ) -> tuple[Track, ...]:
        """What an output carries of these tracks; of one source track the first that it can.

        A track that is carried but not welcome, since few players take it so, is the last choice.
        """
        chosen: list[Track] = []
        for ways in self._ways(output, tracks):
            carried = sorted(filter(carries, ways), key=lambda way: not is_welcome(way))
            chosen += carried[:1]
        return tuple(chosen)

    def offer(self, output: str, tracks: Sequence[Track]) -> tuple[Track, ...]:
        """What an output that has a choice of formats should be able to carry."""
        is_asked = family_of(output) in self._by_output
        ways = self._ways(output, tracks)
        return tuple(way for each in ways for way in (each[:1] if is_asked else each))

    def left_out(
        self, output: str, tracks: Sequence[Track], chosen: Sequence[Track]
    ) -> tuple[Track, ...]:
        """The source's tracks that the output should carry and does not."""
        carried = {track.recoded_from or track for track in chosen}
        return tuple(track for track in self._wanted(output, tracks) if track not in carried)

    def _wanted(self, output: str, tracks: Sequence[Track]) -> Iterator[Track]:
        has_sound = self._policy_of(output) != "drop"
        for track in tracks:
            if track.recoded_from is None and (has_sound or track.kind is not Kind.AUDIO):
                yield track

    def _policy_of(self, output: str) -> AudioPolicy:
        return self._by_output.get(family_of(output), self._policy)

    def _ways(self, output: str, tracks: Sequence[Track]) -> Iterator[tuple[Track, ...]]:
        """For each track of the source: itself and what is made of it, what is wanted first."""
        policy = self._policy_of(output)
        is_asked = family_of(output) in self._by_output
        for track in self._wanted(output, tracks):
            made = [t for t in tracks if t.recoded_from is track and t.codec == policy]
            is_last = is_asked and track.codec != policy
            yield (*made, track) if is_last else (track, *made)


def family_of(output: str) -> str:
    """The outputs that are asked for together: `flv` of `flv` and `flv-enhanced`."""
    return output.partition("-")[0]


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
