"""An output for elementary stream parsers that keeps what it is told."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from media.frame import NO_TIME
from media.mpegts.elementary.base import ElementaryParser, Output, Pes
from media.parameters import Parameters


@dataclass(slots=True)
class Kept:
    """Satisfies `media.mpegts.elementary.base.Output`."""

    units: list[tuple[int, int, tuple[bytes, ...]]] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    described: list[tuple[int, Parameters | None]] = field(default_factory=list)
    drops: Counter[str] = field(default_factory=Counter)
    now: int = NO_TIME

    def unit(self, pts: int, dts: int, payload: tuple[bytes, ...], arrived: float) -> None:
        self.units.append((pts, dts, payload))
        self.arrivals.append(arrived)

    def describe(self, clock_rate: int, parameters: Parameters | None) -> None:
        self.described.append((clock_rate, parameters))

    def drop(self, reason: str) -> None:
        self.drops[reason] += 1

    def time(self) -> int:
        return self.now

    @property
    def payloads(self) -> list[tuple[bytes, ...]]:
        return [payload for _, _, payload in self.units]

    @property
    def pts(self) -> list[int]:
        return [pts for pts, _, _ in self.units]


def pes(payload: bytes, pts: int = NO_TIME, dts: int = NO_TIME, arrived: float = 0.0) -> Pes:
    """A PES packet as a parser gets it."""
    return Pes(payload, pts, pts if dts == NO_TIME else dts, arrived)


def run(make: Callable[[Output], ElementaryParser], *packets: Pes, flush: bool = True) -> Kept:
    """Push PES packets into a new parser."""
    kept = Kept()
    parser = make(kept)
    for packet in packets:
        parser.push(packet)
    if flush:
        parser.flush()
    return kept
