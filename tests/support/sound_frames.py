"""Sound of `sounds` as frames of a track, for muxers and outputs."""

from collections.abc import Callable

from media.codecs.ac3 import parse_header as parse_ac3
from media.codecs.eac3 import access_units
from media.codecs.mp3 import parse_header as parse_mp3
from media.codecs.tracker import tracker_for
from media.frame import Frame
from media.track import AC3, EAC3, MP3, Kind, Track
from tests.support.sounds import sound


def _sized(size_of: Callable[[bytes, int], int]) -> Callable[[bytes], list[bytes]]:
    def split(data: bytes) -> list[bytes]:
        frames: list[bytes] = []
        at = 0
        while at < len(data):
            size = size_of(data, at)
            frames.append(data[at : at + size])
            at += size
        return frames

    return split


def _split_eac3(data: bytes) -> list[bytes]:
    ends = [end for end, _ in access_units(data)]
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


SPLITTERS = {
    MP3: _sized(lambda data, at: parse_mp3(data, at).size_bytes),
    AC3: _sized(lambda data, at: parse_ac3(data, at).size_bytes),
    EAC3: _split_eac3,
}


def track_of(name: str, codec: str, clock_rate: int = 90_000) -> tuple[Track, list[Frame]]:
    """A track with its parameters, and its frames in time."""
    pieces = SPLITTERS[codec](sound(name))
    track = Track(0, Kind.AUDIO, codec, clock_rate)
    tracker = tracker_for(track)
    tracker.inspect((pieces[0],))
    parameters = track.parameters = tracker.parameters
    assert parameters is not None
    ticks: int = parameters.frame_samples  # type: ignore[attr-defined]  # sound
    return track, [
        Frame(track, n * ticks, n * ticks, 0, 0.0, True, False, parameters, (piece,))
        for n, piece in enumerate(pieces)
    ]
