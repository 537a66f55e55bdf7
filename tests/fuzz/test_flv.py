"""FLV in and mutated input: bytes, tags, script data and whole sources."""

import contextlib
from collections.abc import Sequence
from struct import pack

import pytest

from flux.base.errors import WireError
from flux.bridges.flv.receiver import FlvReceiver
from media.codecs.aac import make_config
from media.flv import amf, tags
from media.flv.demuxer import FlvDemuxer
from media.flv.reader import FlvReader
from media.router import Router
from media.stream import StreamOptions
from tests.fuzz.test_parsers import COUNTS, LONGEST, Parse, hammer
from tests.support.h264_sets import PPS, SPS

NAL = pack(">I", 3) + b"\x65\x88\x84"
AVCC = (
    b"\x01" + SPS[1:4] + b"\xff\xe1" + pack(">H", len(SPS)) + SPS
    + b"\x01" + pack(">H", len(PPS)) + PPS
)  # fmt: skip
META = amf.string("onMetaData") + amf.ecma_array({"videocodecid": 7.0, "audiocodecid": 10.0})
BODIES: list[tuple[int, bytes]] = [
    (18, META),
    (9, b"\x17\x00\x00\x00\x00" + AVCC),
    (8, b"\xaf\x00" + make_config(44_100, 2)),
    (9, b"\x17\x01\x00\x00\x28" + NAL),
    (8, b"\xaf\x01\x21\x10\x04"),
    (9, b"\x90avc1" + AVCC),
    (9, b"\x93avc1" + NAL),
    (9, b"\x90av01" + bytes.fromhex("81050c000a0b0000000424c6abdf00")),
    (9, b"\x91av01" + bytes.fromhex("1200320110")),
    (9, b"\x91vp09\x82\x49\x83\x42\x00"),
    (8, b"\x90OpusOpusHead\x01\x02" + bytes(9)),
    (8, b"\x97\x02\x01\x00\x00\x01Opus\xfc\xff"),
    (8, b"\x95\x11Opus\x00\x00\x00\x01\xfc\x01\x00\x00\x01\xfc"),
    (8, b"\x91ac-3\x0b\x77" + bytes(20)),
    (8, b"\x2f\xff\xfb\x90\x00" + bytes(413)),
]
FILES = [
    tags.file_header(True, True)
    + b"".join(tags.tag(kind, 40 * n, body) for n, (kind, body) in part)
    for part in (
        list(enumerate(BODIES[:5])),
        list(enumerate(BODIES)),
        [(n, each) for n, each in enumerate(BODIES) if each[0] == 8],
    )
]


def read_bytes(data: bytes) -> None:
    """The reader, in two pieces."""
    reader = FlvReader()
    half = len(data) // 2
    reader.feed(data[:half])
    reader.feed(data[half:])


def take_tags(data: bytes) -> None:
    """The demuxer, which raises nothing; its first byte says what comes."""
    demuxer = FlvDemuxer(lambda reason: None)
    kind = (8, 9, 18)[data[0] % 3] if data else 9
    for n in range(2):
        demuxer.take(kind, n << 24, data[1:])


def run_source(data: bytes) -> None:
    """A receiver with a router behind it, which raises nothing either."""
    router = Router(lambda event: None)
    router.declare("x", StreamOptions())
    receiver = FlvReceiver("x", router, "http-flv", lambda reason: None)
    half = len(data) // 2
    receiver.receive(data[:half], 1.0)
    receiver.receive(data[half:], 1.1)
    receiver.handle_timer(20.0)
    receiver.close("over", 20.0)


PARSERS: dict[str, tuple[Parse, Sequence[bytes]]] = {
    "bytes": (read_bytes, FILES),
    "tags": (take_tags, [bytes((kind,)) + body for kind, body in BODIES]),
    "script": (amf.read_values, [META, amf.string("x") + b"\x03\x00\x01a\x05\x00\x00\x09"]),
    "source": (run_source, FILES),
}


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", PARSERS)
def test_mutated_input_is_taken_or_refused_in_little_time(name: str, count: int) -> None:
    parse, seeds = PARSERS[name]
    for seed in seeds:
        with contextlib.suppress(WireError):
            parse(seed)
    if name == "source":
        count //= 10  # each is a whole router
    assert hammer(parse, seeds, count) < LONGEST
