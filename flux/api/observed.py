"""What the API reads of the server."""

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
