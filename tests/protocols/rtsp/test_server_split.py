"""Every exchange is the same however its bytes were cut, and when it comes in one piece."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from protocols.rtsp import server_events as ask
from tests.support.rtsp_app import SDP, TCP_01, TCP_23, UDP_OFFER, URL, App, Bench, frame, request

PUB = "rtsp://server/pub"
ONE = "token0001"


def cseq() -> Iterator[int]:
    yield from range(1, 1000)


def steps(*requests: tuple[str, str, dict[str, object]]) -> bytes:
    numbers = cseq()
    return b"".join(
        request(method, url, CSeq=next(numbers), **headers)  # type: ignore[arg-type]  # mixed
        for method, url, headers in requests
    )


EXCHANGES: dict[str, bytes] = {
    "play": steps(
        ("OPTIONS", "*", {}),
        ("DESCRIBE", URL, {"Accept": "application/sdp"}),
        ("SETUP", URL + "/trackID=0", {"Transport": TCP_01}),
        ("SETUP", URL + "/trackID=1", {"Transport": TCP_23, "Session": ONE}),
        ("PLAY", URL, {"Session": ONE, "Range": "npt=0-"}),
    )
    + frame(1, b"\x80\xc9rr")
    + request("GET_PARAMETER", URL, CSeq=9, Session=ONE)
    + frame(3, b"\x80\xc9rr")
    + request("TEARDOWN", URL, CSeq=10, Session=ONE),
    "pause": steps(
        ("SETUP", URL + "/trackID=0", {"Transport": UDP_OFFER}),
        ("PLAY", URL, {"Session": ONE}),
        ("PAUSE", URL, {"Session": ONE}),
        ("PLAY", URL, {"Session": ONE}),
        ("TEARDOWN", URL, {"Session": ONE}),
        ("PLAY", URL, {"Session": ONE}),
    ),
    "publish": request("ANNOUNCE", PUB, SDP, CSeq=1, Content_Type="application/sdp")
    + steps(
        ("SETUP", PUB + "/trackID=0", {"Transport": TCP_01 + ";mode=record", "Session": ONE}),
        ("RECORD", PUB, {"Session": ONE}),
    )
    + b"".join(frame(number & 1, bytes([number]) * 40) for number in range(20))
    + request("TEARDOWN", PUB, CSeq=3, Session=ONE)
    + frame(0, b"late"),
    "refused": steps(
        ("DESCRIBE", "rtsp://server/none", {}),
        ("SETUP", URL + "/trackID=0", {"Transport": "RAW/RAW/UDP"}),
        ("PLAY", URL, {"Session": "x"}),
        ("WHAT", URL, {}),
        ("DESCRIBE", "ftp://x", {}),
        ("DESCRIBE", URL, {"Require": "a"}),
    ),
    "broken": steps(("OPTIONS", "*", {}), ("DESCRIBE", URL, {}))
    + b"a=too long for its length\r\n\0\0$"
    + request("OPTIONS", "*", CSeq=3)
    + request("ANNOUNCE", PUB, Content_Length="many")
    + request("OPTIONS", "*", CSeq=4),
    "stranger": b"GARBAGE IN\r\n\r\n" + request("OPTIONS", "*", CSeq=4),
    "unauthorized": steps(("DESCRIBE", URL, {"Authorization": "Basic dTp4"})) * 12,
}


@dataclass
class Outcome:
    sent: bytes
    events: list[ask.Event]
    packets: list[tuple[int, bytes]]
    end: str
    drops: dict[str, int]


def run(data: bytes, cut: Callable[[bytes], list[bytes]], is_closed: bool) -> Outcome:
    bench = Bench(App(passwords={"u": "p"} if is_closed else {}), cut=cut)
    bench.feed(data)
    drops = {reason: count for reason, count in bench.machine.drops.items() if count}
    return Outcome(bench.sent, bench.events, bench.packets, bench.end, drops)


@pytest.mark.parametrize("name", list(EXCHANGES))
def test_split_at_every_boundary_and_joined(name: str) -> None:
    data, is_closed = EXCHANGES[name], name == "unauthorized"
    whole = run(data, lambda data: [data], is_closed)
    assert whole.sent
    for position in range(1, len(data)):
        parts = [data[:position], data[position:]]
        assert run(data, lambda _, parts=parts: parts, is_closed) == whole, position  # type: ignore[misc]  # a default binds it
    assert run(data, lambda data: [bytes([byte]) for byte in data], is_closed) == whole
    for size in (3, 7, 64):
        pieces = [data[i : i + size] for i in range(0, len(data), size)]
        assert run(data, lambda _, pieces=pieces: pieces, is_closed) == whole  # type: ignore[misc]  # a default binds it


def test_what_the_exchanges_come_to() -> None:
    def outcome(name: str) -> Outcome:
        return run(EXCHANGES[name], lambda data: [data], name == "unauthorized")

    assert outcome("play").packets == [(1, b"\x80\xc9rr"), (3, b"\x80\xc9rr")]
    assert outcome("play").sent.count(b"RTSP/1.0 200 OK") == 7
    assert outcome("pause").sent.count(b"RTSP/1.0 454 ") == 1
    assert len(outcome("publish").packets) == 20
    assert outcome("publish").drops == {"rtsp-unexpected-frame": 1}
    statuses = [
        int(line[9:12]) for line in outcome("refused").sent.split(b"\r\n") if line[:4] == b"RTSP"
    ]
    assert statuses == [404, 461, 454, 501, 400, 551]
    assert outcome("broken").end == "rtsp-content-length"
    assert outcome("broken").sent.count(b"RTSP/1.0 200") == 3
    assert outcome("stranger").end == "rtsp-not-rtsp"
    assert outcome("unauthorized").end == "rtsp-too-many-challenges"
