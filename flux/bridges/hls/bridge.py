"""Answers playlists and segments on the media listener, and keeps the viewers' sessions.

A request for a playlist that is not there yet is held: while an on-demand source starts, and until
the segmenter has enough segments; players give up on a 404 (reference 5.4, row 49).
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from flux.base.errors import PeerError
from flux.bridges.hls.output import OUTPUT_NAME, HlsOutput
from flux.bridges.hls.session import HlsSession
from flux.bridges.http.connection import HttpConnection
from flux.bridges.http.request import Request
from flux.bridges.http.response import CORS
from media.events import StreamStateChanged
from media.hls.options import HlsOptions
from media.hls.segmenter import MEDIA_PLAYLIST_NAME
from media.router import Router
from media.stream import Emit, State, Stream

MULTIVARIANT_PLAYLIST_NAME = "index.m3u8"
PLAYLISTS = (MULTIVARIANT_PLAYLIST_NAME, MEDIA_PLAYLIST_NAME)
SEGMENT_SUFFIX = ".ts"
PLAYLIST_HEADERS = (
    *CORS,
    ("Content-Type", "application/vnd.apple.mpegurl"),
    ("Cache-Control", "no-cache"),
)
SEGMENT_CACHE = ("Cache-Control", "public, max-age=3600, immutable")
MAX_SESSIONS = 20_000


@dataclass(frozen=True, slots=True)
class HlsBridgeOptions:
    """What configuration says of HLS."""

    segmenter: HlsOptions = HlsOptions()  # noqa: RUF009 - frozen
    always: bool = False  # make segments even if nobody asks
    close_after: float = 30.0  # a session without a request for so long is over
    hold: float = 15.0  # longest wait of a playlist request for the first segments


@dataclass(slots=True, eq=False)
class _Held:
    """A playlist request that waits."""

    connection: HttpConnection
    session: HlsSession
    playlist: str
    deadline: float


class HlsBridge:
    """All HLS viewers of one process."""

    def __init__(
        self,
        router: Router,
        emit: Emit,
        options: HlsBridgeOptions,
        make_token: Callable[[], str],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._router = router
        self._emit = emit
        self._options = options
        self._make_token = make_token
        self._now = now
        self._numbers = count(1)
        self._sessions: dict[str, HlsSession] = {}
        self._viewers: Counter[str] = Counter()  # sessions by stream
        self._held: list[_Held] = []
        self._next: dict[str, tuple[int, int]] = {}  # by stream: where its URL goes on
        self._ended: dict[str, HlsOutput] = {}  # closed playlists that sessions may still ask for

    # -- requests ----------------------------------------------------------------------------

    def handle(self, request: Request, connection: HttpConnection) -> bool:
        """Answer `/NAME/index.m3u8`, `/NAME/media.m3u8` and segments; False for other paths."""
        name, _, last = request.path[1:].rpartition("/")
        if not name:
            return False
        if last in PLAYLISTS:
            self._answer_playlist(name, last, request, connection)
        elif last.endswith(SEGMENT_SUFFIX):
            self._answer_segment(name, last, request, connection)
        else:
            return False
        return True

    def _answer_playlist(
        self, name: str, playlist: str, request: Request, connection: HttpConnection
    ) -> None:
        stream = self._router.find(name)
        if stream is None:
            connection.refuse(404, "stream-not-found")
            return
        if request.method == "HEAD":
            connection.respond_head(PLAYLIST_HEADERS)
            return
        now = request.arrived
        session = self._session(stream, request, now)
        if session is None:
            connection.refuse(503, "too-many-sessions", [("Retry-After", "10")])
            return
        held = _Held(connection, session, playlist, now + self._options.hold)
        if not self._try_answer(held, now):
            self._held.append(held)
            connection.on_lost = lambda _reason: self._drop(held)

    def _answer_segment(
        self, name: str, segment_name: str, request: Request, connection: HttpConnection
    ) -> None:
        stream = self._router.find(name)
        outputs = (self._output(stream), self._ended.get(name)) if stream else ()
        for output in outputs:
            segment = output.segmenter.segment(segment_name) if output is not None else None
            if output is None or segment is None:
                continue
            session = self._sessions.get(request.query.get("s", ""))
            if session is not None and session.stream is stream:
                session.asked_at = request.arrived
                if request.method == "GET":
                    session.took(segment, request.arrived)
            content_type = ("Content-Type", output.segmenter.content_type)
            connection.respond(200, [*CORS, content_type, SEGMENT_CACHE], segment.data)
            return
        connection.refuse(404, "segment-not-found")

    def _session(self, stream: Stream, request: Request, now: float) -> HlsSession | None:
        """The viewer's session by its token, or a new one with a lease."""
        session = self._sessions.get(request.query.get("s", ""))
        if session is not None and session.stream is stream:
            session.asked_at = now
            return session
        if len(self._sessions) >= MAX_SESSIONS:
            return None
        number, token = next(self._numbers), self._make_token()
        session = HlsSession(number, token, stream, request.address, now, self._emit)
        self._sessions[session.token] = session
        self._viewers[stream.name] += 1
        stream.readers[session.id] = session
        session.lease = self._router.open(
            stream.name, self._stream_ready, self._stream_failed(session), now
        )
        return session

    # -- answers -----------------------------------------------------------------------------

    def _stream_ready(self, stream: Stream) -> None:
        try:
            self._make_output(stream)
        except PeerError as exc:
            self._refuse_held(stream, exc.reason, exc.status)
        self._serve_held()

    def _stream_failed(self, session: HlsSession) -> Callable[[str, int], None]:
        def failed(reason: str, status: int) -> None:
            for held in [held for held in self._held if held.session is session]:
                self._drop(held)
                held.connection.refuse(status, reason, [("Retry-After", "2")])
            self._forget(session, reason)

        return failed

    def _output(self, stream: Stream) -> HlsOutput | None:
        output = stream.outputs.get(OUTPUT_NAME)
        return output if isinstance(output, HlsOutput) else None

    def _make_output(self, stream: Stream) -> HlsOutput:
        output = self._output(stream)
        if output is None:
            output = HlsOutput(
                stream,
                self._options.segmenter,
                self._make_token(),
                self._next.get(stream.name, (0, 0)),
                self._changed,
                self._now(),
            )
            stream.outputs[OUTPUT_NAME] = output
            self._ended.pop(stream.name, None)
        return output

    def _changed(self, output: HlsOutput) -> None:
        """A segment is done, or the output has ended."""
        self._next[output.stream.name] = output.next
        if output.segmenter.is_ended:
            self._ended[output.stream.name] = output
        if self._held:
            self._serve_held()

    def _serve_held(self) -> None:
        now = self._now()
        for held in tuple(self._held):
            if self._try_answer(held, now):
                self._drop(held)

    def _try_answer(self, held: _Held, now: float) -> bool:
        """Answer if the playlist is there; False to hold the request."""
        stream, session = held.session.stream, held.session
        output = self._output(stream)
        if output is None and stream.state is State.READY:
            try:
                output = self._make_output(stream)
            except PeerError as exc:
                held.connection.refuse(exc.status, exc.reason)
                self._forget(session, exc.reason)
                return True
        if output is None and session.has_playlist:
            output = self._ended.get(stream.name)
        if output is None or not output.segmenter.is_ready(now):
            return False
        session.has_playlist = True
        if held.playlist == MULTIVARIANT_PLAYLIST_NAME:
            body = output.segmenter.multivariant_playlist(session.token)
        else:
            body = output.segmenter.media_playlist(session.token)
        held.connection.on_lost = None
        held.connection.respond(200, PLAYLIST_HEADERS, body)
        session.sent_bytes += len(body)
        return True

    def _refuse_held(self, stream: Stream, reason: str, status: int) -> None:
        for held in [held for held in self._held if held.session.stream is stream]:
            self._drop(held)
            held.connection.refuse(status, reason)
            self._forget(held.session, reason)

    def _drop(self, held: _Held) -> None:
        if held in self._held:
            self._held.remove(held)
        held.connection.on_lost = None

    # -- time and events ---------------------------------------------------------------------

    def state_changed(self, event: StreamStateChanged) -> None:
        """With `always`, a stream that is ready gets its segmenter without being asked."""
        if self._options.always and event.after == State.READY:
            stream = self._router.find(event.stream)
            if stream is not None and stream.tracks:
                try:
                    self._make_output(stream)
                except PeerError:
                    return  # it has said which tracks it cannot carry

    def tick(self, now: float) -> None:
        """About once a second: held requests whose time is up, viewers that have gone."""
        self._serve_held()
        for held in [held for held in self._held if now >= held.deadline]:
            self._drop(held)
            held.connection.refuse(503, "no-segments-yet", [("Retry-After", "2")])
        waiting = {held.session for held in self._held}
        for session in tuple(self._sessions.values()):
            if now - session.asked_at >= self._options.close_after and session not in waiting:
                self._forget(session, "session-idle")

    def close(self) -> None:
        """The server stops: every session ends."""
        for held in tuple(self._held):
            self._drop(held)
            held.connection.refuse(503, "server-stopping")
        for session in tuple(self._sessions.values()):
            self._forget(session, "server-stopping")

    def _forget(self, session: HlsSession, reason: str) -> None:
        if self._sessions.pop(session.token, None) is None:
            return
        session.end(reason)
        self._viewers[session.stream.name] -= 1
        if self._viewers[session.stream.name] > 0:
            return
        del self._viewers[session.stream.name]
        self._ended.pop(session.stream.name, None)
        output = self._output(session.stream)
        if output is not None and not self._options.always:
            output.close(reason)
            self._ended.pop(session.stream.name, None)
