"""What the API answers about readers that got no media for a while."""

from typing import Self

from pydantic import BaseModel, ConfigDict

from media.causes import Cause
from media.interruptions import Tallies, Tally


class Interruption(BaseModel):
    """What kept readers from getting media, of one cause."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int
    seconds: float
    dropped: int
    """Units, packets or segments that were not passed on."""

    @classmethod
    def of(cls, tally: Tally) -> Self:
        """From figures."""
        return cls(count=tally.count, seconds=round(tally.seconds, 3), dropped=tally.dropped)


class Interruptions(BaseModel):
    """Whose doing it is that readers got no media for a while."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: Interruption
    """The reader's own, or the reader itself."""
    server: Interruption
    source: Interruption

    @classmethod
    def of(cls, tallies: Tallies) -> Self:
        """From figures."""
        return cls(
            network=Interruption.of(tallies[Cause.NETWORK]),
            server=Interruption.of(tallies[Cause.SERVER]),
            source=Interruption.of(tallies[Cause.SOURCE]),
        )
