"""What a stream gives its frames to, and who reads from that."""

from collections.abc import Collection
from typing import Protocol

from media.frame import Frame
from media.track import Track

LEISURE = 0.030  # seconds: pictures come whole, so a turn for less than half of one is wasted
UNSEEN = 0.090  # while nobody takes them


class Output(Protocol):
    """Something that takes every frame of a stream: a set of feeds of one format, a segmenter."""

    name: str

    def frame(self, frame: Frame) -> None:
        """Take one frame; synchronous and cheap."""
        ...

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        """The codecs or the set of tracks changed before the next frame."""
        ...

    def close(self, reason: str) -> None:
        """The stream has ended for this output's readers."""
        ...

    @property
    def size_bytes(self) -> int:
        """Bytes that this output keeps."""
        ...

    @property
    def leisure(self) -> float:
        """Seconds that frames may lie unread before it, so that many are served in one turn."""
        ...


def leisure_of(outputs: Collection[Output]) -> float:
    """Seconds that frames may lie in the socket of a source whose stream has these outputs."""
    return min([output.leisure for output in outputs], default=UNSEEN)


class Reader(Protocol):
    """One viewer as the API sees it."""

    id: str
    protocol: str
    address: str
    user_agent: str
    since: float  # Unix time

    @property
    def sent_bytes(self) -> int:
        """Bytes handed to its transport."""
        ...

    @property
    def dropped(self) -> int:
        """Chunks or segments that it missed."""
        ...

    def lag(self) -> float:
        """Seconds behind the live edge."""
        ...

    def end(self, reason: str) -> None:
        """Close it."""
        ...
