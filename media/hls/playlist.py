"""Playlists as bytes; RFC 8216 section 4.3.

A playlist is rendered once for each change and shared by all viewers. Only the session token in
its URLs differs, so the rendered text has a mark behind each URL that is replaced when it is
served.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flux.base.units import NTP_SECOND, NTP_UNIX_OFFSET
from media.hls.segment import Initialization, Segment
from media.hls.window import Window

CONTENT_TYPE = "application/vnd.apple.mpegurl"
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


def media_playlist(
    window: Window, *, target_duration: int, version: int, is_independent: bool, is_ended: bool
) -> Playlist:
    """The list of segments; 4.3.3. The target duration is in whole seconds."""
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{version}",
        f"#EXT-X-TARGETDURATION:{target_duration}",
        f"#EXT-X-MEDIA-SEQUENCE:{window.media_sequence}",
    ]
    if window.discontinuity_sequence:
        lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{window.discontinuity_sequence}")
    if is_independent:
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS")
    initialization: Initialization | None = None
    for segment in window.segments:
        if segment.is_discontinuity:
            lines.append("#EXT-X-DISCONTINUITY")
        if segment.initialization is not initialization and segment.initialization is not None:
            initialization = segment.initialization
            lines.append(f'#EXT-X-MAP:URI="{initialization.name}{TOKEN_MARK}"')
        lines += _segment_lines(segment)
    if is_ended:
        lines.append("#EXT-X-ENDLIST")
    lines.append("")
    return Playlist("\n".join(lines))


def date_time(ntp: int) -> str:
    """A 64-bit NTP stamp as ISO 8601 in UTC with milliseconds; 4.3.2.6."""
    since_1970 = ntp - NTP_UNIX_OFFSET * NTP_SECOND
    milliseconds = (since_1970 * 1000 + NTP_SECOND // 2) // NTP_SECOND
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _segment_lines(segment: Segment) -> list[str]:
    lines = [f"#EXT-X-PROGRAM-DATE-TIME:{date_time(segment.ntp)}"] if segment.ntp else []
    lines += [f"#EXTINF:{segment.seconds:.5f},", segment.name + TOKEN_MARK]
    return lines
