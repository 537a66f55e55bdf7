"""What the core tells the bus about itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PhaseChanged:
    """The server went from one phase of its life to the next."""

    before: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True)
class PartStarted:
    """A part of the server is up."""

    part: str
    took: float  # seconds


@dataclass(frozen=True, slots=True)
class PartStopped:
    """A part of the server is down; `reason` is `stopped`, `late`, `cut` or `failed`."""

    part: str
    took: float  # seconds
    reason: str


@dataclass(frozen=True, slots=True)
class AccessDenied:
    """Somebody may not do what it wanted to do."""

    action: str  # read, publish, playback, api, metrics
    stream: str  # empty where the action is of none
    protocol: str  # by which it came, such as rtsp or hls; api
    address: str
    user: str  # empty where there is no such user here: it may be a password in the wrong place
    reason: str


@dataclass(frozen=True, slots=True)
class AddressBanned:
    """An address failed too often and is refused for some time."""

    address: str  # IP address, or the /64 of an IPv6 address
    reason: str
    failures: int  # that it is banned for
    seconds: float  # that it is refused for
