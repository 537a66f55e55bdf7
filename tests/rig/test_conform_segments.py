"""Rules of HLS that need the media reject their broken samples; what FFmpeg writes is judged."""

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.conform import samples
from tests.support.conform.fmp4 import Fmp4Limits, Fmp4Reader, header_size
from tests.support.conform.hls import SegmentJudge, SegmentLimits, check_segments, parse_media
from tests.support.conform.hls_rules import SEGMENT_RULES
from tests.support.conform.problem import slugs, told
from tests.support.conform.samples import box_at, patch

FFMPEG = shutil.which("ffmpeg") or ""
HEAD = """#EXTM3U
#EXT-X-VERSION:3
#EXT-X-TARGETDURATION:3
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-INDEPENDENT-SEGMENTS
"""
MASTER = """#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},CODECS="{codecs}",\
RESOLUTION={size},FRAME-RATE={rate}
media.m3u8
"""


def cut_ts() -> list[bytes]:
    """The pyramid clip cut before its tables where a key frame follows; FFmpeg's packets."""
    data = samples.ts(samples.PYRAMID)
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    # FFmpeg sends its service description, PAT and PMT before each key frame.
    starts = [
        n
        for n, packet in enumerate(packets)
        if packet[1:3] == b"\x40\x00" and _is_key(packets[n + 2 : n + 3])
    ]
    cuts = [*starts, len(packets)]
    pieces = [packets[a:b] for a, b in pairwise(cuts)]
    return [b"".join(p for p in piece if p[1:3] != b"\x40\x11") for piece in pieces]


def _is_key(packets: list[bytes]) -> bool:
    return any(packet[3] & 0x20 and packet[4] and packet[5] & 0x40 for packet in packets)


def cut_fmp4(options: dict[str, str] = samples.FRAGMENTED) -> tuple[bytes, list[bytes]]:
    """The same as fragmented MP4: the initialization section and its fragments."""
    data = samples.fmp4(samples.PYRAMID, options)
    at = header_size(data)
    header, rest, pieces = data[:at], data[at:], []
    while rest[4:8] == b"moof":
        size = int.from_bytes(rest[:4], "big")
        size += int.from_bytes(rest[size : size + 4], "big")
        pieces.append(rest[:size])
        rest = rest[size:]
    return header, pieces


TS = cut_ts()
INIT, FRAGMENTS = cut_fmp4()
COUNT = len(TS)
LENGTH = 4.0 / COUNT  # the key frames of the clip are regular
FILES = {f"{n}.ts": data for n, data in enumerate(TS)}
MP4 = {"init.mp4": INIT, **{f"{n}.m4s": data for n, data in enumerate(FRAGMENTS)}}


def media(suffix: str = "ts", before: str = "", **changes: str) -> str:
    """The playlist of those files; `changes` are other lines for `s0`, `s1`."""
    body = ""
    for n in range(COUNT):
        date = f"#EXT-X-PROGRAM-DATE-TIME:2024-01-01T00:00:{n * LENGTH:06.3f}Z\n"
        body += changes.get(f"s{n}", f"{date}#EXTINF:{LENGTH:.5f},\n{n}.{suffix}\n")
    return HEAD + before + body + "#EXT-X-ENDLIST\n"


def master(**changes: object) -> str:
    judge = SegmentJudge()
    judge.playlist(parse_media(media()), FILES)
    peak, average = judge.measured()
    fields = {
        "peak": int(peak) + 1,
        "average": int(average),
        "codecs": "avc1.64001f",
        "size": "800x640",
        "rate": "30.000",
    }
    return MASTER.format(**{**fields, **changes})


def fmp4(**changes: str) -> str:
    text = media("m4s", '#EXT-X-MAP:URI="init.mp4"\n', **changes)
    return text.replace("VERSION:3", "VERSION:6")


def with_parts(**flags: bool) -> str:
    """The first segment in two parts."""
    first = ",INDEPENDENT=YES" if flags.get("first", True) else ""
    second = ",INDEPENDENT=YES" if flags.get("second") else ""
    parts = (
        f'#EXT-X-PART:DURATION=0.5,URI="p0.m4s"{first}\n'
        f'#EXT-X-PART:DURATION=0.5,URI="p1.m4s"{second}\n'
    )
    return fmp4(s0=f"{parts}#EXTINF:{LENGTH:.5f},\n0.m4s\n")


def parted() -> dict[str, bytes]:
    """Each segment as two fragments: FFmpeg writes them so if told how long they may be."""
    options = {"movflags": "empty_moov+default_base_moof+frag_keyframe", "frag_duration": "520000"}
    header, pieces = cut_fmp4(options)
    assert len(pieces) == 2 * COUNT
    files = {f"{n}.m4s": pieces[2 * n] + pieces[2 * n + 1] for n in range(COUNT)}
    return {**files, "init.mp4": header, "p0.m4s": pieces[0], "p1.m4s": pieces[1]}


def shifted(data: bytes, ticks: int) -> bytes:
    """A fragment at another decode time."""
    at = box_at(data, b"moof", b"traf", b"tfdt")
    wide = 8 if data[at] else 4
    time = int.from_bytes(data[at + 4 : at + 4 + wide], "big") + ticks
    return patch(data, at + 4, time.to_bytes(wide, "big"))


def counted(data: bytes) -> bytes:
    """The same packets with other continuity counters."""
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    return b"".join(p[:3] + bytes((p[3] & 0xF0 | p[3] + 5 & 15,)) + p[4:] for p in packets)


def line(n: int, duration: float = LENGTH, before: str = "") -> str:
    return f"{before}#EXTINF:{duration:.5f},\n{n}.ts\n"


LATE = "#EXT-X-PROGRAM-DATE-TIME:2024-01-01T00:00:01.900Z\n"
SOUND = samples.remux(samples.SHORT, "mpegts", (("max_delay", "700000"),), "audio")
BROKEN: list[tuple[str, str, dict[str, bytes]]] = [
    ("segment-missing", media(), {**FILES, "1.ts": None}),  # type: ignore[dict-item]
    ("segment-missing", fmp4(), {**MP4, "init.mp4": None}),  # type: ignore[dict-item]
    ("segment-format", media(), {**FILES, "1.ts": b""}),
    ("segment-duration", media(s0=line(0, LENGTH + 0.06)), FILES),
    ("segment-duration", media(**{f"s{COUNT - 1}": line(COUNT - 1, LENGTH + 0.2)}), FILES),
    ("gap-media", media(s1="#EXT-X-GAP\n" + line(1)), FILES),
    ("segment-key", media(), {**FILES, "0.ts": TS[0][: 2 * 188] + TS[0][40 * 188 :]}),
    ("segment-continuity", media(s1=line(0)), FILES),
    ("segment-counters", media(), {**FILES, "1.ts": counted(TS[1])}),
    ("segment-tracks", media(), {**FILES, "1.ts": SOUND}),
    ("date-drift", media(s1=line(1, before=LATE)), FILES),
    ("bitrate", media(before="#EXT-X-BITRATE:1\n"), FILES),
    ("part-missing", with_parts(), {**parted(), "p1.m4s": None}),  # type: ignore[dict-item]
    ("part-media", with_parts(), {**parted(), "p1.m4s": FRAGMENTS[1]}),
    ("part-independent", with_parts(first=False), parted()),
    ("part-independent", with_parts(second=True), parted()),
]
MASTERS = [
    ("bandwidth-peak", master(peak=100)),
    ("bandwidth-peak", master(peak=90_000_000)),
    ("bandwidth-average", master(average=100)),
    ("codecs-media", master(codecs="avc1.42c01e")),
    ("codecs-media", master(codecs="avc1.64001f,mp4a.40.2")),
    ("resolution-media", master(size="640x480")),
    ("frame-rate-media", master(rate="25.000")),
]


def drifting() -> str:
    """Each segment a little too long: none is wrong by itself."""
    return media(**{f"s{n}": line(n, LENGTH + 0.045) for n in range(COUNT)})


def test_what_ffmpeg_wrote_is_good() -> None:
    for text, files in ((media(), FILES), (fmp4(), MP4), (with_parts(), parted())):
        problems = check_segments(text, files)
        assert problems == [], told(problems)
    problems = check_segments(media(), FILES, master())
    assert problems == [], told(problems)


@pytest.mark.parametrize(("rule", "text", "files"), BROKEN)
def test_rule_rejects(rule: str, text: str, files: dict[str, bytes]) -> None:
    there = {name: data for name, data in files.items() if data is not None}
    assert rule in slugs(check_segments(text, there))


def changing() -> tuple[str, dict[str, bytes]]:
    """A source of another profile and size comes in the middle."""
    other = samples.remux(samples.BUNNY, "mpegts", (), "video")
    files = {**FILES, "other.ts": other}
    text = media(**{f"s{COUNT - 1}": "#EXT-X-DISCONTINUITY\n#EXTINF:2.00000,\nother.ts\n"})
    return text, files


BOTH = {"codecs": "avc1.42c01e,avc1.64001f"}


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("", BOTH),
        ("codecs-media", {}),
        ("codecs-media", {"codecs": "avc1.42c01e"}),
        ("resolution-media", {**BOTH, "size": "640x360"}),
    ],
)
def test_every_format_that_is_listed_counts(rule: str, changes: dict[str, str]) -> None:
    text, files = changing()
    problems = check_segments(text, files, master(**changes))
    kinds = {"codecs-media", "resolution-media"} & set(slugs(problems))
    assert kinds == ({rule} if rule else set()), told(problems)


@pytest.mark.parametrize(("rule", "text"), MASTERS)
def test_rule_rejects_a_multivariant_playlist(rule: str, text: str) -> None:
    assert rule in slugs(check_segments(media(), FILES, text))


def test_durations_may_not_add_up_to_an_error() -> None:
    assert "segment-duration" in slugs(check_segments(drifting(), FILES))


def by_frame() -> tuple[bytes, list[bytes], list[float]]:
    """The pyramid as one fragment a picture, and when each is shown."""
    header, pieces = cut_fmp4({"movflags": "empty_moov+default_base_moof+frag_every_frame"})
    reader = Fmp4Reader(header, Fmp4Limits(starts_with_sync=False))
    rate = next(iter(reader.tracks.values())).timescale
    return header, pieces, [reader.segment(each, "").samples[0].pts / rate for each in pieces]


HEADER, FRAMES, SHOWN = by_frame()
MIDDLE = 13  # of those that are shown after all before them, and others come before it
HOLES = SegmentLimits(fmp4=Fmp4Limits(starts_with_sync=False, gap=1 << 40))


def in_mid_gop(first: float, kept: list[int]) -> list[str]:
    """What is wrong with two segments of these pictures, the first one so long."""
    files = {
        "init.mp4": HEADER,
        "0.m4s": b"".join(FRAMES[n] for n in kept if n < MIDDLE),
        "1.m4s": b"".join(FRAMES[n] for n in kept if n >= MIDDLE),
    }
    last = max(SHOWN[n] for n in kept) - SHOWN[0] - first
    text = HEAD.replace("#EXT-X-INDEPENDENT-SEGMENTS\n", "").replace("VERSION:3", "VERSION:7")
    text += f'#EXT-X-MAP:URI="init.mp4"\n#EXTINF:{first:.5f},\n0.m4s\n'
    text += f"#EXTINF:{last + 1 / 30:.5f},\n1.m4s\n#EXT-X-ENDLIST\n"
    return slugs(check_segments(text, files, limits=HOLES))


def test_a_segment_without_a_key_frame_begins_with_what_is_shown_first() -> None:
    kept = list(range(29))
    begin = min(SHOWN[n] for n in kept if n >= MIDDLE)
    assert begin < SHOWN[MIDDLE] - 0.09
    assert in_mid_gop(begin - SHOWN[0], kept) == []
    assert "segment-duration" in in_mid_gop(SHOWN[MIDDLE] - SHOWN[0], kept)


def test_segments_meet_anywhere_in_a_hole_and_nowhere_else() -> None:
    own = list(range(MIDDLE, 29))
    begin = min(SHOWN[n] for n in own)
    kept = [*range(MIDDLE), *(n for n in own if n == MIDDLE or SHOWN[n] > SHOWN[MIDDLE])]
    end = SHOWN[MIDDLE] - SHOWN[0]
    for first in (begin - SHOWN[0], end - 0.05, end):
        assert in_mid_gop(first, kept) == []
    for first in (begin - SHOWN[0] - 0.05, end + 0.05):
        assert "segment-duration" in in_mid_gop(first, kept)


def test_media_of_segments_is_judged() -> None:
    damaged = {**FILES, "1.ts": patch(TS[1], 400, b"\0" * 8)}
    assert check_segments(media(), damaged) != []
    late = {**MP4, "1.m4s": shifted(FRAGMENTS[1], 5_000)}
    assert "tfdt-continuity" in slugs(check_segments(fmp4(), late))


def test_every_rule_has_a_broken_sample() -> None:
    shown = {rule for rule, *_ in (*BROKEN, *MASTERS)} - {"bitrate"}
    assert shown == set(SEGMENT_RULES)


def test_a_break_excuses() -> None:
    again = line(0, before="#EXT-X-DISCONTINUITY\n")
    text = media(s1=again)
    text = text[: text.index("#EXT-X-PROGRAM-DATE-TIME", text.index(again) + len(again))]
    problems = check_segments(text, FILES)
    assert problems == [], told(problems)


@pytest.mark.interop
@pytest.mark.parametrize("name", [samples.BUNNY, samples.PYRAMID, samples.HDR])
@pytest.mark.parametrize("kind", ["mpegts", "fmp4"])
def test_ffmpegs_own_hls(name: str, kind: str, tmp_path: Path) -> None:
    """What FFmpeg 5.1 writes, but for what it is known to do otherwise."""
    command = [FFMPEG, "-v", "error", "-i", str(samples.MEDIA / name), "-c", "copy"]
    command += ["-tag:v", "hvc1"] * (name == samples.HDR and kind == "fmp4")
    command += ["-f", "hls", "-hls_segment_type", kind, "-hls_time", "1", "-hls_list_size", "0"]
    command += ["-hls_flags", "program_date_time", "media.m3u8"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=30)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    found = set(slugs(check_segments(files["media.m3u8"], files)))
    # A service description comes before its PAT; next_track_ID is 2 with two tracks.
    assert found <= ({"tables-first"} if kind == "mpegts" else {"next-track"})
