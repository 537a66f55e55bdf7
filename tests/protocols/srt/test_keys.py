"""KM messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from protocols.srt.keys import (
    CipherKind,
    KeyMaterial,
    KmState,
    parse_refusal,
    serialize_refusal,
)
from protocols.srt.packet import KEY_BOTH, KEY_EVEN, KEY_ODD
from tests.support.srt_capture import read_crypto_vectors

VECTORS = read_crypto_vectors()


@pytest.mark.parametrize("name", VECTORS)
def test_captured_messages(name: str) -> None:
    data = bytes.fromhex(VECTORS[name]["km"])
    material = KeyMaterial.parse(data)
    assert material.serialize() == data
    assert material.salt.hex() == VECTORS[name]["salt"]
    assert material.key_bytes == len(VECTORS[name]["sek"]) // 2
    is_gcm = name.startswith("aesgcm")
    assert material.cipher == (CipherKind.GCM if is_gcm else CipherKind.CTR)
    assert material.authentication == is_gcm
    assert material.flags == KEY_EVEN


@given(
    st.sampled_from([16, 24, 32]),
    st.sampled_from([KEY_EVEN, KEY_ODD, KEY_BOTH]),
    st.sampled_from([2, 4]),
)
def test_a_message_goes_round(key_bytes: int, flags: int, cipher: int) -> None:
    count = 2 if flags == KEY_BOTH else 1
    wrapped = bytes(range(8 + count * key_bytes))
    material = KeyMaterial(cipher, bytes(16), key_bytes, wrapped, flags)
    assert KeyMaterial.parse(material.serialize()) == material


def test_no_truncation_is_taken() -> None:
    data = bytes.fromhex(VECTORS["hsv5_aes256_streamid"]["km"])
    for size in range(len(data)):
        with pytest.raises(WireError):
            KeyMaterial.parse(data[:size])
    with pytest.raises(WireError, match="km-bad-length"):
        KeyMaterial.parse(data + bytes(4))


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (0, 0x22, "km-bad-header"),  # another version
        (1, 0x21, "km-bad-header"),  # no sign
        (3, 0x05, "km-bad-header"),  # reserved bits
        (3, 0x00, "km-bad-keys"),  # neither key
        (3, 0x03, "km-bad-length"),  # both, and room for one
        (11, 1, "km-bad-header"),  # reserved
        (14, 2, "km-bad-keys"),  # a short salt
        (15, 5, "km-bad-keys"),  # keys of 20 bytes
        (15, 8, "km-bad-length"),  # longer keys than there are bytes
    ],
)
def test_odd_material_is_refused(at: int, value: int, reason: str) -> None:
    data = bytearray.fromhex(VECTORS["hsv5_aes128_streamid"]["km"])
    data[at] = value
    with pytest.raises(WireError, match=reason):
        KeyMaterial.parse(bytes(data))


@pytest.mark.parametrize("state", KmState)
def test_a_refusal_is_little_endian(state: KmState) -> None:
    data = serialize_refusal(state)
    assert data == bytes((state, 0, 0, 0))
    assert parse_refusal(data) == state


@pytest.mark.parametrize("data", [b"", b"\1", bytes(3), bytes(5), bytes(16), b"\0\0\0\3"])
def test_odd_answers_are_refused(data: bytes) -> None:
    with pytest.raises(WireError, match="km-bad-response"):
        parse_refusal(data)


@given(st.binary(max_size=120))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        material = KeyMaterial.parse(data)
    except WireError:
        return
    assert material.serialize() == data
