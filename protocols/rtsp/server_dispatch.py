"""One request on its way: answered here, or made a question for the application."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from flux.base.errors import WireError
from protocols.rtsp.message import Headers, Request
from protocols.rtsp.server_auth import AuthDesk, Credentials
from protocols.rtsp.server_events import (
    AnnounceAsked,
    Asked,
    DescribeAsked,
    News,
    PauseAsked,
    PlayAsked,
    RecordAsked,
    Refusal,
    SessionEnded,
    SetupAsked,
    TrackEnded,
)
from protocols.rtsp.server_options import ServerOptions
from protocols.rtsp.server_replies import Replies
from protocols.rtsp.server_requests import (
    KEEPALIVES,
    RequestQueue,
    Waiting,
    public_methods,
    refusal_of,
)
from protocols.rtsp.server_session import ServerSession
from protocols.rtsp.server_states import SessionState, allowed
from protocols.rtsp.server_table import SessionTable
from protocols.rtsp.server_target import Target
from protocols.rtsp.server_transport import is_record_mode, offers_of

UNKNOWN_SESSION = Refusal(454, "session-unknown")
UNKNOWN_TRACK = Refusal(404, "track-unknown")
OTHER_STREAM = Refusal(404, "url-of-another-stream")
TOO_MANY_SESSIONS = Refusal(503, "too-many-sessions")

# A reply that is ready, an error to be replied, or a question.
Outcome = bytes | Refusal | Asked


class Dispatcher:
    """Decides about requests. `tell` takes the news that a request brings about."""

    def __init__(
        self,
        options: ServerOptions,
        token: Callable[[], str],
        address: str,
        table: SessionTable,
        queue: RequestQueue,
        replies: Replies,
        tell: Callable[[News], None],
    ) -> None:
        self._options = options
        self._token = token
        self._address = address
        self._table = table
        self._queue = queue
        self._replies = replies
        self._tell = tell
        self.desk = AuthDesk(options, token)
        self.foreign_destinations = 0
        self._first = Target("*", "")  # of the last DESCRIBE or ANNOUNCE

    def dispatch(self, request: Request, now: float) -> bytes | Asked:
        """The reply, or the event of a question, which then is the queue's waiting request."""
        refusal = refusal_of(request, self._options)
        if refusal is not None:
            return self._replies.refuse(request, refusal)
        try:
            target = Target.parse(request.url)
        except WireError as error:
            return self._replies.refuse(request, Refusal(400, error.reason))
        method = request.method
        target = self._with_query(method, target)
        if method in ("DESCRIBE", "ANNOUNCE", "SETUP"):
            session = self._table.named(request)
        else:
            session = self._table.meant(request)
        if session is None and request.headers.get("Session") and method != "DESCRIBE":
            return self._replies.refuse(request, UNKNOWN_SESSION)
        if session is not None:
            session.touch(now)
        outcome = self._decide(request, target, session, now)
        if isinstance(outcome, Refusal):
            return self._replies.refuse(request, outcome, session)
        if isinstance(outcome, Asked):
            if session is None and isinstance(outcome, SetupAsked) and not outcome.is_new:
                session = self._table.get(outcome.session_id)
            expires_at = now + self._options.answer_timeout
            self._queue.waiting = Waiting(outcome, request, session, expires_at)
        return outcome

    def _with_query(self, method: str, target: Target) -> Target:
        """quirk: GStreamer joins control attributes to the Content-Base by RFC 3986, and the query
        of its user's URL (where a token may be) is lost; RFC 2326 appendix C.1.1 does not say how
        to join. What it asked DESCRIBE or ANNOUNCE with still holds for the same path.
        """
        if method in ("DESCRIBE", "ANNOUNCE"):
            self._first = target
        elif not target.query and self._first.query:
            path = self._first.path
            if target.path == path or target.path.startswith(path + "/"):
                return replace(target, query=self._first.query)
        return target

    def _decide(
        self, request: Request, target: Target, session: ServerSession | None, now: float
    ) -> Outcome:
        method = request.method
        if method in KEEPALIVES:
            # A body asks for parameters or sets some. There are none, but 451 would end the session
            # of recorders that put a word into their keepalive (RFC 2326 sections 10.8 and 10.9).
            public = (("Public", public_methods(self._options)),) if method == "OPTIONS" else ()
            return self._replies.build(request, 200, public, session=session)
        if target.is_any and method in ("DESCRIBE", "ANNOUNCE", "SETUP"):
            return Refusal(400, "url-missing")
        if method == "DESCRIBE":
            session_id = session.id if session is not None else ""
            return DescribeAsked(*self._common(request, target, now), session_id)
        if method == "ANNOUNCE":
            return self._announce(request, target, session, now)
        if method == "SETUP":
            return self._set_up(request, target, session, now)
        if session is None:
            return UNKNOWN_SESSION
        if not session.covers(target):
            return OTHER_STREAM
        if not session.may(method):
            return _wrong_state(method, session)
        if method == "RECORD":
            return self._record(request, target, session, now)
        tracks = session.tracks_of(target)
        if tracks is None:
            return UNKNOWN_TRACK
        if method == "TEARDOWN":
            return self._tear_down(request, session, tracks)
        if method == "PLAY":
            return self._play(request, target, session, tracks, now)
        if session.state in (SessionState.READY, SessionState.RECORD_READY):
            return self._replies.build(request, 200, session=session)  # PAUSE of what rests
        return PauseAsked(*self._common(request, target, now), session.id, tracks)

    def _common(
        self, request: Request, target: Target, now: float
    ) -> tuple[int, Target, Headers, Credentials | None]:
        """What every question begins with."""
        credentials = self.desk.read(request, now)
        return self._queue.new_handle(), target, request.headers, credentials

    def _announce(
        self, request: Request, target: Target, session: ServerSession | None, now: float
    ) -> Outcome:
        if session is not None:
            return _wrong_state("ANNOUNCE", session)
        if len(self._table) >= self._options.max_sessions:
            return TOO_MANY_SESSIONS
        common = self._common(request, target, now)
        return AnnounceAsked(*common, self._token(), request.body)

    def _set_up(
        self, request: Request, target: Target, session: ServerSession | None, now: float
    ) -> Outcome:
        value = ",".join(request.headers.get_all("Transport"))
        is_record = is_record_mode(value)
        if session is None and (is_record or "mode" not in value.lower()):
            session = self._table.announced(target)
        if session is None:
            if is_record:
                return Refusal(455, "record-without-announce")
            if len(self._table) >= self._options.max_sessions:
                return TOO_MANY_SESSIONS
        else:
            session.touch(now)
            is_record = session.is_record
            if not session.covers(target):
                return Refusal(459, "one-session-one-stream")
            if not session.may("SETUP"):
                return _wrong_state("SETUP", session)
        offers = offers_of(
            value,
            self._address,
            is_record=is_record,
            is_taken=partial(self._table.is_taken_by_other, session, target),
        )
        self.foreign_destinations += offers.foreign
        if not offers.transports:
            reason = "foreign-destination" if offers.foreign else "transport-unknown"
            return Refusal(461, reason)
        return SetupAsked(
            *self._common(request, target, now),
            session.id if session is not None else self._token(),
            offers.transports,
            is_record,
            session is None,
        )

    def _play(
        self,
        request: Request,
        target: Target,
        session: ServerSession,
        tracks: tuple[int, ...],
        now: float,
    ) -> Outcome:
        headers = request.headers
        return PlayAsked(
            *self._common(request, target, now),
            session.id,
            tracks,
            headers.get("Range"),
            headers.get("Scale"),
            headers.get("Speed"),
            session.active.issuperset(tracks),
            session.was_paused,
        )

    def _record(
        self, request: Request, target: Target, session: ServerSession, now: float
    ) -> Outcome:
        if session.state is SessionState.RECORDING:
            return self._replies.build(request, 200, session=session)
        common = self._common(request, target, now)
        return RecordAsked(*common, session.id, tuple(session.tracks))

    def _tear_down(
        self, request: Request, session: ServerSession, tracks: tuple[int, ...]
    ) -> Outcome:
        if len(tracks) == len(session.tracks):
            self._table.remove(session)
            self._tell(SessionEnded(session.id, "teardown"))
            return self._replies.build(request, 200)
        for index in tracks:
            self._table.release(session, index)
            session.remove(index)
            self._tell(TrackEnded(session.id, index))
        return self._replies.build(request, 200, session=session)


def _wrong_state(method: str, session: ServerSession) -> Refusal:
    allow = (("Allow", allowed(session.state)),)
    return Refusal(455, f"{method.lower()}-in-{session.state}", allow)
