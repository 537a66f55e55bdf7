"""The sessions of one connection and the interleaved channels that they share."""

from collections.abc import Iterator
from dataclasses import dataclass

from flux.base.errors import WireError
from protocols.rtsp.message import Request
from protocols.rtsp.server_session import ServerSession, SessionTrack
from protocols.rtsp.server_states import SessionState
from protocols.rtsp.server_target import Target
from protocols.rtsp.server_transport import channels_of
from protocols.rtsp.session import SessionHeader


@dataclass(frozen=True, slots=True)
class ChannelOwner:
    """Whose channel it is and whether it carries RTP."""

    session: ServerSession
    is_rtp: bool


class SessionTable:
    """Sessions by id. `channels` has the owner of each interleaved channel in use."""

    __slots__ = ("_sessions", "channels")

    def __init__(self) -> None:
        self._sessions: dict[str, ServerSession] = {}
        self.channels: dict[int, ChannelOwner] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[ServerSession]:
        return iter(tuple(self._sessions.values()))

    def get(self, session_id: str) -> ServerSession | None:
        """The session with this id."""
        return self._sessions.get(session_id)

    def named(self, request: Request) -> ServerSession | None:
        """The session that a request names."""
        try:
            header = SessionHeader.parse(request.headers.get("Session"))
        except WireError:
            return None
        return self._sessions.get(header.id)

    def meant(self, request: Request) -> ServerSession | None:
        """The session that a request names, or the only one where it names none."""
        if request.headers.get("Session"):
            return self.named(request)
        return next(iter(self._sessions.values())) if len(self._sessions) == 1 else None

    def announced(self, target: Target) -> ServerSession | None:
        """A publisher's session to which this URL belongs and which may still set up tracks.

        quirk: encoders leave the Session header out of the first SETUP though the reply to ANNOUNCE
        had one (RFC 2326 section 12.37 wants it back).
        """
        for session in self._sessions.values():
            if session.is_record and session.may("SETUP") and session.covers(target):
                return session
        return None

    def is_taken(self, channel: int) -> bool:
        """Whether a channel is in use."""
        return channel in self.channels

    def is_taken_by_other(
        self, session: ServerSession | None, target: Target, channel: int
    ) -> bool:
        """Whether a channel is in use by another track than the one with this URL."""
        owner = self.channels.get(channel)
        if owner is None:
            return False
        if owner.session is not session:
            return True
        for track in owner.session.tracks.values():
            if channel in channels_of([track.transport]):
                place = (track.target.path, track.target.control.lower())
                return place != (target.path, target.control.lower())
        return True

    def add(self, session: ServerSession) -> None:
        """A session begins."""
        self._sessions[session.id] = session

    def set_up(self, session: ServerSession, track: SessionTrack) -> None:
        """A track of a session has its transport; what it had before is free."""
        self.release(session, track.index)
        session.set_up(track)
        pair = track.transport.interleaved
        for channel in channels_of([track.transport]):
            is_rtp = pair is not None and channel == pair.rtp
            self.channels[channel] = ChannelOwner(session, is_rtp)

    def release(self, session: ServerSession, index: int) -> None:
        """The channels of one track are free."""
        track = session.tracks.get(index)
        if track is not None:
            for channel in channels_of([track.transport]):
                self.channels.pop(channel, None)

    def remove(self, session: ServerSession) -> None:
        """A session is over."""
        for index in tuple(session.tracks):
            self.release(session, index)
        self._sessions.pop(session.id, None)
        session.state = SessionState.ENDED

    def expired(self, now: float) -> list[ServerSession]:
        """Sessions whose time is over."""
        return [s for s in self if s.expires_at is not None and now >= s.expires_at]

    def get_timer(self) -> float | None:
        """When the next session expires."""
        ends = [s.expires_at for s in self._sessions.values() if s.expires_at is not None]
        return min(ends) if ends else None
