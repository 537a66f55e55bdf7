"""MIKEY messages: what GStreamer says, round trips, truncation, any bytes."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from protocols.mikey import (
    CryptoSession,
    Kemac,
    KeyData,
    Message,
    RandomValue,
    SecurityPolicy,
    Timestamp,
)
from protocols.mikey.payload import KeyType, OtherPayload, PayloadType, SrtpParameter

VECTORS = dict(
    line.split()
    for line in (Path(__file__).parents[2] / "data/mikey/gstreamer-1.22.txt")
    .read_text()
    .splitlines()
)
WHOLE = bytes.fromhex(VECTORS["describe-savp-video"])

blobs = st.binary(max_size=40)
policies = st.builds(
    SecurityPolicy,
    st.integers(0, 255),
    st.lists(st.tuples(st.integers(0, 255), blobs), max_size=6).map(tuple),
    st.integers(0, 255),
)
keys = st.one_of(
    st.builds(KeyData, st.sampled_from([0, 2]), blobs, spi=blobs),
    st.builds(KeyData, st.sampled_from([1, 3]), blobs, blobs, interval=st.tuples(blobs, blobs)),
)
kemacs = st.one_of(
    st.builds(Kemac, st.lists(keys, max_size=3).map(tuple)),
    st.builds(
        Kemac,
        cipher=st.integers(1, 255),
        encrypted=blobs,
        mac_kind=st.just(1),
        mac=st.binary(min_size=20, max_size=20),
    ),
)
others = st.one_of(
    blobs.map(lambda b: OtherPayload(PayloadType.ID, b"\x01" + len(b).to_bytes(2, "big") + b)),
    blobs.map(lambda b: OtherPayload(PayloadType.CERT, b"\0" + len(b).to_bytes(2, "big") + b)),
    blobs.map(lambda b: OtherPayload(PayloadType.SIGN, (len(b) | 0x1000).to_bytes(2, "big") + b)),
    blobs.map(lambda b: OtherPayload(PayloadType.PKE, (len(b) | 0x4000).to_bytes(2, "big") + b)),
    st.just(OtherPayload(PayloadType.ERR, b"\x05\0\0")),
    st.just(OtherPayload(PayloadType.V, b"\x01" + bytes(20))),
    st.just(OtherPayload(PayloadType.V, b"\0")),
    blobs.map(
        lambda b: OtherPayload(PayloadType.GENERAL_EXT, b"\0" + len(b).to_bytes(2, "big") + b)
    ),
)
payloads = st.one_of(
    st.builds(Timestamp, st.sampled_from([0, 1]), st.integers(0, 2**64 - 1)),
    st.builds(Timestamp, st.just(2), st.integers(0, 2**32 - 1)),
    st.builds(RandomValue, blobs),
    policies,
    kemacs,
    others,
)
numbers = st.integers(0, 2**32 - 1)
messages = st.builds(
    Message,
    st.lists(st.builds(CryptoSession, st.integers(0, 255), numbers, numbers), max_size=5).map(
        tuple
    ),
    st.lists(payloads, max_size=6).map(tuple),
    st.integers(0, 255),
    numbers,
    st.booleans(),
    st.integers(0, 127),
)


@given(messages)
def test_round_trip(message: Message) -> None:
    assert Message.parse(message.serialize()) == message


@pytest.mark.parametrize("name", VECTORS)
def test_what_gstreamer_says_comes_back_byte_for_byte(name: str) -> None:
    data = bytes.fromhex(VECTORS[name])
    assert Message.parse(data).serialize() == data


def test_what_is_in_it() -> None:
    message = Message.parse(bytes.fromhex(VECTORS["caps-aes-256-icm-hmac-sha1-32"]))
    assert message.sessions == (CryptoSession(0, 0x11223344, 7),)
    policy = message.policy(0)
    assert policy is not None
    assert policy.value(SrtpParameter.CIPHER_KEY_LENGTH) == 32
    assert policy.value(SrtpParameter.MAC_KEY_LENGTH) == 4
    assert policy.value(SrtpParameter.TAG_LENGTH) is None
    assert message.policy(1) is None
    (kemac,) = message.kemacs()
    assert kemac.keys == (KeyData(KeyType.TEK, bytes(range(46))),)


def test_sessions_of_a_publisher() -> None:
    """rtspclientsink names the media and its retransmissions."""
    message = Message.parse(bytes.fromhex(VECTORS["setup-rtspclientsink"]))
    assert [(one.ssrc, one.roc) for one in message.sessions] == [(0x1EF78200, 0), (0xAF576113, 0)]


@pytest.mark.parametrize("name", VECTORS)
def test_cut_anywhere(name: str) -> None:
    data = bytes.fromhex(VECTORS[name])
    for size in range(len(data)):
        with pytest.raises(WireError) as caught:
            Message.parse(data[:size])
        assert caught.value.reason == "mikey-truncated"


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    for text in (data, b"\1\0\x0b\0" + data, WHOLE[:19] + data, WHOLE[:-40] + data):
        try:
            Message.parse(text).serialize()
        except WireError:
            continue


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=4))
def test_any_byte_changed(changes: list[tuple[int, int]]) -> None:
    data = bytearray(WHOLE)
    for place, value in changes:
        data[place] = value
    try:
        parsed = Message.parse(bytes(data))
    except WireError:
        return
    assert Message.parse(parsed.serialize()) == parsed


def message_with(body: bytes, kind: int) -> bytes:
    """A message with one payload of these bytes."""
    return Message((), (OtherPayload(kind, body),)).serialize()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\2" + WHOLE[1:], "mikey-bad-version"),
        (WHOLE[:9] + b"\1" + WHOLE[10:], "mikey-map-unsupported"),
        (message_with(b"\x09" + bytes(8), PayloadType.T), "mikey-bad-timestamp"),
        (message_with(b"\0" * 200, PayloadType.DH), "mikey-payload-unsupported"),
        (message_with(b"\0" * 30, PayloadType.CHASH), "mikey-payload-unsupported"),
        (message_with(b"", 99), "mikey-payload-unsupported"),
        (message_with(b"\0\0\0\7", PayloadType.KEMAC), "mikey-payload-unsupported"),
        (message_with(b"\0\0\5\0\x40\0\1x\0", PayloadType.KEMAC), "mikey-bad-key"),
        (message_with(b"\0\0\6\0\x20\0\1xx\0", PayloadType.KEMAC), "mikey-bad-key"),
        (
            message_with(b"\0\0\0\xc8" + b"\0\0" * 100, PayloadType.SP),
            "mikey-bad-policy",
        ),
        (bytes(20_000), "mikey-too-large"),
    ],
)
def test_what_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        Message.parse(data)
    assert caught.value.reason == reason


def test_too_many() -> None:
    many = Message((), (RandomValue(b""),) * 65)
    with pytest.raises(WireError) as caught:
        Message.parse(many.serialize())
    assert caught.value.reason == "mikey-too-many-payloads"
    Message.parse(replace(many, payloads=many.payloads[1:]).serialize())
    keys = Message((), (Kemac((KeyData(KeyType.TEK, b"k"),) * 17),))
    with pytest.raises(WireError) as caught:
        Message.parse(keys.serialize())
    assert caught.value.reason == "mikey-too-many-keys"
