"""ACK, NAK, drop request and the packets without content."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from protocols.srt.control import (
    Ack,
    DropRequest,
    Range,
    parse_losses,
    serialize_ackack,
    serialize_empty,
    serialize_full_ack,
    serialize_light_ack,
    serialize_losses,
    serialize_user,
)
from protocols.srt.packet import ControlPacket, ControlType

SEQUENCE = st.integers(0, 0x7FFFFFFF)


def packet_of(body: bytes, kind: int = ControlType.ACK) -> ControlPacket:
    return ControlPacket(kind, 0, 0, body)


@pytest.mark.parametrize(
    ("ack", "size"),
    [
        (Ack(0, 5), 4),
        (Ack(9, 5, 100, 50, 8192), 16),
        (Ack(9, 5, 100, 50, 8192, 1000, 2000), 24),
        (Ack(9, 5, 100, 50, 8192, 1000, 2000, 3000), 28),
    ],
)
def test_an_ack_of_every_size_goes_round(ack: Ack, size: int) -> None:
    packet = ack.to_packet(11, 12)
    assert len(packet.body) == size
    assert Ack.parse(ControlPacket.parse(packet.serialize())) == ack


def test_the_fast_forms_are_the_same() -> None:
    full = Ack(9, 5, 100, 50, 8192, 1000, 2000, 3000)
    fields = (5, 100, 50, 8192, 1000, 2000, 3000)
    assert serialize_full_ack(9, 1, 2, *fields) == full.to_packet(1, 2).serialize()
    assert serialize_light_ack(5, 1, 2) == Ack(0, 5).to_packet(1, 2).serialize()
    assert serialize_ackack(9, 1, 2).hex() == "8006000000000009000000010000000200000000"


@pytest.mark.parametrize("size", range(32))
def test_an_ack_of_any_length(size: int) -> None:
    body = bytes(32)[:size]
    if size < 4:
        with pytest.raises(WireError, match="ack-bad"):
            Ack.parse(packet_of(body))
    else:
        assert Ack.parse(packet_of(body)).sequence == 0


def test_an_ack_of_32_bits_is_refused() -> None:
    with pytest.raises(WireError, match="ack-bad"):
        Ack.parse(packet_of(b"\x80\0\0\0"))


def test_packets_without_content_are_padded() -> None:
    keepalive = serialize_empty(ControlType.KEEPALIVE, 1, 2)
    assert len(keepalive) == 20
    assert ControlPacket.parse(keepalive).kind == ControlType.KEEPALIVE
    error = ControlPacket.parse(serialize_empty(ControlType.PEER_ERROR, 1, 2, 4000))
    assert (error.kind, error.specific) == (ControlType.PEER_ERROR, 4000)
    user = ControlPacket.parse(serialize_user(3, b"abcd", 1, 2))
    assert (user.kind, user.subtype, user.body) == (ControlType.USER, 3, b"abcd")


RANGES = st.lists(
    st.tuples(SEQUENCE, st.integers(0, 1000)).map(
        lambda pair: (pair[0], pair[0] + pair[1] & 0x7FFFFFFF)
    )
)


@given(RANGES)
def test_a_loss_list_goes_round(losses: list[Range]) -> None:
    assert parse_losses(serialize_losses(losses, 10_000)) == (losses, 0)


def test_a_loss_list_across_the_wrap() -> None:
    losses = [(0x7FFFFFFE, 1), (7, 7)]
    body = serialize_losses(losses, 364)
    assert body.hex() == "fffffffe0000000100000007"
    assert parse_losses(body) == (losses, 0)


def test_a_loss_list_never_cuts_a_range() -> None:
    losses = [(1, 1), (3, 5), (9, 9)]
    assert parse_losses(serialize_losses(losses, 3)) == ([(1, 1), (3, 5)], 0)
    assert parse_losses(serialize_losses(losses, 2)) == ([(1, 1)], 0)
    assert serialize_losses([], 3) == b""


@pytest.mark.parametrize(
    ("words", "losses"),
    [
        ("80000005", []),  # a range without end
        ("8000000500000004", []),  # its end comes first
        ("800000058000000600000007", [(6, 7)]),  # two beginnings
        ("00000001800000050000000400000002", [(1, 1), (2, 2)]),
        ("0000000100", [(1, 1)]),  # not whole words
    ],
)
def test_bad_entries_are_passed_over(words: str, losses: list[Range]) -> None:
    assert parse_losses(bytes.fromhex(words)) == (losses, 1)


@given(st.binary(max_size=200))
def test_any_loss_list_is_read(body: bytes) -> None:
    losses, bad = parse_losses(body)
    assert bad <= len(body) // 4 + 1
    for first, last in losses:
        assert 0 <= first <= 0x7FFFFFFF
        assert 0 <= last <= 0x7FFFFFFF
        assert (last - first & 0x7FFFFFFF) < 1 << 30


@given(st.integers(0, (1 << 26) - 1), SEQUENCE, st.integers(0, 10_000))
def test_a_drop_request_goes_round(message: int, first: int, count: int) -> None:
    request = DropRequest(message, first, first + count & 0x7FFFFFFF)
    packet = ControlPacket.parse(request.to_packet(1, 2).serialize())
    assert DropRequest.parse(packet) == request


@pytest.mark.parametrize(
    "body", ["", "00000001", "00000001000000", "8000000100000002", "0000000200000001"]
)
def test_a_bad_drop_request_is_refused(body: str) -> None:
    with pytest.raises(WireError, match="drop-request-bad"):
        DropRequest.parse(packet_of(bytes.fromhex(body)))
