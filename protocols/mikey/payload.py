"""Payloads of MIKEY messages, RFC 3830 sections 6.2 to 6.15: those that SRTP over TLS needs.

A payload's first byte is the type of the next one, so it is the chain (`message.py`) that knows
types; here stand the bodies. Payloads of no interest (identities, certificates, signatures) are
kept as they came.
"""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from flux.base.errors import WireError

MAX_PARAMETERS = 64  # of one security policy
MAX_KEYS = 16  # of one KEMAC
MAX_KEY_BYTES = 255

LENGTH = Struct("!H")
POLICY_HEAD = Struct("!BBBH")  # next payload, policy number, protocol, length of the parameters
KEMAC_HEAD = Struct("!BBH")  # next payload, encryption, length of the encrypted data
KEY_HEAD = Struct("!BBH")  # next payload, type and validity, length of the key


class PayloadType(IntEnum):
    """RFC 3830 table 6.1.b."""

    LAST = 0
    KEMAC = 1
    PKE = 2
    DH = 3
    SIGN = 4
    T = 5
    ID = 6
    CERT = 7
    CHASH = 8
    V = 9
    SP = 10
    RAND = 11
    ERR = 12
    KEY_DATA = 20
    GENERAL_EXT = 21


class Cipher(IntEnum):
    """Encryption of a KEMAC (section 6.2) and of SRTP (section 6.10.1)."""

    NULL = 0
    AES_CM = 1


class Mac(IntEnum):
    """Authentication, sections 6.2 and 6.10.1."""

    NULL = 0
    HMAC_SHA1 = 1


class SrtpParameter(IntEnum):
    """Types of the parameters of an SRTP policy, section 6.10.1."""

    CIPHER = 0
    CIPHER_KEY_LENGTH = 1
    MAC = 2
    MAC_KEY_LENGTH = 3
    SALT_LENGTH = 4
    PRF = 5
    KEY_DERIVATION_RATE = 6
    ENCRYPTS_RTP = 7
    ENCRYPTS_RTCP = 8
    FEC_ORDER = 9
    AUTHENTICATES = 10
    TAG_LENGTH = 11
    PREFIX_LENGTH = 12


class KeyType(IntEnum):
    """What a key is for, section 6.13; the odd ones bring a salt."""

    TGK = 0
    TGK_SALT = 1
    TEK = 2
    TEK_SALT = 3


class Validity(IntEnum):
    """What a key's last field says, section 6.14."""

    NULL = 0
    SPI = 1
    INTERVAL = 2


TIMESTAMP_BYTES = {0: 8, 1: 8, 2: 4}  # NTP in UTC, NTP, counter: section 6.6
MAC_BYTES = {Mac.NULL: 0, Mac.HMAC_SHA1: 20}


@dataclass(frozen=True, slots=True)
class Timestamp:
    """T, section 6.6."""

    kind: int  # 0 NTP in UTC, 1 NTP, 2 counter
    value: int  # of 64 bits, 32 for a counter

    def serialize(self, following: int) -> bytes:
        """The payload with the type of the one that follows."""
        size = TIMESTAMP_BYTES[self.kind]
        return bytes((following, self.kind)) + self.value.to_bytes(size, "big")


@dataclass(frozen=True, slots=True)
class RandomValue:
    """RAND, section 6.11."""

    value: bytes  # at most 255

    def serialize(self, following: int) -> bytes:
        """The payload with the type of the one that follows."""
        return bytes((following, len(self.value))) + self.value


@dataclass(frozen=True, slots=True)
class SecurityPolicy:
    """SP, section 6.10: parameters by type, in their order."""

    number: int
    parameters: tuple[tuple[int, bytes], ...]
    protocol: int = 0  # SRTP

    def value(self, kind: int) -> int | None:
        """A parameter as a number; None where the policy does not say."""
        found = next((value for number, value in self.parameters if number == kind), None)
        return None if found is None else int.from_bytes(found, "big")

    def serialize(self, following: int) -> bytes:
        """The payload with the type of the one that follows."""
        body = b"".join(bytes((kind, len(value))) + value for kind, value in self.parameters)
        return POLICY_HEAD.pack(following, self.number, self.protocol, len(body)) + body


@dataclass(frozen=True, slots=True)
class KeyData:
    """A key inside KEMAC, section 6.13."""

    kind: int  # KeyType
    key: bytes
    salt: bytes = b""  # only with the odd kinds
    spi: bytes = b""  # the key's identifier: the MKI of SRTP
    interval: tuple[bytes, bytes] | None = None  # valid from, valid to

    def serialize(self, following: int) -> bytes:
        """The payload with the type of the one that follows."""
        validity = Validity.NULL
        tail = b""
        if self.spi:
            validity = Validity.SPI
            tail = bytes((len(self.spi),)) + self.spi
        elif self.interval is not None:
            validity = Validity.INTERVAL
            tail = b"".join(bytes((len(end),)) + end for end in self.interval)
        salt = LENGTH.pack(len(self.salt)) + self.salt if self.kind & 1 else b""
        head = KEY_HEAD.pack(following, self.kind << 4 | validity, len(self.key))
        return head + self.key + salt + tail


@dataclass(frozen=True, slots=True)
class Kemac:
    """KEMAC, section 6.2. Keys that are encrypted stay in `encrypted` and `keys` is empty."""

    keys: tuple[KeyData, ...] = ()
    cipher: int = Cipher.NULL
    encrypted: bytes = b""
    mac_kind: int = Mac.NULL
    mac: bytes = b""

    def serialize(self, following: int) -> bytes:
        """The payload with the type of the one that follows."""
        data = self.encrypted
        for index, key in enumerate(self.keys):
            is_last = index == len(self.keys) - 1
            data += key.serialize(PayloadType.LAST if is_last else PayloadType.KEY_DATA)
        head = KEMAC_HEAD.pack(following, self.cipher, len(data))
        return head + data + bytes((self.mac_kind,)) + self.mac


@dataclass(frozen=True, slots=True)
class OtherPayload:
    """A payload that is only carried: everything after its first byte."""

    kind: int
    body: bytes

    def serialize(self, following: int) -> bytes:
        """The payload with the type of the one that follows."""
        return bytes((following,)) + self.body


Payload = Timestamp | RandomValue | SecurityPolicy | Kemac | OtherPayload


class Cursor:
    """Takes a message apart from front to back."""

    __slots__ = ("_data", "_end", "at")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self._end = len(data)
        self.at = at

    def take(self, count: int) -> bytes:
        """The next bytes; raises `WireError` `mikey-truncated`."""
        end = self.at + count
        if end > self._end:
            raise WireError("mikey-truncated", f"{end - self._end} bytes more are needed")
        piece = self._data[self.at : end]
        self.at = end
        return piece

    def unpack(self, form: Struct) -> tuple[int, ...]:
        """The next numbers."""
        return form.unpack(self.take(form.size))

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]


def parse_payload(kind: int, cursor: Cursor) -> tuple[int, Payload]:
    """Read one payload; gives the type of the next one with it.

    Raises `WireError`: `mikey-truncated`, `mikey-bad-timestamp`, `mikey-bad-policy`,
    `mikey-bad-key`, `mikey-too-many-keys`, `mikey-payload-unsupported` (no length is known of it).
    """
    match kind:
        case PayloadType.T:
            following, form = cursor.take(2)
            if form not in TIMESTAMP_BYTES:
                raise WireError("mikey-bad-timestamp", f"type {form}")
            value = int.from_bytes(cursor.take(TIMESTAMP_BYTES[form]), "big")
            return following, Timestamp(form, value)
        case PayloadType.RAND:
            following, size = cursor.take(2)
            return following, RandomValue(cursor.take(size))
        case PayloadType.SP:
            return _policy(cursor)
        case PayloadType.KEMAC:
            return _kemac(cursor)
    return _other(kind, cursor)


def _policy(cursor: Cursor) -> tuple[int, SecurityPolicy]:
    following, number, protocol, size = cursor.unpack(POLICY_HEAD)
    inner = Cursor(cursor.take(size))
    parameters: list[tuple[int, bytes]] = []
    while inner.at < size:
        kind, length = inner.take(2)
        parameters.append((kind, inner.take(length)))
        if len(parameters) > MAX_PARAMETERS:
            raise WireError("mikey-bad-policy", "too many parameters")
    return following, SecurityPolicy(number, tuple(parameters), protocol)


def _kemac(cursor: Cursor) -> tuple[int, Kemac]:
    following, cipher, size = cursor.unpack(KEMAC_HEAD)
    data = cursor.take(size)
    mac_kind = cursor.byte()
    if mac_kind not in MAC_BYTES:
        raise WireError("mikey-payload-unsupported", f"MAC {mac_kind}")
    mac = cursor.take(MAC_BYTES[Mac(mac_kind)])
    if cipher != Cipher.NULL:
        return following, Kemac((), cipher, data, mac_kind, mac)
    return following, Kemac(_keys(data), cipher, b"", mac_kind, mac)


def _keys(data: bytes) -> tuple[KeyData, ...]:
    cursor = Cursor(data)
    keys: list[KeyData] = []
    following = int(PayloadType.KEY_DATA) if data else int(PayloadType.LAST)
    while following == PayloadType.KEY_DATA:
        if len(keys) == MAX_KEYS:
            raise WireError("mikey-too-many-keys")
        following, key = _key(cursor)
        keys.append(key)
    if following != PayloadType.LAST or cursor.at != len(data):
        raise WireError("mikey-bad-key", "something else stands among the keys")
    return tuple(keys)


def _key(cursor: Cursor) -> tuple[int, KeyData]:
    following, form, size = cursor.unpack(KEY_HEAD)
    kind, validity = form >> 4, form & 0xF
    if kind > KeyType.TEK_SALT or validity > Validity.INTERVAL or size > MAX_KEY_BYTES:
        raise WireError("mikey-bad-key", f"type {kind}, validity {validity}, {size} bytes")
    key = cursor.take(size)
    salt = b""
    if kind & 1:
        (salt_size,) = cursor.unpack(LENGTH)
        salt = cursor.take(salt_size)
    if validity == Validity.SPI:
        return following, KeyData(kind, key, salt, cursor.take(cursor.byte()))
    if validity == Validity.INTERVAL:
        ends = cursor.take(cursor.byte()), cursor.take(cursor.byte())
        return following, KeyData(kind, key, salt, b"", ends)
    return following, KeyData(kind, key, salt)


def _other(kind: int, cursor: Cursor) -> tuple[int, OtherPayload]:
    """Payloads that are skipped; those without a length of their own cannot be."""
    start = cursor.at
    following = cursor.byte()
    match kind:
        case PayloadType.ID | PayloadType.CERT | PayloadType.GENERAL_EXT:
            cursor.byte()
            (size,) = cursor.unpack(LENGTH)
        case PayloadType.PKE:
            (size,) = cursor.unpack(LENGTH)
            size &= 0x3FFF  # above it: the cache flags
        case PayloadType.SIGN:
            (size,) = cursor.unpack(LENGTH)
            size &= 0x0FFF  # above it: the kind of signature
        case PayloadType.V:
            size = MAC_BYTES.get(Mac.HMAC_SHA1 if cursor.byte() else Mac.NULL, 0)
        case PayloadType.ERR:
            size = 3
        case _:
            raise WireError("mikey-payload-unsupported", f"payload type {kind}")
    cursor.take(size)
    end = cursor.at
    cursor.at = start + 1
    return following, OtherPayload(kind, cursor.take(end - start - 1))
