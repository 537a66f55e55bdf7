"""What every parameter tracker answers."""

from dataclasses import dataclass
from typing import Protocol

from media.parameters import Parameters


@dataclass(slots=True)
class Inspected:
    """What a tracker found in one payload."""

    payload: tuple[bytes, ...]  # empty: nothing to show
    key: bool
    changed: bool  # `tracker.parameters` is a new object


class ParameterTracker(Protocol):
    """Keeps the parameters of one track up to date; `inspect` is called once for each unit."""

    parameters: Parameters | None
    broken: int  # parameter sets that could not be read; the kept ones stay in force

    def inspect(self, payload: tuple[bytes, ...]) -> Inspected:
        """Take the parameter sets out of a payload; never raises for what a peer sent."""
        ...
