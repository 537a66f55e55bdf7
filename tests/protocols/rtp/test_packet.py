"""RTP packets, RFC 3550 section 5.1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from protocols.rtp import Extension, RtpPacket
from protocols.rtp.packet import payload_bounds

WORD = st.integers(0, 0xFFFF_FFFF)
PACKETS = st.builds(
    RtpPacket,
    payload_type=st.integers(0, 127),
    sequence=st.integers(0, 0xFFFF),
    timestamp=WORD,
    ssrc=WORD,
    payload=st.binary(max_size=40),
    marker=st.booleans(),
    csrc=st.lists(WORD, max_size=15).map(tuple),
    extension=st.none()
    | st.builds(
        Extension,
        st.integers(0, 0xFFFF),
        st.lists(st.binary(min_size=4, max_size=4), max_size=5).map(b"".join),
    ),
    padding_bytes=st.integers(0, 255),
)


def test_the_bits_are_where_the_rfc_has_them() -> None:
    packet = RtpPacket(96, 0x1234, 0x89ABCDEF, 0xCAFEBABE, b"media", marker=True)
    wire = bytes.fromhex("80e0123489abcdefcafebabe") + b"media"
    assert packet.serialize() == wire
    assert RtpPacket.parse(wire) == packet


@given(PACKETS)
def test_round_trip(packet: RtpPacket) -> None:
    wire = packet.serialize()
    assert RtpPacket.parse(wire) == packet
    start, end = payload_bounds(wire)
    assert wire[start:end] == packet.payload


def test_truncation_at_every_length() -> None:
    packet = RtpPacket(
        96, 1, 2, 3, b"", csrc=(4, 5), extension=Extension(0xBEDE, b"12345678"), padding_bytes=4
    )
    wire = packet.serialize()
    for size in range(len(wire)):
        with pytest.raises(WireError) as caught:
            RtpPacket.parse(wire[:size])
        assert caught.value.reason in ("rtp-truncated", "rtp-padding")


@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda tail: b"\xbf" + tail))
def test_any_bytes_parse_or_raise_wire_error(data: bytes) -> None:
    try:
        packet = RtpPacket.parse(data)
    except WireError:
        return
    again = RtpPacket.parse(packet.serialize())
    assert again == packet


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "rtp-truncated"),
        (bytes(12), "rtp-version"),
        (b"\x81" + bytes(11), "rtp-truncated"),
        (b"\x90" + bytes(13), "rtp-truncated"),
        (b"\x90" + bytes(11) + b"\0\0\0\1", "rtp-truncated"),
        (b"\xa0" + bytes(12), "rtp-padding"),
        (b"\xa0" + bytes(11) + b"\x02", "rtp-padding"),
    ],
)
def test_refusals(data: bytes, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        RtpPacket.parse(data)
    assert caught.value.reason == reason
