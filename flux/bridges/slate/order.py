"""What a stream's slate has to be like, and the loop that is made of what a worker delivers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any

from flux.base.errors import WireError
from media.announcement import describe
from media.codecs.aac import AAC_LC, AacParameters, parse_config
from media.codecs.adpcm import G726Parameters
from media.codecs.h264 import H264Parameters
from media.codecs.mp3 import Mp3Parameters
from media.parameters import AudioParameters, Parameters, VideoParameters
from media.slate import SlateLoop, SlateTrack, shape_of
from media.stream import Stream
from media.track import AAC, AV1, H264, H265, Kind, Track, TrackDescription
from media.wire import Announcement, WireFrame

ORDER, VIDEO, AUDIO = 0, 1, 2  # track ids, see flux/workers/slate.py
USUAL_RATE = Fraction(25)
SLOWEST, FASTEST = Fraction(5), Fraction(30)  # pictures a second of a slate
AAC_SAMPLES = 1024


@dataclass(frozen=True, slots=True)
class VideoWish:
    """As `flux.workers.slate_codecs.VideoFormat`."""

    codec: str
    width: int
    height: int
    rate: str  # a fraction
    profile: int = 0
    level: int = 0


@dataclass(frozen=True, slots=True)
class AudioWish:
    """As `flux.workers.slate_codecs.AudioFormat`."""

    codec: str
    sample_rate: int
    channels: int
    variant: int = 0


@dataclass(frozen=True, slots=True)
class Wish:
    """One slate; equal wishes give equal slates."""

    slate: str  # builtin, or the path of a file
    name: str  # of the stream, where the picture shows it
    video: VideoWish | None
    audio: AudioWish | None

    def serialize(self, number: int) -> bytes:
        """The order as the worker reads it."""
        return json.dumps({"number": number, **asdict(self)}).encode()


def wish_for(stream: Stream, slate: str) -> Wish | None:
    """The slate that fits a stream as it is now; None if none can."""
    video, audio = _first(stream, Kind.VIDEO), _first(stream, Kind.AUDIO)
    shown = _video_wish(stream, video) if video is not None else None
    heard = _audio_wish(audio) if audio is not None else None
    if (shown is None and video is not None) or (shown is None and heard is None):
        return None
    return Wish(slate, stream.name if slate == "builtin" else "", shown, heard)


def _first(stream: Stream, kind: Kind) -> Track | None:
    """The track of a kind that the source brings and outputs see."""
    return next((t for t in stream.tracks if t.kind is kind and t in stream.inputs), None)


def _video_wish(stream: Stream, track: Track) -> VideoWish | None:
    parameters = track.parameters
    if not isinstance(parameters, VideoParameters) or not parameters.width:
        return None
    rate = Fraction(parameters.frame_rate_num, parameters.frame_rate_den)
    if not rate:
        rate = USUAL_RATE
    while rate > FASTEST:
        rate /= 2
    rate = max(rate, SLOWEST)
    profile = level = 0
    if isinstance(parameters, H264Parameters):
        profile, level = parameters.profile_idc, parameters.level_idc
    size = parameters.width, parameters.height
    return VideoWish(track.codec, *size, str(rate), profile, level)


def _audio_wish(track: Track) -> AudioWish | None:
    parameters = track.parameters
    if not isinstance(parameters, AudioParameters) or not parameters.sample_rate:
        return None
    rate, channels = parameters.sample_rate, parameters.channels
    if isinstance(parameters, AacParameters):
        # The decoder makes the rest of it: doubles the rate, and one channel two.
        is_plain = parameters.object_type == AAC_LC
        if is_plain and parameters.has_ps:
            channels = 1
        rate = parameters.core_rate if is_plain else rate
        return AudioWish(track.codec, rate, channels)
    variant = 0
    if isinstance(parameters, Mp3Parameters):
        variant = parameters.layer
    elif isinstance(parameters, G726Parameters):
        variant = -parameters.bits if parameters.is_aal2 else parameters.bits
    return AudioWish(track.codec, rate, channels, variant)


def loop_of(
    stream: Stream, tracks: Sequence[Announcement], frames: Sequence[WireFrame], summary: bytes
) -> SlateLoop:
    """The loop of what was delivered for this stream; raises `WireError` where it is incomplete."""
    try:
        fields: dict[str, Any] = json.loads(summary)
        lasts: Mapping[str, str] = fields["lasts"]
        seconds = Fraction(fields["seconds"])
        units = {kind: Fraction(text) for kind, text in lasts.items()}
    except (ValueError, KeyError, TypeError, ZeroDivisionError):
        raise WireError("slate-answer") from None
    found: list[SlateTrack] = []
    for announced in tracks:
        kind = announced.kind
        if announced.id == ORDER:
            continue
        own = _first(stream, kind)
        delivered = [frame for frame in frames if frame.track_id == announced.id]
        if own is None or not delivered or str(kind) not in units:
            raise WireError("slate-answer")
        found.append(
            SlateTrack(
                tuple(stream.inputs).index(own),
                TrackDescription(kind, own.codec, own.clock_rate, _parameters(own, announced)),
                tuple(frame.payload for frame in delivered),
                tuple(place for place, frame in enumerate(delivered) if frame.flags & 1),
                units[str(kind)].numerator,
                units[str(kind)].denominator,
            )
        )
    if not found or any(not each.keys or each.keys[0] for each in found):
        raise WireError("slate-answer")
    return SlateLoop(shape_of(tuple(stream.inputs)), tuple(found), float(seconds))


def _parameters(own: Track, announced: Announcement) -> Parameters | None:
    """What a decoder must be told of; None: what holds already, or what units bring themselves."""
    if own.codec in (H264, H265, AV1):
        return describe(announced).parameters
    if own.codec != AAC:
        return None
    old, new = own.parameters, describe(replace(announced, clock_rate=own.clock_rate)).parameters
    if isinstance(old, AacParameters) and isinstance(new, AacParameters) and _is_alike(old, new):
        return None
    return new


def _is_alike(old: AacParameters, new: AacParameters) -> bool:
    """Whether a decoder that was set up for `old` decodes the plain AAC of `new`."""
    if old.object_type != AAC_LC or old.core_rate != new.core_rate:
        return False
    is_usual = parse_config(old.config).frame_length == AAC_SAMPLES
    return is_usual and (old.channels == new.channels or old.has_ps)
