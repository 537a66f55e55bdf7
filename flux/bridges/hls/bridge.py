"""Answers playlists and segments on the media listener, and keeps the viewers' sessions.

A request for a playlist that is not there yet is held: while an on-demand source starts, and until
the segmenter has enough segments; players give up on a 404 (reference 5.4, row 49).

Viewers are told apart by a token in their URLs. Where playlists are to be shared, by a CDN above
all, there is none, and all who read a stream are one session.
"""

import time
from collections import Counter
from collections.abc import Callable
from itertools import count

from flux.base.errors import PeerError, WireError
from flux.bridges.hls.answers import OWN, PLAYLIST_HEADERS, give_media, give_playlist, shared_cache
from flux.bridges.hls.blocking import NO_WISH, Wish
from flux.bridges.hls.group import Group, GroupOutput
from flux.bridges.hls.names import MULTIVARIANT_PLAYLIST_NAME, PLAYLIST_NAME, SEGMENT_NAME
from flux.bridges.hls.options import HlsBridgeOptions
from flux.bridges.hls.output import OUTPUT_NAME, HlsOutput
from flux.bridges.hls.session import PROTOCOL, HlsSession
from flux.bridges.hls.waiting import Held, Waiting
from flux.bridges.http.connection import HttpConnection
from flux.bridges.http.request import Request, is_stream_name
from flux.core.admission import Admission, Verdict
from media.events import StreamStateChanged
from media.hls.parts import Part
from media.hls.playlist import Playlist
from media.hls.rhythm import FIRST_SEQUENCE
from media.hls.segment import Initialization, Segment
from media.hls.segmenter import Segmenter
from media.router import Router
from media.stream import Emit, State, Stream

MAX_SESSIONS = 20_000

AnyOutput = HlsOutput | GroupOutput


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
        options_of: Callable[[str], HlsBridgeOptions] | None = None,
    ) -> None:
        """`options_of`: those of a stream by its name, where they may be others."""
        self._router = router
        self._admission = admission
        self._emit = emit
        self._options = options
        self._options_of = options_of or (lambda _name: options)
        self._make_token = make_token
        self._now = now
        self._numbers = count(1)
        self._sessions: dict[str, HlsSession] = {}  # by token
        self._shared: dict[str, HlsSession] = {}  # by stream
        self._viewers: Counter[str] = Counter()  # sessions by stream
        self._waiting = Waiting(self._try_answer)
        self._next: dict[str, tuple[int, int]] = {}  # by stream: where its URL goes on
        self._groups: dict[str, Group] = {}
        self._ended: dict[str, AnyOutput] = {}  # closed playlists that sessions may still ask for

    def add_group(self, group: Group) -> None:
        """Serve a group under its name; its stream is declared with the router."""
        self._groups[group.name] = group

    # -- requests ----------------------------------------------------------------------------

    def handle(self, request: Request, connection: HttpConnection) -> bool:
        """Answer `/NAME/index.m3u8`, media playlists and segments; False for other paths."""
        name, _, last = request.path[1:].rpartition("/")
        if not name:
            return False
        if PLAYLIST_NAME.fullmatch(last):
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
        elif session is not None and (request.method != "HEAD" or self._is_there(session)):
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

    def _is_there(self, session: HlsSession) -> bool:
        output = self._output(session.stream)
        return output is not None and output.is_ready(self._now())

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
            session = self._shared.get(name)
            if session is not None and not session.closed and session.stream is stream:
                session.asked_at = request.arrived
                self._answer_or_hold(session, playlist, request, connection)
                return
            session = HlsSession(number, self._make_token(), stream, request, self._emit)
            if self._options_of(name).shared:
                session.is_shared = True
                self._shared[name] = session
            if self._claim(session, connection):
                self._answer_or_hold(session, playlist, request, connection)

        def lost(_reason: str) -> None:
            nonlocal has_left
            has_left = True

        connection.on_lost = lost
        is_known = name in self._shared  # who asks through it enters anew with each request
        ask = self._admission.permit if is_known else self._admission.admit
        wish = request.to_read(name, PROTOCOL, "" if is_known else f"{PROTOCOL}-{number}")
        ask(wish, decided)

    def _claim(self, session: HlsSession, connection: HttpConnection) -> bool:
        stream = session.stream
        self._sessions[session.token] = session
        self._viewers[stream.name] += 1
        stream.readers.enter(session)
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
        is_media = name.endswith(".m3u8") and name != MULTIVARIANT_PLAYLIST_NAME
        try:
            wish = Wish.parse(request.query) if is_media and request.query else NO_WISH
        except WireError as exc:
            connection.refuse(400, exc.reason)
            return
        deadline = now + self._options.hold
        held = Held(connection, request, session, name, deadline, wish)
        if not self._try_answer(held):
            self._waiting.hold(held)

    def _answer_segment(
        self, name: str, segment_name: str, request: Request, connection: HttpConnection
    ) -> None:
        session = self._session_of(name, request)
        if session is not None and session.closed:  # kicked
            connection.refuse(*session.refusal())
        elif session is not None:
            self._give_segment(session, name, segment_name, request, connection)
        elif is_stream_name(name):

            def permitted() -> None:
                shared = self._shared.get(name)
                self._give_segment(shared, name, segment_name, request, connection)

            self._permit(name, request, connection, permitted)
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
            segmenter = output.rendition(segment_name) if output is not None else None
            if segmenter is None:
                continue
            found = segmenter.segment(segment_name) or segmenter.part(segment_name)
            if found is None:
                if session is not None and segmenter.lanes.announces(segment_name):
                    self._answer_or_hold(session, segment_name, request, connection)
                    return
                continue
            if session is not None:
                session.asked_at = request.arrived
            self._send(session, segmenter, found, request, connection)
            return
        connection.refuse(404, "segment-not-found")

    def _send(
        self,
        session: HlsSession | None,
        segmenter: Segmenter,
        found: Segment | Part | Initialization,
        request: Request,
        connection: HttpConnection,
    ) -> None:
        if not found.data:  # a gap
            connection.refuse(404, "segment-not-found")
            return
        size = give_media(connection, request, found, segmenter.content_type)
        if session is not None and request.method == "GET":
            is_main = isinstance(found, Segment) and segmenter.window.find(found.name) is found
            oldest = segmenter.window.media_sequence
            session.took(size, found, self._now(), is_main=is_main, oldest=oldest)

    # -- answers -----------------------------------------------------------------------------

    def _stream_ready(self, stream: Stream) -> None:
        try:
            self._make_output(stream)
        except PeerError as exc:
            self._refuse_held(stream, exc.reason, exc.status)
        self._waiting.serve(stream)

    def _stream_failed(self, session: HlsSession) -> Callable[[str, int], None]:
        def failed(reason: str, status: int) -> None:
            for held in self._waiting.of(session.stream):
                if held.session is session:
                    self._waiting.drop(held)
                    held.refuse(status, reason)
            self._forget(session, reason)

        return failed

    def _output(self, stream: Stream) -> AnyOutput | None:
        output = stream.outputs.get(OUTPUT_NAME)
        return output if isinstance(output, HlsOutput | GroupOutput) else None

    def _make_output(self, stream: Stream) -> AnyOutput:
        output = self._output(stream)
        if output is None:
            first = self._next.get(stream.name, (FIRST_SEQUENCE, 0))
            options, group = self._options_of(stream.name).segmenter, self._groups.get(stream.name)
            if group is not None:
                output = group.make_output(stream, options, first, self._changed)
            else:
                token = self._make_token()
                output = HlsOutput(stream, options, token, first, self._changed, self._now())
            stream.outputs[OUTPUT_NAME] = output
            self._ended.pop(stream.name, None)
        return output

    def _changed(self, output: AnyOutput) -> None:
        """A segment is done, or the output has ended."""
        self._next[output.stream.name] = output.next
        if output.is_ended:
            self._ended[output.stream.name] = output
        if output.is_ended or self._output(output.stream) is output:
            self._waiting.serve(output.stream)  # else it is being made, and has only been seeded

    def _try_answer(self, held: Held) -> bool:
        """Answer if the playlist is there; False to hold the request."""
        stream, session = held.session.stream, held.session
        output = self._output(stream)
        if output is None and stream.is_open:
            try:
                output = self._make_output(stream)
            except PeerError as exc:
                self._waiting.drop(held)
                self._forget(session, exc.reason)
                held.refuse(exc.status, exc.reason)
                return True
        if output is None and session.has_playlist:
            output = self._ended.get(stream.name)
        if output is None or not output.is_ready(self._now()):
            return False
        if held.name == MULTIVARIANT_PLAYLIST_NAME:
            self._waiting.drop(held)
            seconds = output.target_duration
            cache = shared_cache(seconds, is_multivariant=True, has_waited=False)
            self._give_playlist(held, output.multivariant(), cache)
            return True
        segmenter = output.rendition(held.name)
        if segmenter is None:
            self._waiting.drop(held)
            held.refuse(404, "playlist-not-found")
            return True
        if not segmenter.is_ready(self._now()):
            return False
        if not held.name.endswith(".m3u8"):
            return self._try_part(held, segmenter)
        try:
            if not (segmenter.is_ended or held.wish.is_met(segmenter.parts)):
                return False
        except WireError as exc:
            self._waiting.drop(held)
            held.refuse(400, exc.reason)
            return True
        self._waiting.drop(held)
        if held.name not in segmenter.lanes.playlist_names:
            held.refuse(404, "playlist-not-found")
            return True
        number = segmenter.lanes.playlist_names.index(held.name)
        playlist = segmenter.presenter.media(number, may_skip=held.wish.may_skip)
        is_firm = held.wish.sequence is not None and not segmenter.is_ended
        seconds = segmenter.target_duration
        cache = shared_cache(seconds, is_multivariant=False, has_waited=is_firm)
        self._give_playlist(held, playlist, cache)
        return True

    def _give_playlist(self, held: Held, playlist: Playlist, shared: str) -> None:
        """`shared`: its Cache-Control where it is the same for all."""
        session = held.session
        session.has_playlist = True
        token, cache = ("", shared) if session.is_shared else (session.token, OWN)
        session.sent_bytes += give_playlist(held.connection, held.request, playlist, token, cache)

    def _try_part(self, held: Held, segmenter: Segmenter) -> bool:
        """Answer the request for a part that was announced; False while it is in the making."""
        part = segmenter.part(held.name)
        if part is None and not segmenter.is_ended and segmenter.lanes.announces(held.name):
            return False
        self._waiting.drop(held)
        if part is None:
            held.refuse(404, "segment-not-found")
        else:
            self._send(held.session, segmenter, part, held.request, held.connection)
        return True

    def _refuse_held(self, stream: Stream, reason: str, status: int) -> None:
        for held in self._waiting.of(stream):
            self._waiting.drop(held)
            self._forget(held.session, reason)
            held.refuse(status, reason)

    # -- time and events ---------------------------------------------------------------------

    def state_changed(self, event: StreamStateChanged) -> None:
        """With `always`, a stream that is ready gets its segmenter without being asked."""
        if event.after == State.CLOSED:
            self._next.pop(event.stream, None)
            self._ended.pop(event.stream, None)
        for group in self._groups.values():
            group.state_changed(event)
        if event.after == State.READY and self._options_of(event.stream).always:
            stream = self._router.find(event.stream)
            if stream is not None and (stream.tracks or event.stream in self._groups):
                try:
                    self._make_output(stream)
                except PeerError:
                    return  # it has said which tracks it cannot carry

    def tick(self, now: float) -> None:
        """About once a second: held requests whose time is up, viewers that have gone."""
        for group in self._groups.values():
            group.tick(now)
        for stream in self._waiting.streams():
            self._waiting.serve(stream)
        for held in self._waiting.expired(now):
            held.refuse(503, "no-segments-yet")
        waiting = self._waiting.sessions()
        for session in tuple(self._sessions.values()):
            if now - session.asked_at >= self._options.close_after and session not in waiting:
                self._forget(session, "session-idle")

    def close(self) -> None:
        """The server stops: every session ends."""
        for stream in self._waiting.streams():
            self._refuse_held(stream, "server-stopping", 503)
        for session in tuple(self._sessions.values()):
            self._forget(session, "server-stopping")

    def _forget(self, session: HlsSession, reason: str) -> None:
        if self._sessions.pop(session.token, None) is None:
            return
        name = session.stream.name
        if self._shared.get(name) is session:
            del self._shared[name]
        session.end(reason)
        self._viewers[name] -= 1
        if self._viewers[name] > 0:
            return
        del self._viewers[name]
        self._ended.pop(name, None)
        output = self._output(session.stream)
        if output is not None and not self._options_of(name).always:
            output.close(reason)
            self._ended.pop(name, None)
