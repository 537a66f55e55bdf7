"""What the media rooms tell the world. They are given an `emit` callable and know no bus."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamStateChanged:
    """A stream went from one state of its table to another."""

    stream: str
    before: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True)
class SourceStateChanged:
    """A source connects, runs, waits before its next attempt, or has stopped."""

    stream: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class TrackDropped:
    """An output cannot carry the codec of a track; the other tracks go on."""

    stream: str
    output: str
    kind: str
    codec: str

    def __str__(self) -> str:
        return f"{self.kind} dropped: {self.codec} not in {self.output}"


@dataclass(frozen=True, slots=True)
class ParametersChanged:
    """A track's parameters changed in mid-stream."""

    stream: str
    track: int
    version: int


@dataclass(frozen=True, slots=True)
class TimelineBroken:
    """The source's clock jumped; the timeline went on without the jump."""

    stream: str
    track: int
    reason: str
    jump: float  # seconds that the source's clock jumped by


@dataclass(frozen=True, slots=True)
class KeyFramesMissing:
    """No key frame came for so long that readers start without one."""

    stream: str


@dataclass(frozen=True, slots=True)
class ReaderJoined:
    """A reader got its first bytes of media."""

    stream: str
    protocol: str
    reader: str
    seconds: float  # from its request


@dataclass(frozen=True, slots=True)
class ReaderSkipped:
    """A reader fell too far behind and was moved on to a key frame."""

    stream: str
    protocol: str
    reader: str
    lag: float  # seconds
    chunks: int  # dropped for this reader


@dataclass(frozen=True, slots=True)
class ReaderClosed:
    """A reader ended; the reason says whose doing it was."""

    stream: str
    protocol: str
    reader: str
    reason: str
    sent_bytes: int
