"""HLS playlists as a player reads them, RFC 8216: only what measuring needs."""

import re
from dataclasses import dataclass
from urllib.parse import urljoin

from flux.base.errors import WireError

SIGNATURE = "#EXTM3U"
MAX_LINES = 100_000
ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^",]*)')


@dataclass(frozen=True, slots=True)
class Variant:
    """One rendition of a multivariant playlist."""

    url: str
    bandwidth: int  # bits a second
    codecs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a media playlist."""

    number: int  # media sequence number
    url: str
    duration: float  # seconds
    init_url: str = ""  # EXT-X-MAP


@dataclass(frozen=True, slots=True)
class Playlist:
    """A playlist of either kind: `variants` of a multivariant one, `segments` of a media one."""

    variants: tuple[Variant, ...] = ()
    segments: tuple[Segment, ...] = ()
    target: float = 0.0  # seconds: longest segment
    is_ended: bool = False


def parse(text: str, base: str) -> Playlist:
    """Read a playlist that came from the URL `base`; raises `WireError`."""
    lines = [line.strip() for line in text.splitlines()[:MAX_LINES]]
    if not lines or not lines[0].startswith(SIGNATURE):
        raise WireError("hls-signature")
    variants: list[Variant] = []
    segments: list[Segment] = []
    number, target, is_ended, init_url = 0, 0.0, False, ""
    duration: float | None = None
    variant: dict[str, str] | None = None
    for line in lines[1:]:
        tag, _, value = line.partition(":")
        if tag == "#EXT-X-STREAM-INF":
            variant = attributes(value)
        elif tag == "#EXT-X-MEDIA-SEQUENCE":
            number = int(_number(value))
        elif tag == "#EXT-X-TARGETDURATION":
            target = _number(value)
        elif tag == "#EXTINF":
            duration = _number(value.partition(",")[0])
        elif tag == "#EXT-X-MAP":
            init_url = urljoin(base, attributes(value).get("URI", ""))
        elif tag == "#EXT-X-ENDLIST":
            is_ended = True
        elif tag == "#EXT-X-KEY" and attributes(value).get("METHOD", "NONE") != "NONE":
            raise WireError("hls-encrypted")
        elif tag == "#EXT-X-BYTERANGE":
            raise WireError("hls-byte-ranges")
        elif line and not line.startswith("#"):
            if variant is not None:
                codecs = tuple(filter(None, variant.get("CODECS", "").split(",")))
                bandwidth = int(_number(variant.get("BANDWIDTH", "0")))
                variants.append(Variant(urljoin(base, line), bandwidth, codecs))
                variant = None
            elif duration is not None:
                place = number + len(segments)
                segments.append(Segment(place, urljoin(base, line), duration, init_url))
                duration = None
    return Playlist(tuple(variants), tuple(segments), target, is_ended)


def attributes(text: str) -> dict[str, str]:
    """An attribute list, section 4.2; quotes are taken off."""
    return {name: value.strip('"') for name, value in ATTRIBUTE.findall(text)}


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise WireError("hls-number", text[:20]) from None
    if not 0 <= value < 1e15:
        raise WireError("hls-number", text[:20])
    return value
