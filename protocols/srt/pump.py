"""What a link needs of its endpoint."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from protocols.srt.events import KeyNeeded
from protocols.srt.packet import Run
from protocols.srt.timed import Timed

if TYPE_CHECKING:
    from protocols.srt.link import Link


class Pump(Protocol):
    """The endpoint, or what stands for it."""

    hears_questions: bool  # for packets, in the middle of a long rest

    def transmit(self, runs: Iterable[Run]) -> None:
        """Send."""

    def derive(self, question: KeyNeeded, answer: Callable[[bytes, float], None]) -> None:
        """Compute a key and call `answer(key, now)`, now or later."""

    def rearm(self, part: Timed, at: float) -> None:
        """Call `handle_timer` then."""

    def release(self, link: "Link") -> None:
        """It is closed: route nothing to it any more."""

    def failed(self, link: "Link", error: Exception) -> None:
        """The application's handler raised."""
