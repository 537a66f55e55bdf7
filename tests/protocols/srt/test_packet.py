"""SRT packets: the header, data, control as a frame."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from protocols.srt.packet import (
    FIRST,
    HEADER_BYTES,
    KEY_ODD,
    MAX_MESSAGE,
    ControlPacket,
    ControlType,
    DataPacket,
    destination_of,
    is_control,
    is_handshake,
    timestamp_at,
    unpack_header,
)

WORDS = st.integers(0, 0xFFFFFFFF)


def test_a_data_packet_goes_round() -> None:
    packet = DataPacket(0x7FFFFFFF, MAX_MESSAGE, 0xFFFFFFFF, 7, b"abc", FIRST, KEY_ODD, True, True)
    data = packet.serialize()
    assert data[:8].hex() == "7fffffffb7ffffff"
    assert DataPacket.parse(data) == packet


def test_a_control_packet_goes_round() -> None:
    packet = ControlPacket(0x7FFF, 1, 2, b"12345678", 3, 4)
    assert packet.serialize()[:4].hex() == "ffff0004"
    assert ControlPacket.parse(packet.serialize()) == packet


def test_unknown_control_types_are_kept() -> None:
    data = bytes.fromhex("9234abcd000000010000000200000003") + b"whatever"
    packet = ControlPacket.parse(data)
    assert (packet.kind, packet.subtype) == (0x1234, 0xABCD)
    assert packet.serialize() == data


@pytest.mark.parametrize("size", range(HEADER_BYTES))
def test_less_than_a_header_is_refused(size: int) -> None:
    with pytest.raises(WireError, match="srt-truncated"):
        DataPacket.parse(bytes(size))
    with pytest.raises(WireError, match="srt-truncated"):
        ControlPacket.parse(b"\x80" * size)


def test_each_kind_refuses_the_other() -> None:
    with pytest.raises(WireError, match="srt-not-data"):
        DataPacket.parse(b"\x80" + bytes(15))
    with pytest.raises(WireError, match="srt-not-control"):
        ControlPacket.parse(bytes(16))


@given(WORDS, WORDS, WORDS, WORDS, st.binary(max_size=40))
def test_any_header_goes_round(a: int, b: int, c: int, d: int, rest: bytes) -> None:
    data = b"".join(word.to_bytes(4, "big") for word in (a, b, c, d)) + rest
    kind = ControlPacket if is_control(data) else DataPacket
    assert kind.parse(data).serialize() == data
    assert unpack_header(data) == (a, b, c, d)
    assert destination_of(data) == d


def test_handshakes_are_seen_at_a_glance() -> None:
    assert is_handshake(ControlPacket(ControlType.HANDSHAKE, 0, 0).serialize())
    assert not is_handshake(ControlPacket(ControlType.KEEPALIVE, 0, 0).serialize())
    assert not is_handshake(bytes(16))


def test_timestamps_wrap() -> None:
    assert timestamp_at(100.5, 100.0) == 500_000
    assert timestamp_at(100.0 + 4294.967296 + 1, 100.0) == pytest.approx(1_000_000, abs=1)
