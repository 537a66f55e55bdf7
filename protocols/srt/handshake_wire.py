"""The handshake's contents, draft section 3.2.1: twelve words, then extensions."""

import ipaddress
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from struct import Struct
from typing import Self

from flux.base.errors import WireError
from protocols.srt.options import GroupOffer, GroupType
from protocols.srt.packet import SEQUENCE_MASK, ControlPacket, ControlType

#  |                           version                             |
#  |       encryption field        |        extension field        |
#  |   ISN | MTU | flow window | type | socket id | cookie | peer IP (4 words)
FIXED = Struct("!IHHIIIIII16s")
FIXED_BYTES = 48
EXTENSION_HEAD = Struct("!HH")  # type, length in words
SRT_EXTENSION = Struct("!IIHH")  # version, flags, latency of the receiver and of the sender
GROUP_EXTENSION = Struct("!IBBH")  # group id, type, flags, weight

LEGACY_VERSION = 4
VERSION = 5
INDUCTION_REQUEST = 2  # extension field of a caller's first word: UDT's datagram type
MAGIC = 0x4A17  # extension field of a listener's first word
OUR_VERSION = 0x010505  # peers choose by it how we get ACKs and how GCM makes its nonce
FIRST_HSV5_VERSION = 0x010300
FIRST_GCM_VERSION = 0x010504  # whose nonces do not repeat

MAX_EXTENSIONS = 32
ENCRYPTION_FIELDS = {0: 0, 16: 2, 24: 3, 32: 4}  # key bytes -> encryption field
KEY_BYTES = {2: 16, 3: 24, 4: 32}


class HandshakeType(IntEnum):
    """Anything from 1000 on is a rejection, see `reject.py`."""

    WAVEAHAND = 0
    INDUCTION = 1
    DONE = 0xFFFFFFFD
    AGREEMENT = 0xFFFFFFFE
    CONCLUSION = 0xFFFFFFFF


class ExtensionFlag(IntFlag):
    """Extension field of a conclusion: which kinds of extensions follow."""

    HSREQ = 1
    KMREQ = 2
    CONFIG = 4


class ExtensionType(IntEnum):
    """Types of extensions, and subtypes of user-defined control packets."""

    HSREQ = 1
    HSRSP = 2
    KMREQ = 3
    KMRSP = 4
    SID = 5
    CONGESTION = 6
    FILTER = 7
    GROUP = 8


class HsFlag(IntFlag):
    """Flags of HSREQ and HSRSP, section 3.2.1.1.1."""

    TSBPD_SEND = 0x01
    TSBPD_RECEIVE = 0x02
    CRYPT = 0x04
    DROP_LATE = 0x08
    PERIODIC_NAK = 0x10
    REXMIT_FLAG = 0x20
    STREAM = 0x40
    PACKET_FILTER = 0x80


@dataclass(frozen=True, slots=True)
class Extension:
    """One extension; `data` is whole words."""

    kind: int  # ExtensionType or any other 16 bits
    data: bytes


@dataclass(frozen=True, slots=True)
class Handshake:
    """One handshake. Read `is_rejection` before the extension field: a rejection keeps the flags of
    the request though nothing follows."""

    version: int
    encryption: int  # 0: nothing said; 2, 3, 4: AES-128, 192, 256
    extension_field: int
    sequence: int  # the first of the sender's data packets
    mtu: int
    window: int
    kind: int  # HandshakeType, or 1000 + reject code
    socket_id: int  # of the sender
    cookie: int
    peer_ip: bytes = bytes(16)  # as on the wire
    extensions: tuple[Extension, ...] = ()
    trailer: bytes = b""  # less than a word after the last extension

    @property
    def is_rejection(self) -> bool:
        """Whether the peer refuses; the code is `kind` - 1000."""
        return 1000 <= self.kind < 0x80000000

    @property
    def key_bytes(self) -> int:
        """What the encryption field says in bytes; 0: nothing."""
        return KEY_BYTES.get(self.encryption, 0)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read the contents of a handshake packet.

        Raises WireError: `handshake-truncated`, `handshake-bad-extension`.
        """
        if len(body) < FIXED_BYTES:
            raise WireError("handshake-truncated", f"{len(body)} bytes")
        extensions: list[Extension] = []
        at = FIXED_BYTES
        while at + 4 <= len(body):
            kind, words = EXTENSION_HEAD.unpack_from(body, at)
            end = at + 4 + 4 * words
            if end > len(body) or len(extensions) == MAX_EXTENSIONS:
                raise WireError("handshake-bad-extension", f"type {kind}, {words} words")
            extensions.append(Extension(kind, body[at + 4 : end]))
            at = end
        version, encryption, field, sequence, mtu, window, kind, socket_id, cookie, peer_ip = (
            FIXED.unpack_from(body)
        )
        return cls(
            version,
            encryption,
            field,
            sequence,
            mtu,
            window,
            kind,
            socket_id,
            cookie,
            peer_ip,
            tuple(extensions),
            body[at:],
        )

    def serialize(self) -> bytes:
        """The contents of the packet."""
        parts = [
            FIXED.pack(
                self.version,
                self.encryption,
                self.extension_field,
                self.sequence,
                self.mtu,
                self.window,
                self.kind,
                self.socket_id,
                self.cookie,
                self.peer_ip,
            )
        ]
        for extension in self.extensions:
            parts.append(EXTENSION_HEAD.pack(extension.kind, len(extension.data) // 4))
            parts.append(extension.data)
        parts.append(self.trailer)
        return b"".join(parts)

    def to_datagram(self, timestamp: int, destination: int) -> bytes:
        """The whole packet."""
        packet = ControlPacket(ControlType.HANDSHAKE, timestamp, destination, self.serialize())
        return packet.serialize()


@dataclass(frozen=True, slots=True)
class SrtExtension:
    """HSREQ and HSRSP, section 3.2.1.1; latencies are milliseconds."""

    version: int
    flags: int  # HsFlag
    receive_latency_ms: int
    send_latency_ms: int

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read it; words after the third are let go. Raises WireError `hsreq-truncated`."""
        if len(data) < SRT_EXTENSION.size:
            raise WireError("hsreq-truncated", f"{len(data)} bytes")
        return cls(*SRT_EXTENSION.unpack_from(data))

    def serialize(self) -> bytes:
        """The extension's data."""
        return SRT_EXTENSION.pack(
            self.version, self.flags, self.receive_latency_ms, self.send_latency_ms
        )


def parse_group(data: bytes) -> GroupOffer:
    """Read a group extension, section 3.2.1.4. Raises WireError `group-bad`."""
    if len(data) < GROUP_EXTENSION.size:
        raise WireError("group-bad", f"{len(data)} bytes")
    group_id, kind, flags, weight = GROUP_EXTENSION.unpack_from(data)
    if not 0 < kind <= GroupType.BALANCING:
        raise WireError("group-bad", f"type {kind}")
    return GroupOffer(group_id, GroupType(kind), weight, flags)


def serialize_group(group: GroupOffer) -> bytes:
    """The data of a group extension."""
    return GROUP_EXTENSION.pack(group.group_id, group.kind, group.flags, group.weight)


def parse_text(data: bytes) -> str:
    """The text of a string extension, section 3.2.1.3. Raises WireError `text-bad`: no UTF-8.

    libsrt keeps such strings in Intel order: every word comes with its bytes reversed.
    """
    raw = b"".join(data[at : at + 4][::-1] for at in range(0, len(data), 4))
    try:
        return raw.rstrip(b"\0").decode()
    except UnicodeDecodeError as error:
        raise WireError("text-bad", str(error)) from None


def serialize_text(text: str) -> bytes:
    """The data of a string extension, padded to words."""
    raw = text.encode()
    raw += bytes(-len(raw) % 4)
    return b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))


def parse_peer_ip(field: bytes) -> str:
    """The address of the peer IP field: words in little endian, IPv4 in the first."""
    raw = b"".join(field[at : at + 4][::-1] for at in range(0, 16, 4))
    if field[4:] == bytes(12):
        return str(ipaddress.IPv4Address(raw[:4]))
    return str(ipaddress.IPv6Address(raw))


def serialize_peer_ip(host: str) -> bytes:
    """The peer IP field of an address in text; zeros where it is a name. It only informs."""
    try:
        raw = ipaddress.ip_address(host.partition("%")[0]).packed
    except ValueError:
        return bytes(16)
    raw += bytes(16 - len(raw))
    return b"".join(raw[at : at + 4][::-1] for at in range(0, 16, 4))


def has_valid_sequence(handshake: Handshake) -> bool:
    """Whether the first sequence number has 31 bits."""
    return handshake.sequence <= SEQUENCE_MASK
