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
class StreamCreated:
    """A name was made known: by configuration, by the API, by a pattern or by a publisher."""

    stream: str
    origin: str


@dataclass(frozen=True, slots=True)
class StreamChanged:
    """A stream got another source or other settings at run time."""

    stream: str
    origin: str


@dataclass(frozen=True, slots=True)
class StreamDeleted:
    """A name is not known any more."""

    stream: str
    origin: str


@dataclass(frozen=True, slots=True)
class PublisherStarted:
    """A source run has begun under a name."""

    stream: str
    protocol: str
    session: str


@dataclass(frozen=True, slots=True)
class PublisherStopped:
    """A source run is over."""

    stream: str
    protocol: str
    session: str
    reason: str


@dataclass(frozen=True, slots=True)
class DemandChanged:
    """Readers began to want a stream, or the last one went."""

    stream: str
    wanted: bool
    readers: int


@dataclass(frozen=True, slots=True)
class SourceStateChanged:
    """A source connects, runs, waits before its next attempt, or has stopped."""

    stream: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class SourceSwitched:
    """Another of a stream's sources is on air."""

    stream: str
    before: str  # URL of the one that was, without credentials; `publisher`; empty: none was
    after: str
    reason: str


@dataclass(frozen=True, slots=True)
class SlateReady:
    """A slate is there for when a stream's source is lost."""

    stream: str
    slate: str  # builtin, or the file
    size_bytes: int  # that it takes in memory


@dataclass(frozen=True, slots=True)
class SlateFailed:
    """There is no slate for a stream; readers are held for the grace period instead."""

    stream: str
    slate: str  # builtin, or the file
    reason: str


@dataclass(frozen=True, slots=True)
class SlateStarted:
    """A stream's source was lost, and its slate is shown."""

    stream: str
    reason: str


@dataclass(frozen=True, slots=True)
class SlateStopped:
    """A slate is no longer shown: a source is on air again, or the stream has ended."""

    stream: str
    seconds: float  # that it was shown


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
class OutputFailed:
    """An output has a fault in it and was closed; source and other outputs go on."""

    stream: str
    output: str
    error: str


@dataclass(frozen=True, slots=True)
class ReaderFailed:
    """What serves a reader has a fault in it; that reader was let go, the others go on."""

    stream: str
    error: str


@dataclass(frozen=True, slots=True)
class ReaderRefused:
    """Somebody who wanted to enter was not let in."""

    stream: str
    protocol: str
    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReaderJoined:
    """A reader got its first bytes of media."""

    stream: str
    protocol: str
    reader: str
    seconds: float  # from its request


@dataclass(frozen=True, slots=True)
class WriteFailed:
    """The system refused datagrams of a reader; more such within a second are not told."""

    stream: str
    protocol: str
    reader: str
    reason: str


@dataclass(frozen=True, slots=True)
class WriteResumed:
    """The system takes a reader's datagrams again."""

    stream: str
    protocol: str
    reader: str
    packets: int  # that were lost meanwhile


@dataclass(frozen=True, slots=True)
class ReaderSkipped:
    """A reader fell too far behind and was moved on to a key frame."""

    stream: str
    protocol: str
    reader: str
    lag: float  # seconds
    chunks: int  # dropped for this reader
    cause: str  # whose doing it is: network (the reader's own), server, source


@dataclass(frozen=True, slots=True)
class ReaderClosed:
    """A reader ended; the reason says whose doing it was."""

    stream: str
    protocol: str
    reader: str
    reason: str
    sent_bytes: int
