"""Each rule of the FLV checker rejects its broken sample."""

from collections.abc import Callable
from struct import pack

import pytest

from tests.support.flv_check import check

META = (
    b"\x02\x00\x0aonMetaData\x08\x00\x00\x00\x02"
    b"\x00\x0cvideocodecid\x00" + pack(">d", 7) + b"\x00\x0caudiocodecid\x00" + pack(">d", 10)
) + b"\x00\x00\x09"


def tag(kind: int, timestamp: int, body: bytes, stream: int = 0) -> bytes:
    head = bytes((kind,)) + len(body).to_bytes(3, "big")
    time = (timestamp & 0xFFFFFF).to_bytes(3, "big") + bytes((timestamp >> 24,))
    return head + time + stream.to_bytes(3, "big") + body + pack(">I", len(body) + 11)


HEAD = b"FLV\x01\x05\x00\x00\x00\x09" + bytes(4)
SCRIPT = tag(18, 0, META)
AVC = tag(9, 0, b"\x17\x00\x00\x00\x00\x01\x42\x00\x1e")
ASC = tag(8, 0, b"\xaf\x00\x12\x10")
KEY = tag(9, 40, b"\x17\x01\x00\x00\x00\x00\x00\x00\x02\x65\x88")
INTER = tag(9, 80, b"\x27\x01\x00\x00\x00\x00\x00\x00\x02\x41\x9a")
SOUND = tag(8, 50, b"\xaf\x01\x21\x00")
PIECES = [HEAD, SCRIPT, AVC, ASC, KEY, SOUND, INTER]
GOOD = b"".join(PIECES)


def swap(index: int, piece: bytes) -> bytes:
    """The good file with another piece."""
    return b"".join([*PIECES[:index], piece, *PIECES[index + 1 :]])


def body(prefix: str) -> Callable[[int], bytes]:
    return lambda timestamp: tag(9, timestamp, bytes.fromhex(prefix))


BROKEN: list[tuple[str, bytes]] = [
    ("signature", b"FLX" + GOOD[3:]),
    ("signature", GOOD[:12]),
    ("file-header", swap(0, b"FLV\x01\x07\x00\x00\x00\x09" + bytes(4))),
    ("previous-tag-size", swap(0, HEAD[:-1] + b"\x01")),
    ("previous-tag-size", swap(4, KEY[:-1] + b"\x00")),
    ("truncated", GOOD[:-1]),
    ("truncated", GOOD + b"\x08\x00"),
    ("stream-id", swap(6, tag(9, 80, KEY[11:-4], stream=1))),
    ("empty-tag", GOOD + tag(9, 90, b"")),
    ("tag-type", GOOD + tag(15, 90, b"x")),
    ("frame-type", swap(6, body("370100000000000002419a")(80))),
    ("video-codec", swap(6, body("240100000000000002419a")(80))),
    ("video-codec", swap(6, body("a16176303100")(80))),
    ("video-header", swap(2, body("1700000000")(0))),
    ("nal-length", swap(6, body("270100000000000003419a")(80))),
    ("nal-length", swap(6, body("2701000000000000")(80))),
    ("nal-length", swap(6, body("2701000000")(80))),
    ("audio-codec", swap(5, tag(8, 50, b"\x3f\x01\x21"))),
    ("audio-codec", swap(5, tag(8, 50, b"\xae\x01\x21"))),
    ("audio-codec", swap(5, tag(8, 50, b"\x91Opux\x00"))),
    ("metadata", swap(1, tag(18, 0, META[:-1] + b"\x08"))),
    ("metadata", swap(1, tag(18, 0, META.replace(b"\x02\x00\x0c", b"\x03\x00\x0c", 1)))),
    ("flags", swap(0, b"FLV\x01\x01\x00\x00\x00\x09" + bytes(4))),
    ("flags", b"".join([HEAD, SCRIPT, AVC, KEY])),
    ("metadata-first", swap(1, b"")),
    ("metadata-codecs", b"".join([HEAD, SCRIPT, AVC, KEY])),
    ("no-header", swap(2, b"")),
    ("no-header", swap(3, b"")),
    ("first-not-key", b"".join([HEAD, SCRIPT, AVC, ASC, INTER, SOUND])),
    ("header-repeated", GOOD + AVC),
    ("codec-changed", GOOD + tag(9, 90, b"\x93hvc1\x00\x00\x00\x01\x26")),
    ("timestamp-order", GOOD + tag(9, 79, KEY[11:-4])),
    ("timestamp-range", swap(4, tag(9, 40, b"\x17\x01\xff\xff\x00" + KEY[16:-4]))),
    ("timestamp-range", GOOD + tag(9, 1 << 31, KEY[11:-4])),
]


def test_the_good_file_is_good() -> None:
    report = check(GOOD)
    assert report.problems == []
    assert report.metadata == {"videocodecid": 7.0, "audiocodecid": 10.0}
    assert [each.timestamp for each in report.tags] == [0, 0, 0, 40, 50, 80]
    assert report.frames(9)[0].payload == (b"\x65\x88",)


@pytest.mark.parametrize(("rule", "data"), BROKEN)
def test_rule_rejects(rule: str, data: bytes) -> None:
    assert rule in check(data).problems


def test_truncation_at_every_length_is_noticed() -> None:
    whole = {sum(map(len, PIECES[: n + 1])) for n in range(len(PIECES))}
    for size in range(len(GOOD)):
        assert size in whole or check(GOOD[:size]).problems
