"""RTSP messages: round trip, truncation, any bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import StateError, WireError
from protocols.rtsp.message import (
    MAX_BODY_BYTES,
    Headers,
    Request,
    Response,
    content_length,
    parse_message,
)

DESCRIBE = Request("DESCRIBE", "rtsp://h/a?b=c", Headers([("CSeq", "2"), ("Accept", "x/y")]))
ANSWER = Response(200, Headers([("CSeq", "2"), ("X", "a: b")]), b"v=0\r\n\r\n", "OK")


@pytest.mark.parametrize("message", [DESCRIBE, ANSWER])
def test_round_trip(message: Request | Response) -> None:
    data = message.serialize()
    parsed = parse_message(data)
    assert parsed.serialize() == data
    assert parsed.body == message.body
    assert parsed.headers.get("cseq") == "2"


def test_truncation_at_every_length() -> None:
    data = ANSWER.serialize()
    for length in range(len(data)):
        with pytest.raises(WireError):
            parse_message(data[:length])


@given(st.binary(max_size=400) | st.binary(max_size=200).map(lambda b: b"RTSP/1.0 200 O\r\n" + b))
def test_any_bytes_parse_or_raise_wire_error(data: bytes) -> None:
    try:
        message = parse_message(data + b"\r\n\r\n")
    except WireError:
        return
    again = parse_message(message.serialize())
    assert again.serialize() == message.serialize()


def test_names_compare_without_case_and_lines_may_be_odd() -> None:
    answer = parse_message(
        b"RTSP/1.0 200\nCSEQ:7\nno colon\n: nameless\nSession : ab\n folded\nWWW-Authenticate: a\n"
        b"www-authenticate:b\nX: \x01\n\n"
    )
    assert isinstance(answer, Response)
    assert answer.status == 200
    assert answer.headers.get("cseq") == "7"
    assert answer.headers.get("session") == "ab folded"
    assert answer.headers.get_all("Www-Authenticate") == ["a", "b"]
    assert answer.headers.get("x", "none") == "none"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("-1", "rtsp-content-length"),
        ("1e3", "rtsp-content-length"),
        ("٣", "rtsp-content-length"),
        (str(MAX_BODY_BYTES + 1), "rtsp-body-too-long"),
        ("9" * 5000, "rtsp-content-length"),
    ],
)
def test_content_length_is_bounded(value: str, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        content_length(Headers([("content-length", value)]))
    assert caught.value.reason == reason


def test_two_lengths_that_differ_are_refused() -> None:
    same = Headers([("Content-Length", "3"), ("content-length", "3")])
    assert content_length(same) == 3
    with pytest.raises(WireError):
        content_length(Headers([("Content-Length", "3"), ("Content-Length", "4")]))


def test_a_line_end_in_a_value_of_ours_is_refused() -> None:
    with pytest.raises(StateError):
        Request("OPTIONS", "*", Headers([("X", "a\r\nInjected: b")])).serialize()
