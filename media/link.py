"""What is known of the line between FLUX and a peer, where its protocol tells."""

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(slots=True)
class LinkFigures:
    """Seconds and packets; None and 0 where nothing was heard yet."""

    transport: str  # tcp, udp, multicast
    lost: int = 0
    jitter: float = 0.0
    round_trip: float | None = None


class Linked(ABC):
    """A reader or a publisher whose protocol measures its line."""

    @abstractmethod
    def link(self) -> LinkFigures:
        """The line as it was last measured."""
