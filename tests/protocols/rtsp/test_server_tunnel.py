"""RTSP over HTTP, the server's side: base64 in any pieces, halves that meet, halves that do not."""

import base64
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from protocols.rtsp.server_tunnel import (
    MAX_COOKIE_CHARACTERS,
    MAX_EARLY_BYTES,
    MAX_HALVES,
    MAX_HEAD_BYTES,
    HeadReader,
    HttpHead,
    TunnelInput,
    TunnelRegistry,
    looks_like_http,
)

COOKIE = "tD9hKgAAfB8ABCftAAAAAw"
TEXT = [b"OPTIONS * RTSP/1.0\r\n\r\n", b"$\1\0\5hello", b"PLAY x RTSP/1.0\r\n\r\n", b"\0" * 100]


def head(method: str = "POST", cookie: str = COOKIE, length: str = "32767") -> bytes:
    size = f"Content-Length: {length}\r\n" if length else ""
    return (
        f"{method} /live/cam HTTP/1.0\r\nUser-Agent: x\r\nX-SessionCookie: {cookie}\r\n"
        f"Content-Type: application/x-rtsp-tunnelled\r\n{size}\r\n"
    ).encode()


def parsed(method: str = "POST", cookie: str = COOKIE, length: str = "32767") -> HttpHead:
    return HttpHead.parse(head(method, cookie, length))


def encoded(*texts: bytes) -> bytes:
    """As clients do it: each message by itself, padding and all."""
    return b"".join(base64.b64encode(text) for text in texts)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"GET /live HTTP/1.0", True),
        (b"POST /live", True),
        (b"GET_PARAMETER * RTSP/1.0", False),
        (b"PLAY rtsp://", False),
        (b"POSTAL", False),
        (b"$\0\0\0", False),
        (b"OPTIONS", False),
        (b"", None),
        (b"G", None),
        (b"GET", None),
        (b"P", None),
        (b"POST", None),
    ],
)
def test_what_begins_here(data: bytes, expected: bool | None) -> None:
    assert looks_like_http(data) is expected


def test_a_head_in_any_pieces() -> None:
    data = head("GET") + b"rest"
    for position in range(len(data)):
        reader = HeadReader()
        first = reader.receive(data[:position])
        found = first or reader.receive(data[position:])
        assert found is not None
        assert (found.method, found.target, found.cookie) == ("GET", "/live/cam", COOKIE)
        assert found.content_length == 32767


@pytest.mark.parametrize(
    "data",
    [
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_a_head_that_is_none(data: bytes) -> None:
    with pytest.raises(WireError):
        HeadReader().receive(data)


def test_an_upgrade_is_no_tunnel() -> None:
    data = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    try:
        found = HeadReader().receive(data)
    except WireError:
        return
    assert found is not None
    assert found.cookie == ""


def test_a_head_beyond_the_limit() -> None:
    reader = HeadReader()
    with pytest.raises(WireError) as caught:
        for _ in range(MAX_HEAD_BYTES):
            reader.receive(b"GET / ")
    assert caught.value.reason == "tunnel-head-too-long"


@pytest.mark.parametrize("length", ["32767", "", "0", "17", "40", "41"])
def test_a_body_in_any_pieces(length: str) -> None:
    """Also beyond its Content-Length, where most clients go on."""
    data = encoded(*TEXT)
    whole = b"".join(TEXT)
    for position in range(len(data) + 1):
        body = TunnelInput(parsed(length=length))
        assert body.receive(data[:position]) + body.receive(data[position:]) == whole, position
        assert body.fault == ""
    body = TunnelInput(parsed(length=length))
    assert b"".join(body.receive(bytes([byte])) for byte in data) == whole


def test_lines_and_blanks_between() -> None:
    data = base64.encodebytes(bytes(500)).replace(b"\n", b"\r\n")
    body = TunnelInput(parsed())
    assert b"".join(body.receive(bytes([byte])) for byte in data) == bytes(500)


def test_another_post_on_the_same_connection() -> None:
    first, second = encoded(TEXT[0]), encoded(*TEXT[1:])
    data = first + b"\r\n" + head(length=str(len(second))) + second + head() + first
    whole = b"".join(TEXT) + TEXT[0]
    for position in range(len(data)):
        body = TunnelInput(parsed(length=str(len(first))))
        assert body.receive(data[:position]) + body.receive(data[position:]) == whole, position
        assert body.fault == ""


@pytest.mark.parametrize("following", [head(cookie="other"), head("GET")])
def test_another_request_that_belongs_elsewhere(following: bytes) -> None:
    first = encoded(TEXT[0])
    body = TunnelInput(parsed(length=str(len(first))))
    body.receive(first + following)
    assert body.fault == "tunnel-cookie"


@pytest.mark.parametrize("bad", [b"!", b"\0", b"====", b"QQ=A", b"QUJD=QUJD", b"\xff\xff", b"=QQQ"])
def test_what_is_not_base64(bad: bytes) -> None:
    data = encoded(TEXT[0]) + bad + encoded(TEXT[0])
    for position in range(len(data)):
        body = TunnelInput(parsed())
        out = body.receive(data[:position]) + body.receive(data[position:])
        assert body.fault == "tunnel-base64"
        assert out.startswith(TEXT[0][:-3])
        assert body.receive(data) == b""


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(1, 60), st.integers(0, 100))
def test_round_trip(texts: list[bytes], size: int, length: int) -> None:
    data = encoded(*texts)
    body = TunnelInput(parsed(length=str(length)))
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    assert b"".join(map(body.receive, pieces)) == b"".join(texts)


@given(st.lists(st.binary(max_size=80), max_size=10), st.integers(0, 100))
def test_any_bytes(pieces: list[bytes], length: int) -> None:
    body = TunnelInput(parsed(length=str(length)))
    for piece in pieces:
        body.receive(piece)
    reader = HeadReader()
    try:
        reader.receive(b"".join(pieces) + b"\r\n\r\n")
    except WireError:
        return


def test_mutated_bodies() -> None:
    source = random.Random(7)
    decoded = 0
    for _ in range(20_000):
        data = bytearray(encoded(*TEXT[:2]) + head(length="8") + encoded(*TEXT[:2]))
        for _ in range(source.choice((0, 1, 2))):
            place = source.randrange(len(data))
            data[place : place + source.randrange(3)] = bytes([source.randrange(256)])
        body = TunnelInput(parsed(length=str(len(encoded(*TEXT[:2])))))
        cut = source.randrange(len(data))
        decoded += len(body.receive(bytes(data[:cut])) + body.receive(bytes(data[cut:]))) > 50
    assert 5_000 < decoded < 19_000


# Halves.


class Halves:
    def __init__(self) -> None:
        self.replaced: list[str] = []
        self.registry: TunnelRegistry[str] = TunnelRegistry(10.0, self.replaced.append)


@pytest.mark.parametrize("order", [("GET", "POST"), ("POST", "GET")])
def test_halves_meet_in_any_order(order: tuple[str, str]) -> None:
    registry = Halves().registry
    first = registry.join(parsed(order[0]), "a", order[0], 1.0)
    assert registry.get_timer() == 11.0
    assert registry.join(parsed(order[1]), "a", order[1], 2.0) is first
    assert (first.out, first.inward) == ("GET", "POST")
    assert registry.get_timer() is None
    assert registry.expired(1000.0) == []


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_half_that_stays_alone(method: str) -> None:
    registry = Halves().registry
    registry.join(parsed(method), "a", "link", 1.0)
    assert registry.expired(10.9) == []
    assert registry.expired(11.0) == ["link"]
    assert len(registry) == 0


def test_another_address_is_another_tunnel() -> None:
    registry = Halves().registry
    one = registry.join(parsed("GET"), "a", "get", 1.0)
    other = registry.join(parsed("POST"), "b", "post", 1.0)
    assert one is not other
    assert other.out is None


def test_a_cookie_in_use() -> None:
    registry = Halves().registry
    registry.join(parsed("GET"), "a", "get", 1.0)
    with pytest.raises(WireError) as caught:
        registry.join(parsed("GET"), "a", "thief", 1.0)
    assert caught.value.reason == "tunnel-cookie-in-use"


@pytest.mark.parametrize("cookie", ["", " ", "x" * (MAX_COOKIE_CHARACTERS + 1)])
def test_a_cookie_that_is_none(cookie: str) -> None:
    with pytest.raises(WireError) as caught:
        Halves().registry.join(parsed("GET", cookie), "a", "get", 1.0)
    assert caught.value.reason == "tunnel-cookie"


def test_another_method() -> None:
    with pytest.raises(WireError):
        Halves().registry.join(parsed("PUT"), "a", "get", 1.0)


def test_a_post_takes_the_place_of_another() -> None:
    halves = Halves()
    tunnel = halves.registry.join(parsed("GET"), "a", "get", 1.0)
    halves.registry.join(parsed(), "a", "first", 1.0)
    halves.registry.join(parsed(), "a", "second", 2.0)
    assert halves.replaced == ["first"]
    halves.registry.leave(tunnel, "first")  # late news
    assert str(tunnel.inward) == "second"
    halves.registry.leave(tunnel, "second")
    assert str(tunnel.inward) == "None"
    assert len(halves.registry) == 1  # the next one may come
    halves.registry.leave(tunnel, "get")
    assert len(halves.registry) == 0


def test_the_cookie_is_free_after_the_end() -> None:
    registry = Halves().registry
    tunnel = registry.join(parsed("GET"), "a", "get", 1.0)
    registry.leave(tunnel, "get")
    assert registry.join(parsed("GET"), "a", "again", 2.0) is not tunnel


def test_halves_are_bounded() -> None:
    registry = Halves().registry
    for number in range(MAX_HALVES):
        registry.join(parsed("GET", str(number)), "a", "get", 1.0)
    with pytest.raises(WireError) as caught:
        registry.join(parsed("GET", "more"), "a", "get", 1.0)
    assert caught.value.reason == "tunnel-flood"


def test_what_a_post_brings_before_its_get_is_bounded() -> None:
    tunnel = Halves().registry.join(parsed(), "a", "post", 1.0)
    tunnel.keep(bytes(MAX_EARLY_BYTES))
    with pytest.raises(WireError):
        tunnel.keep(b"x")
