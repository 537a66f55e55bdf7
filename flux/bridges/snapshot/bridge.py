"""Answers `/NAME.jpg` on the media listener: the last key frame, decoded by a worker process.

A picture is made when somebody asks for it and kept until the stream's next key frame is asked for.
All requests for one key frame and width share one job. A request does not start an on-demand source
unless its query says `start=1`: it gets the last picture that is kept, else 503 with the reason.
With `start=1` it is a reader until its picture is there.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from hashlib import blake2b

from flux.base.errors import PeerError
from flux.bridges.http.connection import HttpConnection
from flux.bridges.http.request import Request, is_stream_name
from flux.bridges.http.response import CORS, Header
from flux.bridges.snapshot.darkroom import Darkroom, DarkroomOptions, Job
from flux.core.admission import Gate, Verdict, admit_all
from flux.core.children import Children
from media.announcement import announce
from media.events import StreamDeleted
from media.frame import Frame
from media.router import Lease, Router
from media.stream import State, Stream
from media.track import H264, H265, Kind, TrackDescription

SUFFIX = ".jpg"
PROTOCOL = "snapshot"
WIDTHS = (160, 320, 480, 640, 960, 1280, 1920)  # what `w=` may be: each is a picture to make
CODECS = (H264, H265)
MAX_WAITING = 256  # requests that may wait for a picture
POLL = 0.1  # seconds between looks for a stream's first key frame
RETRY: tuple[Header, ...] = (("Retry-After", "2"),)


@dataclass(frozen=True, slots=True)
class SnapshotOptions:
    """Bounds of the bridge."""

    darkroom: DarkroomOptions = DarkroomOptions()  # noqa: RUF009 - frozen
    max_age: int = 1  # seconds for which a browser or a proxy need not ask again
    kept_pictures: int = 512
    kept_bytes: int = 32 << 20
    key_timeout: float = 10.0  # seconds that `start=1` waits for the key frame of a ready stream


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture that is kept."""

    tag: str  # entity tag
    jpeg: bytes
    taken: float  # Unix seconds when its key frame arrived


@dataclass(slots=True, eq=False)
class _Ask:
    """One request that is being answered."""

    request: Request
    connection: HttpConnection
    stream: str
    width: int
    may_start: bool
    lease: Lease | None = None
    give_up_at: float = 0.0  # no key frame by then is an error
    is_over: bool = False


class Shelf:
    """The pictures that are kept, one for each stream and width; the oldest used go first."""

    def __init__(self, count: int, size_bytes: int) -> None:
        self._count = count
        self._limit = size_bytes
        self._shots: OrderedDict[tuple[str, int], Shot] = OrderedDict()
        self.size_bytes = 0

    def get(self, stream: str, width: int) -> Shot | None:
        """The picture of a stream, if one is kept."""
        shot = self._shots.get((stream, width))
        if shot is not None:
            self._shots.move_to_end((stream, width))
        return shot

    def put(self, stream: str, width: int, shot: Shot) -> None:
        """Keep a picture instead of the one before it."""
        self._drop((stream, width))
        self._shots[stream, width] = shot
        self.size_bytes += len(shot.jpeg)
        while self._shots and (len(self._shots) > self._count or self.size_bytes > self._limit):
            self._drop(next(iter(self._shots)))

    def forget(self, stream: str) -> None:
        """Drop every picture of a stream."""
        for key in [key for key in self._shots if key[0] == stream]:
            self._drop(key)

    def _drop(self, key: tuple[str, int]) -> None:
        shot = self._shots.pop(key, None)
        if shot is not None:
            self.size_bytes -= len(shot.jpeg)


class SnapshotBridge:
    """A handler of the media listener."""

    def __init__(
        self,
        router: Router,
        children: Children,
        options: SnapshotOptions | None = None,
        admit: Gate = admit_all,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._router = router
        self._options = options or SnapshotOptions()
        self._admit = admit
        self._now = now
        self._wall = wall
        self._shelf = Shelf(self._options.kept_pictures, self._options.kept_bytes)
        self._waiting: dict[tuple[str, str], list[_Ask]] = {}  # by stream and entity tag
        self._asks: set[_Ask] = set()
        self._admitted: set[_Ask] = set()  # of them: whoever is refused late holds up nobody
        self._broken: dict[str, tuple[bytes, str]] = {}  # by stream: key frame without a picture
        self.darkroom = Darkroom(children, self._options.darkroom)

    # -- requests ----------------------------------------------------------------------------

    def handle(self, request: Request, connection: HttpConnection) -> bool:
        """Answer a request for `/NAME.jpg`; False for any other path."""
        if not request.path.endswith(SUFFIX) or len(request.path) <= len(SUFFIX) + 1:
            return False
        name = request.path[1 : -len(SUFFIX)]
        width = _width(request.query.get("w"))
        if not is_stream_name(name):
            connection.refuse(404, "stream-not-found")
        elif width is None:
            connection.refuse(400, "snapshot-width")
        else:
            may_start = request.query.get("start") == "1"
            ask = _Ask(request, connection, name, width, may_start)
            self._asks.add(ask)
            connection.on_lost = lambda _reason: self._over(ask)
            self._admit(
                request.to_read(name, PROTOCOL, ""), lambda verdict: self._judged(ask, verdict)
            )
        return True

    def stream_deleted(self, event: StreamDeleted) -> None:
        """A name is gone: whoever takes it next must not be shown what was there before."""
        self._shelf.forget(event.stream)
        self._broken.pop(event.stream, None)

    def close(self) -> None:
        """The server stops: who waits is told so."""
        for ask in tuple(self._asks):
            self._refuse(ask, "server-stopping", 503)
        self.darkroom.close()

    # -- the walk of a request ---------------------------------------------------------------

    def _judged(self, ask: _Ask, verdict: Verdict) -> None:
        if ask.is_over:
            return
        if not verdict.allowed:
            self._refuse(ask, verdict.reason, verdict.status)
            return
        if len(self._admitted) >= MAX_WAITING:
            self._refuse(ask, "snapshot-busy", 503)
            return
        self._admitted.add(ask)
        stream = self._router.find(ask.stream)
        if stream is None:
            self._refuse(ask, "stream-not-found", 404)
        elif ask.may_start and not stream.is_open:
            self._start(ask)
        else:
            onair = self._router.onair(ask.stream)
            if onair is not None:
                onair.attend(self._now())
            self._look(ask)

    def _start(self, ask: _Ask) -> None:
        """Be a reader until the picture is there."""

        def ready(_stream: Stream) -> None:
            ask.give_up_at = self._now() + self._options.key_timeout
            self._look(ask)

        def failed(reason: str, status: int) -> None:
            self._refuse(ask, reason, status)

        try:
            lease = self._router.open(ask.stream, ready, failed, ask.request.arrived)
        except PeerError as error:
            self._refuse(ask, error.reason, error.status)
            return
        if ask.is_over:
            lease.close()
        else:
            ask.lease = lease

    def _look(self, ask: _Ask) -> None:
        """Take the stream's last key frame as it is now."""
        if ask.is_over:
            return
        stream = self._router.find(ask.stream)
        if stream is None:
            self._refuse(ask, "stream-not-found", 404)
            return
        frame = key_frame_of(stream)
        if frame is not None:
            self._answer(ask, frame)
            return
        reason = why_none(stream)
        if reason in ("no-video-track", "snapshot-codec"):
            self._refuse(ask, reason, 415)
        elif reason == "no-key-frame" and self._now() < ask.give_up_at:
            asyncio.get_running_loop().call_later(POLL, self._look, ask)
        else:
            self._fall_back(ask, reason)

    def _answer(self, ask: _Ask, frame: Frame) -> None:
        """Answer with this key frame's picture, or have it made."""
        identity = _identity(ask.stream, frame)
        tag = _tag(identity, ask.width)
        if _matches(ask.request.headers.get("if-none-match", ""), tag):
            self._respond(ask, 304, self._headers(tag))
            return
        shot = self._shelf.get(ask.stream, ask.width)
        if shot is not None and shot.tag == tag:
            self._give(ask, shot)
            return
        broken = self._broken.get(ask.stream)
        if broken is not None and broken[0] == identity:
            self._fall_back(ask, broken[1])
            return
        key = (ask.stream, tag)
        asks = self._waiting.get(key)
        if asks is not None:
            asks.append(ask)
            return
        self._waiting[key] = [ask]
        track = frame.track
        source = TrackDescription(track.kind, track.codec, track.clock_rate, frame.parameters)
        taken = self._wall() - max(0.0, self._now() - frame.arrived)

        def done(jpeg: bytes, reason: str) -> None:
            self._developed(key, ask.width, identity, Shot(tag, jpeg, taken), reason)

        self.darkroom.develop(Job(announce(source, 0), frame.payload, frame.ntp, ask.width, done))

    def _developed(
        self, key: tuple[str, str], width: int, identity: bytes, shot: Shot, reason: str
    ) -> None:
        """A job is over, well or not."""
        stream = key[0]
        asks = self._waiting.pop(key, [])
        if shot.jpeg:
            if self._router.find(stream) is not None:
                self._shelf.put(stream, width, shot)
                self._broken.pop(stream, None)
            for ask in asks:
                self._give(ask, shot)
            return
        if reason not in ("snapshot-busy", "server-stopping", "idle"):
            # The frame's own fault, or the worker died of it: not tried again.
            self._broken[stream] = (identity, reason)
        for ask in asks:
            self._fall_back(ask, reason)

    # -- answers -----------------------------------------------------------------------------

    def _give(self, ask: _Ask, shot: Shot) -> None:
        if _matches(ask.request.headers.get("if-none-match", ""), shot.tag):
            self._respond(ask, 304, self._headers(shot.tag))
            return
        headers = [
            *self._headers(shot.tag),
            ("Content-Type", "image/jpeg"),
            ("Last-Modified", formatdate(shot.taken, usegmt=True)),
        ]
        self._respond(ask, 200, headers, shot.jpeg)

    def _fall_back(self, ask: _Ask, reason: str) -> None:
        """There is no picture of now: the last one that is kept, or the reason."""
        shot = self._shelf.get(ask.stream, ask.width)
        if shot is not None:
            self._give(ask, shot)
        else:
            self._refuse(ask, reason, 503)

    def _headers(self, tag: str) -> list[Header]:
        age = f"max-age={self._options.max_age}"
        return [*CORS, ("Cache-Control", age), ("ETag", f'"{tag}"')]

    def _refuse(self, ask: _Ask, reason: str, status: int) -> None:
        if not ask.is_over:
            self._over(ask)
            ask.connection.refuse(status, reason, RETRY if status == 503 else ())

    def _respond(self, ask: _Ask, status: int, headers: list[Header], body: bytes = b"") -> None:
        if not ask.is_over:
            self._over(ask)
            ask.connection.respond(status, headers, body)

    def _over(self, ask: _Ask) -> None:
        """The request is answered, or its peer has gone."""
        ask.is_over = True
        ask.connection.on_lost = None
        self._asks.discard(ask)
        self._admitted.discard(ask)
        if ask.lease is not None:
            ask.lease.close()


def key_frame_of(stream: Stream) -> Frame | None:
    """The stream's last key frame, if the cache has it and a snapshot can be made of it."""
    frames = stream.gop.frames()
    if not frames or not (stream.is_open or stream.state is State.LOST):
        return None
    first = frames[0]
    is_picture = first.track.kind is Kind.VIDEO and first.track.codec in CODECS
    return first if is_picture and first.key else None


def why_none(stream: Stream) -> str:
    """Why `key_frame_of` has no answer, as a stable slug."""
    if not (stream.is_open or stream.state is State.LOST):
        return "stream-not-running"
    pictures = [track for track in stream.tracks if track.kind is Kind.VIDEO]
    if not pictures:
        return "no-video-track"
    if not any(track.codec in CODECS for track in pictures):
        return "snapshot-codec"
    return "no-key-frame"


def _width(text: str | None) -> int | None:
    """The width of a query; 0 where it names none, None where it is not one of `WIDTHS`."""
    if text is None:
        return 0
    valid = text.isascii() and text.isdigit() and len(text) < 6
    return int(text) if valid and int(text) in WIDTHS else None


def _identity(stream: str, frame: Frame) -> bytes:
    """What tells one key frame from all others, also after a restart of the server."""
    version = frame.parameters.version if frame.parameters is not None else 0
    text = f"{stream}\0{frame.ntp}\0{frame.dts}\0{version}\0{frame.size_bytes}"
    return blake2b(text.encode(), digest_size=12).digest()


def _tag(identity: bytes, width: int) -> str:
    return f"{identity.hex()}-{width}"


def _matches(header: str, tag: str) -> bool:
    """RFC 9110 section 13.1.2, weak comparison."""
    wanted = [part.strip().removeprefix("W/").strip('"') for part in header.split(",")]
    return tag in wanted or "*" in wanted
