"""What every elementary stream parser has in common.

A parser takes the PES packets of one PID, whole and in order, and hands units to its `Output`.
Where packets were lost the assembler drops the PES packet, counts it, and says `lost()`: the parser
then forgets what it holds, since it cannot be completed, and begins anew with the next PES packet.
"""

from dataclasses import dataclass
from typing import Protocol

from media.frame import NO_TIME
from media.parameters import Parameters

MAX_UNIT_BYTES = 8 << 20  # an access unit; an intra picture of 8K video stays well below
MAX_UNIT_NALS = 1024
NO_TIMESTAMP = "ts-time-missing"


@dataclass(slots=True)
class Pes:
    """One PES packet."""

    payload: bytes
    pts: int  # unwrapped ticks of 90 kHz; NO_TIME where the packet has none
    dts: int
    arrived: float  # monotonic seconds when its first byte came in
    is_whole: bool = True  # else packets at its end are missing


class Output(Protocol):
    """Where a parser's findings go."""

    def unit(self, pts: int, dts: int, payload: tuple[bytes, ...], arrived: float) -> None:
        """One unit; times in ticks of the described clock."""
        ...

    def describe(self, clock_rate: int, parameters: Parameters | None) -> None:
        """The track is known now, or is another one from the next unit on."""
        ...

    def drop(self, reason: str) -> None:
        """One unit was dropped, or something was refused."""
        ...

    def time(self) -> int:
        """The time of what comes without any; NO_TIME if there is none yet."""
        ...


class ElementaryParser(Protocol):
    """Takes one elementary stream apart."""

    def push(self, pes: Pes) -> None:
        """Take a PES packet."""
        ...

    def lost(self) -> None:
        """Something is missing here."""
        ...

    def flush(self) -> None:
        """The stream has ended: what is held is complete."""
        ...

    @property
    def unit_ticks(self) -> float | None:
        """How long a unit lasts, in 90 kHz; 0: each PES packet is one; None: nobody can tell."""
        ...


__all__ = (
    "MAX_UNIT_BYTES",
    "MAX_UNIT_NALS",
    "NO_TIME",
    "NO_TIMESTAMP",
    "ElementaryParser",
    "Output",
    "Pes",
)
