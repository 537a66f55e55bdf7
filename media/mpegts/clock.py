"""The 33-bit clock of a program, unwrapped; ISO/IEC 13818-1 section 2.4.3.7.

All tracks of a program count from one clock, so one reference serves all of them: a time is the
integer next to the time that was last seen anywhere in the program. So tracks keep their distances
over a wrap, also one that said nothing for hours, and a clock that jumps does so for all alike.
"""

from flux.base.serial import distance, extend

CLOCK_HZ = 90_000
CLOCK_BITS = 33


class ProgramClock:
    """Unwraps the times of one program."""

    __slots__ = ("_pcr", "_reference")

    def __init__(self) -> None:
        self._reference: int | None = None  # decode time of the last unit of any track
        self._pcr: int | None = None

    def times(self, pts: int, dts: int) -> tuple[int, int]:
        """(pts, dts) in unwrapped ticks of 90 kHz."""
        reference = self._reference
        unwrapped = dts if reference is None else extend(dts, reference, CLOCK_BITS)
        self._reference = unwrapped
        return unwrapped + distance(pts, dts, CLOCK_BITS), unwrapped

    def tick(self, pcr: int) -> None:
        """Note a program clock reference, base alone."""
        self._pcr = pcr

    def now(self) -> int | None:
        """The time of what comes without one: that of its neighbours, else the program clock's."""
        if self._reference is None and self._pcr is not None:
            return self._pcr
        return self._reference
