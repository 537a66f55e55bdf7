"""Options of the two clients: the one that plays and the one that records."""

from dataclasses import dataclass
from enum import StrEnum

from flux.base.errors import WireError
from protocols.rtsp.range import PlayRange

SHA256_BYTES = 32


class TransportChoice(StrEnum):
    """How the media travels."""

    AUTO = "auto"  # TCP first, UDP where the server refuses it
    TCP = "tcp"
    UDP = "udp"
    MULTICAST = "multicast"  # one flow of packets for everybody; playing only
    HTTP = "http"  # interleaved, and the RTSP connection itself within two HTTP requests


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """What both clients can be told; times are seconds."""

    transport: TransportChoice = TransportChoice.AUTO
    fingerprint: bytes = b""  # SHA-256 of the server's certificate; empty: the CA store decides
    connect_timeout: float = 5.0  # look-up, TCP, TLS and tunnel, all addresses together
    request_timeout: float = 10.0  # from a request to its answer
    teardown_timeout: float = 1.0  # how long an end waits for the answer to TEARDOWN
    max_keepalive_interval: float = 30.0  # below the idle limit of NATs and firewalls
    user_agent: str = "FLUX"
    max_bytes_per_second: int = 32 * 1024 * 1024  # what floods is read no faster
    receive_buffer_bytes: int = 4 * 1024 * 1024  # of each UDP socket


@dataclass(frozen=True, slots=True)
class PullOptions(ClientOptions):
    """Everything that can be set about one pull."""

    udp_first: bool = False  # AUTO asks for UDP first: TCP played but sent nothing
    media_timeout: float = 10.0  # without any RTP packet
    first_media_timeout: float | None = None  # the same before the first one, where it differs
    any_port_after: float = 0.2  # of silence from the announced port, then others may send
    interface: str = ""  # that joins multicast groups; empty: the system chooses
    range: PlayRange | None = None  # what of a recording; None: what is live


@dataclass(frozen=True, slots=True)
class PushOptions(ClientOptions):
    """Everything that can be set about one push."""


def fingerprint_of(text: str) -> bytes:
    """A fingerprint as tools write it, `AB:CD:...` or plain hex; `WireError("tls-fingerprint")`."""
    try:
        digest = bytes.fromhex(text.strip().replace(":", " "))
    except ValueError:
        digest = b""
    if len(digest) not in (0, SHA256_BYTES) or (text.strip() and not digest):
        raise WireError("tls-fingerprint")
    return digest
