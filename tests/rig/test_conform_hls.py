"""Each rule for HLS playlists as text and over time rejects its broken sample."""

import pytest

from tests.support.conform.hls import (
    Asked,
    Follower,
    check_media,
    check_multivariant,
    check_reloads,
    check_renditions,
)
from tests.support.conform.hls_rules import (
    MEDIA_RULES,
    MULTIVARIANT_RULES,
    PART_RULES,
    RELOAD_RULES,
    RENDITION_RULES,
    TEXT_RULES,
)
from tests.support.conform.problem import slugs, told

GOOD = """#EXTM3U
#EXT-X-VERSION:3
#EXT-X-TARGETDURATION:2
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
#EXT-X-TARGETDURATION:2
#EXT-X-MEDIA-SEQUENCE:5
#EXT-X-DISCONTINUITY-SEQUENCE:1
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-PROGRAM-DATE-TIME:2024-01-01T00:00:02.000Z
#EXTINF:2.40000,
a-5.ts?s=y
#EXT-X-DISCONTINUITY
#EXT-X-PROGRAM-DATE-TIME:2024-01-01T00:01:00.000Z
#EXTINF:2.00000,
a-6.ts?s=y
#EXT-X-PROGRAM-DATE-TIME:2024-01-01T00:01:02.000Z
#EXTINF:2.00000,
a-7.ts?s=y
"""
CONTROL = "CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5,CAN-SKIP-UNTIL=12.0"
LOW_HEAD = f"""#EXTM3U
#EXT-X-VERSION:9
#EXT-X-TARGETDURATION:2
#EXT-X-SERVER-CONTROL:{CONTROL}
#EXT-X-PART-INF:PART-TARGET=0.5
#EXT-X-MEDIA-SEQUENCE:10
#EXT-X-MAP:URI="init.mp4"
"""


def date(second: int) -> str:
    return f"#EXT-X-PROGRAM-DATE-TIME:2024-01-01T00:00:{second:02d}.000Z\n"


def parts(sequence: int, count: int) -> str:
    return "".join(
        f'#EXT-X-PART:DURATION=0.5,URI="p-{sequence}-{n}.mp4"{",INDEPENDENT=YES" * (not n)}\n'
        for n in range(count)
    )


def segment(sequence: int, *, with_parts: bool = False) -> str:
    inside = parts(sequence, 4) if with_parts else ""
    return f"{date(2 * (sequence - 10))}{inside}#EXTINF:2.00000,\ns-{sequence}.mp4\n"


def hint(sequence: int, index: int) -> str:
    return f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="p-{sequence}-{index}.mp4"\n'


def low(last: int, count: int, *, first: int = 10, skipped: int = 0) -> str:
    """A low-latency playlist: segments up to `last`, then `count` parts of the next one."""
    head = LOW_HEAD.replace("SEQUENCE:10", f"SEQUENCE:{first}")
    if skipped:
        head = head.replace('#EXT-X-MAP:URI="init.mp4"\n', "")
        head += f"#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}\n"
    body = "".join(segment(n, with_parts=n > last - 2) for n in range(first + skipped, last + 1))
    making = date(2 * (last + 1 - 10)) + parts(last + 1, count) if count else ""
    report = f'#EXT-X-RENDITION-REPORT:URI="audio.m3u8",LAST-MSN={last + 1},LAST-PART={count}\n'
    following = hint(last + 1, count) if count < 4 else hint(last + 2, 0)
    return head + body + making + following + report


LOW = low(19, 2)
MULTIVARIANT = """#EXTM3U
#EXT-X-VERSION:4
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aac",NAME="One",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="one.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aac",NAME="Two",AUTOSELECT=YES,CHANNELS="2",URI="two.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=200,AVERAGE-BANDWIDTH=100,CODECS="avc1.64001f,mp4a.40.2",\
RESOLUTION=640x360,FRAME-RATE=25.000,AUDIO="aac"
media.m3u8
"""
ENDED = GOOD + "#EXT-X-ENDLIST\n"


def without(text: str, *lines: str) -> str:
    for line in lines:
        assert line in text
        text = text.replace(line, "", 1)
    return text


def swap(text: str, old: str, new: str, count: int = 1) -> str:
    assert old in text
    return text.replace(old, new, count)


FIRST_DATE = "#EXT-X-PROGRAM-DATE-TIME:2024-01-01T00:00:00.000Z\n"
TEXTS: list[tuple[str, str | bytes]] = [
    ("utf8", GOOD.encode() + b"\xff\n"),
    ("utf8", "\ufeff" + GOOD),
    ("control-character", swap(GOOD, "a-4", "a\x07-4")),
    ("line-end", GOOD.rstrip("\n")),
    ("attribute-list", swap(LOW, "PART-TARGET=0.5", "PART-TARGET =0.5")),
    ("attribute-list", swap(LOW, "PART-TARGET=0.5", "PART-TARGET=0.5,PART-TARGET=0.5")),
    ("attribute-list", swap(LOW, 'URI="init.mp4"', "URI=init mp4")),
    ("tag-unknown", swap(GOOD, "#EXT-X-VERSION", "#EXT-X-VERSIONS")),
    ("header", GOOD[1:]),
    ("version-syntax", swap(GOOD, "VERSION:3", "VERSION:three")),
    ("version-repeated", swap(GOOD, "#EXT-X-VERSION:3\n", "#EXT-X-VERSION:3\n" * 2)),
    ("version-low", swap(GOOD, "VERSION:3", "VERSION:2")),
    ("version-low", swap(without(LOW, f"#EXT-X-SERVER-CONTROL:{CONTROL}\n"), "N:9", "N:5")),
    ("version-high", swap(GOOD, "VERSION:3", "VERSION:8")),
    ("tag-repeated", swap(GOOD, "#EXT-X-TARGETDURATION:2\n", "#EXT-X-TARGETDURATION:2\n" * 2)),
    ("mixed-playlist", GOOD + MULTIVARIANT),
    ("target-missing", without(GOOD, "#EXT-X-TARGETDURATION:2\n")),
    ("target-syntax", swap(GOOD, "DURATION:2", "DURATION:2.5")),
    ("target-exceeded", swap(GOOD, "2.40000", "2.50000")),
    ("sequence-syntax", swap(GOOD, "MEDIA-SEQUENCE:4", "MEDIA-SEQUENCE:-4")),
    ("sequence-late", without(GOOD, "#EXT-X-MEDIA-SEQUENCE:4\n") + "#EXT-X-MEDIA-SEQUENCE:4\n"),
    (
        "discontinuity-sequence-late",
        swap(
            without(GOOD, "#EXT-X-DISCONTINUITY-SEQUENCE:1\n"),
            "#EXT-X-DISCONTINUITY\n",
            "#EXT-X-DISCONTINUITY\n#EXT-X-DISCONTINUITY-SEQUENCE:1\n",
        ),
    ),
    ("playlist-type", swap(GOOD, "#EXTINF", "#EXT-X-PLAYLIST-TYPE:LIVE\n#EXTINF")),
    ("live-type", swap(GOOD, "#EXTINF", "#EXT-X-PLAYLIST-TYPE:EVENT\n#EXTINF")),
    ("no-segments", GOOD[: GOOD.index("#EXT-X-PROGRAM")]),
    ("extinf-missing", without(GOOD, "#EXTINF:2.40000,\n")),
    ("extinf-syntax", swap(GOOD, "2.40000,", "2.40000")),
    ("extinf-syntax", swap(GOOD, "2.40000,", "-2.4,")),
    ("extinf-without-uri", without(GOOD, "a-4.ts?s=x\n")),
    ("extinf-without-uri", without(GOOD, "a-6.ts?s=x\n")),
    ("byterange", swap(swap(GOOD, "#EXTINF", "#EXT-X-BYTERANGE:9\n#EXTINF"), "N:3", "N:4")),
    ("byterange", swap(swap(GOOD, "#EXTINF", "#EXT-X-BYTERANGE:x\n#EXTINF"), "N:3", "N:4")),
    ("key", swap(GOOD, "#EXTINF", '#EXT-X-KEY:URI="k"\n#EXTINF')),
    ("key", swap(GOOD, "#EXTINF", '#EXT-X-KEY:METHOD=NONE,URI="k"\n#EXTINF')),
    ("map", swap(LOW, 'URI="init.mp4"', 'URI="init.mp4",BYTERANGE="9"')),
    ("map", swap(LOW, 'URI="init.mp4"', 'URL="init.mp4"')),
    ("map-missing", without(LOW, '#EXT-X-MAP:URI="init.mp4"\n')),
    ("date-syntax", swap(GOOD, "02.000Z", "02Z")),
    ("date-syntax", swap(GOOD, "02.000Z", "02.000")),
    ("date-syntax", swap(GOOD, "00:00:02.000Z", "00:00:72.000Z")),
    ("date-missing", without(GOOD, "#EXT-X-PROGRAM-DATE-TIME:2024-01-01T00:01:00.000Z\n")),
    ("date-mapping", swap(GOOD, "02.000Z", "02.100Z")),
    ("date-mapping", without(GOOD, "#EXT-X-DISCONTINUITY\n")),
    ("date-mapping", swap(GOOD, "01:00.000Z", "00:01.000Z")),
    ("daterange", GOOD + '#EXT-X-DATERANGE:START-DATE="2024-01-01T00:00:00Z"\n'),
    ("bitrate", swap(GOOD, "#EXTINF", "#EXT-X-BITRATE:fast\n#EXTINF")),
    ("part-inf-missing", without(LOW, "#EXT-X-PART-INF:PART-TARGET=0.5\n")),
    ("part-target", swap(LOW, "PART-TARGET=0.5", "PART-TARGET=0")),
    ("server-control", swap(LOW, "RELOAD=YES", "RELOAD=NO")),
    ("server-control", swap(LOW, "UNTIL=12.0", "UNTIL=twelve")),
    ("skip-boundary", swap(LOW, "UNTIL=12.0", "UNTIL=11.9")),
    ("skip-dateranges", swap(LOW, "CAN-SKIP-UNTIL=12.0", "CAN-SKIP-DATERANGES=YES")),
    ("hold-back", swap(LOW, "CAN-SKIP", "HOLD-BACK=5.9,CAN-SKIP")),
    ("part-hold-back-missing", swap(LOW, "PART-HOLD-BACK=1.5,", "")),
    ("part-hold-back", swap(LOW, "BACK=1.5", "BACK=0.9")),
    ("part-hold-back-low", swap(LOW, "BACK=1.5", "BACK=1.4")),
    ("part", swap(LOW, 'DURATION=0.5,URI="p-19-1.mp4"', "DURATION=0.5")),
    ("part", swap(LOW, "INDEPENDENT=YES", "INDEPENDENT=NO")),
    ("part-long", swap(LOW, 'DURATION=0.5,URI="p-19-1', 'DURATION=0.51,URI="p-19-1')),
    ("part-short", swap(LOW, 'DURATION=0.5,URI="p-19-1', 'DURATION=0.42,URI="p-19-1')),
    ("part-tags", swap(LOW, hint(20, 2), "#EXT-X-DISCONTINUITY\n" + hint(20, 2))),
    ("part-sum", swap(LOW, 'DURATION=0.5,URI="p-19-3', 'DURATION=0.4,URI="p-19-3')),
    ("part-sum", swap(LOW, "EXTINF:2.00000,\ns-19", "EXTINF:1.90000,\ns-19")),
    ("part-sum", swap(LOW, "EXTINF:2.00000,\ns-19", "EXTINF:2.10000,\ns-19")),  # clipped at a gap
    ("part-old", swap(LOW, segment(15), segment(15, with_parts=True))),
    ("skip", low(19, 2, skipped=2) + "#EXT-X-SKIP:SKIPPED-SEGMENTS=2\n"),
    ("skip", swap(low(19, 2, skipped=2), "SEGMENTS=2", "SEGMENTS=x")),
    ("skip-version", swap(low(19, 2, skipped=2), "VERSION:9", "VERSION:6")),
    ("hint", swap(LOW, "TYPE=PART", "TYPE=PIECE")),
    ("hint", swap(LOW, "TYPE=PART", "TYPE=PART,BYTERANGE-START=x")),
    ("hint-ended", LOW + "#EXT-X-ENDLIST\n"),
    ("hint-repeated", LOW + hint(20, 3)),
    ("hint-missing", without(LOW, hint(20, 2))),
    ("report", swap(LOW, 'URI="audio.m3u8"', 'URI="http://x/audio.m3u8"')),
    ("report", swap(LOW, "LAST-MSN=20", "LAST-MSN=last")),
    ("block-reload-missing", swap(LOW, "CAN-BLOCK-RELOAD=YES,", "")),
]
RELOADS: list[tuple[str, list[str]]] = [
    ("target-changed", [GOOD, swap(NEXT, "DURATION:2", "DURATION:3")]),
    ("part-target-changed", [LOW, swap(low(19, 3), "TARGET=0.5", "TARGET=0.55")]),
    ("server-control-changed", [LOW, swap(low(19, 3), "BACK=1.5", "BACK=1.6")]),
    ("version-changed", [GOOD, swap(NEXT, "VERSION:3", "VERSION:4")]),
    ("independent-changed", [GOOD, without(NEXT, "#EXT-X-INDEPENDENT-SEGMENTS\n")]),
    ("sequence-back", [GOOD, swap(NEXT, "MEDIA-SEQUENCE:5", "MEDIA-SEQUENCE:3")]),
    ("sequence-mismatch", [GOOD, swap(NEXT, "MEDIA-SEQUENCE:5", "MEDIA-SEQUENCE:4")]),
    ("segment-changed", [GOOD, swap(NEXT, "EXTINF:2.00000", "EXTINF:2.10000")]),
    ("segment-changed", [GOOD, swap(NEXT, "00:02.000Z", "00:02.001Z")]),
    ("segment-lost", [GOOD, GOOD[: GOOD.index("#EXT-X-DISCONTINUITY\n")]]),
    ("removed-all", [GOOD, swap(NEXT, "MEDIA-SEQUENCE:5", "MEDIA-SEQUENCE:8")]),
    ("playlist-short", [GOOD, without(NEXT, *NEXT.splitlines(keepends=True)[-3:])]),
    ("uri-reused", [GOOD, swap(NEXT, "a-7.ts", "a-4.ts")]),
    ("discontinuity-sequence", [GOOD, swap(NEXT, "SEQUENCE:1", "SEQUENCE:2")]),
    ("discontinuity-sequence-back", [GOOD, swap(NEXT, "SEQUENCE:1", "SEQUENCE:0")]),
    ("end-changed", [ENDED, NEXT]),
    ("type-changed", [GOOD, swap(NEXT, "#EXTINF", "#EXT-X-PLAYLIST-TYPE:EVENT\n#EXTINF")]),
    ("part-changed", [LOW, swap(low(19, 3), "p-20-1", "q-20-1")]),
    ("hint-broken", [LOW, swap(low(19, 3), "p-20-2.mp4", "q-20-2.mp4")]),
    ("hint-broken", [low(19, 4), swap(low(20, 1), "p-21-0.mp4", "q-21-0.mp4")]),
    (
        "hint-broken",
        [
            low(19, 4),
            swap(
                swap(low(20, 1), "p-21-0.mp4", "q-21-0.mp4"),
                date(22),
                "#EXT-X-DISCONTINUITY\n" + date(22),
            ),
        ],
    ),
    ("delta-unknown", [low(19, 1), low(21, 1, skipped=3).replace("SEGMENTS=3", "SEGMENTS=13")]),
    ("delta-differs", [low(19, 1), swap(low(19, 2, skipped=2), "s-14", "t-14")]),
    ("delta-boundary", [low(19, 1), low(19, 2, skipped=5)]),
    ("delta-boundary", [low(19, 1), low(19, 2, skipped=2)]),
]
ASKED: list[tuple[str, Asked]] = [
    ("block-early", Asked(19, 3, 0, 0.1, 200, low(18, 3))),
    ("block-early", Asked(20, None, 0, 0.1, 200, low(19, 3))),
    ("block-early", Asked(19, 4, 0, 0.1, 200, low(19, 0))),
    ("block-late", Asked(19, 0, 0, 6.5, 200, low(19, 1))),
    ("block-refused", Asked(19, 3, 0, 0.1, 404)),
    ("block-bad-request", Asked(None, 3, 0, 0.1, 200, low(18, 3))),
    ("block-ahead", Asked(21, 0, 0, 0.1, 200, low(18, 3))),
    ("block-ahead", Asked(21, 0, 0, 4.0, 400)),
]
VARIANTS: list[tuple[str, str]] = [
    ("no-variant", "#EXTM3U\n"),
    ("variant-uri", without(MULTIVARIANT, "media.m3u8\n")),
    ("variant-uri", MULTIVARIANT + "other.m3u8\n"),
    ("variant-uri", swap(MULTIVARIANT, "media.m3u8", "#EXT-X-INDEPENDENT-SEGMENTS\nmedia.m3u8")),
    ("bandwidth", swap(MULTIVARIANT, "BANDWIDTH=200", "BANDWIDTH=0")),
    ("bandwidth", swap(MULTIVARIANT, "BANDWIDTH=200,", "")),
    ("average-bandwidth", swap(MULTIVARIANT, "AGE-BANDWIDTH=100", "AGE-BANDWIDTH=300")),
    ("codecs-missing", swap(MULTIVARIANT, 'CODECS="avc1.64001f,mp4a.40.2",', "")),
    ("codecs", swap(MULTIVARIANT, "avc1.64001f", "avc1")),
    ("codecs", swap(MULTIVARIANT, "avc1.64001f", "hvc1.2.4.L150.B01")),
    ("codecs-apple", swap(MULTIVARIANT, "avc1.64001f", "hev1.1.6.L93.B0")),
    ("resolution", swap(MULTIVARIANT, "RESOLUTION=640x360,", "")),
    ("resolution", swap(MULTIVARIANT, "640x360", "640:360")),
    ("resolution", swap(MULTIVARIANT, "avc1.64001f,", "")),
    ("frame-rate", swap(MULTIVARIANT, "25.000", "25")),
    ("group-missing", swap(MULTIVARIANT, 'AUDIO="aac"', 'AUDIO="mp3"')),
    ("media", swap(MULTIVARIANT, 'NAME="One",', "")),
    ("media", swap(MULTIVARIANT, "DEFAULT=YES", "DEFAULT=1")),
    ("media", swap(MULTIVARIANT, "DEFAULT=YES", "DEFAULT=YES,FORCED=YES")),
    ("media-name", swap(MULTIVARIANT, "Two", "One")),
    ("media-default", swap(MULTIVARIANT, '"Two",', '"Two",DEFAULT=YES,')),
    ("media-language", swap(MULTIVARIANT, 'NAME="One",', 'NAME="One",LANGUAGE="eng",')),
    ("media-language", swap(MULTIVARIANT, 'NAME="One",', 'NAME="One",LANGUAGE="English!",')),
    ("media-codecs", swap(MULTIVARIANT, ",mp4a.40.2", "")),
    ("media-autoselect", swap(MULTIVARIANT, "AUTOSELECT=YES", "AUTOSELECT=NO")),
    ("media-groups", swap(MULTIVARIANT, 'ID="aac",NAME="Two"', 'ID="hi",NAME="Two"')),
    (
        "media-channels",
        swap(
            MULTIVARIANT,
            "#EXT-X-STREAM",
            '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="hi",NAME="One",URI="h.m3u8"\n#EXT-X-STREAM',
        ),
    ),
    (
        "media-uri",
        swap(
            MULTIVARIANT,
            "#EXT-X-STREAM",
            '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="S"\n#EXT-X-STREAM',
        ),
    ),
]
AUDIO = swap(low(19, 2), "audio.m3u8", "video.m3u8")
PAIRS: list[tuple[str, str]] = [
    ("renditions-target", swap(AUDIO, "DURATION:2", "DURATION:3")),
    ("renditions-type", swap(AUDIO, "#EXT-X-MAP", "#EXT-X-PLAYLIST-TYPE:EVENT\n#EXT-X-MAP")),
    ("renditions-control", swap(AUDIO, "BACK=1.5", "BACK=1.6")),
    ("renditions-date", "".join(each for each in AUDIO.splitlines(True) if "DATE" not in each)),
    ("renditions-discontinuity", swap(AUDIO, date(10), "#EXT-X-DISCONTINUITY\n" + date(10))),
    ("renditions-aligned", swap(AUDIO, "00:00:10.000Z", "00:00:10.500Z")),
    ("renditions-report", swap(AUDIO, 'URI="video.m3u8"', 'URI="other.m3u8"')),
]


def test_good_samples_are_good() -> None:
    for versions in ([GOOD, GOOD, NEXT, NEXT + "#EXT-X-ENDLIST\n"], [LOW, low(19, 3), low(20, 1)]):
        problems = check_reloads(versions)
        assert problems == [], told(problems)
    assert check_multivariant(MULTIVARIANT) == [], told(check_multivariant(MULTIVARIANT))
    problems = check_renditions({"video.m3u8": LOW, "audio.m3u8": AUDIO}, low_latency=True)
    assert problems == [], told(problems)


@pytest.mark.parametrize(("rule", "text"), TEXTS)
def test_rule_rejects_a_playlist(rule: str, text: str | bytes) -> None:
    assert rule in slugs(check_media(text))


@pytest.mark.parametrize(("rule", "versions"), RELOADS)
def test_rule_rejects_a_reload(rule: str, versions: list[str]) -> None:
    assert rule in slugs(check_reloads(versions))


@pytest.mark.parametrize(("rule", "request_"), ASKED)
def test_rule_rejects_an_answer(rule: str, request_: Asked) -> None:
    follower = Follower()
    follower.reload(low(18, 2), 0.0)
    follower.asked(request_)
    assert rule in slugs(follower.problems)


def test_good_answers_are_good() -> None:
    follower = Follower()
    follower.reload(low(18, 2), 0.0)
    follower.asked(Asked(19, 2, 0.0, 0.5, 200, low(18, 3)))
    follower.asked(Asked(19, 3, 0.5, 1.0, 200, low(18, 4)))
    follower.asked(Asked(19, 4, 1.0, 1.5, 200, low(19, 1)))
    follower.asked(Asked(20, None, 1.5, 3.5, 503))
    follower.asked(Asked(25, None, 3.5, 3.5, 400))
    follower.asked(Asked(None, 2, 3.5, 3.5, 400))
    assert follower.problems == [], told(follower.problems)


def test_rules_of_time() -> None:
    follower = Follower()
    follower.reload(GOOD, 0.0)
    follower.reload(GOOD, 3.0)
    assert follower.problems == []
    follower.reload(GOOD, 3.1)
    assert slugs(follower.problems) == ["update-late"]
    follower = Follower(slack=0.1)
    follower.reload(LOW, 0.0)
    follower.reload(LOW, 0.6)
    assert follower.problems == []
    follower.reload(LOW, 0.61)
    assert slugs(follower.problems) == ["part-late"]


def test_a_delta_update_is_merged() -> None:
    follower = Follower()
    follower.reload(low(19, 1))
    follower.reload(low(19, 2, skipped=4))
    follower.reload(low(20, 1, first=11, skipped=4))
    assert follower.problems == [], told(follower.problems)
    newest = follower.newest
    assert newest is not None
    assert [each.sequence for each in newest.segments] == list(range(11, 21))
    assert {each.map_uri for each in newest.segments} == {"init.mp4"}


@pytest.mark.parametrize(("rule", "text"), VARIANTS)
def test_rule_rejects_a_multivariant_playlist(rule: str, text: str) -> None:
    assert rule in slugs(check_multivariant(text))


@pytest.mark.parametrize(("rule", "text"), PAIRS)
def test_rule_rejects_a_rendition(rule: str, text: str) -> None:
    pair = {"video.m3u8": LOW, "audio.m3u8": text}
    assert rule in slugs(check_renditions(pair, low_latency=True))


def test_a_report_may_not_be_old() -> None:
    old = {"video.m3u8": LOW, "audio.m3u8": swap(AUDIO, "LAST-PART=2", "LAST-PART=0")}
    assert "report" in slugs(check_renditions(old, low_latency=True))


def test_every_rule_has_a_broken_sample() -> None:
    shown = {rule for rule, *_ in (*TEXTS, *RELOADS, *ASKED, *VARIANTS, *PAIRS)}
    shown |= {"update-late", "part-late"}
    rules = TEXT_RULES | MEDIA_RULES | PART_RULES | RELOAD_RULES | MULTIVARIANT_RULES
    assert shown == set(rules | RENDITION_RULES)
