"""Each rule for the variants of a group rejects its broken sample."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.conform.hls_group import GROUP_RULES, Instant, check_clock, check_group
from tests.support.conform.problem import slugs, told

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)


def playlist(
    first: int,
    count: int,
    start: float,
    *,
    target: int = 3,
    duration: float = 2.0,
    breaks: str = "",
) -> str:
    """Segments of one length; `start`: seconds of the first; `breaks`: a 1 for a discontinuity."""
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:3",
        f"#EXT-X-TARGETDURATION:{target}",
        f"#EXT-X-MEDIA-SEQUENCE:{first}",
    ]
    for number in range(count):
        date = EPOCH + timedelta(seconds=start + number * duration)
        if breaks[number : number + 1] == "1":
            lines.append("#EXT-X-DISCONTINUITY")
        stamp = date.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        lines += [
            f"#EXT-X-PROGRAM-DATE-TIME:{stamp}",
            f"#EXTINF:{duration:.5f},",
            f"{first + number}.ts",
        ]
    return "\n".join([*lines, ""])


GOOD = {
    "v1.m3u8": playlist(4, 5, 8.0),
    "v2.m3u8": playlist(4, 4, 8.03),
    "v3.m3u8": playlist(5, 4, 10.7),
}
BROKEN = [
    ("group-target", {**GOOD, "v2.m3u8": playlist(4, 4, 8.03, target=4)}),
    ("group-number", {**GOOD, "v2.m3u8": playlist(5, 4, 8.03)}),
    ("group-discontinuity", {**GOOD, "v2.m3u8": playlist(4, 4, 8.03, breaks="001")}),
    ("group-step", {**GOOD, "v2.m3u8": playlist(4, 3, 8.03)}),
    ("group-hole", {**GOOD, "v2.m3u8": playlist(4, 4, 8.15)}),
]


def instants(shift: float, drift: float = 0.0) -> list[Instant]:
    """First pictures each 2 s of dates, with time stamps that are off by `shift`."""
    return [
        Instant(EPOCH + timedelta(seconds=2 * n), 10 + 2 * n + shift + drift * n) for n in range(9)
    ]


def test_good_samples_are_good() -> None:
    problems = check_group(GOOD, 1.0)
    assert problems == [], told(problems)
    assert check_clock({"v1.m3u8": instants(0.0), "v2.m3u8": instants(0.001)}) == []


@pytest.mark.parametrize(("rule", "playlists"), BROKEN)
def test_rule_rejects_a_group(rule: str, playlists: dict[str, str]) -> None:
    assert rule in slugs(check_group(playlists, 1.0))


@pytest.mark.parametrize(("shift", "drift"), [(0.04, 0.0), (0.0, 0.001)])
def test_rule_rejects_clocks(shift: float, drift: float) -> None:
    variants = {"v1.m3u8": instants(0.0), "v2.m3u8": instants(shift, drift)}
    assert slugs(check_clock(variants)) == ["group-clock"]


def test_every_rule_has_a_sample() -> None:
    assert {rule for rule, _ in BROKEN} | {"group-clock"} == set(GROUP_RULES)
