"""The Transport header, RFC 2326 section 12.39."""

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Self

from flux.base.errors import WireError

TCP = "TCP"
UDP = "UDP"
MAX_SPECS = 16

RANGE = re.compile(r"(\d{1,5})(?:\s*-\s*(\d{1,5}))?")
TTL = re.compile(r"\d{1,3}")
SSRC = re.compile(r"\s*(?:0x)?([0-9A-Fa-f]{1,8})\s*")


class Way(Enum):
    """How the media of a session travels."""

    TCP = auto()  # interleaved
    UDP = auto()
    MULTICAST = auto()


@dataclass(frozen=True, slots=True)
class PortPair:
    """Two ports, or two interleaved channels: RTP first, RTCP second."""

    rtp: int
    rtcp: int

    @classmethod
    def parse(cls, text: str, limit: int) -> Self:
        """`a-b`, or `a` alone, which means a and a + 1."""
        match = RANGE.fullmatch(text.strip())
        if match is None:
            raise WireError("rtsp-transport-range", text[:32])
        first = int(match[1])
        second = int(match[2]) if match[2] else first + 1
        if first > limit or second > limit:
            raise WireError("rtsp-transport-range", text[:32])
        return cls(first, second)

    def serialize(self) -> str:
        """The pair as it stands in the header."""
        return f"{self.rtp}-{self.rtcp}"


@dataclass(frozen=True, slots=True)
class Group:
    """A multicast group that carries one track."""

    address: str
    ports: PortPair
    ttl: int
    source: str = ""  # who sends, where the server says it: an address or a host name


@dataclass(frozen=True, slots=True)
class Transport:
    """One transport specification."""

    profile: str = "RTP/AVP"  # RTP/AVP, RTP/SAVP, RTP/AVPF, ...
    lower: str = UDP
    is_multicast: bool = False
    interleaved: PortPair | None = None
    client_port: PortPair | None = None
    server_port: PortPair | None = None
    port: PortPair | None = None  # of a multicast group
    ttl: int | None = None  # of a multicast group
    source: str = ""
    destination: str = ""
    ssrc: int | None = None
    mode: str = ""  # play or record, lower case; empty means play

    @classmethod
    def parse(cls, spec: str) -> Self:
        """One specification. Parameters that are unknown or make no sense are left out."""
        head, *parameters = spec.strip().split(";")
        words = head.strip().upper().split("/")
        if len(words) not in (2, 3) or words[0] != "RTP" or (words[2:] not in ([], [UDP], [TCP])):
            raise WireError("rtsp-transport-protocol", head[:32])
        values: dict[str, str] = {}
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            values.setdefault(name.strip().lower(), value.strip().strip('"'))
        ssrc = SSRC.fullmatch(values.get("ssrc", ""))
        ttl = TTL.fullmatch(values.get("ttl", ""))
        interleaved = _pair(values, "interleaved", 255)
        return cls(
            profile=f"{words[0]}/{words[1]}",
            lower=words[2] if len(words) == 3 else UDP,
            is_multicast="multicast" in values and "unicast" not in values,
            interleaved=interleaved,
            client_port=_pair(values, "client_port", 65535),
            server_port=_pair(values, "server_port", 65535),
            port=_pair(values, "port", 65535),
            ttl=int(ttl[0]) if ttl and int(ttl[0]) <= 255 else None,
            source=values.get("source", ""),
            destination=values.get("destination", ""),
            ssrc=int(ssrc[1], 16) if ssrc else None,
            mode=values.get("mode", "").lower(),
        )

    @property
    def is_secure(self) -> bool:
        """Whether its profile is one of SRTP: RTP/SAVP (RFC 3711), RTP/SAVPF (RFC 5124)."""
        return "SAVP" in self.profile

    def serialize(self) -> str:
        """The specification as it stands in the header."""
        lower = f"/{self.lower}" if self.lower != UDP else ""
        words = [f"{self.profile}{lower}", "multicast" if self.is_multicast else "unicast"]
        for name, text in (("destination", self.destination), ("source", self.source)):
            if text:
                words.append(f"{name}={text}")
        for name, pair in (
            ("interleaved", self.interleaved),
            ("client_port", self.client_port),
            ("server_port", self.server_port),
            ("port", self.port),
        ):
            if pair is not None:
                words.append(f"{name}={pair.serialize()}")
        if self.ttl is not None:
            words.append(f"ttl={self.ttl}")
        if self.ssrc is not None:
            words.append(f"ssrc={self.ssrc:08X}")
        if self.mode:
            words.append(f"mode={self.mode}")
        return ";".join(words)


def _pair(values: dict[str, str], name: str, limit: int) -> PortPair | None:
    try:
        return PortPair.parse(values[name], limit) if name in values else None
    except WireError:
        return None


def parse_transports(value: str) -> list[Transport]:
    """Every specification of a header that FLUX understands, in the order of preference."""
    found: list[Transport] = []
    for spec in value.split(",")[:MAX_SPECS]:
        try:
            found.append(Transport.parse(spec))
        except WireError:
            continue
    return found
