"""Media playlists that one multivariant playlist lists; RFC 8216 section 6.2.4, bis 6.2.4."""

from collections.abc import Mapping
from datetime import datetime

from tests.support.conform.hls_model import MediaPlaylist
from tests.support.conform.problem import Findings

ALIGNED = 0.1  # seconds that segments of one number may be apart


def judge_renditions(
    playlists: Mapping[str, MediaPlaylist], findings: Findings, *, low_latency: bool
) -> None:
    """Judge playlists, by their URIs, that were loaded at one moment."""
    add = findings.add
    same = (
        ("renditions-target", [each.target for each in playlists.values()]),
        ("renditions-type", [each.type for each in playlists.values()]),
        (
            "renditions-control",
            [each.control.value if each.control else "" for each in playlists.values()],
        ),
        (
            "renditions-date",
            [any(segment.date for segment in each.segments) for each in playlists.values()],
        ),
    )
    for slug, values in same:
        if len(set(values)) > 1:
            add(slug, "renditions", str(dict(zip(playlists, values, strict=True))))
    first_uri, first = next(iter(playlists.items()))
    for uri, playlist in playlists.items():
        if playlist is not first:
            _judge_pair(f"{first_uri} and {uri}", first, playlist, findings)
        if low_latency:
            told = {line.text("URI").partition("?")[0] for line in playlist.reports}
            wanted = {each.partition("?")[0] for each in playlists} - {uri.partition("?")[0]}
            if told != wanted and not playlist.is_ended:
                add("renditions-report", uri, f"of {sorted(told)}, not {sorted(wanted)}")
            elif not playlist.is_ended:
                _judge_reports(uri, playlist, playlists, findings)


def _judge_reports(
    uri: str, playlist: MediaPlaylist, playlists: Mapping[str, MediaPlaylist], findings: Findings
) -> None:
    """What a report says is not behind what the other playlist had at the same moment."""
    by_path = {each.partition("?")[0]: other for each, other in playlists.items()}
    for line in playlist.reports:
        other = by_path.get(line.text("URI").partition("?")[0])
        sequence, part = (line.attributes.get(f"LAST-{name}", "") for name in ("MSN", "PART"))
        if other is None or not sequence:
            continue
        told = (int(sequence), int(part) if part else -1)
        if other.last_part > (-1, -1) and (not part or told < other.last_part):
            text = f"{told} of {line.text('URI')}, it has {other.last_part}"
            findings.add("report", f"{uri} line {line.number}", text)


def _judge_pair(where: str, one: MediaPlaylist, other: MediaPlaylist, findings: Findings) -> None:
    """Segments that begin at one moment have one discontinuity number; others do not exist."""
    starts: dict[datetime, int] = {
        segment.date: segment.discontinuities for segment in one.segments if segment.date
    }
    if not starts:
        return
    for segment in other.segments:
        if segment.date is None or not min(starts) <= segment.date <= max(starts):
            continue
        date = segment.date
        near = min(starts, key=lambda each: abs(each - date))
        if abs((near - date).total_seconds()) > ALIGNED:
            findings.add("renditions-aligned", where, f"{segment.uri} begins alone at {date}")
        elif starts[near] != segment.discontinuities:
            text = f"{segment.uri}: {segment.discontinuities} and {starts[near]}"
            findings.add("renditions-discontinuity", where, text)
