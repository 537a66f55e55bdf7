"""Every parser of the wire and mutated input: WireError, or a result, in little time."""

import contextlib
import random
import time
from collections.abc import Callable, Sequence

import pytest

from flux.base.errors import WireError
from media.codecs.h264 import H264Parameters
from media.frame import Frame
from media.mpegts.demuxer import TsDemuxer
from media.mpegts.muxer import TsMuxer
from media.payloads.base import Depacketizer
from media.payloads.formats import FORMATS, packetizer_for, payload_format
from media.track import H264, Kind, Track
from protocols.mikey import KeyManagement, Message, parse_attribute
from protocols.rtcp import parse_compound
from protocols.rtp import RtpPacket
from protocols.rtsp.auth import parse_challenges
from protocols.rtsp.message import parse_message
from protocols.rtsp.range import PlayRange
from protocols.rtsp.reader import MessageReader
from protocols.rtsp.rtp_info import parse_rtp_info
from protocols.rtsp.server_target import Target
from protocols.rtsp.session import SessionHeader
from protocols.rtsp.transport import Transport, parse_transports
from protocols.rtsp.url import Url
from protocols.sdp import SessionDescription
from protocols.sdp.crypto import CryptoAttribute
from tests.support.h264_sets import PPS, SPS
from tests.support.mutate import mutate

Parse = Callable[[bytes], object]
QUICK, FULL = 8_000, 1_000_000
LONGEST = 0.25  # seconds of one input, on a busy machine

RTSP = [
    b"SETUP rtsp://h/live/trackID=1 RTSP/1.0\r\nCSeq: 3\r\nTransport: RTP/AVP;unicast\r\n\r\n",
    b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 4\r\nSession: 12;timeout=60\r\n\r\nabcd",
    b"$\0\0\x14\x80\x60" + bytes(18),
]
SDP = [
    b"v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=x\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n"
    b"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1; "
    b"sprop-parameter-sets=Z0LAHtkDxWhAAAADAEAAAAwDxYuS,aMuMsg==\r\na=control:trackID=0\r\n"
    b"m=audio 0 RTP/AVP 97\r\na=rtpmap:97 mpeg4-generic/48000/2\r\na=fmtp:97 mode=AAC-hbr; "
    b"config=1190; sizelength=13; indexlength=3; indexdeltalength=3\r\n"
]
TRANSPORTS = [
    b"RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=1234ABCD;mode=play",
    b"RTP/SAVP;unicast;client_port=5000-5001;server_port=6000-6001,RTP/AVP;multicast;ttl=16",
    b"RTP/AVP;multicast;destination=239.1.1.1;port=5000-5001;source=10.0.0.1",
]
RTCP = [
    bytes.fromhex("80c800060000000700000001000000020000000300000004000000050000"),
    bytes.fromhex("81c9000700000001000000020500000300000400000005000000060000000781ca0002"),
    bytes.fromhex("81cb000100000007"),
]
LINES = {
    "range": [b"npt=10-20.5", b"clock=20261121T080000Z-20261121T090000Z", b"smpte-25=0:10:00:12-"],
    "url": [b"rtsp://user:pass%40@[fe80::1]:8554/live/cam?x=1#f", b"rtsps://h/"],
    "info": [b"url=rtsp://h/a/trackID=0;seq=1;rtptime=2,url=b;seq=65535"],
    "session": [b"ABCDEF;timeout=60"],
    "auth": [b'Digest realm="x", nonce="y", algorithm=SHA-256, qop="auth", Basic realm="z"'],
    "crypto": [b"1 AES_CM_128_HMAC_SHA1_80 inline:" + b"A" * 40 + b"|2^20|1:4"],
    "keys": [b'prot=mikey;uri="rtsp://h/x";data="AQAVgAAAAAAAAAAAAAA="'],
}


def text_of(parse: Callable[[str], object]) -> Parse:
    """A parser of text as one of bytes."""
    return lambda data: parse(data.decode("latin-1"))


def read_stream(data: bytes) -> None:
    """The reader of a connection, which gets its bytes in two pieces."""
    reader = MessageReader()
    half = len(data) // 2
    reader.feed(data[:half])
    reader.feed(data[half:])


PARSERS: dict[str, tuple[Parse, Sequence[bytes]]] = {
    "rtsp message": (parse_message, RTSP[:2]),
    "rtsp stream": (read_stream, [*RTSP, b"".join(RTSP)]),
    "sdp": (SessionDescription.parse, SDP),
    "transport": (text_of(Transport.parse), TRANSPORTS),
    "transports": (text_of(parse_transports), TRANSPORTS),
    "rtcp": (parse_compound, RTCP),
    "rtp": (RtpPacket.parse, [b"\x80\x60\0\1" + bytes(20), b"\xb1\xe0" + bytes(40) + b"\4"]),
    "range": (text_of(PlayRange.parse), LINES["range"]),
    "url": (text_of(Url.parse), LINES["url"]),
    "target": (text_of(Target.parse), LINES["url"]),
    "rtp-info": (text_of(parse_rtp_info), LINES["info"]),
    "session": (text_of(SessionHeader.parse), LINES["session"]),
    "challenge": (text_of(lambda text: parse_challenges([text])), LINES["auth"]),
    "sdes": (text_of(CryptoAttribute.parse), LINES["crypto"]),
    "mikey": (Message.parse, [bytes.fromhex("010015800000000000000000" + "0b00" + "00" * 30)]),
    "mikey header": (text_of(KeyManagement.parse_header), LINES["keys"]),
    "mikey attribute": (text_of(parse_attribute), [b"mikey AQAVgAAAAAAAAAAAAAA="]),
}


def hammer(parse: Parse, seeds: Sequence[bytes], count: int) -> float:
    """Give it `count` mutated inputs; the longest time that one took."""
    source = random.Random(count)
    longest = 0.0
    clock = time.perf_counter
    for _ in range(count):
        data = mutate(source, seeds)
        began = clock()
        with contextlib.suppress(WireError):
            parse(data)
        longest = max(longest, clock() - began)
    return longest


COUNTS = [
    pytest.param(QUICK, id="quick"),
    pytest.param(FULL, id="million", marks=[pytest.mark.long, pytest.mark.timeout(900)]),
]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_answers_or_refuses(name: str, count: int) -> None:
    parse, seeds = PARSERS[name]
    assert hammer(parse, seeds, count) < LONGEST


def test_a_parser_that_raises_is_found() -> None:
    """The broken sample."""
    with pytest.raises(IndexError):
        hammer(lambda data: data[30], [bytes(40)], QUICK)


FMTP = {
    "mpeg4-generic": {
        "mode": "AAC-hbr",
        "config": "1190",
        "sizelength": "13",
        "indexlength": "3",
        "indexdeltalength": "3",
    },
    "mp4a-latm": {"config": "40002320", "cpresent": "0"},
}


def seeds_of(encoding: str, codec: str) -> list[bytes]:
    """Payloads of good packets where the codec's packetizer takes any unit, else something."""
    units: list[tuple[bytes, ...]] = [(bytes(range(256)) * 12,), (b"\x65" + bytes(400),)]
    found: list[bytes] = []
    for unit in units:
        found += [payload for payload, _ in packetizer_for(codec, 500).packetize(unit)]
    return found or [bytes(range(64)), bytes(200)]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("encoding", FORMATS)
def test_a_depacketizer_drops_what_it_cannot_use(encoding: str, count: int) -> None:
    form = payload_format(encoding, 48_000, 2, FMTP.get(encoding, {}))
    drops: list[str] = []

    def drop(reason: str) -> None:
        drops[:] = [reason]

    depacketizer: Depacketizer = form.depacketizer(drop)
    source = random.Random(7)
    sequence = timestamp = 0

    def push(payload: bytes) -> None:
        nonlocal sequence, timestamp
        sequence += source.choice((1, 1, 1, 1, 2))
        timestamp += source.choice((0, 0, 960))
        for unit in depacketizer.push(payload, source.random() < 0.3, sequence, timestamp):
            assert unit.payload

    assert hammer(push, seeds_of(encoding, form.codec), count) < LONGEST


def transport_stream() -> list[bytes]:
    """Some packets of a stream of ours."""
    sets = H264Parameters.build([SPS], [PPS])
    track = Track(0, Kind.VIDEO, H264, 90_000, sets)
    muxer = TsMuxer([track])
    found = [muxer.tables()]
    for index in range(6):
        frame = Frame(
            *(track, 3600 * index, 3600 * index, 0, 0.0, index == 0, False, sets),
            (b"\x65" + bytes(700),),
        )
        found.append(muxer.encode(frame))
    return found


@pytest.mark.parametrize("count", COUNTS)
def test_the_ts_demuxer_takes_anything(count: int) -> None:
    demuxer = TsDemuxer(lambda _reason: None)
    now = 0.0

    def feed(data: bytes) -> None:
        nonlocal now
        now += 0.01
        demuxer.feed(data, now)

    assert hammer(feed, transport_stream(), count) < LONGEST
