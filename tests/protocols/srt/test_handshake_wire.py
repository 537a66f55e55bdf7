"""The handshake on the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from protocols.srt.handshake_wire import (
    Extension,
    ExtensionType,
    Handshake,
    HandshakeType,
    SrtExtension,
    parse_group,
    parse_peer_ip,
    parse_text,
    serialize_group,
    serialize_peer_ip,
    serialize_text,
)
from protocols.srt.options import GroupOffer, GroupType
from protocols.srt.packet import HEADER_BYTES
from tests.support.srt_capture import read_handshakes

EXTENSIONS = (
    Extension(ExtensionType.HSREQ, SrtExtension(0x010505, 0xBF, 120, 0).serialize()),
    Extension(0x7777, b"what is this"),
    Extension(ExtensionType.SID, serialize_text("read:live/cam1")),
)
SAMPLE = Handshake(
    5, 2, 5, 0x7FFFFFFF, 1500, 8192, HandshakeType.CONCLUSION, 7, 8, bytes(16), EXTENSIONS
)


def test_a_handshake_goes_round() -> None:
    assert Handshake.parse(SAMPLE.serialize()) == SAMPLE
    assert SAMPLE.to_datagram(1, 2)[:16].hex() == "80000000000000000000000100000002"


def test_every_truncation_is_refused_or_shorter() -> None:
    data = SAMPLE.serialize()
    starts = [48]
    for extension in EXTENSIONS:
        starts.append(starts[-1] + 4 + len(extension.data))
    for size in range(len(data)):
        try:
            handshake = Handshake.parse(data[:size])
        except WireError as error:
            expected = "handshake-truncated" if size < 48 else "handshake-bad-extension"
            assert error.reason == expected
        else:
            whole = max(at for at in starts if at <= size)
            assert size - whole < 4
            assert handshake.serialize() == data[:size]


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        handshake = Handshake.parse(data)
    except WireError:
        return
    assert handshake.serialize() == data
    assert serialize_peer_ip(parse_peer_ip(handshake.peer_ip)) == handshake.peer_ip


def test_too_many_extensions_are_refused() -> None:
    with pytest.raises(WireError, match="handshake-bad-extension"):
        Handshake.parse(SAMPLE.serialize() + bytes(4 * 40))


@given(st.text(max_size=512).filter(lambda text: not text.endswith("\0")))
def test_a_text_goes_round(text: str) -> None:
    data = serialize_text(text)
    assert len(data) % 4 == 0
    assert parse_text(data) == text


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 511, 512])
def test_a_text_of_every_length_goes_round(size: int) -> None:
    assert parse_text(serialize_text("x" * size)) == "x" * size


def test_a_text_is_in_intel_order() -> None:
    assert serialize_text("#!::r=li").hex() == "3a3a2123696c3d72"
    with pytest.raises(WireError, match="text-bad"):
        parse_text(b"\xff\xff\xff\xff")


@pytest.mark.parametrize(
    ("host", "field"),
    [
        ("127.0.0.1", "0100007f" + "00" * 12),
        ("192.168.1.9", "0901a8c0" + "00" * 12),
        ("2001:db8::1", "b80d0120" + "00" * 8 + "01000000"),
        ("fe80::1%eth0", "000080fe" + "00" * 8 + "01000000"),
        ("somewhere.example", "00" * 16),
    ],
)
def test_the_peer_address(host: str, field: str) -> None:
    assert serialize_peer_ip(host).hex() == field


def test_the_peer_address_is_read() -> None:
    assert parse_peer_ip(serialize_peer_ip("127.0.0.1")) == "127.0.0.1"
    assert parse_peer_ip(serialize_peer_ip("2001:db8::1")) == "2001:db8::1"


def test_latencies_of_libsrt() -> None:
    response = read_handshakes("hsv5_latency_asym")[3]
    handshake = Handshake.parse(response.payload[HEADER_BYTES:])
    hs = SrtExtension.parse(handshake.extensions[0].data)
    assert (hs.receive_latency_ms, hs.send_latency_ms, hs.flags) == (450, 200, 0xBF)


@pytest.mark.parametrize("size", range(12))
def test_a_short_hsreq_is_refused(size: int) -> None:
    with pytest.raises(WireError, match="hsreq-truncated"):
        SrtExtension.parse(bytes(size))


def test_a_group() -> None:
    group = GroupOffer(0x67FF6388, GroupType.BROADCAST, 10)
    assert serialize_group(group).hex() == "67ff63880100000a"
    assert parse_group(serialize_group(group)) == group


@pytest.mark.parametrize("data", [b"", bytes(7), bytes(8), b"\x40\0\0\0\x09\0\0\0"])
def test_a_bad_group_is_refused(data: bytes) -> None:
    with pytest.raises(WireError, match="group-bad"):
        parse_group(data)


def test_rejections_are_told_by_their_type() -> None:
    rejections = {
        "reject_badsecret": 1010,
        "reject_unsecure": 1011,
        "reject_filter": 1014,
        "reject_crypto_ctr_vs_gcm": 1017,
    }
    for name, code in rejections.items():
        handshake = Handshake.parse(read_handshakes(name)[3].payload[HEADER_BYTES:])
        assert handshake.is_rejection
        assert handshake.kind == code
        assert handshake.extension_field  # though nothing follows
        assert not handshake.extensions
    assert not SAMPLE.is_rejection
