"""Packets sealed and opened, against RFC 3394 and libsrt's packets."""

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from protocols.srt.cipher import (
    CtrCipher,
    GcmCipher,
    PacketCipher,
    derive_key,
    make_cipher,
    unwrap,
    wrap,
)
from protocols.srt.key_exchange import open_keys
from protocols.srt.keys import KeyMaterial, KeyRing
from protocols.srt.packet import (
    FILTER_MESSAGE,
    HEADER_BYTES,
    KEY_EVEN,
    KEY_ODD,
    SOLO,
    ControlPacket,
    ControlType,
    DataPacket,
    pack_header,
)
from tests.support.srt_capture import PASSPHRASE, read_crypto_vectors, read_srt

VECTORS = read_crypto_vectors()


@pytest.mark.parametrize("name", VECTORS)
def test_keys_are_derived_and_opened(name: str) -> None:
    vector = VECTORS[name]
    material = KeyMaterial.parse(bytes.fromhex(vector["km"]))
    kek = derive_key(PASSPHRASE.encode(), material.salt, material.key_bytes)
    assert kek.hex() == vector["kek"]
    ring = open_keys(material, kek)
    assert ring.even.hex() == vector["sek"]
    assert wrap(kek, ring.even) == material.wrapped
    with pytest.raises(WireError, match="km-bad-secret"):
        open_keys(material, bytes(len(kek)))


@pytest.mark.parametrize("name", VECTORS)
def test_the_first_packet_of_each_capture(name: str) -> None:
    vector = VECTORS[name]
    first = vector["first_packet"]
    header = bytes.fromhex(first["header"])
    cipher = cipher_of(name)
    sequence = int.from_bytes(header[:4], "big")
    packet = next(one.payload for one in read_srt(name) if one.payload[:HEADER_BYTES] == header)
    payload = cipher.open(sequence, packet)
    assert payload is not None
    assert len(payload) == first["plaintext_len"]
    assert payload.hex().startswith(first["plaintext_prefix"])
    assert cipher.seal(sequence, header, payload) == packet[HEADER_BYTES:]


def cipher_of(name: str) -> PacketCipher:
    """The cipher of a capture's first key."""
    ring = ring_of(name)
    return make_cipher(ring.cipher, ring.even, ring.salt)


def ring_of(name: str) -> KeyRing:
    """The first keys of a capture."""
    vector = VECTORS[name]
    material = KeyMaterial.parse(bytes.fromhex(vector["km"]))
    return open_keys(material, bytes.fromhex(vector["kek"]))


@pytest.mark.parametrize("name", [name for name in VECTORS if not name.startswith("fec")])
def test_every_packet_of_each_capture(name: str) -> None:
    cipher = cipher_of(name)
    packets = [one.payload for one in read_srt(name) if not one.is_control]
    assert packets
    for data in packets:
        packet = DataPacket.parse(data)
        assert packet.key == KEY_EVEN
        assert packet.message != FILTER_MESSAGE
        payload = cipher.open(packet.sequence, data)
        assert payload is not None
        assert payload[0] == 0x47
        assert len(payload) == 1316


def test_every_packet_of_a_refresh() -> None:
    datagrams = read_srt("km_refresh_aes128")
    ciphers: dict[int, PacketCipher] = {}
    kek = b""
    used = []
    for datagram in datagrams:
        data = datagram.payload
        if datagram.is_handshake and not kek:
            start = data.find(bytes.fromhex("12202901"))
            if start > 0:
                material = KeyMaterial.parse(data[start:])
                kek = derive_key(PASSPHRASE.encode(), material.salt, material.key_bytes)
                ring = open_keys(material, kek)
                ciphers = {KEY_EVEN: make_cipher(ring.cipher, ring.even, ring.salt)}
        elif datagram.is_control:
            packet = ControlPacket.parse(data)
            if packet.kind == ControlType.USER:
                ring = open_keys(KeyMaterial.parse(packet.body), kek)
                ciphers = {
                    KEY_EVEN: make_cipher(ring.cipher, ring.even, ring.salt),
                    KEY_ODD: make_cipher(ring.cipher, ring.odd, ring.salt),
                }
        else:
            key = DataPacket.parse(data).key
            payload = ciphers[key].open(int.from_bytes(data[:4], "big"), data)
            assert payload is not None
            assert payload[0] == 0x47
            used.append(key)
    switches = sum(1 for a, b in itertools.pairwise(used) if a != b)
    assert (len(used), switches) == (220, 3)


MAKERS: list[Callable[[bytes, bytes], PacketCipher]] = [CtrCipher, GcmCipher]


@pytest.mark.parametrize("make", MAKERS)
@given(st.integers(0, 0x7FFFFFFF), st.lists(st.binary(max_size=50), max_size=5))
def test_batches_and_single_packets_are_the_same(
    make: Callable[[bytes, bytes], PacketCipher], sequence: int, payloads: list[bytes]
) -> None:
    cipher = make(bytes(range(16)), bytes(range(16)))
    numbers = [sequence + index & 0x7FFFFFFF for index in range(len(payloads))]
    headers = [pack_header(number, SOLO | 1, 7, 9) for number in numbers]
    sealed = cipher.seal_batch(sequence, headers, payloads)
    for number, header, payload, secret in zip(numbers, headers, payloads, sealed, strict=True):
        assert len(secret) == len(payload) + cipher.overhead_bytes
        assert cipher.seal(number, header, payload) == secret
        assert cipher.open(number, header + secret) == payload


def test_gcm_covers_payload_and_header_but_the_retransmission_flag() -> None:
    cipher = GcmCipher(bytes(32), bytes(16))
    packet = DataPacket(5, 1, 2, 3, b"", key=KEY_EVEN)
    packet.payload = cipher.seal(5, packet.serialize()[:HEADER_BYTES], b"secret words")
    data = packet.serialize()
    packet.is_retransmitted = True
    assert cipher.open(5, packet.serialize()) == b"secret words"
    for at in range(len(data)):
        for bit in range(8):
            if at == 4 and bit == 2:
                continue  # the flag itself
            forged = bytearray(data)
            forged[at] ^= 1 << bit
            assert cipher.open(5, bytes(forged)) is None
    for size in range(HEADER_BYTES, len(data)):
        assert cipher.open(5, data[:size]) is None


def test_rfc_3394_section_4() -> None:
    keys = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
    for size, expected in (
        (16, "1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5"),
        (24, "96778B25AE6CA435F92B5B97C050AED2468AB8A17AD84E5D"),
        (32, "64E8C3F9CE0F5BA263E9777905818A2A93C8191E7D6E8AE7"),
    ):
        kek = bytes(range(size))
        assert wrap(kek, keys) == bytes.fromhex(expected)
        assert unwrap(kek, bytes.fromhex(expected)) == keys
