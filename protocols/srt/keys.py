"""Key material of SRT, draft section 3.2.2: the KM message, and the keys that it carries."""

from dataclasses import dataclass, field
from enum import IntEnum
from struct import Struct
from typing import Self

from flux.base.errors import WireError
from protocols.srt.packet import KEY_BOTH, KEY_EVEN, KEY_ODD

#  |S|V=1|PT=2|     sign 0x2029     | resv |KK |
#  |                   KEKI                    |
#  |  cipher  |   auth   |    SE     |  resv   |
#  |        resv         |  slen/4   | klen/4  |
HEAD = Struct("!BHBIBBBBHBB")
HEAD_BYTES = 16
FIRST_BYTE = 0x12
SIGN = 0x2029
STREAM_ENCAPSULATION = 2  # SE: SRT
SALT_BYTES = 16
WRAP_OVERHEAD = 8  # of RFC 3394
KEY_SIZES = (16, 24, 32)


class KmState(IntEnum):
    """State of one direction's keys, and the word of a KMRSP that refuses."""

    UNSECURED = 0
    SECURING = 1
    SECURED = 2
    NO_SECRET = 3  # the other side has no passphrase
    BAD_SECRET = 4
    BAD_CIPHER = 5  # cipher modes differ


class CipherKind(IntEnum):
    """The cipher field of a KM message."""

    NONE = 0
    CTR = 2
    GCM = 4


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys of a stream: salt and key-encrypting key stay, the stream keys change."""

    cipher: CipherKind
    salt: bytes
    kek: bytes = field(repr=False)
    even: bytes = field(default=b"", repr=False)  # empty: not known
    odd: bytes = field(default=b"", repr=False)

    @property
    def key_bytes(self) -> int:
        """16, 24 or 32."""
        return len(self.kek)


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """One KM message. `wrapped` holds the keys: 8 bytes more than one key, or than both."""

    cipher: int
    salt: bytes
    key_bytes: int  # of one stream key
    wrapped: bytes
    flags: int = KEY_EVEN  # KK: which keys are inside
    authentication: int = 0  # 1 with GCM
    keki: int = 0
    encapsulation: int = STREAM_ENCAPSULATION

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a message; bytes after its end are refused.

        Raises WireError: `km-truncated`, `km-bad-header`, `km-bad-keys`, `km-bad-length`.
        """
        if len(data) < HEAD_BYTES:
            raise WireError("km-truncated", f"{len(data)} bytes")
        first, sign, flags, keki, cipher, auth, se, third, fourth, slen, klen = HEAD.unpack_from(
            data
        )
        if first != FIRST_BYTE or sign != SIGN or third or fourth or flags & ~KEY_BOTH:
            raise WireError("km-bad-header", data[:HEAD_BYTES].hex())
        if not flags or slen * 4 != SALT_BYTES or klen * 4 not in KEY_SIZES:
            raise WireError("km-bad-keys", f"KK {flags}, salt {slen * 4}, key {klen * 4}")
        start = HEAD_BYTES + SALT_BYTES
        count = 2 if flags == KEY_BOTH else 1
        if len(data) != start + WRAP_OVERHEAD + count * klen * 4:
            raise WireError("km-bad-length", f"{len(data)} bytes")
        return cls(cipher, data[HEAD_BYTES:start], klen * 4, data[start:], flags, auth, keki, se)

    def serialize(self) -> bytes:
        """The message on the wire."""
        head = HEAD.pack(
            FIRST_BYTE,
            SIGN,
            self.flags,
            self.keki,
            self.cipher,
            self.authentication,
            self.encapsulation,
            0,
            0,
            SALT_BYTES // 4,
            self.key_bytes // 4,
        )
        return head + self.salt + self.wrapped


def serialize_refusal(state: KmState) -> bytes:
    """The KMRSP of one word that says why the keys were not taken."""
    # The word travels in little endian, against all else: so do libsrt's.
    return int(state).to_bytes(4, "little")


def parse_refusal(data: bytes) -> KmState | None:
    """What a KMRSP of one word says; None where it is a whole KM message.

    Raises WireError `km-bad-response`: neither.
    """
    if len(data) != 4:
        if len(data) > HEAD_BYTES:
            return None
        raise WireError("km-bad-response", f"{len(data)} bytes")
    value = int.from_bytes(data, "little")
    try:
        return KmState(value)
    except ValueError:
        raise WireError("km-bad-response", str(value)) from None


def has_even(flags: int) -> bool:
    """Whether the even key is inside."""
    return bool(flags & KEY_EVEN)


def has_odd(flags: int) -> bool:
    """Whether the odd key is inside."""
    return bool(flags & KEY_ODD)
