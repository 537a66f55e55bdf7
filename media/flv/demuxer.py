"""FLV tags to frames: Adobe's annex E.4 and "Enhanced RTMP v2".

The level of tags: `FlvReader` makes them of bytes, RTMP has them as messages. One picture and one
sound come of it; a codec that changes makes another track. A sequence header that says something
new travels in band with the next frame, as the trackers of parameters want it (`media/codecs`).

Times are 32-bit milliseconds that wrap. Those of sound are rounded by whoever wrote them, so a
frame goes on where the one before ended, as long as its own time is not farther away than
TOLERANCE_MS.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from flux.base.errors import WireError
from flux.base.serial import Unwrapper
from media.codecs.aac import AacParameters
from media.codecs.ac3 import Ac3Parameters
from media.codecs.eac3 import Eac3Parameters
from media.codecs.g711 import G711Parameters
from media.codecs.mp3 import Mp3Parameters
from media.codecs.mp3 import parse_header as parse_mp3
from media.codecs.obu import is_key_unit, split_obus
from media.codecs.opus import OpusParameters, packet_samples, parse_id_header
from media.flv import tags
from media.flv.amf import Read, read_values
from media.flv.bodies import END, FRAMES, START, Body, read_audio, read_video
from media.flv.configuration import Configuration, read_configuration, split_lengths
from media.parameters import AudioParameters, Parameters
from media.track import (
    AAC,
    AC3,
    AV1,
    EAC3,
    H264,
    H265,
    MP3,
    OPUS,
    PCMA,
    PCMU,
    VP8,
    VP9,
    Kind,
    TrackDescription,
)

VIDEO_HZ = 90_000
OPUS_HZ, G711_HZ = 48_000, 8_000
TOLERANCE_MS = 3  # between where sound should go on and where its time says it does
MAX_FRAMES = 64  # of sound in one tag
TIME_BITS = 32
LOW_BITS = 24
# quirk: encoders that forget TimestampExtended (E.4.1), so that time begins anew each 4 h 39 min;
# test: test_time_without_its_high_byte_goes_on
NEAR_WRAP_MS = 60_000
META_DATA = "onMetaData"

PICTURES = frozenset((H264, H265, AV1, VP8, VP9))
SOUNDS = frozenset((AAC, MP3, OPUS, AC3, EAC3, PCMA, PCMU))


@dataclass(slots=True, eq=False)
class FlvTrack:
    """The picture or the sound. The demuxer alone changes it, and says so by an event."""

    kind: Kind
    codec: str
    clock_rate: int = 0  # Hz; 0: not known yet
    parameters: Parameters | None = field(default=None)

    @property
    def description(self) -> TrackDescription | None:
        """What a router wants to know; None as long as the stream has not shown it."""
        if not self.clock_rate:
            return None
        return TrackDescription(self.kind, self.codec, self.clock_rate, self.parameters)


@dataclass(frozen=True, slots=True)
class TrackDescribed:
    """A track's description is known, or another one from its next unit on."""

    track: FlvTrack


@dataclass(frozen=True, slots=True)
class TrackRefused:
    """A codec that nobody here knows; said once."""

    kind: Kind
    codec: str


@dataclass(frozen=True, slots=True)
class MetaData:
    """Script data under the name onMetaData."""

    values: dict[str, Read]


@dataclass(slots=True)
class FlvUnit:
    """One picture, or one packet of sound; times unwrapped, in ticks of the track."""

    track: FlvTrack
    pts: int
    dts: int
    payload: tuple[bytes, ...]  # as in `Frame.payload`


FlvEvent = TrackDescribed | TrackRefused | MetaData | FlvUnit


class FlvDemuxer:
    """One stream of tags in, events out. Nothing that comes makes it raise."""

    def __init__(self, on_drop: Callable[[str], None]) -> None:
        """`on_drop(reason)` is told of what cannot be used."""
        self._on_drop = on_drop
        self._clock = Unwrapper(TIME_BITS)
        self._last_raw = 0
        self._offset = 0
        self._picture: _Picture | None = None
        self._sound: _Sound | None = None
        self._refused: set[str] = set()

    def take(self, kind: int, timestamp: int, body: bytes) -> list[FlvEvent]:
        """Take a tag or message of RTMP: its type (8, 9, 18), milliseconds of 32 bits, body."""
        try:
            if kind == tags.TAG_VIDEO:
                return self._take_picture(read_video(body), self._unwrap(timestamp))
            if kind == tags.TAG_AUDIO:
                return self._take_sound(read_audio(body), self._unwrap(timestamp))
            if kind == tags.TAG_SCRIPT:
                return _read_script(body)
        except WireError as error:
            self._on_drop(error.reason)
        return []

    def close(self) -> None:
        """Let go of who is told of drops, who may hold this."""
        self._on_drop = _nobody

    def _unwrap(self, timestamp: int) -> int:
        last, self._last_raw = self._last_raw, timestamp
        top = 1 << LOW_BITS
        if not timestamp >> LOW_BITS and not last >> LOW_BITS:
            if last > top - NEAR_WRAP_MS and timestamp < NEAR_WRAP_MS:
                self._offset += top
            elif self._offset and timestamp > top - NEAR_WRAP_MS and last < NEAR_WRAP_MS:
                self._offset -= top  # a tag of the other track that is a little late
        return self._clock.unwrap(timestamp) + self._offset

    def _take_picture(self, body: Body, time_ms: int) -> list[FlvEvent]:
        if not body.codec:
            return []
        if body.codec not in PICTURES:
            return self._refuse(Kind.VIDEO, body.codec)
        picture = self._picture
        if picture is None or picture.track.codec != body.codec:
            picture = self._picture = _Picture(body.codec)
        return picture.take(body, time_ms)

    def _take_sound(self, body: Body, time_ms: int) -> list[FlvEvent]:
        if not body.codec or not body.data:
            return []
        if body.codec not in SOUNDS:
            return self._refuse(Kind.AUDIO, body.codec)
        sound = self._sound
        if sound is None or sound.track.codec != body.codec:
            sound = self._sound = _Sound(body.codec)
        return sound.take(body, time_ms)

    def _refuse(self, kind: Kind, codec: str) -> list[FlvEvent]:
        self._on_drop("flv-codec-unsupported")
        if codec in self._refused or len(self._refused) >= MAX_FRAMES:
            return []
        self._refused.add(codec)
        return [TrackRefused(kind, codec)]


def _nobody(reason: str) -> None:
    """Nothing is taken any more."""


def _read_script(body: bytes) -> list[FlvEvent]:
    values = read_values(body)
    # RTMP servers pass it on as they got it: behind "@setDataFrame".
    for name, value in pairwise(values):
        if name == META_DATA and isinstance(value, dict):
            return [MetaData(value)]
    return []


class _Picture:
    """The track of the picture."""

    def __init__(self, codec: str) -> None:
        self.track = FlvTrack(Kind.VIDEO, codec)
        self._configuration: Configuration | None = None
        self._pending: tuple[bytes, ...] = ()  # sets that the next frame brings along

    def take(self, body: Body, time_ms: int) -> list[FlvEvent]:
        """What a body brings."""
        if body.what == START:
            return self._configure(body)
        if body.what != FRAMES or not body.data:
            return []
        track = self.track
        events: list[FlvEvent] = []
        if not track.clock_rate:
            if track.codec not in (VP8, VP9, AV1):
                raise WireError("flv-no-sequence-header")
            track.clock_rate = VIDEO_HZ
            events.append(TrackDescribed(track))
        payload = self._payload(body)
        if payload:
            dts = time_ms * VIDEO_HZ // 1000
            pts = dts + body.offset_ms * VIDEO_HZ // 1000
            events.append(FlvUnit(track, pts, dts, payload))
        return events

    def _configure(self, body: Body) -> list[FlvEvent]:
        found = read_configuration(body.codec, body.data)
        before, self._configuration = self._configuration, found
        if before is None:
            self.track.clock_rate = VIDEO_HZ
            self.track.parameters = found.parameters
            return [TrackDescribed(self.track)]
        if found.sets != before.sets:
            self._pending = found.sets
        return []

    def _payload(self, body: Body) -> tuple[bytes, ...]:
        codec, data, pending = self.track.codec, body.data, self._pending
        if codec in (VP8, VP9):
            return (data,)
        if codec == AV1:
            units = split_obus(data)
            if not pending or not is_key_unit(units):
                return units
        else:
            size = self._configuration.length_size if self._configuration is not None else 4
            units = split_lengths(data, size)
        if pending and units:
            units = (*pending, *units)
            self._pending = ()
        return units


class _Sound:
    """The track of the sound."""

    def __init__(self, codec: str) -> None:
        self.track = FlvTrack(Kind.AUDIO, codec)
        self._config = b""  # AudioSpecificConfig or OpusHead in force
        self._pending = b""  # that the next frame brings along
        self._next: int | None = None  # ticks at which the sound should go on

    def take(self, body: Body, time_ms: int) -> list[FlvEvent]:
        """What a body brings."""
        if body.what == START:
            return self._configure(body.data)
        if body.what == END or body.what != FRAMES:
            return []
        track = self.track
        events: list[FlvEvent] = []
        if not track.clock_rate:
            self._describe(_guess(track.codec, body))
            events.append(TrackDescribed(track))
        for number, frame in enumerate(self._frames(body.data)):
            payload = (self._pending, frame) if self._pending else (frame,)
            self._pending = b""
            pts = self._place(time_ms, self._samples(frame), is_first=not number)
            events.append(FlvUnit(track, pts, pts, payload))
        return events

    def _configure(self, config: bytes) -> list[FlvEvent]:
        track = self.track
        if config == self._config:
            return []
        if track.codec == AAC:
            parameters: AudioParameters = AacParameters.build(config)
        elif track.codec == OPUS:
            parameters = parse_id_header(config)
        else:
            return []
        is_first, self._config = not self._config, config
        is_in_band = track.codec == AAC and parameters.sample_rate == track.clock_rate
        if not is_first and is_in_band:
            self._pending = config
            return []
        self._describe(parameters)
        return [TrackDescribed(track)]

    def _describe(self, parameters: AudioParameters) -> None:
        self.track.parameters = parameters
        self.track.clock_rate = parameters.sample_rate
        self._next = None

    def _frames(self, data: bytes) -> Sequence[bytes]:
        """The frames of a tag: some writers put several MP3 frames into one."""
        if self.track.codec != MP3:
            return (data,)
        frames: list[bytes] = []
        at = 0
        while at < len(data) and len(frames) < MAX_FRAMES:
            end = at + parse_mp3(data, at).size_bytes
            if end > len(data):
                raise WireError("mp3-malformed", "cut")
            frames.append(data[at:end])
            at = end
        return frames

    def _samples(self, frame: bytes) -> int:
        """How long a frame lasts in ticks; 0 where it does not say."""
        codec, parameters = self.track.codec, self.track.parameters
        assert isinstance(parameters, AudioParameters)  # it has been described
        if codec == OPUS:
            return packet_samples(frame)
        if codec in (PCMA, PCMU):
            return len(frame) // parameters.channels
        return parameters.frame_samples

    def _place(self, time_ms: int, samples: int, *, is_first: bool) -> int:
        """The time of a frame; only the first one of a tag has the time of the tag."""
        rate = self.track.clock_rate
        ticks = (2 * time_ms * rate + 1000) // 2000
        planned = self._next
        if planned is not None:
            is_near = abs(planned - ticks) * 1000 <= TOLERANCE_MS * rate
            ticks = planned if is_near or not is_first else ticks
        self._next = ticks + samples if samples else None
        return ticks


def _guess(codec: str, body: Body) -> AudioParameters:
    """What the first frame of a sound without sequence header says."""
    data = body.data
    match codec:
        case "mp3":
            rate = parse_mp3(data).sample_rate
            return Mp3Parameters.from_frame(data, rate)
        case "ac3":
            return Ac3Parameters.from_frame(data, Ac3Parameters.from_frame(data, 1).sample_rate)
        case "eac3":
            return Eac3Parameters.from_frame(data, Eac3Parameters.from_frame(data, 1).sample_rate)
        case "opus":
            packet_samples(data)
            return OpusParameters(sample_rate=OPUS_HZ, channels=2 if data[0] & 4 else 1)
        case "pcma" | "pcmu":
            return G711Parameters(sample_rate=G711_HZ, channels=body.channels or 1)
    raise WireError("flv-no-sequence-header")
