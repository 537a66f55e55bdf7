"""The RTP-Info header, RFC 2326 section 12.33: which packet and which instant PLAY begins with."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_ENTRIES = 32

# A URL may hold commas and semicolons, so an entry is cut where the next `url=` begins.
ENTRY = re.compile(r"(?:^|[,\s])\s*url\s*=", re.IGNORECASE)
SEQUENCE = re.compile(r";\s*seq\s*=\s*(\d{1,10})", re.IGNORECASE)
RTPTIME = re.compile(r";\s*rtptime\s*=\s*(\d{1,10})", re.IGNORECASE)
PARAMETER = re.compile(r";\s*(?:seq|rtptime|ssrc)\s*=", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RtpInfo:
    """One stream of the header. Servers leave out what they do not know."""

    url: str
    sequence: int | None = None  # 16 bits, of the first packet
    rtptime: int | None = None  # 32 bits, of the instant that PLAY begins with


def _number(pattern: re.Pattern[str], text: str, bits: int) -> int | None:
    match = pattern.search(text)
    value = int(match[1]) if match else -1
    return value if 0 <= value < 1 << bits else None


def parse_rtp_info(value: str) -> list[RtpInfo]:
    """The entries of a header; what cannot be understood is left out, nothing is raised."""
    starts = list(ENTRY.finditer(value))[:MAX_ENTRIES]
    found: list[RtpInfo] = []
    for place, match in enumerate(starts):
        end = starts[place + 1].start() if place + 1 < len(starts) else len(value)
        text = value[match.end() : end]
        parameter = PARAMETER.search(text)
        url = text[: parameter.start()] if parameter else text
        sequence = _number(SEQUENCE, text, 16)
        rtptime = _number(RTPTIME, text, 32)
        found.append(RtpInfo(url.strip().strip('"'), sequence, rtptime))
    return found


def _path(url: str) -> str:
    """The part of a URL behind the host: cameras announce hosts that nobody reaches."""
    return re.sub(r"^[a-zA-Z]+://[^/?]*", "", url).strip("/")


def match_tracks(entries: Sequence[RtpInfo], urls: Sequence[str]) -> list[RtpInfo | None]:
    """The entry of each track URL, None where there is none.

    Compared are whole URLs, then paths, then endings (a relative `url=trackID=1`); when nothing
    fits but the counts agree, the order counts.
    """
    result: list[RtpInfo | None] = []
    for url in urls:
        path = _path(url)
        exact = [e for e in entries if e.url == url]
        by_path = [e for e in entries if _path(e.url) == path]
        by_end = [e for e in entries if _path(e.url) and path.endswith("/" + _path(e.url))]
        result.append(next(iter(exact or by_path or by_end), None))
    if len(entries) == len(urls) and not any(result):
        return list(entries)
    return result
