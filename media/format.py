"""An output format as a feed sees it; implemented by the muxers, which know no feeds."""

from typing import Protocol

from media.frame import Frame


class Format(Protocol):
    """Frames in, bytes for every reader out."""

    name: str

    def header(self) -> bytes:
        """What a new reader needs before its first chunk."""
        ...

    def resume(self) -> bytes:
        """What a reader needs after chunks were skipped for it."""
        ...

    def encode(self, frame: Frame) -> bytes:
        """The frame's bytes; empty if this format has nothing to send for it."""
        ...

    @property
    def is_exhausted(self) -> bool:
        """The format cannot go on: the feed ends and readers begin anew."""
        ...
