"""What endless HTTP outputs share: a feed as an output of a stream, and its readers.

A reader gets the bytes of the feed as a body that ends with the connection, or, if it asked for a
WebSocket, as binary messages; apart from that both are the same.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from flux.base.errors import PeerError, WireError
from flux.bridges.http.connection import HttpConnection
from flux.bridges.http.request import Request, is_stream_name
from flux.bridges.http.response import CORS, Header
from flux.bridges.http.websocket import MEDIA_FRAMES, VERSION, Handshake
from flux.core.admission import Admission, Verdict
from flux.core.scheduler import LoopScheduler
from media.events import ReaderClosed, ReaderJoined
from media.feed import Feed
from media.feed_reader import START_GOP, START_KEY, START_LIVE, FeedReader, Scheduler, Variant
from media.format import Format
from media.frame import Frame
from media.output import LEISURE
from media.router import Lease, Router
from media.stream import Emit, Stream
from media.track import Kind, Track

STARTS = (START_GOP, START_KEY, START_LIVE)


@dataclass(frozen=True, slots=True)
class FeedBridgeOptions:
    """What configuration says of one such output."""

    start: str = START_GOP  # where readers begin that do not say so themselves
    send_buffer: int = 256 << 10  # bytes of SO_SNDBUF


@dataclass(frozen=True, slots=True)
class FeedOutputKind:
    """One output format on HTTP."""

    name: str  # of the output: key in `Stream.outputs`
    protocol: str  # of its readers, in the API and in metrics
    suffix: str  # of the path
    content_type: str
    carries: Callable[[Track], bool]
    make: Callable[[Sequence[Track]], Format]
    websocket: str = ""  # protocol of its readers over WebSocket; empty: there are none
    is_welcome: Callable[[Track], bool] = lambda _: True  # else players prefer another codec
    only: Kind | None = None  # of tracks; that others are not carried goes without saying
    dress: Callable[[Sequence[Track]], Variant] | None = None  # of one reader's body, if not as is


class FeedForms(Protocol):
    """Picks one of several forms of a format by what a reader asks for."""

    def refusal(self, request: Request) -> str:
        """Why a request asks for nothing that there is; empty if it does not."""
        ...

    def choose(self, stream: Stream, request: Request) -> FeedOutputKind:
        """The kind of output that a request is for."""
        ...


class FeedOutput:
    """The feed of one stream and format; it exists while somebody reads it."""

    leisure = LEISURE

    def __init__(
        self,
        stream: Stream,
        kind: FeedOutputKind,
        scheduler: Scheduler | None = None,
    ) -> None:
        """Raises PeerError `no-playable-track`; the scheduler is that of the loop."""
        self.name = kind.name
        self._stream = stream
        self._carries = kind.carries
        self._is_welcome = kind.is_welcome
        self._only = kind.only
        self._dress = kind.dress
        tracks = self._choose(stream.tracks)
        if not tracks:
            raise PeerError("no-playable-track", 415, stream.name)
        options = stream.options.feed
        clock = scheduler or LoopScheduler()
        self.feed = Feed(kind.make(tracks), tracks, options, clock, self._skipped)
        self.feed.keyless = stream.keyless
        self.feed.seed(stream.gop.frames())
        self.names: dict[FeedReader, str] = {}

    @property
    def size_bytes(self) -> int:
        """Bytes of the feed's log."""
        return self.feed.size_bytes

    def frame(self, frame: Frame) -> None:
        """One frame of the stream."""
        self.feed.keyless = self._stream.keyless
        self.feed.frame(frame)
        if self.feed.closed:
            self._leave()

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        """A format that cannot say so within one body closes its readers, who come again."""
        chosen = self._choose(tracks)
        if not chosen:
            self.close("no-playable-track")
        elif chosen != self.feed.tracks and not self.feed.set_tracks(chosen):
            self.close("tracks-changed")

    def _choose(self, tracks: tuple[Track, ...]) -> tuple[Track, ...]:
        """The tracks that this format has a place for; the others are named."""
        if self._only is not None:
            tracks = tuple(track for track in tracks if track.kind is self._only)
        return self._stream.choose(self.name, tracks, self._carries, self._is_welcome)

    def close(self, reason: str) -> None:
        """End every reader."""
        self.feed.close(reason)
        self._leave()

    def dress(self) -> Variant | None:
        """What one reader's body differs in from what others get; None: in nothing."""
        return self._dress(self.feed.tracks) if self._dress is not None else None

    def close_if_unused(self) -> None:
        """Give the feed up after its last reader."""
        if not self.feed.readers:
            self.feed.close("no-readers")
            self._leave()

    def _leave(self) -> None:
        if self._stream.outputs.get(self.name) is self:
            del self._stream.outputs[self.name]

    def _skipped(self, reader: FeedReader, lag: float, chunks: int) -> None:
        name = self.names.get(reader, "")
        protocol = name.rpartition("-")[0]
        self._stream.readers.skipped(protocol, name, lag, chunks)


def feed_output_of(
    stream: Stream, kind: FeedOutputKind, scheduler: Scheduler | None = None
) -> FeedOutput:
    """The stream's feed of this kind, made for its first reader; PeerError `no-playable-track`.

    One that has ended takes no readers, though the stream may learn of that with its next frame.
    """
    output = stream.outputs.get(kind.name)
    if isinstance(output, FeedOutput) and not output.feed.closed:
        return output
    output = FeedOutput(stream, kind, scheduler)
    stream.outputs[kind.name] = output
    return output


class HttpFeedReader:
    """One viewer: from its request, through the wait for the stream, to its end."""

    __slots__ = (
        "_arrived",
        "_bridge",
        "_connection",
        "_handshake",
        "_output",
        "_reader",
        "_request",
        "_start",
        "_stream",
        "address",
        "done",
        "id",
        "lease",
        "protocol",
        "since",
        "user_agent",
    )

    def __init__(
        self,
        name: str,
        protocol: str,
        request: Request,
        connection: HttpConnection,
        bridge: "HttpFeedBridge",
        handshake: Handshake | None,
    ) -> None:
        self.id = name
        self.protocol = protocol
        self.address = request.address
        self.user_agent = request.user_agent
        self.since = time.time()
        self.lease: Lease | None = None
        self.done = False
        self._arrived = request.arrived
        self._request = request
        self._handshake = handshake
        self._start = request.query.get("start", bridge.options.start)
        self._connection = connection
        self._bridge = bridge
        self._stream: Stream | None = None
        self._output: FeedOutput | None = None
        self._reader: FeedReader | None = None

    @property
    def sent_bytes(self) -> int:
        """Bytes handed to its transport."""
        return self._reader.sent_bytes if self._reader is not None else 0

    @property
    def dropped(self) -> int:
        """Chunks that it missed."""
        return self._reader.dropped_chunks if self._reader is not None else 0

    def lag(self) -> float:
        """Seconds behind the live edge."""
        if self._reader is None or self._output is None:
            return 0.0
        return self._output.feed.lag(self._reader)

    def end(self, reason: str) -> None:
        """Close it, after what is pending."""
        if self._reader is not None:
            self._reader.sink.end(reason)

    # -- called by admission and router -------------------------------------------------------

    def admitted(self, name: str, verdict: Verdict) -> None:
        """It may enter or not; the peer may have left meanwhile."""
        if self.done:
            return
        if not verdict.allowed:
            self._refuse(verdict.status, verdict.reason)
            return
        if self._bridge.router.lookup(name) is None:  # only now: names are not told to everybody
            self._refuse(404, "stream-not-found")
            return
        try:
            lease = self._bridge.router.open(
                name, self.stream_ready, self.stream_failed, self._arrived
            )
        except PeerError as exc:
            self._refuse(exc.status, exc.reason)
            return
        self.lease = lease
        if not lease.waiting and self._reader is None:  # refused before the lease was known
            self.release()

    def stream_ready(self, stream: Stream) -> None:
        """The stream can be read: take the connection over and attach to the feed."""
        connection, bridge = self._connection, self._bridge
        try:
            output = bridge.output_of(stream, self._request)
        except PeerError as exc:
            self._refuse(exc.status, exc.reason)
            return
        send_buffer = bridge.options.send_buffer
        if self._handshake is not None:
            variant: Variant | None = MEDIA_FRAMES
            sink = connection.start_websocket(self._handshake, self._ended, send_buffer)
        else:
            variant = output.dress()
            sink = connection.start_stream(bridge.stream_headers, self._ended, send_buffer)
        if sink is None:
            output.close_if_unused()
            self.release()
            return
        reader = output.feed.attach(sink, self._start, variant)
        self._stream, self._output, self._reader = stream, output, reader
        output.names[reader] = self.id
        stream.readers.enter(self)
        seconds = bridge.now() - self._arrived
        bridge.emit(ReaderJoined(stream.name, self.protocol, self.id, seconds))

    def stream_failed(self, reason: str, status: int) -> None:
        """The stream did not become ready in time."""
        self._refuse(status, reason, [("Retry-After", "2")])

    def _refuse(self, status: int, reason: str, headers: Sequence[Header] = ()) -> None:
        """Let go of everything, then answer: the connection may go on with another request."""
        if not self.done:
            self._connection.on_lost = None
            self.release()
            self._connection.refuse(status, reason, headers)

    def release(self) -> None:
        """Give the lease back; also when the peer left while it waited."""
        self.done = True
        if self.lease is not None:
            self.lease.close()

    def _ended(self, reason: str) -> None:
        reader, output, stream = self._reader, self._output, self._stream
        if reader is not None and output is not None and stream is not None:
            output.feed.detach(reader)
            output.names.pop(reader, None)
            stream.readers.leave(self.id, reason)
            stream.sent_bytes += reader.sent_bytes
            output.close_if_unused()
            event = ReaderClosed(stream.name, self.protocol, self.id, reason, reader.sent_bytes)
            self._bridge.emit(event)
        self.release()


class HttpFeedBridge:
    """Serves `/NAME<suffix>` in one format: as an endless body, or over WebSocket."""

    def __init__(
        self,
        kind: FeedOutputKind,
        router: Router,
        admission: Admission,
        emit: Emit,
        options: FeedBridgeOptions,
        now: Callable[[], float] = time.monotonic,
        *,
        forms: FeedForms | None = None,
    ) -> None:
        self.kind = kind
        self._forms = forms
        self.options = options
        self.emit = emit
        self.now = now
        self.router = router
        self._admission = admission
        self._numbers = count(1)
        self.stream_headers: tuple[Header, ...] = (
            *CORS,
            ("Content-Type", kind.content_type),
            ("Cache-Control", "no-store"),
            ("X-Accel-Buffering", "no"),  # a proxy that collects the body shows nothing
        )

    def output_of(self, stream: Stream, request: Request) -> FeedOutput:
        """The feed that this request is for, made for its first reader; raises PeerError."""
        kind = self.kind if self._forms is None else self._forms.choose(stream, request)
        return feed_output_of(stream, kind)

    def handle(self, request: Request, connection: HttpConnection) -> bool:
        """Answer a request for `/NAME<suffix>`; False for any other path."""
        suffix = self.kind.suffix
        if not request.path.endswith(suffix) or len(request.path) <= len(suffix) + 1:
            return False
        name = request.path[1 : -len(suffix)]
        if not is_stream_name(name):
            connection.refuse(404, "stream-not-found")
        elif request.query.get("start", self.options.start) not in STARTS:
            connection.refuse(400, "unknown-start")
        elif self._forms is not None and (reason := self._forms.refusal(request)):
            connection.refuse(400, reason)
        elif request.method == "HEAD":
            self._answer_head(name, request, connection)
        else:
            self._open(name, request, connection)
        return True

    def _answer_head(self, name: str, request: Request, connection: HttpConnection) -> None:
        def decided(verdict: Verdict) -> None:
            if not verdict.allowed:
                connection.refuse(verdict.status, verdict.reason)
            elif self.router.lookup(name) is None:
                connection.refuse(404, "stream-not-found")
            else:
                connection.respond_head(self.stream_headers)

        self._admission.permit(request.to_read(name, self.kind.protocol, ""), decided)

    def _open(self, name: str, request: Request, connection: HttpConnection) -> None:
        protocol, handshake = self.kind.protocol, None
        if request.wants_websocket and self.kind.websocket:
            protocol = self.kind.websocket
            try:
                handshake = Handshake(request)
            except WireError as error:
                is_version = error.reason == "websocket-version"
                headers = [("Sec-WebSocket-Version", VERSION)] if is_version else []
                connection.refuse(426 if is_version else 400, error.reason, headers)
                return
        number = f"{protocol}-{next(self._numbers)}"
        reader = HttpFeedReader(number, protocol, request, connection, self, handshake)
        connection.on_lost = lambda _reason: reader.release()
        wish = request.to_read(name, protocol, number)
        self._admission.admit(wish, lambda verdict: reader.admitted(name, verdict))
