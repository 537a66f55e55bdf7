"""Playlists as text: lines, tags, attribute lists; RFC 8216 section 4, rfc8216bis section 4."""

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from tests.support.conform.problem import Findings

BASIC = frozenset(("#EXTM3U", "#EXT-X-VERSION"))
EITHER = frozenset(("#EXT-X-INDEPENDENT-SEGMENTS", "#EXT-X-START", "#EXT-X-DEFINE"))
MEDIA = frozenset(
    (
        "#EXT-X-TARGETDURATION",
        "#EXT-X-MEDIA-SEQUENCE",
        "#EXT-X-DISCONTINUITY-SEQUENCE",
        "#EXT-X-ENDLIST",
        "#EXT-X-PLAYLIST-TYPE",
        "#EXT-X-I-FRAMES-ONLY",
        "#EXT-X-PART-INF",
        "#EXT-X-SERVER-CONTROL",
    )
)
SEGMENT = frozenset(
    (
        "#EXTINF",
        "#EXT-X-BYTERANGE",
        "#EXT-X-DISCONTINUITY",
        "#EXT-X-KEY",
        "#EXT-X-MAP",
        "#EXT-X-PROGRAM-DATE-TIME",
        "#EXT-X-GAP",
        "#EXT-X-BITRATE",
        "#EXT-X-PART",
    )
)
METADATA = frozenset(
    ("#EXT-X-DATERANGE", "#EXT-X-SKIP", "#EXT-X-PRELOAD-HINT", "#EXT-X-RENDITION-REPORT")
)
VARIANT = frozenset(
    (
        "#EXT-X-MEDIA",
        "#EXT-X-STREAM-INF",
        "#EXT-X-I-FRAME-STREAM-INF",
        "#EXT-X-SESSION-DATA",
        "#EXT-X-SESSION-KEY",
        "#EXT-X-CONTENT-STEERING",
    )
)
KNOWN = BASIC | EITHER | MEDIA | SEGMENT | METADATA | VARIANT
ONCE = BASIC | MEDIA | EITHER - {"#EXT-X-DEFINE"} | {"#EXT-X-SKIP", "#EXT-X-CONTENT-STEERING"}
LISTS = (
    VARIANT
    | METADATA
    | {"#EXT-X-START", "#EXT-X-DEFINE", "#EXT-X-PART-INF", "#EXT-X-SERVER-CONTROL"}
    | {"#EXT-X-KEY", "#EXT-X-MAP", "#EXT-X-PART"}
)
PAIR = re.compile(r'([A-Z0-9-]+)=("[^"\r\n]*"|[^\s",]+)(?:,(?=[A-Z])|$)')
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,}(?:Z|[+-]\d\d:?\d\d)")
FLOAT = re.compile(r"\d+(?:\.\d+)?")

Attributes = dict[str, str]


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is neither blank nor a comment."""

    number: int
    tag: str  # empty: a URI
    value: str  # behind the colon; the URI
    attributes: Attributes

    def text(self, name: str) -> str:
        """A quoted attribute without its quotes; empty where there is none."""
        value = self.attributes.get(name, "")
        return value[1:-1] if value.startswith('"') else ""

    def seconds(self, name: str) -> float:
        """A decimal attribute; -1 where there is none, or another thing."""
        value = self.attributes.get(name, "")
        return float(value) if FLOAT.fullmatch(value) else -1.0


@dataclass(slots=True)
class Text:
    """A playlist, split."""

    name: str  # for people: which one, or when it came
    lines: list[Line] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    version: int = 1
    is_multivariant: bool = False

    def where(self, line: Line | None = None) -> str:
        """A place in it."""
        return f"{self.name} line {line.number}" if line else self.name

    def first(self, tag: str) -> Line | None:
        """The first line with this tag."""
        return next((line for line in self.lines if line.tag == tag), None)


def read_text(data: bytes | str, name: str, findings: Findings) -> Text:
    """Split a playlist; judges what holds for all of them."""
    raw = data.encode() if isinstance(data, str) else data
    add = findings.add
    result = Text(name)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        add("utf8", name, "not UTF-8")
        return result
    if text.startswith("\ufeff"):
        add("utf8", name, "a byte order mark")
        text = text[1:]
    if re.search("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f]", text):
        add("control-character", name)
    if not text.endswith("\n"):
        add("line-end", name, "the last line has none")
    lines = text.replace("\r\n", "\n").split("\n")
    if lines[0] != "#EXTM3U":
        add("header", name, repr(lines[0][:20]))
    for number, content in enumerate(lines, 1):
        if not content or (content.startswith("#") and not content.startswith("#EXT")):
            continue
        tag, _, value = content.partition(":") if content.startswith("#") else ("", "", content)
        line = Line(number, tag, value, {})
        if tag in LISTS:
            line = Line(number, tag, value, _attributes(value, result.where(line), findings))
        if tag and tag not in KNOWN:
            add("tag-unknown", result.where(line), tag)
        result.lines.append(line)
        result.counts[tag] += 1
    _judge_tags(result, findings)
    return result


def _attributes(value: str, where: str, findings: Findings) -> Attributes:
    found, at = _pairs(value)
    if at < len(value):
        findings.add("attribute-list", where, value[at : at + 40])
    return found


@lru_cache(maxsize=4096)  # a line stays for as long as its segment is in the window
def _pairs(value: str) -> tuple[Attributes, int]:
    """An attribute list, and where it ends to be one."""
    found: Attributes = {}
    at = 0
    while at < len(value):
        match = PAIR.match(value, at)
        if match is None or match[1] in found:
            break
        found[match[1]] = match[2]
        at = match.end()
    return found, at


def _judge_tags(text: Text, findings: Findings) -> None:
    add = findings.add
    counts = text.counts
    for tag in ONCE:
        if counts[tag] > 1:
            slug = {"#EXT-X-VERSION": "version-repeated", "#EXT-X-SKIP": "skip"}.get(
                tag, "tag-repeated"
            )
            add(slug, text.where(text.first(tag)), f"{counts[tag]} times {tag}")
    text.is_multivariant = bool(VARIANT & set(counts))
    if text.is_multivariant and (MEDIA | SEGMENT | METADATA) & set(counts):
        add("mixed-playlist", text.name, "tags of both kinds of playlist")
    line = text.first("#EXT-X-VERSION")
    if line is not None:
        if not line.value.isdigit() or not int(line.value):
            add("version-syntax", text.where(line), line.value)
        else:
            text.version = int(line.value)
    needed, why = _needed_version(text)
    if text.version < needed:
        slug = "skip-version" if needed == 9 else "version-low"
        add(slug, text.name, f"{text.version}; {why} needs {needed}")
    # RFC 8216 is version 7: what it has, every client has. Delta updates may come with a whole
    # playlist's next version, which is to be the same.
    allowed = 10 if text.counts["#EXT-X-SERVER-CONTROL"] else 7
    if text.version > max(allowed, needed):
        add("version-high", text.name, f"{text.version}; {needed} is enough")


def _needed_version(text: Text) -> tuple[int, str]:
    """RFC 8216 section 7, rfc8216bis section 8."""
    needs = [(1, "nothing")]
    has_frames_only = bool(text.counts["#EXT-X-I-FRAMES-ONLY"])
    for line in text.lines:
        match line.tag:
            case "#EXTINF" if "." in line.value.partition(",")[0]:
                needs.append((3, "a decimal EXTINF"))
            case "#EXT-X-BYTERANGE" | "#EXT-X-I-FRAMES-ONLY":
                needs.append((4, line.tag))
            case "#EXT-X-MAP":
                needs.append((5 if has_frames_only else 6, "EXT-X-MAP"))
            case "#EXT-X-KEY":
                if "IV" in line.attributes:
                    needs.append((2, "IV"))
                if {"KEYFORMAT", "KEYFORMATVERSIONS"} & set(line.attributes):
                    needs.append((5, "KEYFORMAT"))
            case "#EXT-X-MEDIA" if line.text("INSTREAM-ID").startswith("SERVICE"):
                needs.append((7, "SERVICE"))
            case "#EXT-X-DEFINE":
                needs.append((11 if "QUERYPARAM" in line.attributes else 8, "EXT-X-DEFINE"))
            case "#EXT-X-SKIP":
                needs.append((9, "EXT-X-SKIP"))
    return max(needs)


def read_date(value: str) -> datetime | None:
    """A date with zone and milliseconds."""
    if not DATE.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None
