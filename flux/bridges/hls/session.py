"""One HLS viewer: known by a token in the URLs, for players keep no connection (DESIGN 4.11)."""

import time

from flux.bridges.http.request import Request
from media.events import ReaderClosed, ReaderJoined
from media.hls.parts import Part
from media.hls.segment import Initialization, Segment
from media.router import Lease
from media.stream import Emit, Stream

PROTOCOL = "hls"


class HlsSession:
    """Holds a lease of its stream until it has not asked for anything for a while."""

    def __init__(
        self, number: int, token: str, stream: Stream, request: Request, emit: Emit
    ) -> None:
        now = request.arrived
        self.id = f"hls-{number}"  # never the token: who has that is this viewer
        self.token = token
        self.protocol = PROTOCOL
        self.address = request.address
        self.user_agent = request.user_agent
        self.since = time.time()
        self.stream = stream
        self.asked_at = now
        self.sent_bytes = 0
        self.dropped = 0
        self.lease: Lease | None = None
        self.closed = False
        self.end_reason = ""
        self.is_shared = False  # it stands for all who read the stream
        self.has_playlist = False  # it has had one, so it may be told of the end
        self._began_at = now
        self._has_media = False
        self._next_sequence: int | None = None
        self._emit = emit

    def lag(self) -> float:
        """Not known for a player that fetches: its buffer is its own."""
        return 0.0

    def took(
        self,
        size_bytes: int,
        found: Segment | Part | Initialization,
        now: float,
        *,
        is_main: bool,
        oldest: int,
    ) -> None:
        """The player fetched so many bytes of something.

        Of what lies between its last segment and this one it missed what is no longer there:
        `oldest` is the number of the first that is. The rest it passed over by its own will.
        """
        self.sent_bytes += size_bytes
        if isinstance(found, Initialization) or (isinstance(found, Segment) and not is_main):
            return
        if not self._has_media:
            self._has_media = True
            event = ReaderJoined(self.stream.name, PROTOCOL, self.id, now - self._began_at)
            self._emit(event)
        if isinstance(found, Segment):
            due = self._next_sequence
            if due is not None and found.sequence > due:
                self._miss(max(0, min(oldest, found.sequence) - due), found.seconds)
            self._next_sequence = found.sequence + 1
        else:  # of a segment that it need not fetch
            self._next_sequence = None

    def _miss(self, segments: int, seconds: float) -> None:
        """So many segments of about this length went before the player asked for them."""
        if segments:
            self.dropped += segments
            self.stream.readers.skipped(PROTOCOL, self.id, segments * seconds, segments)

    def refusal(self) -> tuple[int, str]:
        """Status and reason for what is still asked for under this token after its end."""
        if self.end_reason == "stream-deleted":
            return 404, self.end_reason
        return 403, "session-ended"

    def end(self, reason: str) -> None:
        """Forget the viewer."""
        if self.closed:
            return
        self.closed = True
        self.end_reason = reason
        self.stream.readers.leave(self.id, reason)
        self.stream.sent_bytes += self.sent_bytes
        self._emit(ReaderClosed(self.stream.name, PROTOCOL, self.id, reason, self.sent_bytes))
        if self.lease is not None:
            self.lease.close()
