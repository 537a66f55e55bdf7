"""What the API reads of the server."""

from collections.abc import Mapping
from typing import Protocol

from flux.telemetry.snapshot import ReaderSnapshot, ServerSnapshot, SessionSnapshot


class Observed(Protocol):
    """The server as it is now. All of it is called on the loop and must be quick."""

    def snapshot(self) -> ServerSnapshot:
        """Everything but single readers."""
        ...

    def sessions(self) -> tuple[SessionSnapshot, ...]:
        """Every reader and publisher."""
        ...

    def reader_list(self, name: str) -> tuple[ReaderSnapshot, ...]:
        """The readers of one stream; empty if there is no such stream."""
        ...

    def srt(
        self, session: str, *, is_clearing: bool, is_tool: bool = False
    ) -> Mapping[str, object] | None:
        """What an SRT session has measured; None if there is no such session.

        `is_clearing`: its next interval begins now. `is_tool`: as srt-live-transmit writes it.
        """
        ...
