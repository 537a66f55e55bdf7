"""The application's answers: what they change and what goes out."""

from flux.base.errors import StateError
from protocols.rtsp.server_auth import AuthDesk
from protocols.rtsp.server_events import (
    AnnounceAsked,
    Asked,
    Chosen,
    DescribeAsked,
    Description,
    Done,
    Moved,
    PauseAsked,
    PlayAsked,
    RecordAsked,
    Refusal,
    Reply,
    SetupAsked,
    Started,
    Unauthorized,
)
from protocols.rtsp.server_options import ServerOptions
from protocols.rtsp.server_replies import Replies, play_fields
from protocols.rtsp.server_requests import SDP_TYPE, Waiting
from protocols.rtsp.server_session import ServerSession, SessionTrack
from protocols.rtsp.server_states import SessionState
from protocols.rtsp.server_table import SessionTable
from protocols.rtsp.server_transport import leads_elsewhere
from protocols.rtsp.transport import TCP

GONE = Refusal(454, "session-ended")

FITTING: dict[type[Asked], type[Reply]] = {
    DescribeAsked: Description,
    AnnounceAsked: Done,
    SetupAsked: Chosen,
    PlayAsked: Started,
    PauseAsked: Done,
    RecordAsked: Done,
}


class Answers:
    """Carries answers out. `challenges` counts the 401 in a row."""

    def __init__(
        self,
        options: ServerOptions,
        address: str,
        table: SessionTable,
        desk: AuthDesk,
        replies: Replies,
    ) -> None:
        self._options = options
        self._address = address
        self._table = table
        self._desk = desk
        self._replies = replies
        self.challenges = 0

    def check(self, waiting: Waiting, reply: Reply) -> None:
        """Raises StateError for a reply that is no answer to this question."""
        event = waiting.event
        if isinstance(reply, Refusal | Unauthorized | Moved):
            return
        if type(reply) is not FITTING[type(event)]:
            raise StateError(f"{type(reply).__name__} does not answer {type(event).__name__}")
        if isinstance(reply, Chosen):
            self._check_transport(waiting, reply)

    def _check_transport(self, waiting: Waiting, reply: Chosen) -> None:
        chosen = reply.transport
        if leads_elsewhere(chosen, self._address):
            raise StateError("media goes to the client's own address")
        if chosen.lower != TCP:
            return
        pair = chosen.interleaved
        target = waiting.event.target
        if pair is None or any(
            self._table.is_taken_by_other(waiting.session, target, channel)
            for channel in (pair.rtp, pair.rtcp)
        ):
            raise StateError("no channels, or channels in use")

    def apply(self, waiting: Waiting, reply: Reply, now: float) -> tuple[bytes, bool]:
        """The reply's bytes, and whether it came to what the application meant."""
        request, session = waiting.request, waiting.session
        if session is not None and session.state is SessionState.ENDED:
            return self._replies.refuse(request, GONE), False
        if isinstance(reply, Unauthorized):
            self.challenges += 1
            fields = [("WWW-Authenticate", v) for v in self._desk.challenges(reply.schemes, now)]
            return self._replies.build(request, 401, fields, session=session), True
        if isinstance(reply, Refusal):
            return self._replies.refuse(request, reply, session), True
        self.challenges = 0
        if isinstance(reply, Moved):
            return self._replies.build(request, reply.status, [("Location", reply.location)]), True
        if isinstance(reply, Description):
            return self._describe(waiting, reply), True
        if isinstance(reply, Chosen):
            return self._set_up(waiting, reply, now), True
        if session is None:
            return self._announced(waiting, reply, now), True
        if isinstance(reply, Started):
            return self._play(waiting, session, reply, now), True
        if isinstance(waiting.event, PauseAsked):
            session.pause(waiting.event.tracks, now)
        else:
            session.record(now)
        return self._replies.build(request, 200, reply.headers, session=session), True

    def _describe(self, waiting: Waiting, reply: Description) -> bytes:
        base = reply.base or waiting.event.target.base
        fields = [
            ("Content-Base", base if base.endswith("/") else base + "/"),
            ("Content-Type", SDP_TYPE),
            ("Cache-Control", "no-cache"),
            *reply.headers,
        ]
        return self._replies.build(
            waiting.request, 200, fields, body=reply.sdp, session=waiting.session
        )

    def _set_up(self, waiting: Waiting, reply: Chosen, now: float) -> bytes:
        event, session = waiting.event, waiting.session
        if session is None:
            session = ServerSession(event.session_id, event.target, False, self._options, now)
            self._table.add(session)
        session.touch(now)
        self._table.set_up(session, SessionTrack(reply.track, event.target, reply.transport))
        fields = [("Transport", reply.transport.serialize()), *reply.headers]
        return self._replies.build(waiting.request, 200, fields, session=session)

    def _announced(self, waiting: Waiting, reply: Started | Done, now: float) -> bytes:
        event = waiting.event
        session = ServerSession(event.session_id, event.target, True, self._options, now)
        self._table.add(session)
        return self._replies.build(waiting.request, 200, reply.headers, session=session)

    def _play(self, waiting: Waiting, session: ServerSession, reply: Started, now: float) -> bytes:
        assert isinstance(waiting.event, PlayAsked)  # `check` has seen to it
        tracks = waiting.event.tracks
        session.play(tracks)
        session.touch(now)
        fields = play_fields(waiting.request, session, tracks, reply)
        return self._replies.build(waiting.request, 200, fields, session=session)
