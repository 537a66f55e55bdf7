"""Several tracks of sound: which of them can be offered side by side, and under what names.

A group of renditions has one codec, since a player that lacks a codec has to be able to leave out
all that needs it (browsers have no AC-3, and leave out a variant whose CODECS name it). All groups
must have the same members (RFC 8216 section 4.3.4.2.1). So the codec that has the most tracks makes
the list; a track of another codec stands for the member of the same language, or of the same place
where not all languages are known, and one without such a counterpart is left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from media.hls.languages import language_name, language_tag
from media.hls.playlist import AudioMedia
from media.parameters import AudioParameters, Parameters
from media.track import Track

MOST_TRACKS = 16

Label = tuple[str, int]  # language tag, place among those of one codec and language


@dataclass(frozen=True, slots=True)
class Sound:
    """A track of sound and where it is served."""

    track: Track
    uri: str  # of its playlist; empty: in the variant's own segments
    parameters: Parameters | None
    peak_bps: int = 0
    average_bps: int = 0
    formats: tuple[Parameters | None, ...] = ()  # that its playlist holds beside `parameters`


@dataclass(frozen=True, slots=True)
class Group:
    """Renditions of which a player takes one."""

    name: str
    media: tuple[AudioMedia, ...]
    codecs: tuple[str, ...]
    peak_bps: int  # of the heaviest member
    average_bps: int


def offered(tracks: Sequence[Track]) -> tuple[Track, ...]:
    """Those of the tracks of sound that can be offered, in their order."""
    tracks = tracks[:MOST_TRACKS]
    labels = _labels(tracks)
    wanted = {labels[track] for track in tracks if track.codec == _primary(tracks)}
    return tuple(track for track in tracks if labels[track] in wanted)


def groups_of(sounds: Sequence[Sound], name_of: Callable[[str], str] = str) -> tuple[Group, ...]:
    """The groups of tracks that are offered; the first track is the default."""
    if not sounds:
        return ()
    tracks = [sound.track for sound in sounds]
    labels = _labels(tracks)
    primary = _primary(tracks)
    codecs = list(dict.fromkeys([primary, *(track.codec for track in tracks)]))
    order = [labels[track] for track in tracks if track.codec == primary]
    by_place = {(sound.track.codec, labels[sound.track]): sound for sound in sounds}
    default = labels[tracks[0]]
    groups = []
    for codec in codecs:
        members = [
            (label, by_place.get((codec, label), by_place[primary, label])) for label in order
        ]
        groups.append(_group(name_of(codec), members, default))
    return tuple(groups)


def _group(name: str, members: Sequence[tuple[Label, Sound]], default: Label) -> Group:
    formats = [each for _, sound in members for each in (sound.parameters, *sound.formats)]
    names = [each.codec_string() if each else "" for each in formats]
    return Group(
        name,
        tuple(
            AudioMedia(
                name,
                _name(label, members),
                sound.uri,
                label[0],
                _channels(sound.parameters),
                label == default,
            )
            for label, sound in members
        ),
        tuple(dict.fromkeys(names)),
        max(sound.peak_bps for _, sound in members),
        max(sound.average_bps for _, sound in members),
    )


def _name(label: Label, members: Sequence[tuple[Label, Sound]]) -> str:
    language, place = label
    if not language:
        return f"Audio {place + 1}"
    is_alone = sum(each[0] == language for each, _ in members) == 1
    return language_name(language) if is_alone else f"{language_name(language)} {place + 1}"


def _channels(parameters: Parameters | None) -> int:
    return parameters.channels if isinstance(parameters, AudioParameters) else 0


def _labels(tracks: Sequence[Track]) -> dict[Track, Label]:
    labels: dict[Track, Label] = {}
    tags = [language_tag(track.language) for track in tracks]
    for track, tag in zip(tracks, tags, strict=True):
        language = tag if all(tags) else ""
        place = sum(
            other.codec == track.codec and label[0] == language for other, label in labels.items()
        )
        labels[track] = language, place
    return labels


def _primary(tracks: Sequence[Track]) -> str:
    """The codec with the most tracks, of several ones the first."""
    codecs = [track.codec for track in tracks]
    return max(dict.fromkeys(codecs), key=codecs.count)
