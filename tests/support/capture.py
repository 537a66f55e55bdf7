"""Players that keep what they get: HTTP-FLV and HLS, plain and strict."""

import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from urllib.parse import urljoin

TIMEOUT = 20.0  # seconds until the first byte, and without any byte
CHUNK = 1 << 16
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever http_proxy says


class CaptureError(Exception):
    """The server answered what no player could use."""


def flv(url: str, seconds: float) -> bytes:
    """The body of an HTTP-FLV response: all that comes within `seconds` of its first byte."""
    try:
        opened = DIRECT.open(url, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            raise CaptureError(f"{url}: {error.code} {error.read().decode()}") from None
    with opened as answer:
        if answer.headers.get_content_type() != "video/x-flv":
            raise CaptureError(f"{url}: {answer.headers.get_content_type()}")
        body = answer.read(1)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            more = answer.read1(CHUNK)
            if not more:
                raise CaptureError(f"{url}: ended after {len(body)} bytes")
            body += more
        return bytes(body)


def whole_tags(body: bytes) -> bytes:
    """An FLV capture without the tag that was cut in the middle (FLV specification E.3)."""
    at = 13
    while at + 11 <= len(body):
        size = int.from_bytes(body[at + 1 : at + 4], "big") + 15
        if at + size > len(body):
            break
        at += size
    return body[:at]


@dataclass(slots=True)
class Segment:
    """One segment as the playlist told of it."""

    number: int
    uri: str
    duration: float
    discontinuity: bool
    date: str = ""
    map_uri: str = ""
    head: bytes = b""  # what EXT-X-MAP names
    body: bytes = b""

    @property
    def whole(self) -> bytes:
        """What a player can do something with."""
        return self.head + self.body


@dataclass(slots=True)
class HlsCapture:
    """What a player got, and what was wrong with the playlists on the way."""

    multivariant: str = ""
    segments: list[Segment] = field(default_factory=list)
    target_durations: set[int] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    playlists: list[str] = field(default_factory=list)  # each version that was seen
    ended: bool = False

    @property
    def body(self) -> bytes:
        """All segments in a row, with what they need before them."""
        pieces, head = [], b""
        for segment in self.segments:
            if segment.head != head:
                head = segment.head
                pieces.append(head)
            pieces.append(segment.body)
        return b"".join(pieces)

    @property
    def container(self) -> str:
        """FFmpeg's name of what the segments are."""
        return "mp4" if self.segments and self.segments[0].head else "mpegts"


def hls(url: str, seconds: float, *, from_start: bool = True) -> HlsCapture:
    """Play an HLS stream for `seconds` after its first playlist; every segment is fetched once."""
    capture = HlsCapture()
    capture.multivariant = text(url)
    variant = next(
        (line for line in capture.multivariant.splitlines() if line and line[0] != "#"), None
    )
    if variant is None or "#EXT-X-STREAM-INF" not in capture.multivariant:
        raise CaptureError(f"no variant in\n{capture.multivariant}")
    media_url = urljoin(url, variant)
    heads: dict[str, bytes] = {}
    end = time.monotonic() + seconds
    while time.monotonic() < end and not capture.ended:
        playlist = text(media_url)
        if playlist not in capture.playlists[-1:]:
            capture.playlists.append(playlist)
        segments = read_playlist(playlist, capture)
        fresh = 0
        due = capture.segments[-1].number + 1 if capture.segments else None
        for segment in segments:
            if due is not None and segment.number < due:
                continue
            if due is None and not from_start:
                segment = segments[-1]
            elif due is not None and segment.number > due:
                capture.problems.append(f"segments {due} to {segment.number - 1} were missed")
            segment.body = fetch(urljoin(media_url, segment.uri))
            if segment.map_uri:
                if segment.map_uri not in heads:
                    heads[segment.map_uri] = fetch(urljoin(media_url, segment.map_uri))
                segment.head = heads[segment.map_uri]
            capture.segments.append(segment)
            due = segment.number + 1
            fresh += 1
        if not fresh:
            time.sleep(0.2)
    if len(capture.target_durations) > 1:
        capture.problems.append(f"TARGETDURATION changed: {capture.target_durations}")
    return capture


def read_playlist(playlist: str, capture: HlsCapture) -> list[Segment]:
    """The segments of a media playlist (RFC 8216 section 4.3)."""
    target = re.search(r"(?m)^#EXT-X-TARGETDURATION:(\d+)$", playlist)
    first = re.search(r"(?m)^#EXT-X-MEDIA-SEQUENCE:(\d+)$", playlist)
    if not playlist.startswith("#EXTM3U\n") or target is None:
        raise CaptureError(f"no media playlist:\n{playlist}")
    capture.target_durations.add(int(target[1]))
    capture.ended = "#EXT-X-ENDLIST" in playlist
    number = int(first[1]) if first else 0
    segments: list[Segment] = []
    duration, broken, date, head = 0.0, False, "", ""
    for line in playlist.splitlines():
        if line.startswith("#EXTINF:"):
            duration = float(line[8:].split(",")[0])
            if round(duration) > int(target[1]):
                capture.problems.append(f"{line} is longer than TARGETDURATION {target[1]}")
        elif line == "#EXT-X-DISCONTINUITY":
            broken = True
        elif line.startswith("#EXT-X-PROGRAM-DATE-TIME:"):
            date = line.partition(":")[2]
        elif line.startswith("#EXT-X-MAP:"):
            head = line.split('"')[1]
        elif line and line[0] != "#":
            segments.append(Segment(number, line, duration, broken, date, head))
            number, broken = number + 1, False
    return segments


def status_of(url: str) -> tuple[int, str]:
    """Status and beginning of the body of one GET, whatever it is."""
    try:
        with DIRECT.open(url, timeout=TIMEOUT) as answer:
            return answer.status, answer.read1(CHUNK).decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")


def fetch(url: str) -> bytes:
    """The body of one GET."""
    with DIRECT.open(url, timeout=TIMEOUT) as answer:
        body: bytes = answer.read()
        return body


def text(url: str) -> str:
    """A playlist; a server that has nothing yet may say 404 or 503 for a while."""
    end = time.monotonic() + TIMEOUT
    while True:
        try:
            return fetch(url).decode()
        except urllib.error.HTTPError as error:
            with error:
                if error.code not in (404, 503) or time.monotonic() > end:
                    raise CaptureError(f"{url}: status {error.code}") from None
        time.sleep(0.2)
