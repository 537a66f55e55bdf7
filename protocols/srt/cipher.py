"""Packet encryption of SRT, draft section 6: AES in counter mode or in GCM, one context per key.

A retransmitted packet is sealed again with the same cipher object and sequence number: the bytes
are the same. So whoever keeps packets in clear keeps the cipher of each beside it.
"""

import hashlib
from collections.abc import Sequence
from struct import Struct
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_wrap,
)

from flux.base.errors import WireError
from protocols.srt.keys import CipherKind
from protocols.srt.packet import HEADER_BYTES, RETRANSMITTED

ITERATIONS = 2048  # of PBKDF2
DERIVATION_SALT_BYTES = 8  # the last of the salt
TAG_BYTES = 16
HEAD = Struct("!II8s")
CLEAR_RETRANSMITTED = 0xFFFFFFFF ^ RETRANSMITTED


class PacketCipher(Protocol):
    """One stream key. `overhead_bytes` is how much longer a sealed payload is.

    `covers_headers`: they are needed to seal.
    """

    overhead_bytes: int
    covers_headers: bool

    def seal(self, sequence: int, header: bytes, payload: bytes) -> bytes:
        """The encrypted payload of the packet with this header (16 bytes, its key flag set)."""

    def seal_batch(
        self, sequence: int, headers: Sequence[bytes], payloads: Sequence[bytes]
    ) -> list[bytes]:
        """As `seal` for packets in a row; `sequence` is the first one's, the last may wrap.

        Where headers are not covered they may be left out.
        """

    def open(self, sequence: int, datagram: bytes) -> bytes | None:
        """The payload of a whole data packet in clear; None: it is not what was sealed."""


class SendKeys(Protocol):
    """What is asked of the keys: key flags and cipher of new packets, and that some were sent."""

    def sending(self) -> tuple[int, PacketCipher | None]:
        """See `crypto.Crypto`."""

    def count_sent(self, packets: int) -> None:
        """See `crypto.Crypto`."""


class CtrCipher:
    """AES-CTR: the counter block is the salt's first 14 bytes, with the sequence number XORed into
    bytes 10..13, then a block counter of 16 bits from 0 (the draft's shift by 2 is wrong)."""

    __slots__ = ("_base", "_reset", "_update", "covers_headers", "overhead_bytes")

    def __init__(self, key: bytes, salt: bytes) -> None:
        base = salt[:14] + bytes(2)
        context = Cipher(algorithms.AES(key), modes.CTR(base)).encryptor()
        self._base = int.from_bytes(base, "big")
        self._reset = context.reset_nonce
        self._update = context.update
        self.overhead_bytes = 0
        self.covers_headers = False

    def seal(self, sequence: int, header: bytes, payload: bytes) -> bytes:
        """See `PacketCipher`; the header is not covered."""
        self._reset((self._base ^ sequence << 16).to_bytes(16, "big"))
        return self._update(payload)

    def seal_batch(
        self, sequence: int, headers: Sequence[bytes], payloads: Sequence[bytes]
    ) -> list[bytes]:
        """See `PacketCipher`."""
        base, reset, update = self._base, self._reset, self._update
        sealed = []
        for payload in payloads:
            reset((base ^ sequence << 16).to_bytes(16, "big"))
            sealed.append(update(payload))
            sequence = sequence + 1 & 0x7FFFFFFF
        return sealed

    def open(self, sequence: int, datagram: bytes) -> bytes | None:
        """See `PacketCipher`; never None, as this mode proves nothing."""
        self._reset((self._base ^ sequence << 16).to_bytes(16, "big"))
        return self._update(datagram[HEADER_BYTES:])


class GcmCipher:
    """AES-GCM as libsrt from 1.5.4 on: the nonce is the salt's first 12 bytes with the sequence
    number XORed into the last four; the header with R = 0 is authenticated; the tag comes last."""

    __slots__ = ("_base", "_open", "_seal", "covers_headers", "overhead_bytes")

    def __init__(self, key: bytes, salt: bytes) -> None:
        context = AESGCM(key)
        self._base = int.from_bytes(salt[:12], "big")
        self._seal = context.encrypt
        self._open = context.decrypt
        self.overhead_bytes = TAG_BYTES
        self.covers_headers = True

    def seal(self, sequence: int, header: bytes, payload: bytes) -> bytes:
        """See `PacketCipher`."""
        nonce = (self._base ^ sequence).to_bytes(12, "big")
        return self._seal(nonce, payload, authenticated(header))

    def seal_batch(
        self, sequence: int, headers: Sequence[bytes], payloads: Sequence[bytes]
    ) -> list[bytes]:
        """See `PacketCipher`."""
        seal = self.seal
        return [
            seal(sequence + index & 0x7FFFFFFF, header, payload)
            for index, (header, payload) in enumerate(zip(headers, payloads, strict=True))
        ]

    def open(self, sequence: int, datagram: bytes) -> bytes | None:
        """See `PacketCipher`."""
        nonce = (self._base ^ sequence).to_bytes(12, "big")
        try:
            return self._open(nonce, datagram[HEADER_BYTES:], authenticated(datagram))
        except InvalidTag:
            return None


def authenticated(packet: bytes) -> bytes:
    """The header that GCM covers: as sent the first time."""
    first, second, rest = HEAD.unpack_from(packet)
    return HEAD.pack(first, second & CLEAR_RETRANSMITTED, rest)


def make_cipher(kind: CipherKind, key: bytes, salt: bytes) -> PacketCipher:
    """The cipher of one stream key."""
    return GcmCipher(key, salt) if kind == CipherKind.GCM else CtrCipher(key, salt)


def derive_key(passphrase: bytes, salt: bytes, key_bytes: int) -> bytes:
    """The key-encrypting key, draft section 6.1.4. It takes about 2 ms: never in the event loop."""
    last = salt[-DERIVATION_SALT_BYTES:]
    return hashlib.pbkdf2_hmac("sha1", passphrase, last, ITERATIONS, key_bytes)


def wrap(kek: bytes, keys: bytes) -> bytes:
    """One key or both (the even one first), RFC 3394: 8 bytes longer."""
    return aes_key_wrap(kek, keys)


def unwrap(kek: bytes, wrapped: bytes) -> bytes:
    """The reverse of `wrap`. Raises WireError `km-bad-secret`: wrapped with another key."""
    try:
        return aes_key_unwrap(kek, wrapped)
    except InvalidUnwrap:
        raise WireError("km-bad-secret") from None
