"""The reader: the same result however the stream is cut, junk, limits."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from protocols.rtsp.message import MAX_HEAD_BYTES, Headers, Request, Response
from protocols.rtsp.reader import MAX_JUNK_BYTES, MessageReader

RTP = b"\x80\x60" + bytes(range(40))
RTCP = b"\x80\xc8" + bytes(26)


def frame(channel: int, payload: bytes) -> bytes:
    return b"$" + bytes([channel]) + len(payload).to_bytes(2, "big") + payload


def answer(cseq: int, body: bytes = b"") -> bytes:
    return Response(200, Headers([("CSeq", str(cseq))]), body).serialize()


STREAM = b"".join(
    [
        answer(1, b"v=0\r\n$\0\0\4m=x\r\n\r\n"),
        frame(0, RTP),
        frame(1, RTCP),
        b"\r\n",
        Request("OPTIONS", "rtsp://h/", Headers([("CSeq", "9")])).serialize(),
        frame(2, b""),
        frame(0, bytes(3000)),
        answer(2),
        frame(255, RTP),
    ]
)
JUNK_STREAM = b"".join(
    [
        answer(1, b"v=0\r\n"),
        b"a=too-long-for-its-length\r\nRTSP/1.0\r\n$\0",
        frame(0, RTP),
        b"\0\0\0",
        frame(1, RTCP),
        b"GARBAGE without sense\r\n\r\n",
        answer(2),
        b"\xff$\xff\xff\xff\xff RTSP/1.0 2",
        answer(3),
        frame(0, RTP),
    ]
)
Result = tuple[list[bytes], list[tuple[int, bytes]], str, int, int]


def read(pieces: list[bytes]) -> Result:
    reader = MessageReader()
    messages: list[bytes] = []
    frames: list[tuple[int, bytes]] = []
    reason = ""
    for piece in pieces:
        try:
            reader.feed(piece)
        except WireError as error:
            reason = error.reason
        messages += [message.serialize() for message in reader.take_messages()]
        frames += reader.take_frames()
        if reason:
            return messages, frames, reason, 0, 0
    return messages, frames, reason, reader.junk_bytes, reader.resyncs


@pytest.mark.parametrize("stream", [STREAM, JUNK_STREAM])
def test_split_at_every_boundary(stream: bytes) -> None:
    whole = read([stream])
    assert len(whole[0]) == 3
    for position in range(1, len(stream)):
        assert read([stream[:position], stream[position:]]) == whole, position
    assert read([stream[i : i + 1] for i in range(len(stream))]) == whole


def test_what_is_read() -> None:
    messages, frames, reason, junk, resyncs = read([STREAM])
    assert frames == [(0, RTP), (1, RTCP), (2, b""), (0, bytes(3000)), (255, RTP)]
    assert messages[0].endswith(b"m=x\r\n\r\n")
    assert messages[1].startswith(b"OPTIONS rtsp://h/")
    assert (reason, junk, resyncs) == ("", 2, 0)


def test_junk_is_skipped_and_counted() -> None:
    messages, frames, reason, junk, resyncs = read([JUNK_STREAM])
    assert reason == ""
    assert len(messages) == 3
    assert frames == [(0, RTP), (1, RTCP), (0, RTP)]
    assert resyncs >= 4
    expected = answer(1, b"v=0\r\n") + frame(0, RTP) * 2 + frame(1, RTCP) + answer(2) + answer(3)
    assert junk == len(JUNK_STREAM) - len(expected)


@given(
    st.lists(
        st.sampled_from([b"$", b"RTSP/1.0 200 OK", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\x80\0"])
        | st.sampled_from([b"OPTIONS * RTSP/1.0", b"Content-Length: 5\r\n", frame(0, RTP), b"$\0"])
        | st.binary(max_size=20),
        max_size=20,
    ).map(b"".join),
    st.integers(0, 2**32),
)
def test_any_bytes_give_the_same_however_cut(data: bytes, seed: int) -> None:
    whole = read([data])
    chance = random.Random(seed)
    pieces = []
    rest = data
    while rest:
        size = chance.randint(1, 12)
        pieces.append(rest[:size])
        rest = rest[size:]
    assert read(pieces) == whole


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"RTSP/1.0 200 OK\r\nX: " + b"x" * MAX_HEAD_BYTES, "rtsp-headers-too-long"),
        (b"RTSP/1.0 200 OK\r\nContent-Length: 99999999\r\n\r\n", "rtsp-body-too-long"),
        (b"RTSP/1.0 200 OK\r\nContent-Length: x\r\n\r\n", "rtsp-content-length"),
        (b"RTSP/1.0 200 OK\r\n" + b"a:b\r\n" * 500 + b"\r\n", "rtsp-too-many-headers"),
        (b"\0" * (MAX_JUNK_BYTES + 100), "rtsp-no-sync"),
        (b"\r\n" * MAX_JUNK_BYTES, "rtsp-no-sync"),
    ],
)
def test_limits(stream: bytes, reason: str) -> None:
    assert read([frame(0, RTP) + stream]) == ([], [(0, RTP)], reason, 0, 0)
    pieces = [stream[i : i + 1000] for i in range(0, len(stream), 1000)]
    assert read(pieces)[2] == reason


def test_junk_between_good_things_may_add_up() -> None:
    piece = b"\0" * 200_000 + answer(1)
    messages, _, reason, _, _ = read([piece] * 5)
    assert (len(messages), reason) == (5, "")


def test_a_large_body_in_small_reads_is_joined_once() -> None:
    body = bytes(900_000)
    data = answer(1, body)
    messages, _, _, _, _ = read([data[i : i + 100] for i in range(0, len(data), 100)])
    assert messages == [data]
