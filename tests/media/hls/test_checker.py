"""Each rule of the HLS checker rejects its broken sample."""

import pytest

from tests.support.hls_check import check_media, check_multivariant, parse

GOOD = """#EXTM3U
#EXT-X-VERSION:3
#EXT-X-TARGETDURATION:3
#EXT-X-MEDIA-SEQUENCE:4
#EXT-X-DISCONTINUITY-SEQUENCE:1
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-PROGRAM-DATE-TIME:2024-01-01T00:00:00.000Z
#EXTINF:2.00000,
a-4.ts?s=x
#EXT-X-PROGRAM-DATE-TIME:2024-01-01T00:00:02.000Z
#EXTINF:2.40000,
a-5.ts?s=x
#EXT-X-DISCONTINUITY
#EXT-X-PROGRAM-DATE-TIME:2024-01-01T00:01:00.000Z
#EXTINF:2.00000,
a-6.ts?s=x
"""
NEXT = """#EXTM3U
#EXT-X-VERSION:3
#EXT-X-TARGETDURATION:3
#EXT-X-MEDIA-SEQUENCE:6
#EXT-X-DISCONTINUITY-SEQUENCE:1
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-DISCONTINUITY
#EXT-X-PROGRAM-DATE-TIME:2024-01-01T00:01:00.000Z
#EXTINF:2.00000,
a-6.ts?s=y
#EXT-X-PROGRAM-DATE-TIME:2024-01-01T00:01:02.000Z
#EXTINF:2.00000,
a-7.ts?s=y
"""
MULTIVARIANT = """#EXTM3U
#EXT-X-VERSION:3
#EXT-X-STREAM-INF:BANDWIDTH=200,AVERAGE-BANDWIDTH=100,CODECS="avc1.64001f,mp4a.40.2",\
RESOLUTION=640x360,FRAME-RATE=25.000
media.m3u8
"""

ALONE = [
    ("header", GOOD[1:]),
    ("header", GOOD.rstrip("\n")),
    ("tag", GOOD.replace("#EXT-X-VERSION", "#EXT-X-VERSIONS")),
    ("version", GOOD.replace("VERSION:3", "VERSION:2")),
    ("target-missing", GOOD.replace("#EXT-X-TARGETDURATION:3\n", "")),
    ("target-exceeded", GOOD.replace("EXTINF:2.40000", "EXTINF:3.50000")),
    ("date-format", GOOD.replace("02.000Z", "02Z")),
    ("date-format", GOOD.replace("02.000Z", "02.000")),
    ("date-missing", GOOD.replace("#EXT-X-PROGRAM-DATE-TIME:2024-01-01T00:00:02.000Z\n", "")),
    ("date-continuity", GOOD.replace("02.000Z", "02.100Z")),
    ("date-continuity", GOOD.replace("#EXT-X-DISCONTINUITY\n", "")),
    ("no-duration", GOOD.replace("#EXTINF:2.40000,\n", "")),
    ("empty", GOOD[: GOOD.index("#EXT-X-PROGRAM")]),
]
RELOADED = [
    ("target-changed", NEXT.replace("TARGETDURATION:3", "TARGETDURATION:4")),
    ("independent-changed", NEXT.replace("#EXT-X-INDEPENDENT-SEGMENTS\n", "")),
    ("sequence-back", NEXT.replace("MEDIA-SEQUENCE:6", "MEDIA-SEQUENCE:3")),
    ("sequence-mismatch", NEXT.replace("MEDIA-SEQUENCE:6", "MEDIA-SEQUENCE:5")),
    ("name-reused", NEXT.replace("a-7.ts", "a-5.ts")),
    ("duration-changed", NEXT.replace("EXTINF:2.00000", "EXTINF:2.10000", 1)),
    (
        "discontinuity-sequence",
        NEXT.replace("DISCONTINUITY-SEQUENCE:1", "DISCONTINUITY-SEQUENCE:2"),
    ),
    ("gap", NEXT.replace("MEDIA-SEQUENCE:6", "MEDIA-SEQUENCE:8")),
    ("segment-lost", GOOD[: GOOD.index("#EXT-X-DISCONTINUITY\n")]),
]
VARIANTS = [
    ("header", MULTIVARIANT[1:]),
    ("no-rendition", "#EXTM3U\nmedia.m3u8\n"),
    ("bandwidth", MULTIVARIANT.replace("BANDWIDTH=200", "BANDWIDTH=0")),
    ("bandwidth", MULTIVARIANT.replace("AGE-BANDWIDTH=100", "AGE-BANDWIDTH=300")),
    ("codecs", MULTIVARIANT.replace("avc1.64001f", "avc1")),
    ("codecs", MULTIVARIANT.replace("avc1.64001f", "hev1.1.6.L93.B0")),
    ("resolution", MULTIVARIANT.replace("RESOLUTION=640x360,", "")),
    ("resolution", MULTIVARIANT.replace("avc1.64001f,", "")),
    ("frame-rate", MULTIVARIANT.replace("25.000", "25")),
    ("no-uri", MULTIVARIANT.replace("media.m3u8\n", "")),
]


def test_good_samples_are_good() -> None:
    assert check_media([GOOD, GOOD, NEXT, NEXT + "#EXT-X-ENDLIST\n"]) == []
    assert check_multivariant(MULTIVARIANT) == []
    playlist = parse(GOOD)
    assert [entry.discontinuities for entry in playlist.entries] == [1, 1, 2]
    assert [entry.sequence for entry in playlist.entries] == [4, 5, 6]


@pytest.mark.parametrize(("rule", "text"), ALONE)
def test_rule_rejects_a_playlist(rule: str, text: str) -> None:
    assert rule in check_media([text])


@pytest.mark.parametrize(("rule", "text"), RELOADED)
def test_rule_rejects_a_reload(rule: str, text: str) -> None:
    assert rule in check_media([GOOD, text])


def test_rule_rejects_a_change_after_the_end() -> None:
    assert "changed-after-end" in check_media([GOOD + "#EXT-X-ENDLIST\n", NEXT])


@pytest.mark.parametrize(("rule", "text"), VARIANTS)
def test_rule_rejects_a_multivariant_playlist(rule: str, text: str) -> None:
    assert rule in check_multivariant(text)
