"""The requests of one connection, one under way at a time, and what is wrong with them by itself.

Requests may be pipelined (RFC 2326 section 9.1 answers them in order). One that waits for the
application holds up those behind it, and the interleaved frames behind them that belong to nobody
yet; how many may stand there is bounded, and so is how many may come in a second.
"""

from collections import deque
from dataclasses import dataclass

from protocols.rtsp.message import Request
from protocols.rtsp.server_events import Asked, Refusal
from protocols.rtsp.server_options import ServerOptions
from protocols.rtsp.server_session import ServerSession

PUBLISHING = ("ANNOUNCE", "RECORD")
METHODS = (
    "OPTIONS",
    "DESCRIBE",
    "ANNOUNCE",
    "SETUP",
    "PLAY",
    "PAUSE",
    "RECORD",
    "TEARDOWN",
    "GET_PARAMETER",
    "SET_PARAMETER",
)
FOREIGN_METHODS = ("REDIRECT", "PLAY_NOTIFY")  # those of servers
KEEPALIVES = ("OPTIONS", "GET_PARAMETER", "SET_PARAMETER")
SDP_TYPE = "application/sdp"

MAX_HELD_FRAMES = 1024  # of publishers that do not wait for the answer to RECORD
MAX_HELD_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that the application has, and what it is about."""

    event: Asked
    request: Request
    session: ServerSession | None
    expires_at: float


class RequestQueue:
    """Requests in order, and frames that came between them. `waiting` is the request that the
    application has."""

    __slots__ = (
        "_count",
        "_handle",
        "_options",
        "_queue",
        "_requests",
        "_second",
        "held_bytes",
        "held_frames",
        "waiting",
    )

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._queue: deque[Request | tuple[int, bytes]] = deque()
        self._requests = 0  # in _queue
        self.held_frames = 0  # in _queue
        self.held_bytes = 0
        self._second = float("-inf")
        self._count = 0
        self._handle = 0
        self.waiting: Waiting | None = None

    def add(self, request: Request, now: float) -> str:
        """Take a request; a slug where there are too many."""
        if now - self._second >= 1.0:
            self._second = now
            self._count = 0
        self._count += 1
        if self._count > self._options.max_requests_per_second:
            return "rtsp-request-flood"
        if self._requests >= self._options.max_pipelined:
            return "rtsp-pipeline-flood"
        self._requests += 1
        self._queue.append(request)
        return ""

    def hold(self, frame: tuple[int, bytes]) -> bool:
        """Take a frame that came behind the last request; false where there are too many."""
        size = len(frame[1])
        if self.held_frames >= MAX_HELD_FRAMES or self.held_bytes + size > MAX_HELD_BYTES:
            return False
        self.held_frames += 1
        self.held_bytes += size
        self._queue.append(frame)
        return True

    @property
    def is_busy(self) -> bool:
        """What comes now is behind something."""
        return self.waiting is not None or bool(self._queue)

    def next(self) -> Request | tuple[int, bytes] | None:
        """What has its turn; None while a request waits."""
        if self.waiting is not None or not self._queue:
            return None
        item = self._queue.popleft()
        if isinstance(item, Request):
            self._requests -= 1
        else:
            self.held_frames -= 1
            self.held_bytes -= len(item[1])
        return item

    def new_handle(self) -> int:
        """A number that was not used before."""
        self._handle += 1
        return self._handle

    def clear(self) -> None:
        """Nobody is left to be answered."""
        self.waiting = None
        self._queue.clear()
        self._requests = self.held_frames = self.held_bytes = 0


def public_methods(options: ServerOptions) -> str:
    """What Public lists: players choose their keepalive from it."""
    return ", ".join(m for m in METHODS if options.may_publish or m not in PUBLISHING)


def refusal_of(request: Request, options: ServerOptions) -> Refusal | None:
    """What is wrong with a request whatever it is about."""
    method = request.method
    if not request.version.startswith("RTSP/1."):
        return Refusal(505, "rtsp-version")
    if method in FOREIGN_METHODS or (method in PUBLISHING and not options.may_publish):
        return Refusal(405, "method-not-allowed", (("Allow", public_methods(options)),))
    if method not in METHODS:
        return Refusal(501, "method-unknown", (("Public", public_methods(options)),))
    required = [tag.strip() for v in request.headers.get_all("Require") for tag in v.split(",")]
    if any(required):
        # RFC 2326 section 12.32: nothing that has a tag is supported
        tags = ", ".join(filter(None, required))
        return Refusal(551, "option-not-supported", (("Unsupported", tags),))
    if method == "DESCRIBE":
        return _describe_refusal(request)
    if method == "ANNOUNCE":
        return _announce_refusal(request)
    if method == "SETUP" and not request.headers.get("Transport"):
        return Refusal(400, "transport-missing")
    return None


def _describe_refusal(request: Request) -> Refusal | None:
    accepted = [
        kind.partition(";")[0].strip().lower()
        for value in request.headers.get_all("Accept")
        for kind in value.split(",")
    ]
    if any(accepted) and not {SDP_TYPE, "application/*", "*/*"}.intersection(accepted):
        return Refusal(406, "sdp-only")
    return None


def _announce_refusal(request: Request) -> Refusal | None:
    kind = request.headers.get("Content-Type").partition(";")[0].strip().lower()
    if kind not in ("", SDP_TYPE):
        return Refusal(415, "sdp-only")
    return None if request.body.strip() else Refusal(400, "sdp-missing")
