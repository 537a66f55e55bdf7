"""Multivariant playlists; RFC 8216 section 4.3.4, rfc8216bis section 4.4.6."""

import re
from dataclasses import dataclass, field

from tests.support.conform.hls_text import Line, Text, read_text
from tests.support.conform.problem import Findings

CODECS = re.compile(
    r"avc[13]\.[0-9A-Fa-f]{6}|(?:hvc1|hev1)\.[ABC]?\d+\.[0-9A-F]+\.[LH]\d+(?:\.[0-9A-F]{1,2}){0,6}"
    r"|av01\.\d\.\d\d[MH]\.\d\d(?:\.[\d.]+)?|vp0?[89](?:\.\d\d){3,8}|mp4a\.40\.\d{1,2}"
    r"|mp4a\.6[9B]|mp3|ac-3|ec-3|opus|Opus|fLaC|stpp\.[a-z.0-9]+|wvtt"
)
VIDEO = ("avc", "hvc", "hev", "av01", "vp0", "vp8", "vp9")
RESOLUTION = re.compile(r"[1-9]\d*x[1-9]\d*")
RATE = re.compile(r"\d+\.\d{3}")
LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8})*")
# Codes of three letters whose languages have one of two, which RFC 5646 section 2.2.1 wants then.
LONG = frozenset(
    [
        "eng",
        "deu",
        "ger",
        "fra",
        "fre",
        "spa",
        "ita",
        "por",
        "nld",
        "dut",
        "rus",
        "zho",
        "chi",
        "jpn",
        "kor",
        "ara",
        "pol",
        "und",
    ]
)
KINDS = ("AUDIO", "VIDEO", "SUBTITLES", "CLOSED-CAPTIONS")
MAY_DIFFER = frozenset(
    ("URI", "CHANNELS", "BIT-DEPTH", "STABLE-RENDITION-ID", "INSTREAM-ID", "SAMPLE-RATE")
) | {"GROUP-ID"}


@dataclass(slots=True)
class Variant:
    """One variant stream."""

    uri: str
    line: Line
    peak_bps: int = 0
    average_bps: int = 0
    codecs: tuple[str, ...] = ()
    size: tuple[int, int] = (0, 0)
    frame_rate: float = 0.0
    audio: str = ""

    @property
    def has_video(self) -> bool:
        """Whether its codecs have pictures."""
        return any(codec.startswith(VIDEO) for codec in self.codecs)


@dataclass(slots=True)
class Multivariant:
    """A multivariant playlist, read."""

    text: Text
    is_independent: bool = False
    variants: list[Variant] = field(default_factory=list)
    media: list[Line] = field(default_factory=list)


def read_multivariant(data: bytes | str, name: str, findings: Findings) -> Multivariant:
    """Read and judge a multivariant playlist."""
    text = read_text(data, name, findings)
    result = Multivariant(text, bool(text.counts["#EXT-X-INDEPENDENT-SEGMENTS"]))
    pending: Line | None = None
    for line in text.lines:
        if pending is not None and line.tag:
            findings.add("variant-uri", text.where(pending), "no URI behind it")
            pending = None
        if line.tag == "#EXT-X-STREAM-INF":
            pending = line
        elif line.tag == "#EXT-X-MEDIA":
            result.media.append(line)
        elif not line.tag:
            if pending is None:
                findings.add("variant-uri", text.where(line), "a URI without its tag")
            else:
                result.variants.append(_variant(pending, line.value, text, findings))
            pending = None
    if pending is not None:
        findings.add("variant-uri", text.where(pending), "no URI behind it")
    if not result.variants:
        findings.add("no-variant", name)
    _judge_media(result, findings)
    _judge_groups(result, findings)
    for variant in result.variants:
        _judge_references(variant, result, findings)
    return result


def _variant(line: Line, uri: str, text: Text, findings: Findings) -> Variant:
    add, where, has = findings.add, text.where(line), line.attributes
    variant = Variant(uri, line)
    peak, average = has.get("BANDWIDTH", ""), has.get("AVERAGE-BANDWIDTH", "")
    if not peak.isdigit() or not int(peak):
        add("bandwidth", where, repr(peak))
    else:
        variant.peak_bps = int(peak)
    if average:
        if not average.isdigit() or not int(average) or int(average) > variant.peak_bps > 0:
            add("average-bandwidth", where, f"{average}, the peak is {peak}")
        else:
            variant.average_bps = int(average)
    if "CODECS" not in has:
        add("codecs-missing", where)
    else:
        variant.codecs = tuple(line.text("CODECS").split(","))
        for codec in variant.codecs:
            if not CODECS.fullmatch(codec):
                add("codecs", where, codec)
            elif codec.startswith(("hev1", "avc3")):
                add("codecs-apple", where, codec)
    size = has.get("RESOLUTION", "")
    if (size and not RESOLUTION.fullmatch(size)) or (
        variant.codecs and variant.has_video != bool(size)
    ):
        add("resolution", where, f"{size!r} for {variant.codecs}")
    elif size:
        width, _, height = size.partition("x")
        variant.size = int(width), int(height)
    rate = has.get("FRAME-RATE", "")
    if rate:
        if not RATE.fullmatch(rate) or (variant.codecs and not variant.has_video):
            add("frame-rate", where, rate)
        else:
            variant.frame_rate = float(rate)
    variant.audio = line.text("AUDIO")
    return variant


def _judge_references(variant: Variant, playlist: Multivariant, findings: Findings) -> None:
    for kind in KINDS:
        group = variant.line.text(kind)
        if not group:
            continue
        members = [
            line
            for line in playlist.media
            if line.attributes.get("TYPE") == kind and line.text("GROUP-ID") == group
        ]
        where = playlist.text.where(variant.line)
        if not members:
            findings.add("group-missing", where, f"{kind}={group}")
        sounds = [codec for codec in variant.codecs if not codec.startswith(VIDEO)]
        if kind == "AUDIO" and members and variant.codecs and not sounds:
            findings.add("media-codecs", where, f"none of the sound of {group} in CODECS")


def _judge_media(playlist: Multivariant, findings: Findings) -> None:
    add = findings.add
    for line in playlist.media:
        where, has = playlist.text.where(line), line.attributes
        kind = has.get("TYPE", "")
        if kind not in KINDS or not line.text("GROUP-ID") or not line.text("NAME"):
            add("media", where, "TYPE, GROUP-ID or NAME")
        for name in ("DEFAULT", "AUTOSELECT", "FORCED"):
            if has.get(name, "NO") not in ("YES", "NO"):
                add("media", where, f"{name}={has[name]}")
        if ("FORCED" in has and kind != "SUBTITLES") or ("CHANNELS" in has and kind != "AUDIO"):
            add("media", where, "an attribute that is not for this type")
        language = line.text("LANGUAGE")
        if "LANGUAGE" in has and (not LANGUAGE.fullmatch(language) or language in LONG):
            add("media-language", where, language)
        if has.get("DEFAULT") == "YES" and has.get("AUTOSELECT", "YES") != "YES":
            add("media-autoselect", where, "NO for the default")
        if (kind == "SUBTITLES" and "URI" not in has) or (
            kind == "CLOSED-CAPTIONS" and "URI" in has
        ):
            add("media-uri", where, kind)


def _judge_groups(playlist: Multivariant, findings: Findings) -> None:
    add = findings.add
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in playlist.media:
        groups.setdefault((line.attributes.get("TYPE", ""), line.text("GROUP-ID")), []).append(line)
    for (_, group), members in groups.items():
        where = playlist.text.where(members[0])
        names = [member.text("NAME") for member in members]
        if len(set(names)) != len(names):
            add("media-name", where, f"twice in group {group}: {names}")
        if sum(member.attributes.get("DEFAULT") == "YES" for member in members) > 1:
            add("media-default", where, f"two defaults in group {group}")
    for kind in KINDS:
        same = [members for (each, _), members in groups.items() if each == kind]
        forms = [sorted(_constant(member) for member in members) for members in same]
        if any(form != forms[0] for form in forms[1:]):
            add("media-groups", playlist.text.name, f"groups of {kind} with other members")
        counts: dict[str, set[str]] = {}
        for members in same:
            for member in members:
                counts.setdefault(member.text("NAME"), set()).add(member.text("CHANNELS"))
        for name, channels in counts.items():
            if "" in channels and len(channels) > 1:
                add("media-channels", playlist.text.name, f"{name}: some have none")


def _constant(line: Line) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((k, v) for k, v in line.attributes.items() if k not in MAY_DIFFER))
