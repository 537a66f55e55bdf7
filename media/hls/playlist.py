"""Playlists as bytes; RFC 8216 section 4.3, low latency by draft-pantos-hls-rfc8216bis.

A playlist is rendered once for each change and shared by all viewers. Only the session token in
its URLs differs, so the rendered text has a mark behind each URL that is replaced when it is
served.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from flux.base.units import NTP_SECOND, NTP_UNIX_OFFSET
from media.hls.packing import PackedTemplate, gzip
from media.hls.parts import HOLD_BACK_PARTS, Part
from media.hls.segment import Initialization, Segment, SegmentBuilder
from media.hls.window import Window

CONTENT_TYPE = "application/vnd.apple.mpegurl"
DELTA_VERSION = 9  # EXT-X-VERSION that EXT-X-SKIP needs
SKIP_TARGETS = 6  # CAN-SKIP-UNTIL in target durations
TOKEN_MARK = "\x00"  # in no URL and no attribute
TOKEN_QUERY = b"?s="  # what it stands for, and then the token
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Playlist:
    """A rendered playlist that only lacks the session token."""

    __slots__ = ("_packed", "_plain", "_plain_packed", "_template", "etag", "heads")

    def __init__(self, text: str) -> None:
        self._template = text.encode()
        self._plain = self._template.replace(TOKEN_MARK.encode(), b"")
        self._packed: dict[int, PackedTemplate] = {}  # by the length of the token
        self._plain_packed = b""
        self.etag = blake2b(self._template, digest_size=9).hexdigest()  # whatever the token
        self.heads: dict[object, bytes] = {}  # of HTTP, which who serves it keeps here

    def render(self, token: str = "") -> bytes:
        """The playlist whose URLs carry `?s=token`; the token must need no escaping in a URL."""
        if not token:
            return self._plain
        return self._template.replace(TOKEN_MARK.encode(), TOKEN_QUERY + token.encode())

    def compress(self, token: str = "") -> bytes:
        """The same as gzip, compressed once for all tokens of one length."""
        if not token:
            self._plain_packed = self._plain_packed or gzip(self._plain)
            return self._plain_packed
        packed = self._packed.get(len(token))
        if packed is None:
            mark = TOKEN_MARK.encode()
            packed = PackedTemplate(self._template, mark, TOKEN_QUERY, len(token))
            self._packed = {len(token): packed}
        return packed.pack(token.encode(), self.render(token))


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
    audio: str = ""  # the group of sound that goes with it


@dataclass(frozen=True, slots=True)
class AudioMedia:
    """A track of sound that a player may choose; 4.3.4.1."""

    group: str
    name: str  # for people
    uri: str  # empty: it is in the variant's own segments
    language: str = ""  # RFC 5646; empty: not known
    channels: int = 0
    is_default: bool = False


def multivariant_playlist(
    *variants: Variant, version: int, is_independent: bool, media: Sequence[AudioMedia] = ()
) -> Playlist:
    """The playlist that a player opens first; 4.3.4."""
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{version}"]
    if is_independent:
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS")
    lines += map(_media_line, media)
    for variant in variants:
        lines += [_variant_line(variant), variant.uri + TOKEN_MARK]
    lines.append("")
    return Playlist("\n".join(lines))


def _variant_line(variant: Variant) -> str:
    attributes = [f"BANDWIDTH={variant.peak_bps}"]
    if variant.average_bps:
        attributes.append(f"AVERAGE-BANDWIDTH={variant.average_bps}")
    if variant.codecs:
        attributes.append(f'CODECS="{",".join(variant.codecs)}"')
    if variant.width and variant.height:
        attributes.append(f"RESOLUTION={variant.width}x{variant.height}")
    if variant.frame_rate:
        attributes.append(f"FRAME-RATE={variant.frame_rate:.3f}")
    if variant.audio:
        attributes.append(f'AUDIO="{variant.audio}"')
    return f"#EXT-X-STREAM-INF:{','.join(attributes)}"


def _media_line(media: AudioMedia) -> str:
    attributes = ["TYPE=AUDIO", f'GROUP-ID="{media.group}"', f'NAME="{media.name}"']
    if media.language:
        attributes.append(f'LANGUAGE="{media.language}"')
    # A player may take any of them for its user's language; only one is everybody's.
    attributes += ["DEFAULT=YES"] if media.is_default else ["DEFAULT=NO"]
    attributes.append("AUTOSELECT=YES")
    if media.channels:
        attributes.append(f'CHANNELS="{media.channels}"')
    if media.uri:
        attributes.append(f'URI="{media.uri}{TOKEN_MARK}"')
    return f"#EXT-X-MEDIA:{','.join(attributes)}"


@dataclass(frozen=True, slots=True)
class Report:
    """What another rendition has at this moment; 4.4.5.4 of the draft."""

    uri: str
    sequence: int  # media sequence number of its last part
    part: int  # index of that part in its segment


@dataclass(frozen=True, slots=True)
class LowLatency:
    """What low latency adds to a media playlist; draft-pantos-hls-rfc8216bis section 4.4.3.8."""

    part_target: float  # seconds
    parts: Mapping[int, Sequence[Part]]  # of whole segments, by media sequence number
    open: SegmentBuilder | None  # the segment in the making
    open_parts: Sequence[Part]
    hint: str  # the name of the part in the making; empty: there will be none
    reports: Sequence[Report] = ()


def media_playlist(
    window: Window,
    *,
    target_duration: int,
    version: int,
    is_independent: bool,
    is_ended: bool,
    low_latency: LowLatency | None = None,
    may_skip: bool = False,
    known: dict[int, str] | None = None,
) -> Playlist:
    """The list of segments; 4.3.3. The target duration is in whole seconds.

    `may_skip`: a delta update, section 6.2.5.1 of the draft, where there is something to skip.
    `known`: the lines of segments by their numbers, kept from one playlist of them to the next.
    """
    known = {} if known is None else known
    for number in [number for number in known if number < window.media_sequence]:
        del known[number]
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
        parts = low_latency.parts.get(segment.sequence) if low_latency is not None else None
        own = segment.initialization
        if parts or number == 0 or own is not initialization:
            lines += _segment_lines(segment, initialization, parts or ())
        else:
            text = known.get(segment.sequence)
            if text is None:
                text = "\n".join(_segment_lines(segment, own, ()))
                known[segment.sequence] = text
            lines.append(text)
        initialization = own
    if is_ended:
        lines.append("#EXT-X-ENDLIST")
    elif low_latency is not None:
        if low_latency.open is not None and low_latency.open_parts:
            lines += _head_lines(low_latency.open, initialization)
            lines += map(_part_line, low_latency.open_parts)
        if low_latency.hint:
            lines.append(f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{low_latency.hint}{TOKEN_MARK}"')
        lines += map(_report_line, low_latency.reports)
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
    target = round(low_latency.part_target, 5)  # as it is written: multiples are of that
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


def _segment_lines(
    segment: Segment, initialization: Initialization | None, parts: Sequence[Part]
) -> list[str]:
    """A whole segment behind one with this initialization."""
    lines = _head_lines(segment, initialization)
    lines += map(_part_line, parts)
    if segment.is_gap:
        lines.append("#EXT-X-GAP")
    return [*lines, f"#EXTINF:{segment.seconds:.5f},", segment.name + TOKEN_MARK]


def _part_line(part: Part) -> str:
    flag = ",INDEPENDENT=YES" if part.is_independent else ",GAP=YES" if part.is_gap else ""
    return f'#EXT-X-PART:DURATION={part.seconds:.5f},URI="{part.name}{TOKEN_MARK}"{flag}'


def _report_line(report: Report) -> str:
    last = f"LAST-MSN={report.sequence},LAST-PART={report.part}"
    return f'#EXT-X-RENDITION-REPORT:URI="{report.uri}{TOKEN_MARK}",{last}'
