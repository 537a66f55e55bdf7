"""One session of a client: its tracks, its state, what keeps it alive."""

from collections.abc import Iterable
from dataclasses import dataclass

from protocols.rtsp.server_options import ServerOptions
from protocols.rtsp.server_states import TRANSITIONS, SessionState
from protocols.rtsp.server_target import Target
from protocols.rtsp.transport import TCP, Transport


@dataclass(frozen=True, slots=True)
class SessionTrack:
    """One track that was set up."""

    index: int  # the application's number
    target: Target  # of its SETUP
    transport: Transport


class ServerSession:
    """State of one session. `tracks` in the order of SETUP, by the application's number.

    What counts as life: any request, RTCP (`touch`), packets of a publisher (`media_received`). A
    player whose media goes interleaved needs none: its connection is its life, and a dead one shows
    by what it does not take. Many of those players say nothing for hours.
    """

    __slots__ = (
        "_alive_at",
        "_media_at",
        "_options",
        "active",
        "id",
        "is_record",
        "state",
        "target",
        "tracks",
        "was_paused",
    )

    def __init__(
        self, session_id: str, target: Target, is_record: bool, options: ServerOptions, now: float
    ) -> None:
        self.id = session_id
        self.target = target
        self.is_record = is_record
        self.state = SessionState.ANNOUNCED if is_record else SessionState.READY
        self.tracks: dict[int, SessionTrack] = {}
        self.active: set[int] = set()  # tracks that play
        self.was_paused = False
        self._options = options
        self._alive_at = now
        self._media_at = now

    @property
    def header(self) -> str:
        """The Session header of replies, RFC 2326 section 12.37."""
        return f"{self.id};timeout={self._options.session_timeout:.0f}"

    @property
    def is_flowing(self) -> bool:
        """Its packets go somewhere."""
        return self.state in (SessionState.PLAYING, SessionState.RECORDING)

    @property
    def is_interleaved(self) -> bool:
        """Some media of it goes over the connection itself."""
        return any(track.transport.lower == TCP for track in self.tracks.values())

    def may(self, method: str) -> bool:
        """Whether the state has a way on for this method."""
        return method in TRANSITIONS[self.state]

    def touch(self, now: float) -> None:
        """The client has shown that it is there."""
        self._alive_at = now

    def media_received(self, now: float) -> None:
        """A publisher's packet came."""
        self._alive_at = self._media_at = now

    @property
    def expires_at(self) -> float | None:
        """When it ends unless something happens; None for never."""
        if self.state is SessionState.RECORDING:
            return self._media_at + self._options.media_timeout
        if self.state is SessionState.PLAYING and self.is_interleaved:
            return None
        return self._alive_at + self._options.session_timeout + self._options.session_grace

    @property
    def expiry_reason(self) -> str:
        """Why it ends at `expires_at`."""
        is_media = self.state is SessionState.RECORDING
        return "media-timeout" if is_media else "session-timeout"

    # Transitions; the machine has asked `may` before.

    def set_up(self, track: SessionTrack) -> None:
        """A track has got its transport, or another one."""
        self.state = TRANSITIONS[self.state]["SETUP"]
        self.tracks[track.index] = track

    def play(self, tracks: Iterable[int]) -> None:
        """These tracks play."""
        self.state = TRANSITIONS[self.state]["PLAY"]
        self.active.update(tracks)
        self.was_paused = False

    def pause(self, tracks: Iterable[int], now: float) -> None:
        """These tracks rest; the state follows when none is left."""
        self.touch(now)
        self.active.difference_update(tracks)
        if not self.active:
            self.state = TRANSITIONS[self.state]["PAUSE"]
            self.was_paused = True

    def record(self, now: float) -> None:
        """The publisher may send."""
        self.state = TRANSITIONS[self.state]["RECORD"]
        self.media_received(now)

    def remove(self, index: int) -> None:
        """One track is gone."""
        self.tracks.pop(index, None)
        self.active.discard(index)
        if not self.active and self.state is SessionState.PLAYING:
            self.state = SessionState.READY

    def covers(self, target: Target) -> bool:
        """Whether a URL belongs to this session's presentation. Queries may come and go."""
        path, own = target.path, self.target.path
        return target.is_any or path == own or (self.is_record and path.startswith(own + "/"))

    def tracks_of(self, target: Target) -> tuple[int, ...] | None:
        """The tracks that a URL names: one, or all by the aggregate URL; None if none."""
        if target.is_any:
            return tuple(self.tracks)
        place = (target.path, target.control.lower())
        for track in self.tracks.values():
            if (track.target.path, track.target.control.lower()) == place:
                return (track.index,)
        if target.control or target.path != self.target.path:
            return None
        return tuple(self.tracks)
