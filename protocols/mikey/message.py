"""MIKEY messages, RFC 3830: a header with the crypto sessions, then a chain of payloads."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Self

from flux.base.errors import WireError
from protocols.mikey.payload import (
    Cursor,
    Kemac,
    OtherPayload,
    Payload,
    PayloadType,
    RandomValue,
    SecurityPolicy,
    Timestamp,
    parse_payload,
)

VERSION = 1
SRTP_MAP = 0  # the SRTP-ID map, section 6.1.1
MAX_BYTES = 16_384
MAX_PAYLOADS = 64

HEADER = Struct("!BBBBIBB")  # version, type, next, V and PRF, CSB id, sessions, map type
SESSION = Struct("!BII")  # policy, SSRC, rollover counter


class MessageType(IntEnum):
    """RFC 3830 table 6.1.a, those of a pre-shared key."""

    PSK_INIT = 0
    PSK_VERIFY = 1


@dataclass(frozen=True, slots=True)
class CryptoSession:
    """One entry of the SRTP-ID map, section 6.1.1."""

    policy: int  # number of the security policy
    ssrc: int
    roc: int  # rollover counter now


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `sessions` is the SRTP-ID map; a message with another map is refused."""

    sessions: tuple[CryptoSession, ...]
    payloads: tuple[Payload, ...]
    kind: int = MessageType.PSK_INIT
    csb_id: int = 0  # of the crypto session bundle
    wants_answer: bool = False  # the V flag
    prf: int = 0  # MIKEY-1

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a message; bytes after its last payload are let go.

        Raises `WireError`: `mikey-too-large`, `mikey-truncated`, `mikey-bad-version`,
        `mikey-map-unsupported`, `mikey-too-many-payloads` and those of `parse_payload`.
        """
        if len(data) > MAX_BYTES:
            raise WireError("mikey-too-large", f"{len(data)} bytes")
        cursor = Cursor(data)
        version, kind, following, flags, csb_id, count, map_type = cursor.unpack(HEADER)
        if version != VERSION:
            raise WireError("mikey-bad-version", str(version))
        if map_type != SRTP_MAP:
            raise WireError("mikey-map-unsupported", str(map_type))
        sessions = tuple(
            CryptoSession(*entry)
            for entry in SESSION.iter_unpack(cursor.take(count * SESSION.size))
        )
        payloads: list[Payload] = []
        while following != PayloadType.LAST:
            if len(payloads) == MAX_PAYLOADS:
                raise WireError("mikey-too-many-payloads")
            following, payload = parse_payload(following, cursor)
            payloads.append(payload)
        return cls(sessions, tuple(payloads), kind, csb_id, bool(flags & 0x80), flags & 0x7F)

    def serialize(self) -> bytes:
        """The message on the wire."""
        kinds = [_kind_of(payload) for payload in self.payloads] + [int(PayloadType.LAST)]
        head = HEADER.pack(
            VERSION,
            self.kind,
            kinds[0],
            self.wants_answer << 7 | self.prf,
            self.csb_id,
            len(self.sessions),
            SRTP_MAP,
        )
        sessions = [SESSION.pack(one.policy, one.ssrc, one.roc) for one in self.sessions]
        payloads = [
            payload.serialize(following)
            for payload, following in zip(self.payloads, kinds[1:], strict=True)
        ]
        return b"".join((head, *sessions, *payloads))

    def policy(self, number: int) -> SecurityPolicy | None:
        """The SRTP policy of that number."""
        return next(
            (
                one
                for one in self.payloads
                if isinstance(one, SecurityPolicy) and one.number == number and not one.protocol
            ),
            None,
        )

    def kemacs(self) -> Iterator[Kemac]:
        """The payloads that bring keys."""
        return (one for one in self.payloads if isinstance(one, Kemac))


def _kind_of(payload: Payload) -> int:
    match payload:
        case Timestamp():
            return PayloadType.T
        case RandomValue():
            return PayloadType.RAND
        case SecurityPolicy():
            return PayloadType.SP
        case Kemac():
            return PayloadType.KEMAC
        case OtherPayload():
            return payload.kind
