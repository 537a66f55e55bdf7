"""What the router knows of the source of a declared name."""

from dataclasses import dataclass
from typing import Protocol

from media.stream import Stream


class Source(Protocol):
    """Something that publishes one stream by itself: a camera that is pulled, a worker."""

    def start(self) -> None:
        """Begin, and go on through failures, until `stop`."""
        ...

    def stop(self, reason: str) -> None:
        """End; what is open with the peer is ended politely in the background."""
        ...


@dataclass(slots=True)
class SourceStatus:
    """What a source last said of itself."""

    kind: str = ""
    url: str = ""  # without credentials
    state: str = "stopped"
    reason: str = ""
    since: float = 0.0
    attempts: int = 0


@dataclass(slots=True, eq=False)
class Declared:
    """A name that configuration (or the API) knows."""

    stream: Stream
    source: Source | None
    on_demand: bool
    origin: str
    start_timeout: float
    close_after: float
    status: SourceStatus
    take_over: bool = False  # a second publisher replaces the first
    running: bool = False
    members: tuple[str, ...] = ()  # of a group, which nobody else can publish
    idle_at: float | None = None  # since when nobody has held a lease
