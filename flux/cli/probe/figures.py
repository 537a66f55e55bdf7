"""What a probe measures. Seconds of media time unless said otherwise; no clock, no socket."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from media.parameters import AudioParameters, Parameters, VideoParameters
from media.track import Kind

JUMP = 10.0  # seconds of media time between two frames that are no distance but a new beginning
JITTER_SHIFT = 16  # the running mean of RFC 3550 section 6.4.1


@dataclass(slots=True)
class TrackMeter:
    """Measures one track."""

    kind: str  # media.track.Kind
    codec: str
    codec_string: str = ""  # RFC 6381
    width: int = 0  # pixels
    height: int = 0
    nominal_rate: float = 0.0  # frames a second, as the parameters say
    sample_rate: int = 0  # Hz
    channels: int = 0
    frames: int = 0
    size_bytes: int = 0
    key_frames: int = 0
    longest_key_interval: float = 0.0
    packets: int | None = None  # where the protocol has packets that can be lost
    lost: int | None = None
    jitter: float | None = None  # of arrival; None where the protocol does not show it
    _key_span: float = 0.0  # from key frame to key frame, all together
    _key_steps: int = 0
    _last_key: float | None = None
    _span: float = 0.0  # of the finished stretches
    _stretches: int = 0
    _first: float = inf  # of the stretch that is open
    _last: float = -inf
    _transit: float | None = None

    def describe(self, parameters: Parameters | None) -> None:
        """Take what the parameters say."""
        if parameters is None:
            return
        self.codec_string = parameters.codec_string()
        if isinstance(parameters, VideoParameters):
            self.width, self.height = parameters.width, parameters.height
            self.nominal_rate = parameters.frame_rate_num / (parameters.frame_rate_den or 1)
        elif isinstance(parameters, AudioParameters):
            self.sample_rate, self.channels = parameters.sample_rate, parameters.channels

    def add(self, time: float, size_bytes: int, *, key: bool) -> None:
        """Count one frame; `time` is its presentation time."""
        self.frames += 1
        self.size_bytes += size_bytes
        if self._last != -inf and not self._first - JUMP < time < self._last + JUMP:
            self._span += self._last - self._first
            self._stretches += 1
            self._first, self._last, self._last_key = inf, -inf, None
        self._first, self._last = min(self._first, time), max(self._last, time)
        if key and self.kind == Kind.VIDEO:
            self.key_frames += 1
            if self._last_key is not None:
                step = time - self._last_key
                self._key_span += step
                self._key_steps += 1
                self.longest_key_interval = max(self.longest_key_interval, step)
            self._last_key = time

    def arrive(self, time: float, now: float) -> None:
        """Take the decode time of a frame and when it arrived; RFC 3550 section 6.4.1."""
        transit = now - time
        if self._transit is not None:
            jitter = self.jitter or 0.0
            self.jitter = jitter + (abs(transit - self._transit) - jitter) / JITTER_SHIFT
        self._transit = transit

    @property
    def span(self) -> float:
        """From the first to the last frame."""
        return self._span + (self._last - self._first if self._last != -inf else 0.0)

    @property
    def frame_rate(self) -> float | None:
        """Measured frames a second; None while there are too few."""
        steps = self.frames - 1 - self._stretches
        return steps / self.span if steps > 0 and self.span > 0 else None

    @property
    def bitrate_bps(self) -> float | None:
        """Measured bits a second of the frames themselves."""
        rate = self.frame_rate
        return self.size_bytes * 8 / self.frames * rate if rate else None

    @property
    def key_interval(self) -> float | None:
        """Mean distance of key frames."""
        return self._key_span / self._key_steps if self._key_steps else None

    @property
    def loss(self) -> float | None:
        """Lost part of all packets."""
        if self.lost is None or self.packets is None:
            return None
        everything = self.packets + self.lost
        return self.lost / everything if everything else 0.0

    def summary(self) -> dict[str, Any]:
        """For JSON; what is not known, or not of this kind, is null."""
        return {
            "kind": str(self.kind),
            "codec": self.codec,
            "codec_string": self.codec_string or None,
            "width": self.width or None,
            "height": self.height or None,
            "nominal_frame_rate": _rounded(self.nominal_rate or None, 3),
            "sample_rate": self.sample_rate or None,
            "channels": self.channels or None,
            "frames": self.frames,
            "frame_rate": _rounded(self.frame_rate, 3),
            "bytes": self.size_bytes,
            "bitrate_bps": _rounded(self.bitrate_bps, 0),
            "key_frames": self.key_frames if self.kind == Kind.VIDEO else None,
            "key_frame_interval": _rounded(self.key_interval, 3),
            "longest_key_frame_interval": _rounded(self.longest_key_interval or None, 3),
            "jitter": _rounded(self.jitter, 6),
            "packets": self.packets,
            "lost": self.lost,
            "loss": _rounded(self.loss, 6),
        }


@dataclass(slots=True)
class Board:
    """Everything that one probe measures; the probe writes, the display reads."""

    url: str  # without credentials
    protocol: str = ""
    transport: str = ""
    tracks: list[TrackMeter] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)  # what went wrong, by reason
    started: float = 0.0  # monotonic seconds
    first_at: float | None = None  # when the first frame came
    now: float = 0.0
    ended: str = ""  # why it ended: time, interrupted, or the reason of the source

    def media(self, now: float) -> None:
        """A frame came."""
        if self.first_at is None:
            self.first_at = now

    @property
    def frames(self) -> int:
        """Frames of all tracks."""
        return sum(track.frames for track in self.tracks)

    @property
    def bitrate_bps(self) -> float | None:
        """Bits a second of all tracks."""
        return sum(track.bitrate_bps or 0.0 for track in self.tracks) or None

    @property
    def wait(self) -> float | None:
        """Seconds of the clock from the start to the first frame."""
        return None if self.first_at is None else self.first_at - self.started

    @property
    def measured(self) -> float:
        """Seconds of the clock from the first frame until now."""
        return 0.0 if self.first_at is None else max(0.0, self.now - self.first_at)

    def summary(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "url": self.url,
            "protocol": self.protocol or None,
            "transport": self.transport or None,
            "ended": self.ended,
            "wait": _rounded(self.wait, 3),
            "measured": _rounded(self.measured, 3),
            "bitrate_bps": _rounded(self.bitrate_bps, 0),
            "tracks": [track.summary() for track in self.tracks],
            "notes": mapping_of(self.notes),
        }


def mapping_of(notes: Mapping[str, int]) -> dict[str, int]:
    """The notes that are not zero, the most frequent first."""
    return {reason: count for reason, count in Counter(notes).most_common() if count}


def _rounded(value: float | None, digits: int) -> float | None:
    if value is None:
        return None
    return round(value, digits) if digits else round(value)
