"""Options of a pull."""

from dataclasses import dataclass
from enum import StrEnum


class TransportChoice(StrEnum):
    """How the media is asked for."""

    AUTO = "auto"  # TCP first, UDP where the server refuses it
    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True, slots=True)
class PullOptions:
    """Everything that can be set about one pull; times are seconds."""

    transport: TransportChoice = TransportChoice.AUTO
    connect_timeout: float = 5.0  # name look-up and TCP, all addresses together
    request_timeout: float = 10.0  # from a request to its answer
    media_timeout: float = 10.0  # without any RTP packet after PLAY
    teardown_timeout: float = 1.0  # how long an end waits for the answer to TEARDOWN
    max_keepalive_interval: float = 30.0  # below the idle limit of NATs and firewalls
    user_agent: str = "FLUX"
    max_bytes_per_second: int = 32 * 1024 * 1024  # what floods is read no faster
    receive_buffer_bytes: int = 4 * 1024 * 1024  # of each UDP socket
