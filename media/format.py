"""An output format as a feed sees it; implemented by the muxers, which know no feeds."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from media.frame import Frame
from media.track import Track


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


@runtime_checkable
class Following(Protocol):
    """A format that can carry other tracks from one frame to the next, and says so in band."""

    def set_tracks(self, tracks: Sequence[Track]) -> None:
        """Carry these tracks from now on."""
        ...


@runtime_checkable
class Delaying(Protocol):
    """A format that holds frames back until others have come."""

    def release(self, frame: Frame) -> Sequence[tuple[Frame, bytes]]:
        """Take a frame; those that need not wait any more, each with its bytes."""
        ...


@runtime_checkable
class Ending(Protocol):
    """A format that has something to say at the end."""

    def trailer(self) -> bytes:
        """What readers get after their last chunk."""
        ...
