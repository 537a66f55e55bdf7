"""Mutated exchanges against the server's machine: it never raises, stays bounded, ends cleanly."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.rtsp import server_events as ask
from protocols.rtsp.server_options import ServerOptions
from tests.support.rtsp_app import (
    SDP,
    TCP_01,
    TCP_23,
    UDP_OFFER,
    URL,
    App,
    Bench,
    frame,
    parse_replies,
    request,
)

PUB = "rtsp://server/pub"
ONE = "token0001"
AUTH = 'Digest username="u", realm="FLUX", nonce="token0001", uri="/", response="0", nc=1, qop=auth'
SEEDS = [
    request("OPTIONS", "*", CSeq=1),
    request("DESCRIBE", URL, CSeq=2, Accept="application/sdp", Authorization=AUTH),
    request("SETUP", URL + "/trackID=0", CSeq=3, Transport=f"{TCP_01},{UDP_OFFER}"),
    request("SETUP", URL + "?x=1/trackID=1", CSeq=4, Transport=TCP_23, Session=ONE),
    request("SETUP", URL + "/trackID=1", CSeq=4, Transport="RTP/AVP;multicast;ttl=3", Session=ONE),
    request("PLAY", URL, CSeq=5, Session=ONE, Range="npt=0-", Scale="1.0"),
    request("PAUSE", URL, CSeq=6, Session=ONE),
    request("GET_PARAMETER", URL, b"packets_received\r\n", CSeq=7, Session=ONE),
    request("TEARDOWN", URL + "/trackID=0", CSeq=8, Session=ONE),
    request("TEARDOWN", URL, CSeq=8, Session=ONE, Connection="close"),
    request("ANNOUNCE", PUB, SDP, CSeq=9, Content_Type="application/sdp"),
    request("SETUP", PUB + "/trackID=0", CSeq=10, Transport=TCP_01 + ";mode=record"),
    request("RECORD", PUB, CSeq=11, Session=ONE),
    request("DESCRIBE", URL, CSeq=12, Require="x"),
    request("HELLO", URL, CSeq=13),
    frame(0, b"\x80\x60" + bytes(60)),
    frame(1, b"\x80\xc9\0\1\0\0\0\0"),
    b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n",
]
WORDS = [
    *(b"\r\n", b"\r\n\r\n", b"$", b"$\0\xff\xff", b"\0", b"\xff" * 8, b":", b" ", b";", b","),
    *(b"=", b"/", b"rtsp://", b"RTSP/1.0", b"RTSP/2.0", b"SETUP ", b"PLAY ", b"Session: "),
    *(b"Content-Length: 9", b"Content-Length: 99999999", b"interleaved=", b"client_port="),
    *(b"-", b"\xc3\xa4", b"%2F", b"?", b"*", b"\r\nRequire: x", b"\r\nCSeq: 7"),
]


def mutated(source: random.Random) -> bytes:
    """One message with some of its bytes changed, or none."""
    data = bytearray(source.choice(SEEDS))
    for _ in range(source.choice((0, 0, 1, 1, 2, 5))):
        place = source.randrange(len(data) + 1)
        match source.randrange(5):
            case 0:
                data[place : place + 1] = bytes([source.randrange(256)])
            case 1:
                data[place:place] = source.choice(WORDS)
            case 2:
                del data[place : place + source.randrange(1, 12)]
            case 3:
                data[place : place + 6] = source.choice(WORDS)
            case _:
                data[place:place] = data[place : place + source.randrange(1, 40)]
    return bytes(data)


def attack(seed: int, messages: int) -> Counter[str]:
    """Connections that get mutated messages until so many are sent; what was seen how often."""
    source = random.Random(seed)
    seen: Counter[str] = Counter()
    sent = 0
    options = ServerOptions(max_requests_per_second=1000)
    while sent < messages:
        app = App(passwords={"u": "p"} if source.random() < 0.2 else {})
        if source.random() < 0.2:
            app.held = {source.choice([ask.DescribeAsked, ask.SetupAsked, ask.RecordAsked])}
        bench = Bench(app, options)
        if not app.passwords and not app.held:
            match source.randrange(4):
                case 0:
                    bench.play(TCP_01, UDP_OFFER)
                case 1:
                    bench.announce(TCP_01)
                case 2:
                    bench.set_up(UDP_OFFER, TCP_23)
        begun: set[str] = set()
        for _ in range(source.randrange(1, 60)):
            data = mutated(source)
            if bench.machine.sessions:
                session = source.choice(bench.machine.sessions)
                data = data.replace(ONE.encode(), session.encode())
            if source.random() < 0.3:
                cut = source.randrange(len(data) + 1)
                bench.feed(data[:cut])
                data = data[cut:]
            bench.feed(data)
            begun.update(bench.machine.sessions)
            sent += 1
            if source.random() < 0.05:
                bench.run(bench.now + source.choice((0.5, 5, 40)))
            if bench.end:
                break
        bench.machine.receive_eof(bench.now)
        bench.pump()
        check(bench, begun)
        seen[bench.end] += 1
        seen.update(str(reply.status) for reply in parse_replies(bench.sent))
        seen.update(type(event).__name__ for event in bench.events)
        seen["packets"] += len(bench.packets)
    return seen


def check(bench: Bench, begun: set[str]) -> None:
    """Whatever came: whole replies, one end, every session ended once."""
    parse_replies(bench.sent)
    assert [type(event) for event in bench.events].count(ask.ConnectionEnded) == 1
    assert bench.end
    ended = [session for session, _ in bench.ended]
    assert len(set(ended)) == len(ended)
    assert begun <= set(ended)
    assert bench.machine.sessions == ()
    assert bench.machine.get_timer() is None
    assert bench.machine.data_to_send() == b""


def test_mutated_messages() -> None:
    seen: Counter[str] = Counter()
    for seed in range(10):
        seen += attack(seed, 2_000)
    deep = ("PlayAsked", "PauseAsked", "RecordAsked", "SetupAsked", "AnnounceAsked", "TrackEnded")
    for name in (*deep, *map(str, (200, 400, 401, 404, 454, 455, 461, 501, 551)), "packets"):
        assert seen[name] > 10, (name, seen)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_million_mutated_messages() -> None:
    for seed in range(1000, 1100):
        attack(seed, 10_000)


@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([*SEEDS, *WORDS])), max_size=12))
def test_any_bytes(pieces: list[bytes]) -> None:
    bench = Bench()
    begun: set[str] = set()
    for piece in pieces:
        bench.feed(piece)
        begun.update(bench.machine.sessions)
    bench.run(bench.now + 70)
    bench.machine.receive_eof(bench.now)
    bench.pump()
    check(bench, begun)


@given(
    st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([*SEEDS, *WORDS])), max_size=8),
    st.lists(st.integers(1, 200), max_size=10),
)
def test_any_bytes_in_any_pieces(pieces: list[bytes], sizes: list[int]) -> None:
    data = b"".join(pieces)
    whole = Bench()
    whole.feed(data)
    parts = []
    for size in sizes:
        parts.append(data[:size])
        data = data[size:]
    cut = Bench(cut=lambda _: [*parts, data])
    cut.feed(b"")
    assert (cut.sent, cut.events, cut.packets, cut.end) == (
        whole.sent,
        whole.events,
        whole.packets,
        whole.end,
    )
