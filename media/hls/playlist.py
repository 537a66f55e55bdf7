"""Playlists as bytes; RFC 8216 section 4.3, low latency by draft-pantos-hls-rfc8216bis.

A playlist is rendered once for each change and shared by all viewers. Only the session token in
its URLs differs, so the rendered text has a mark behind each URL that is replaced when it is
served.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flux.base.units import NTP_SECOND, NTP_UNIX_OFFSET
from media.hls.parts import HOLD_BACK_PARTS, Part
from media.hls.segment import Initialization, Segment, SegmentBuilder
from media.hls.window import Window

CONTENT_TYPE = "application/vnd.apple.mpegurl"
DELTA_VERSION = 9  # EXT-X-VERSION that EXT-X-SKIP needs
SKIP_TARGETS = 6  # CAN-SKIP-UNTIL in target durations
TOKEN_MARK = "\x00"  # in no URL and no attribute
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Playlist:
    """A rendered playlist that only lacks the session token."""

    __slots__ = ("_plain", "_template")

    def __init__(self, text: str) -> None:
        self._template = text.encode()
        self._plain = self._template.replace(TOKEN_MARK.encode(), b"")

    def render(self, token: str = "") -> bytes:
        """The playlist whose URLs carry `?s=token`; the token must need no escaping in a URL."""
        if not token:
            return self._plain
        return self._template.replace(TOKEN_MARK.encode(), b"?s=" + token.encode())


@dataclass(frozen=True, slots=True)
class Variant:
    """What a multivariant playlist says of a rendition; 0 and empty mean not known."""

    uri: str
    peak_bps: int
    average_bps: int
    codecs: tuple[str, ...]
    width: int = 0
    height: int = 0
    frame_rate: float = 0.0


def multivariant_playlist(variant: Variant, *, version: int, is_independent: bool) -> Playlist:
    """The playlist that a player opens first; 4.3.4."""
    attributes = [f"BANDWIDTH={variant.peak_bps}"]
    if variant.average_bps:
        attributes.append(f"AVERAGE-BANDWIDTH={variant.average_bps}")
    if variant.codecs:
        attributes.append(f'CODECS="{",".join(variant.codecs)}"')
    if variant.width and variant.height:
        attributes.append(f"RESOLUTION={variant.width}x{variant.height}")
    if variant.frame_rate:
        attributes.append(f"FRAME-RATE={variant.frame_rate:.3f}")
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{version}"]
    if is_independent:
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS")
    lines += [f"#EXT-X-STREAM-INF:{','.join(attributes)}", variant.uri + TOKEN_MARK, ""]
    return Playlist("\n".join(lines))


@dataclass(frozen=True, slots=True)
class LowLatency:
    """What low latency adds to a media playlist; draft-pantos-hls-rfc8216bis section 4.4.3.8."""

    part_target: float  # seconds
    parts: Mapping[int, Sequence[Part]]  # of whole segments, by media sequence number
    open: SegmentBuilder | None  # the segment in the making
    open_parts: Sequence[Part]
    hint: str  # the name of the part in the making; empty: there will be none


def media_playlist(
    window: Window,
    *,
    target_duration: int,
    version: int,
    is_independent: bool,
    is_ended: bool,
    low_latency: LowLatency | None = None,
    may_skip: bool = False,
) -> Playlist:
    """The list of segments; 4.3.3. The target duration is in whole seconds.

    `may_skip`: a delta update, section 6.2.5.1 of the draft, where there is something to skip.
    """
    if low_latency is not None:
        version = max(version, DELTA_VERSION)
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{version}", f"#EXT-X-TARGETDURATION:{target_duration}"]
    if low_latency is not None:
        lines += _promises(low_latency, target_duration)
    lines.append(f"#EXT-X-MEDIA-SEQUENCE:{window.media_sequence}")
    if window.discontinuity_sequence:
        lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{window.discontinuity_sequence}")
    if is_independent:
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS")
    skipped = _skippable(window, SKIP_TARGETS * target_duration) if may_skip else 0
    if skipped:
        lines.append(f"#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}")
    initialization: Initialization | None = None
    for number, segment in enumerate(window.segments):
        if number < skipped:
            initialization = segment.initialization
            continue
        lines += _head_lines(segment, initialization)
        initialization = segment.initialization
        if low_latency is not None:
            lines += map(_part_line, low_latency.parts.get(segment.sequence, ()))
        lines += [f"#EXTINF:{segment.seconds:.5f},", segment.name + TOKEN_MARK]
    if is_ended:
        lines.append("#EXT-X-ENDLIST")
    elif low_latency is not None:
        if low_latency.open is not None and low_latency.open_parts:
            lines += _head_lines(low_latency.open, initialization)
            lines += map(_part_line, low_latency.open_parts)
        lines.append(f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{low_latency.hint}{TOKEN_MARK}"')
    lines.append("")
    return Playlist("\n".join(lines))


def date_time(ntp: int) -> str:
    """A 64-bit NTP stamp as ISO 8601 in UTC with milliseconds; 4.3.2.6."""
    since_1970 = ntp - NTP_UNIX_OFFSET * NTP_SECOND
    milliseconds = (since_1970 * 1000 + NTP_SECOND // 2) // NTP_SECOND
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _promises(low_latency: LowLatency, target_duration: int) -> list[str]:
    """Section 4.4.3.7 and 4.4.3.8 of the draft."""
    target = low_latency.part_target
    return [
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,"
        f"CAN-SKIP-UNTIL={SKIP_TARGETS * target_duration:.1f},"
        f"PART-HOLD-BACK={HOLD_BACK_PARTS * target:.5f}",
        f"#EXT-X-PART-INF:PART-TARGET={target:.5f}",
    ]


def _skippable(window: Window, boundary: float) -> int:
    """How many segments lie farther from the end than the skip boundary; 4.4.5.2 of the draft."""
    total, kept = 0.0, 0
    for segment in reversed(window.segments):
        total += segment.seconds
        if total > boundary:
            break
        kept += 1
    return len(window) - kept if total > boundary else 0


def _head_lines(
    segment: Segment | SegmentBuilder, initialization: Initialization | None
) -> list[str]:
    """What stands before a segment, or before the parts of one in the making."""
    lines = ["#EXT-X-DISCONTINUITY"] if segment.is_discontinuity else []
    own = segment.initialization
    if own is not None and own is not initialization:
        lines.append(f'#EXT-X-MAP:URI="{own.name}{TOKEN_MARK}"')
    if segment.ntp:
        lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{date_time(segment.ntp)}")
    return lines


def _part_line(part: Part) -> str:
    independent = ",INDEPENDENT=YES" if part.is_independent else ""
    return f'#EXT-X-PART:DURATION={part.seconds:.5f},URI="{part.name}{TOKEN_MARK}"{independent}'
