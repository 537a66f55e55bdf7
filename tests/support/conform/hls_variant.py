"""A line of a multivariant playlist against the segments of its variant; RFC 8216 section 4.3.4.2.

What is named is what the media playlist lists: all of its codecs, its largest picture. Bit rates
may have been measured for longer than that, as long as the formats were the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO

import av

from tests.support.conform.hls_multivariant import Variant
from tests.support.conform.problem import Findings

ALIASES = {"mp3": "mp4a.40.34", "mp4a.6b": "mp4a.40.34", "mp4a.69": "mp4a.40.34"}


@dataclass(frozen=True, slots=True)
class VariantLimits:
    """Least and most of what was measured, and the room of a frame rate, as shares."""

    peak: tuple[float, float]
    average: tuple[float, float]
    frame_rate: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What there is in a segment."""

    sequence: int
    data: bytes
    seconds: float  # as the playlist says
    codecs: frozenset[str]
    frames: int  # pictures
    shortest: float  # seconds of a picture
    size: tuple[int, int]  # (0, 0): only the pictures themselves tell


@dataclass(slots=True)
class _Run:
    """Segments from one discontinuity to the next."""

    sample: bytes  # the first of them
    last: int = 0  # media sequence number
    codecs: set[str] = field(default_factory=set)
    sizes: list[tuple[int, float]] = field(default_factory=list)  # bytes and seconds
    video: list[tuple[int, float]] = field(default_factory=list)  # pictures and seconds
    shortest: float = 0.0
    size: tuple[int, int] = (0, 0)

    def add(self, one: Measured) -> None:
        self.last = one.sequence
        self.codecs |= one.codecs
        self.sizes.append((len(one.data), one.seconds))
        if one.frames:
            self.video.append((one.frames, one.seconds))
            self.shortest = min(self.shortest or one.shortest, one.shortest)
        self.size = one.size if any(one.size) else self.size

    def picture(self) -> tuple[int, int]:
        """Width and height of the pictures; where nothing else tells, as FFmpeg reads them."""
        if self.size == (0, 0):
            with av.open(BytesIO(self.sample)) as opened:
                for stream in opened.streams.video[:1]:
                    self.size = stream.width, stream.height
        return self.size


class Heard:
    """All segments of a variant so far."""

    def __init__(self) -> None:
        self.target = 0  # seconds
        self._runs: list[_Run] = []

    def add(self, one: Measured, *, is_break: bool) -> None:
        """Note the next segment."""
        if is_break or not self._runs:
            self._runs.append(_Run(one.data))
        self._runs[-1].add(one)

    def measured(self, runs: Sequence[_Run] | None = None) -> tuple[float, float]:
        """Peak and average segment bit rate; section 4.1."""
        sizes = [size for run in (self._runs if runs is None else runs) for size in run.sizes]
        peak = 0.0
        for first in range(len(sizes)):
            size, duration = 0, 0.0
            for bytes_, seconds in sizes[first:]:
                size, duration = size + bytes_, duration + seconds
                if duration > 1.5 * self.target:
                    break
                if duration >= 0.5 * self.target:
                    peak = max(peak, 8 * size / duration)
        total = sum(seconds for _, seconds in sizes)
        return peak, 8 * sum(size for size, _ in sizes) / total if total else 0.0

    def judge(
        self, variant: Variant, limits: VariantLimits, oldest: int, findings: Findings
    ) -> None:
        """What is wrong with this line while `oldest` is the number of the first segment listed."""
        add, uri = findings.add, variant.uri
        listed = [run for run in self._runs if run.last >= oldest]
        counted = self._alike_before(listed)
        peak, average = self.measured(counted)
        for slug, told, seen, (low, high) in (
            ("bandwidth-peak", variant.peak_bps, peak, limits.peak),
            ("bandwidth-average", variant.average_bps, average, limits.average),
        ):
            if told and seen and not low * seen <= told <= high * seen:
                add(slug, uri, f"{told} bit/s, measured {seen:.0f}")
        told_codecs = {plain(codec) for codec in variant.codecs}
        codecs = {codec for run in listed for codec in run.codecs}
        if told_codecs and codecs and told_codecs != codecs:
            add("codecs-media", uri, f"{sorted(told_codecs)} for {sorted(codecs)}")
        sizes = [run.picture() for run in listed] if any(variant.size) else []
        if sizes and variant.size != max(sizes, key=lambda size: size[0] * size[1]):
            add("resolution-media", uri, f"{variant.size} for {sizes}")
        video = [each for run in counted for each in run.video]
        frames, seconds = sum(n for n, _ in video), sum(s for _, s in video)
        if variant.frame_rate and frames and seconds:
            # The largest rate: at least the average, at most that of the shortest picture.
            room, least = 1 + limits.frame_rate, frames / seconds
            shortest = min((run.shortest for run in counted if run.shortest), default=0.0)
            most = 1 / shortest if shortest else least
            if not least / room <= variant.frame_rate <= max(most, least) * room:
                text = f"{variant.frame_rate}, measured {least:.3f} to {most:.3f}"
                add("frame-rate-media", uri, text)

    def _alike_before(self, listed: Sequence[_Run]) -> list[_Run]:
        """What is listed, and the runs before it of the same formats as the first of it."""
        if not listed:
            return list(self._runs)
        first = listed[0]
        found, at = list(listed), self._runs.index(first)
        for run in reversed(self._runs[:at]):
            if run.codecs != first.codecs or run.picture() != first.picture():
                break
            found.insert(0, run)
        return found


def plain(codec: str) -> str:
    """One way to write a codec's name."""
    codec = codec.lower()
    if codec.startswith("mp4a.40.") and codec[8:] in ("5", "29"):
        codec = "mp4a.40.2"  # SBR and PS over a core that the header of a frame tells
    return ALIASES.get(codec, codec)
