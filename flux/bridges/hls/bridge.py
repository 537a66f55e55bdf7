"""Answers playlists and segments on the media listener, and keeps the viewers' sessions.

A request for a playlist that is not there yet is held: while an on-demand source starts, and until
the segmenter has enough segments; players give up on a 404 (reference 5.4, row 49). When it comes,
thousands may wait for it: they are answered in slices.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from flux.base.errors import PeerError, WireError
from flux.bridges.hls.blocking import NO_WISH, Wish
from flux.bridges.hls.output import OUTPUT_NAME, HlsOutput
from flux.bridges.hls.session import PROTOCOL, HlsSession
from flux.bridges.http.connection import HttpConnection
from flux.bridges.http.request import Request, is_stream_name
from flux.bridges.http.response import CORS
from flux.core.admission import Admission, Verdict
from media.events import StreamStateChanged
from media.hls.options import HlsOptions
from media.hls.segmenter import MEDIA_PLAYLIST_NAME, Segmenter
from media.router import Router
from media.stream import Emit, State, Stream

MULTIVARIANT_PLAYLIST_NAME = "index.m3u8"
PLAYLISTS = (MULTIVARIANT_PLAYLIST_NAME, MEDIA_PLAYLIST_NAME)
SEGMENT_NAME = re.compile(r"\w+-\d+(?:\.\d+)?\.(?:ts|m4s|mp4)")  # what segmenters call theirs
PLAYLIST_HEADERS = (
    *CORS,
    ("Content-Type", "application/vnd.apple.mpegurl"),
    ("Cache-Control", "no-cache"),
)
SEGMENT_CACHE = ("Cache-Control", "public, max-age=3600, immutable")
MAX_SESSIONS = 20_000
SLICE = 0.002  # seconds of answers before the loop gets its turn


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
    name: str  # of a playlist, or of a part
    deadline: float
    wish: Wish


class HlsBridge:
    """All HLS viewers of one process."""

    def __init__(
        self,
        router: Router,
        admission: Admission,
        emit: Emit,
        options: HlsBridgeOptions,
        make_token: Callable[[], str],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._router = router
        self._admission = admission
        self._emit = emit
        self._options = options
        self._make_token = make_token
        self._now = now
        self._numbers = count(1)
        self._sessions: dict[str, HlsSession] = {}
        self._viewers: Counter[str] = Counter()  # sessions by stream
        self._held: dict[Stream, dict[_Held, None]] = {}
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
        elif SEGMENT_NAME.fullmatch(last) and self._router.find(name) is not None:
            self._answer_segment(name, last, request, connection)
        else:
            return False
        return True

    def _answer_playlist(
        self, name: str, playlist: str, request: Request, connection: HttpConnection
    ) -> None:
        session = self._session_of(name, request)
        if session is not None and session.closed:  # kicked
            self._forget(session, "session-ended")
            connection.refuse(*session.refusal())
        elif session is not None and request.method != "HEAD":
            session.asked_at = request.arrived
            self._answer_or_hold(session, playlist, request, connection)
        elif not is_stream_name(name):
            connection.refuse(404, "stream-not-found")
        elif request.method == "HEAD":
            self._answer_head(name, request, connection)
        elif len(self._sessions) >= MAX_SESSIONS:
            connection.refuse(503, "too-many-sessions", [("Retry-After", "10")])
        else:
            self._begin(name, playlist, request, connection)

    def _session_of(self, name: str, request: Request) -> HlsSession | None:
        """The session that a request belongs to: whoever has its token has been let in."""
        session = self._sessions.get(request.query.get("s", ""))
        is_there = session is not None and session.stream is self._router.find(name)
        return session if is_there else None

    def _answer_head(self, name: str, request: Request, connection: HttpConnection) -> None:
        def permitted() -> None:
            if self._router.lookup(name) is None:
                connection.refuse(404, "stream-not-found")
            else:
                connection.respond_head(PLAYLIST_HEADERS)

        self._permit(name, request, connection, permitted)

    def _permit(
        self, name: str, request: Request, connection: HttpConnection, then: Callable[[], None]
    ) -> None:
        """Go on with a request that belongs to no session, if it may be made."""

        def decided(verdict: Verdict) -> None:
            if verdict.allowed:
                then()
            else:
                connection.refuse(verdict.status, verdict.reason)

        self._admission.permit(request.to_read(name, PROTOCOL, ""), decided)

    def _begin(
        self, name: str, playlist: str, request: Request, connection: HttpConnection
    ) -> None:
        """A new viewer: ask whether it may enter, then claim the stream for it."""
        number = next(self._numbers)
        has_left = False

        def decided(verdict: Verdict) -> None:
            if has_left or not connection.is_open:
                return
            connection.on_lost = None
            if not verdict.allowed:
                connection.refuse(verdict.status, verdict.reason)
                return
            stream = self._router.lookup(name)  # only now: names are not told to everybody
            if stream is None:
                connection.refuse(404, "stream-not-found")
                return
            session = HlsSession(number, self._make_token(), stream, request, self._emit)
            if self._claim(session, connection):
                self._answer_or_hold(session, playlist, request, connection)

        def lost(_reason: str) -> None:
            nonlocal has_left
            has_left = True

        connection.on_lost = lost
        self._admission.admit(request.to_read(name, PROTOCOL, f"{PROTOCOL}-{number}"), decided)

    def _claim(self, session: HlsSession, connection: HttpConnection) -> bool:
        stream = session.stream
        self._sessions[session.token] = session
        self._viewers[stream.name] += 1
        stream.readers[session.id] = session
        try:
            session.lease = self._router.open(
                stream.name, self._stream_ready, self._stream_failed(session), session.asked_at
            )
        except PeerError as exc:
            self._forget(session, exc.reason)
            connection.refuse(exc.status, exc.reason)
            return False
        if session.closed:  # a fault of ours
            connection.refuse(500, "internal-error")
        return not session.closed

    def _answer_or_hold(
        self, session: HlsSession, name: str, request: Request, connection: HttpConnection
    ) -> None:
        now = request.arrived
        try:
            wish = Wish.parse(request.query) if name == MEDIA_PLAYLIST_NAME else NO_WISH
        except WireError as exc:
            connection.refuse(400, exc.reason)
            return
        held = _Held(connection, session, name, now + self._options.hold, wish)
        if not self._try_answer(held, now):
            self._held.setdefault(session.stream, {})[held] = None
            connection.on_lost = lambda _reason: self._drop(held)

    def _answer_segment(
        self, name: str, segment_name: str, request: Request, connection: HttpConnection
    ) -> None:
        session = self._session_of(name, request)
        if session is not None and session.closed:  # kicked
            connection.refuse(*session.refusal())
        elif session is not None:
            self._give_segment(session, name, segment_name, request, connection)
        elif is_stream_name(name):
            self._permit(
                name,
                request,
                connection,
                lambda: self._give_segment(None, name, segment_name, request, connection),
            )
        else:
            connection.refuse(404, "segment-not-found")

    def _give_segment(
        self,
        session: HlsSession | None,
        name: str,
        segment_name: str,
        request: Request,
        connection: HttpConnection,
    ) -> None:
        stream = self._router.find(name)
        outputs = (self._output(stream), self._ended.get(name)) if stream else ()
        for output in outputs:
            if output is None:
                continue
            parts = output.segmenter.parts
            segment = output.segmenter.segment(segment_name) or output.segmenter.part(segment_name)
            if segment is None:
                if session is not None and parts is not None and segment_name == parts.next_name:
                    self._answer_or_hold(session, segment_name, request, connection)
                    return
                continue
            if session is not None:
                session.asked_at = request.arrived
                if request.method == "GET":
                    session.took(segment, request.arrived)
            content_type = ("Content-Type", output.segmenter.content_type)
            connection.respond(200, [*CORS, content_type, SEGMENT_CACHE], segment.data)
            return
        connection.refuse(404, "segment-not-found")

    # -- answers -----------------------------------------------------------------------------

    def _stream_ready(self, stream: Stream) -> None:
        try:
            self._make_output(stream)
        except PeerError as exc:
            self._refuse_held(stream, exc.reason, exc.status)
        self._serve_held(stream)

    def _stream_failed(self, session: HlsSession) -> Callable[[str, int], None]:
        def failed(reason: str, status: int) -> None:
            for held in self._held_of(session.stream):
                if held.session is session:
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
        if output.segmenter.is_ended or self._output(output.stream) is output:
            self._serve_held(output.stream)  # else it is being made, and has only been seeded

    def _held_of(self, stream: Stream) -> tuple[_Held, ...]:
        return tuple(self._held.get(stream, ()))

    def _serve_held(self, stream: Stream) -> None:
        """Answer those who wait for this stream, as far as it can be done now."""
        now = self._now()
        until = time.monotonic() + SLICE
        for held in self._held_of(stream):
            if held not in self._held.get(stream, ()):
                continue  # an answer before it ended this one
            if held.session.closed:
                self._drop(held)
                held.connection.refuse(*held.session.refusal())
            elif self._try_answer(held, now) and time.monotonic() >= until:
                if stream in self._held:
                    asyncio.get_running_loop().call_soon(self._serve_held, stream)
                return

    def _try_answer(self, held: _Held, now: float) -> bool:
        """Answer if the playlist is there; False to hold the request."""
        stream, session = held.session.stream, held.session
        output = self._output(stream)
        if output is None and stream.state is State.READY:
            try:
                output = self._make_output(stream)
            except PeerError as exc:
                self._drop(held)
                self._forget(session, exc.reason)
                held.connection.refuse(exc.status, exc.reason)
                return True
        if output is None and session.has_playlist:
            output = self._ended.get(stream.name)
        if output is None or not output.segmenter.is_ready(now):
            return False
        segmenter = output.segmenter
        if held.name not in PLAYLISTS:
            return self._try_part(held, segmenter, now)
        try:
            if not (segmenter.is_ended or held.wish.is_met(segmenter.parts)):
                return False
        except WireError as exc:
            self._drop(held)
            held.connection.refuse(400, exc.reason)
            return True
        session.has_playlist = True
        if held.name == MULTIVARIANT_PLAYLIST_NAME:
            body = segmenter.multivariant_playlist(session.token)
        else:
            body = segmenter.media_playlist(session.token, may_skip=held.wish.may_skip)
        session.sent_bytes += len(body)
        self._drop(held)
        held.connection.respond(200, PLAYLIST_HEADERS, body)
        return True

    def _try_part(self, held: _Held, segmenter: Segmenter, now: float) -> bool:
        """Answer the request for a part that was announced; False while it is in the making."""
        part, parts = segmenter.part(held.name), segmenter.parts
        is_coming = parts is not None and held.name == parts.next_name and not segmenter.is_ended
        if part is None and is_coming:
            return False
        self._drop(held)
        if part is None:
            held.connection.refuse(404, "segment-not-found")
            return True
        held.session.took(part, now)
        content_type = ("Content-Type", segmenter.content_type)
        held.connection.respond(200, [*CORS, content_type, SEGMENT_CACHE], part.data)
        return True

    def _refuse_held(self, stream: Stream, reason: str, status: int) -> None:
        for held in self._held_of(stream):
            self._drop(held)
            self._forget(held.session, reason)
            held.connection.refuse(status, reason)

    def _drop(self, held: _Held) -> None:
        """It waits no more. Its answer comes after this: that may begin the next request."""
        waiting = self._held.get(held.session.stream, {})
        waiting.pop(held, None)
        if not waiting:
            self._held.pop(held.session.stream, None)
        held.connection.on_lost = None

    # -- time and events ---------------------------------------------------------------------

    def state_changed(self, event: StreamStateChanged) -> None:
        """With `always`, a stream that is ready gets its segmenter without being asked."""
        if event.after == State.CLOSED:
            self._next.pop(event.stream, None)
            self._ended.pop(event.stream, None)
        if self._options.always and event.after == State.READY:
            stream = self._router.find(event.stream)
            if stream is not None and stream.tracks:
                try:
                    self._make_output(stream)
                except PeerError:
                    return  # it has said which tracks it cannot carry

    def tick(self, now: float) -> None:
        """About once a second: held requests whose time is up, viewers that have gone."""
        for stream in tuple(self._held):
            self._serve_held(stream)
        for held in [each for waiting in self._held.values() for each in waiting]:
            if now >= held.deadline:
                self._drop(held)
                held.connection.refuse(503, "no-segments-yet", [("Retry-After", "2")])
        waiting = {held.session for group in self._held.values() for held in group}
        for session in tuple(self._sessions.values()):
            if now - session.asked_at >= self._options.close_after and session not in waiting:
                self._forget(session, "session-idle")

    def close(self) -> None:
        """The server stops: every session ends."""
        for stream in tuple(self._held):
            self._refuse_held(stream, "server-stopping", 503)
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
