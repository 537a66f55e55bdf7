"""A part: one long-lived piece of the server that is started and stopped with it."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Part(Protocol):
    """Started in order, stopped in reverse order.

    `start` returns when the part works (its socket is bound, its process runs) or raises; a part
    whose `start` raised or was cancelled cleans up after itself, its `stop` is not called. `stop`
    ends what it serves properly (readers get their last bytes, cameras a TEARDOWN) and may be
    cancelled when time is up.
    """

    @property
    def name(self) -> str:
        """A short fixed word, such as `http`."""

    async def start(self) -> None:
        """Begin; raises if it cannot."""

    async def stop(self) -> None:
        """End."""
