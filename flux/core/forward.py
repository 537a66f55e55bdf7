"""Forwarding: what sends a stream to another host, as far as the core sees it.

A `Forward` is one attempt of one kind at one target; its bridge makes it, `flux.core.forwarding`
decides when.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from media.stream import Stream

WAITING, CONNECTING, RUNNING, STOPPED = "waiting", "connecting", "running", "stopped"
FAILED = "failed"  # what a forward says; its target waits then

OnState = Callable[[str, str], None]  # CONNECTING, RUNNING, or FAILED with the reason


@dataclass(frozen=True, slots=True)
class ForwardStateChanged:
    """A target of a stream gets media, or waits, or has been given up."""

    stream: str
    target: str  # URL without credentials
    state: str  # waiting, connecting, running, stopped
    reason: str


@dataclass(frozen=True, slots=True)
class ForwardFigures:
    """What one forward has sent so far."""

    sent_bytes: int = 0
    dropped: int = 0  # packets that could not be sent
    lag: float = 0.0  # seconds behind the live edge
    lost: int = 0  # packets that the target says it did not get
    round_trip: float | None = None  # seconds


class Forward(Protocol):
    """One attempt to send one stream to one target; never started twice."""

    def start(self, stream: Stream) -> None:
        """Begin to send a stream that is ready; raises `PeerError` where that cannot be.

        From then on it says RUNNING when media goes out, and FAILED once, with the reason, when it
        cannot go on; it has let go of the stream by then.
        """
        ...

    def stop(self, reason: str) -> None:
        """End; nothing is said any more. What is polite towards the target goes on behind."""
        ...

    async def wait_stopped(self) -> None:
        """Return once nothing of it is left."""
        ...

    def figures(self) -> ForwardFigures:
        """What it has sent."""
        ...

    def description(self) -> bytes:
        """The session description that a receiver of this target needs; may be empty."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """Where a stream is sent to."""

    scheme: str  # rtp, udp, rtsp, rtsps
    url: str  # credentials included
    shown: str  # without them


ForwardFactory = Callable[[str, str, OnState], Forward]  # name of the stream, url, on_state


@dataclass(frozen=True, slots=True)
class ForwardSnapshot:
    """One target as API and metrics read it."""

    id: str  # of its reader, as in the list of sessions
    target: str  # without credentials
    state: str
    reason: str
    since: float  # Unix seconds of the last change of state
    attempts: int
    sent_bytes: int  # of all attempts
    dropped: int
    lost: int
    round_trip: float | None
