"""Acknowledgements that contradict each other: one of them was forged, or is late.

In file modes what is acknowledged is forgotten, so one forged ACK could cost what has not arrived.
What an ACK covers is therefore kept until the next one; and if ACKs go back, more than one that may
be late, the peer is where they say.
"""

MIN_DOUBTS = 2


class Doubts:
    """Counts full acknowledgements in a row that went back."""

    __slots__ = ("_count",)

    def __init__(self) -> None:
        self._count = 0

    def hear_progress(self) -> None:
        """One that goes on, or stays."""
        self._count = 0

    def hear_return(self) -> bool:
        """One that goes back; whether it is to be believed."""
        self._count += 1
        if self._count < MIN_DOUBTS:
            return False
        self._count = 0
        return True
