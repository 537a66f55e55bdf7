"""The tunnel's messages: requests, replies, any bytes."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from protocols.rtsp.tunnel.messages import ReplyReader, encode, request

REPLY = b"HTTP/1.0 200 OK\r\nServer: cam\r\nContent-Type: application/x-rtsp-tunnelled\r\n\r\n"


def test_the_requests_as_quicktime_writes_them() -> None:
    get = request("GET", "/live?a=1", "cam:8080", "c00kie", "FLUX").decode()
    post = request("POST", "", "cam", "c00kie", "FLUX", "Basic eDp5").decode()
    assert get.startswith("GET /live?a=1 HTTP/1.0\r\nHost: cam:8080\r\n")
    assert "\r\nx-sessioncookie: c00kie\r\n" in get
    assert "\r\nAccept: application/x-rtsp-tunnelled\r\n" in get
    assert post.startswith("POST / HTTP/1.0\r\n")
    assert "\r\nContent-Type: application/x-rtsp-tunnelled\r\nContent-Length: 32767\r\n" in post
    assert post.endswith("\r\nAuthorization: Basic eDp5\r\n\r\n")


def test_what_goes_up_is_base64() -> None:
    assert base64.b64decode(encode(b"OPTIONS * RTSP/1.0\r\n\r\n")) == b"OPTIONS * RTSP/1.0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_a_reply_in_pieces(size: int) -> None:
    reader = ReplyReader()
    whole = REPLY + b"$\0\0\1x"
    pieces = [whole[i : i + size] for i in range(0, len(whole), size)]
    taken = 0
    for piece in pieces:
        taken += 1
        if reader.feed(piece):
            break
    assert reader.status == 200
    assert reader.headers.get("server") == "cam"
    assert reader.rest + b"".join(pieces[taken:]) == b"$\0\0\1x"


def test_truncated_at_every_length_it_waits() -> None:
    for length in range(len(REPLY)):
        reader = ReplyReader()
        assert not reader.feed(REPLY[:length])
        assert reader.status == 0


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"RTSP/1.0 200 OK\r\n\r\n", "tunnel-no-http"),
        (b"\x16\x03", "tunnel-no-http"),
        (b"HTTP/1.0 OK\r\n\r\n", "tunnel-no-http"),
        (b"HTTP/1.0 200 " + b"x" * 20_000, "tunnel-reply-too-long"),
    ],
)
def test_what_is_no_reply(data: bytes, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        ReplyReader().feed(data)
    assert caught.value.reason == reason


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda data: b"HTTP/1.1 " + data))
def test_any_bytes_parse_or_raise_wire_error(data: bytes) -> None:
    reader = ReplyReader()
    try:
        is_whole = reader.feed(data)
    except WireError:
        return
    assert is_whole == (reader.status != 0)
