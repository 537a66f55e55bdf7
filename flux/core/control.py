"""What may be done to a running server from outside; the API is written against this alone."""

from typing import Protocol

from config.schema import StreamSection


class Control(Protocol):
    """Changes at run time. All of it is synchronous and on the loop; it lives in memory only."""

    def create(self, name: str, section: StreamSection) -> None:
        """Declare a stream and start its source; raises `PeerError("name-taken", 409)`."""
        ...

    def change(self, name: str, section: StreamSection) -> None:
        """Give a stream another source or other settings.

        Readers are held while the new source comes. Raises `PeerError("stream-not-found", 404)`.
        """
        ...

    def delete(self, name: str) -> None:
        """End a stream; its readers are closed with `stream-deleted`.

        Raises `PeerError("stream-not-found", 404)`.
        """
        ...

    def switch(self, name: str, source: int | None) -> None:
        """Prefer one of a stream's sources, by its place; None: in their order again.

        Raises `PeerError`: `stream-not-found`, `one-source-only`, `source-not-found`.
        """
        ...

    def section(self, name: str) -> StreamSection | None:
        """What a stream was declared with; None if nobody declared it."""
        ...

    def version(self, name: str) -> int:
        """Grows with each change of a stream's declaration, also over deletion; 0: never known."""
        ...

    def kick(self, session: str) -> bool:
        """End a reader's or a publisher's session; False if there is none of this id."""
        ...
