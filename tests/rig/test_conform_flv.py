"""Each rule of the judge of FLV rejects its broken sample; FFmpeg's files pass."""

from struct import pack

import pytest

from tests.support.conform import samples
from tests.support.conform.flv import RULES, FlvLimits, check_flv, read_flv
from tests.support.conform.problem import slugs, told

HEAD = b"FLV\x01\x05\x00\x00\x00\x09" + bytes(4)
SPS, PPS = bytes.fromhex("6742001e8c8d40a02ff9"), bytes.fromhex("68ce3c80")
AVCC = b"\x01" + SPS[1:4] + b"\xff\xe1" + pack(">H", len(SPS)) + SPS + b"\x01\x00\x04" + PPS
HVCC = bytes.fromhex("0101600000009000000000005af000fcfdf8f800000f03")
SETS = ("40010c01", "4201010160000000900000000000" + "5aa0", "4401c172")
for kind, content in zip((32, 33, 34), SETS, strict=True):
    nal = bytes.fromhex(content)
    HVCC += bytes((0x80 | kind, 0, 1)) + pack(">H", len(nal)) + nal
OPUS = b"OpusHead\x01\x02" + bytes(9)
FOURCC = float(int.from_bytes(b"hvc1", "big"))


def value(name: str, data: float | bool | str) -> bytes:
    key = pack(">H", len(name)) + name.encode()
    if isinstance(data, bool):
        return key + bytes((1, data))
    if isinstance(data, str):
        return key + b"\x02" + pack(">H", len(data)) + data.encode()
    return key + b"\x00" + pack(">d", data)


def script(count: int = -1, **values: float | bool | str) -> bytes:
    pairs = b"".join(value(name, data) for name, data in values.items())
    number = len(values) if count < 0 else count
    return b"\x02\x00\x0aonMetaData\x08" + pack(">I", number) + pairs + b"\x00\x00\x09"


def tag(kind: int, time: int, body: bytes, stream: int = 0) -> bytes:
    head = bytes((kind,)) + len(body).to_bytes(3, "big")
    stamp = (time & 0xFFFFFF).to_bytes(3, "big") + bytes((time >> 24,))
    return head + stamp + stream.to_bytes(3, "big") + body + pack(">I", len(body) + 11)


def video(time: int, body: str | bytes) -> bytes:
    return tag(9, time, bytes.fromhex(body) if isinstance(body, str) else body)


def sound(time: int, body: str | bytes) -> bytes:
    return tag(8, time, bytes.fromhex(body) if isinstance(body, str) else body)


def nals(*units: str) -> bytes:
    return b"".join(pack(">I", len(unit) // 2) + bytes.fromhex(unit) for unit in units)


def picture(time: int, cts: int = 0, *units: str, key: bool = False) -> bytes:
    body = bytes((0x17 if key else 0x27, 1)) + (cts & 0xFFFFFF).to_bytes(3, "big")
    return video(time, body + nals(*(units or (("6588",) if key else ("419a",)))))


META = script(
    videocodecid=7.0, audiocodecid=10.0, width=640.0, audiosamplerate=44100.0, stereo=True
)
AVC = video(0, b"\x17\x00\x00\x00\x00" + AVCC)
ASC = sound(0, "af001210")
KEY, INTER = picture(40, 80, key=True), picture(80, 40)
SOUND = sound(50, "af0121000000")
PIECES = [HEAD, tag(18, 0, META), AVC, ASC, KEY, SOUND, INTER]
GOOD = b"".join(PIECES)


def swap(index: int, piece: bytes) -> bytes:
    """The good file with another piece."""
    return b"".join([*PIECES[:index], piece, *PIECES[index + 1 :]])


def enhanced(head: int, name: bytes, data: bytes = b"", time: int = 0) -> bytes:
    return video(time, bytes((head,)) + name + data)


def of_video(*tags: bytes, codec: float = FOURCC) -> bytes:
    """A file with pictures alone."""
    head = b"FLV\x01\x01\x00\x00\x00\x09" + bytes(4)
    return b"".join([head, tag(18, 0, script(videocodecid=codec)), *tags])


def of_sound(*tags: bytes, codec: bytes = b"Opus") -> bytes:
    """A file with sound alone."""
    number = float(int.from_bytes(codec, "big"))
    head = b"FLV\x01\x04\x00\x00\x00\x09" + bytes(4)
    return b"".join([head, tag(18, 0, script(audiocodecid=number)), *tags])


H265 = enhanced(0x90, b"hvc1", HVCC)
H265_KEY = enhanced(0x91, b"hvc1", b"\xff\xff\xd8" + nals("26018888"), 40)
H265_X = enhanced(0xA3, b"hvc1", nals("02018888"), 80)
AV1_HEAD = enhanced(0x90, b"av01", bytes.fromhex("81050c000a0b0000000424c6abdf00"))
VP9_HEAD = enhanced(0x90, b"vp09", bytes.fromhex("01000000001e820202020000"))
OPUS_HEAD = sound(0, b"\x90Opus" + OPUS)
OPUS_SOUND = sound(20, b"\x91Opus\xfc\xff\xfe")
GOOD_FILES = {
    "legacy": GOOD,
    "enhanced": of_video(H265, H265_KEY, H265_X),
    "legacy-h265": of_video(
        video(0, b"\x1c\x00\x00\x00\x00" + HVCC),
        video(40, b"\x1c\x01\x00\x00\x00" + nals("26018888")),
        codec=12.0,
    ),
    "opus": of_sound(OPUS_HEAD, OPUS_SOUND),
    "multichannel": of_sound(OPUS_HEAD, sound(0, b"\x94Opus\x01\x06\x00\x00\x00\x3f"), OPUS_SOUND),
    "custom channels": of_sound(OPUS_HEAD, sound(0, b"\x94Opus\x02\x02\x00\x01"), OPUS_SOUND),
    "multitrack": of_sound(
        sound(0, b"\x95\x10Opus\x00" + b"\x00\x00\x13" + OPUS + b"\x01\x00\x00\x13" + OPUS),
        sound(20, b"\x95\x11Opus\x00\x00\x00\x01\xfc\x01\x00\x00\x01\xfc"),
    ),
    "modified": of_sound(OPUS_HEAD, sound(20, b"\x97\x02\x01\x00\x00\x01Opus\xfc")),
    "av1": of_video(
        AV1_HEAD,
        enhanced(0x91, b"av01", bytes.fromhex("0a090000000424c6abdf00320110"), 40),
        enhanced(0xA1, b"av01", b"\x32\x01\x30", 80),
        codec=float(int.from_bytes(b"av01", "big")),
    ),
    "ended": of_video(H265, H265_KEY, enhanced(0x92, b"hvc1", b"", 80)),
    "mp3": of_sound(sound(0, b"\x2f\xff\xfb\x90\x00"), codec=b"\x02"),
    "high": b"".join([*PIECES[:4], *(picture(t, key=True) for t in (0xFFFFF0, 0x1000018)), SOUND]),
}

BROKEN: list[tuple[str, bytes]] = [
    ("signature", b"FLX" + GOOD[3:]),
    ("signature", GOOD[:12]),
    ("version", swap(0, b"FLV\x02\x05\x00\x00\x00\x09" + bytes(4))),
    ("type-flags", swap(0, b"FLV\x01\x07\x00\x00\x00\x09" + bytes(4))),
    ("data-offset", swap(0, b"FLV\x01\x05\x00\x00\x00\x08" + bytes(4))),
    ("header-flags", swap(0, b"FLV\x01\x01\x00\x00\x00\x09" + bytes(4))),
    ("header-flags", b"".join([*PIECES[:3], KEY])),
    ("previous-tag-size", swap(0, HEAD[:-1] + b"\x01")),
    ("previous-tag-size", swap(4, KEY[:-1] + b"\x00")),
    ("truncated", GOOD[:-1]),
    ("truncated", GOOD + b"\x08\x00"),
    ("tag-type", GOOD + tag(15, 90, b"x")),
    ("tag-flags", GOOD + tag(0x29, 90, KEY[11:-4])),
    ("stream-id", swap(6, tag(9, 80, INTER[11:-4], stream=1))),
    ("empty-tag", GOOD + tag(9, 90, b"")),
    ("timestamp-order", GOOD + picture(79)),
    ("timestamp-extended", b"".join([*PIECES[:4], picture(0xFFFFF0, key=True), picture(8)])),
    ("timestamp-signed", GOOD + picture(1 << 31)),
    ("timestamp-jump", GOOD + picture(20_000)),
    ("composition-time", GOOD + picture(90, -91)),
    ("first-key", b"".join([*PIECES[:4], INTER, SOUND])),
    ("header-missing", swap(2, b"")),
    ("header-missing", swap(3, b"")),
    ("header-stale", GOOD + picture(90, 0, "6742001f8c8d", "6588", key=True)),
    ("header-late", b"".join([*PIECES[:2], *PIECES[3:5], AVC, SOUND])),
    ("after-end", GOOD + video(85, "1702000000") + picture(90)),
    ("codec-change", GOOD + H265_KEY),
    ("metadata-first", swap(1, b"")),
    ("metadata-syntax", swap(1, tag(18, 0, META[:-1] + b"\x08"))),
    ("metadata-syntax", swap(1, tag(18, 0, META + b"\x00"))),
    ("metadata-syntax", swap(1, tag(18, 0, META[:20]))),
    ("metadata-count", swap(1, tag(18, 0, script(9, videocodecid=7.0, audiocodecid=10.0)))),
    ("metadata-codec", swap(1, tag(18, 0, script(videocodecid=12.0, audiocodecid=10.0)))),
    ("metadata-codec", swap(1, tag(18, 0, script(audiocodecid=10.0)))),
    ("metadata-video", swap(1, tag(18, 0, META.replace(pack(">d", 640), pack(">d", -1))))),
    ("metadata-audio", swap(1, tag(18, 0, META.replace(pack(">d", 44100), pack(">d", 48000))))),
    ("metadata-audio", swap(1, tag(18, 0, META[:-4] + b"\x00\x00\x00\x09"))),
    ("frame-type", swap(6, video(80, "670100000000000002419a"))),
    ("video-codec", swap(6, video(80, "210100000000000002419a"))),
    ("avc-packet-type", swap(6, video(80, "270300000000000002419a"))),
    ("avc-packet-type", swap(6, video(80, "2701"))),
    ("header-composition-time", swap(2, video(0, b"\x17\x00\x00\x00\x01" + AVCC))),
    ("header-key", swap(2, video(0, b"\x27\x00\x00\x00\x00" + AVCC))),
    ("video-header", swap(2, video(0, b"\x17\x00\x00\x00\x00" + AVCC[:-1]))),
    ("video-header", swap(2, video(0, b"\x17\x00\x00\x00\x00" + AVCC + b"\x00"))),
    ("video-header", swap(2, video(0, b"\x17\x00\x00\x00\x00\x01\x64" + AVCC[2:]))),
    ("video-header", of_video(enhanced(0x90, b"hvc1", HVCC[:30]), H265_KEY)),
    ("nal-lengths", swap(6, video(80, "270100000000000003419a"))),
    ("nal-lengths", swap(6, video(80, "2701000000"))),
    ("key-flag", swap(6, picture(80, 0, "6588"))),
    ("key-flag", swap(6, picture(80, 0, "419a", key=True))),
    ("sound-format", swap(5, sound(50, "df0121"))),
    ("aac-flags", swap(5, sound(50, "ae0121000000"))),
    ("aac-packet-type", swap(5, sound(50, "af0221"))),
    ("audio-header", swap(3, sound(0, "af0017"))),
    ("audio-header", of_sound(sound(0, b"\x90OpusOpusHead\x21\x02" + bytes(9)), OPUS_SOUND)),
    ("audio-sync", of_sound(sound(0, b"\x2f\x00\xfb\x90\x00"), codec=b"\x02")),
    ("video-fourcc", of_video(H265, enhanced(0x91, b"hev1", b"\0\0\0" + nals("2601"), 40))),
    ("video-packet-type", of_video(H265, enhanced(0x98, b"hvc1", nals("2601"), 40))),
    ("coded-frames-x", of_video(enhanced(0x93, b"av01", b"\x12\x00", 40))),
    ("audio-fourcc", of_sound(OPUS_HEAD, sound(20, b"\x91opus\xfc"))),
    ("audio-packet-type", of_sound(OPUS_HEAD, sound(20, b"\x93Opus\xfc"))),
    (
        "multichannel",
        of_sound(OPUS_HEAD, sound(0, b"\x94Opus\x01\x06\x00\x00\x00\x1f"), OPUS_SOUND),
    ),
    ("multichannel", of_sound(OPUS_HEAD, sound(0, b"\x94Opus\x02\x03\x00\x01"), OPUS_SOUND)),
    ("av1-unit", of_video(AV1_HEAD, enhanced(0x91, b"av01", b"\x12\x00\x32\x01\x10", 40))),
    ("av1-unit", of_video(AV1_HEAD, enhanced(0x91, b"av01", b"\x30\x10", 40))),
    ("av1-unit", of_video(AV1_HEAD, enhanced(0x91, b"av01", b"\x32\x05\x10", 40))),
    ("av1-key", of_video(AV1_HEAD, enhanced(0x91, b"av01", b"\x32\x01\x10", 40))),
    ("vp9-frame", of_video(VP9_HEAD, enhanced(0x91, b"vp09", b"\x42\x49\x83\x42", 40))),
    ("header-missing", of_video(enhanced(0x91, b"vp09", b"\x82\x49\x83\x42", 40))),
    ("first-key", of_video(VP9_HEAD, enhanced(0xA1, b"vp09", b"\x86\x00", 40))),
    ("header-missing", of_sound(OPUS_SOUND)),
    ("after-end", of_video(H265, H265_KEY, enhanced(0x92, b"hvc1", b"", 80), H265_X)),
    ("multitrack", of_sound(OPUS_HEAD, sound(20, b"\x95\x31Opus\x00\xfc"))),
    ("multitrack", of_sound(OPUS_HEAD, sound(20, b"\x95\x11Opus\x00\x00\x00\x09\xfc"))),
    ("mod-ex", of_sound(OPUS_HEAD, sound(20, b"\x97\x02\xff\xff\xff\x01Opus\xfc"))),
    ("mod-ex", of_sound(OPUS_HEAD, sound(20, b"\x97\x09\x01"))),
]


@pytest.mark.parametrize(
    "name",
    [samples.BUNNY, samples.PYRAMID, samples.HDR, samples.SHORT, samples.OPUS, samples.VP9],
)
def test_what_ffmpeg_writes_is_good(name: str) -> None:
    content = read_flv(samples.flv(name))
    assert content.problems == [], told(content.problems)
    assert content.tags and content.metadata


@pytest.mark.parametrize("name", GOOD_FILES)
def test_files_by_hand_are_good(name: str) -> None:
    problems = check_flv(GOOD_FILES[name])
    assert problems == [], told(problems)


def test_tracks_of_one_tag_are_told_apart() -> None:
    tags = read_flv(GOOD_FILES["multitrack"]).tags
    assert [(each.track, each.is_header) for each in tags] == [
        (0, True),
        (1, True),
        (0, False),
        (1, False),
    ]
    assert read_flv(GOOD_FILES["modified"]).tags[-1].offset_ns == 0x10000


@pytest.mark.parametrize(("rule", "data"), BROKEN)
def test_rule_rejects(rule: str, data: bytes) -> None:
    assert rule in slugs(check_flv(data))


def test_every_rule_has_a_broken_sample() -> None:
    assert {rule for rule, _ in BROKEN} == set(RULES)


def test_limits_can_be_lifted() -> None:
    late = GOOD + picture(20_000) + picture(19_000)
    assert check_flv(late, FlvLimits(jump_ms=0, is_growing=False)) == []


def test_truncation_at_every_length_is_noticed() -> None:
    whole = {sum(map(len, PIECES[: n + 1])) for n in range(len(PIECES))}
    for size in range(len(GOOD)):
        assert size in whole or check_flv(GOOD[:size]) != []
