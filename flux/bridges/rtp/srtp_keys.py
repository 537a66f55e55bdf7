"""The keys of SRTP: suites, master keys, and the session keys that come from them, RFC 3711.

AES-CM with HMAC-SHA1. One reused AES context a key, its nonce reset for each packet, and hashes
that are copied after the key block went in: as fast as libsrtp through its Python binding, which
can neither start at a rollover counter, nor do AES-256-CM or an MKI, nor take packets over 1356
bytes.
"""

import hashlib
import os
from dataclasses import dataclass, field
from struct import Struct
from typing import Self

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from flux.base.errors import WireError

SALT_BYTES = 14
MAC_KEY_BYTES = 20
MAX_MKI_BYTES = 128
BLOCK_BYTES = 64  # of SHA-1

NONCE_TAIL = Struct("!HH").pack  # low 16 bits of the index, block counter


@dataclass(frozen=True, slots=True)
class Suite:
    """A cipher with its authentication."""

    name: str  # as RFC 4568 section 6.2 and RFC 6188 section 4 register it
    key_bytes: int
    rtp_tag_bytes: int
    rtcp_tag_bytes: int = 10  # RFC 3711 section 5.2, whatever RTP has


AES_CM_128_80 = Suite("AES_CM_128_HMAC_SHA1_80", 16, 10)
AES_CM_128_32 = Suite("AES_CM_128_HMAC_SHA1_32", 16, 4)
AES_256_CM_80 = Suite("AES_256_CM_HMAC_SHA1_80", 32, 10)
AES_256_CM_32 = Suite("AES_256_CM_HMAC_SHA1_32", 32, 4)
SUITES = {
    suite.name: suite for suite in (AES_CM_128_80, AES_CM_128_32, AES_256_CM_80, AES_256_CM_32)
}


@dataclass(frozen=True, slots=True)
class MasterKey:
    """A master key with its salt; `repr` shows neither.

    Raises `WireError` `srtp-key-length` where sizes do not fit the suite.
    """

    suite: Suite
    key: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    mki: bytes = b""  # in every packet where not empty

    def __post_init__(self) -> None:
        if len(self.key) != self.suite.key_bytes or len(self.salt) != SALT_BYTES:
            raise WireError("srtp-key-length", f"{len(self.key)} and {len(self.salt)} bytes")
        if len(self.mki) > MAX_MKI_BYTES:
            raise WireError("srtp-key-length", f"MKI of {len(self.mki)} bytes")

    @classmethod
    def generate(cls, suite: Suite = AES_CM_128_80) -> Self:
        """A new key from the system's randomness."""
        return cls(suite, os.urandom(suite.key_bytes), os.urandom(SALT_BYTES))

    @classmethod
    def joined(cls, suite: Suite, data: bytes, mki: bytes = b"") -> Self:
        """Key and salt in one piece, as MIKEY and SDP carry them."""
        return cls(suite, data[: suite.key_bytes], data[suite.key_bytes :], mki)

    @property
    def data(self) -> bytes:
        """Key and salt in one piece."""
        return self.key + self.salt


class Transform:
    """The session keys of RTP or of RTCP under one master key, RFC 3711 section 4.3.

    A nonce (section 4.1.1) is `prefix` of SSRC and the index above its low 16 bits, then
    `NONCE_TAIL(low 16 bits ^ low_salt, 0)`; `reset` takes it and `update` en- or decrypts. A tag is
    the start of HMAC-SHA1: `copy_inner`, update, digest into `copy_outer` (RFC 2104).
    """

    __slots__ = ("_high_salt", "copy_inner", "copy_outer", "low_salt", "reset", "update")

    def __init__(self, master: MasterKey, first_label: int) -> None:
        """`first_label` is 0 for RTP and 3 for RTCP."""
        key = _derive(master, first_label, master.suite.key_bytes)
        mac_key = _derive(master, first_label + 1, MAC_KEY_BYTES)
        salt = int.from_bytes(_derive(master, first_label + 2, SALT_BYTES), "big")
        self._high_salt, self.low_salt = salt >> 16, salt & 0xFFFF
        context = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
        self.reset = context.reset_nonce
        self.update = context.update
        block = mac_key.ljust(BLOCK_BYTES, b"\0")
        self.copy_inner = hashlib.sha1(bytes(byte ^ 0x36 for byte in block)).copy
        self.copy_outer = hashlib.sha1(bytes(byte ^ 0x5C for byte in block)).copy

    def prefix(self, ssrc: int, high: int) -> bytes:
        """First 12 bytes of a nonce."""
        return (self._high_salt ^ ssrc << 32 ^ high).to_bytes(12, "big")

    def tag(self, data: bytes) -> bytes:
        """HMAC-SHA1 in full length."""
        inner, outer = self.copy_inner(), self.copy_outer()
        inner.update(data)
        outer.update(inner.digest())
        return outer.digest()


def _derive(master: MasterKey, label: int, size: int) -> bytes:
    """A session key, RFC 3711 section 4.3.1 at a key derivation rate of zero; RFC 6188 for 256."""
    nonce = (int.from_bytes(master.salt, "big") ^ label << 48).to_bytes(SALT_BYTES, "big")
    context = Cipher(algorithms.AES(master.key), modes.CTR(nonce + b"\0\0")).encryptor()
    return context.update(bytes(size))
