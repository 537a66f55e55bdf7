"""A judge of HLS: playlists as text, over time, and against the media that they list.

RFC 8216 and draft-pantos-hls-rfc8216bis; `hls_rules` has every rule with its sections. It imports
nothing of FLUX. `check_media` and `check_multivariant` judge texts, `Follower` a playlist over
time, `check_segments` a playlist against its segments, `check_renditions` several ones together.
"""

from collections.abc import Iterable, Mapping

from tests.support.conform.hls_follow import Asked, Follower
from tests.support.conform.hls_media import read_media
from tests.support.conform.hls_model import MediaPlaylist
from tests.support.conform.hls_multivariant import Multivariant, read_multivariant
from tests.support.conform.hls_renditions import judge_renditions
from tests.support.conform.hls_rules import RULES
from tests.support.conform.hls_segments import SegmentJudge, SegmentLimits
from tests.support.conform.problem import Findings, Problem

__all__ = [
    "Asked",
    "Follower",
    "MediaPlaylist",
    "SegmentJudge",
    "SegmentLimits",
    "check_media",
    "check_multivariant",
    "check_reloads",
    "check_renditions",
    "check_segments",
    "parse_media",
    "parse_multivariant",
]


def check_media(data: bytes | str) -> list[Problem]:
    """The broken rules of one media playlist."""
    findings = Findings(RULES)
    read_media(data, "playlist", findings)
    return findings.problems


def check_reloads(versions: Iterable[bytes | str]) -> list[Problem]:
    """The broken rules of one media playlist in the versions that a client saw."""
    follower = Follower()
    for version in versions:
        follower.reload(version)
    return follower.problems


def check_multivariant(data: bytes | str) -> list[Problem]:
    """The broken rules of a multivariant playlist."""
    findings = Findings(RULES)
    read_multivariant(data, "multivariant", findings)
    return findings.problems


def check_segments(
    media: bytes | str,
    resources: Mapping[str, bytes],
    multivariant: bytes | str = b"",
    limits: SegmentLimits | None = None,
) -> list[Problem]:
    """The broken rules of a media playlist's segments; `resources` are by URI without query."""
    judge = SegmentJudge(limits)
    judge.playlist(parse_media(media), resources)
    if multivariant:
        judge.multivariant(parse_multivariant(multivariant).variants[0])
    return judge.problems


def check_renditions(
    playlists: Mapping[str, bytes | str], *, low_latency: bool = False
) -> list[Problem]:
    """The broken rules of media playlists, by URI, that one multivariant playlist lists."""
    findings = Findings(RULES)
    read = {uri: parse_media(data) for uri, data in playlists.items()}
    judge_renditions(read, findings, low_latency=low_latency)
    return findings.problems


def parse_media(data: bytes | str) -> MediaPlaylist:
    """One media playlist, whatever is wrong with it."""
    return read_media(data, "playlist", Findings(RULES))


def parse_multivariant(data: bytes | str) -> Multivariant:
    """One multivariant playlist, whatever is wrong with it."""
    return read_multivariant(data, "multivariant", Findings(RULES))
