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
