"""Answers `/`, `/NAME/` and `/_/...` on the media listener with pages for people.

It must be the last handler of the listener: what nobody else has answered it answers for browsers
with a page that says so. A stream's page is for those who may read the stream, and the list names
to each what it may read; whoever has not said who it is may be asked to (401). Scripts and styles
are for everybody.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from flux.bridges.http.connection import HttpConnection
from flux.bridges.http.request import Request, is_stream_name
from flux.bridges.http.response import Header
from flux.bridges.player.assets import Assets
from flux.bridges.player.pages import OWN, Pages, page_headers
from flux.bridges.player.standing import Standing, standing_of
from flux.core.admission import AccessRequest, Gate, Verdict, admit_all
from flux.security.access import View
from media.parameters import VideoParameters
from media.router import Router
from media.stream import State, Stream
from media.track import Kind

OWN_PREFIX = f"/{OWN}/"
STREAMS = "streams.json"
STREAM = "stream.json"
PROTOCOL = "player"
LOGIN = "login"  # a query of `/` that asks for credentials whatever can be seen without them
LIST_LIFETIME = 1.0  # seconds that one rendered list serves everybody
JSON_HEADERS: tuple[Header, ...] = (
    ("Content-Type", "application/json"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
)
QUERY_SAFE = "!$%&'()*+,-./:;=?@_~"  # stands in a query as it is; RFC 3986 section 3.4
FALSE_WORDS = ("", "0", "false", "no")

Survey = Callable[[AccessRequest, Callable[[View], None]], None]


def see_all(request: AccessRequest, done: Callable[[View], None]) -> None:
    """The survey of a server without users."""
    del request
    done(View(lambda stream: True, sees_all=True))


@dataclass(frozen=True, slots=True)
class PlayerOptions:
    """What configuration says of the pages."""

    list_streams: bool = True  # whether `/` tells everybody which streams there are
    thumbnails: bool = False  # whether `/NAME.jpg` shows a picture of a stream


class PlayerBridge:
    """The player page, the list of streams, and what they load."""

    def __init__(
        self,
        router: Router,
        options: PlayerOptions,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        *,
        permit: Gate = admit_all,
        survey: Survey = see_all,
    ) -> None:
        self._router = router
        self._options = options
        self._permit = permit
        self._survey = survey
        self._now = now
        self._wall = wall
        self.assets = Assets()
        self._pages = Pages(self.assets, lists_streams=options.list_streams)
        self._rows: list[tuple[str, bytes]] = []  # name, JSON
        self._listed_at: float | None = None

    def handle(self, request: Request, connection: HttpConnection) -> bool:
        """Answer a page, an asset or a state; False for what is no page and no browser's."""
        path = request.path
        if path.startswith(OWN_PREFIX):
            self._answer_own(path.removeprefix(OWN_PREFIX), request, connection)
        elif path == "/" and self._options.list_streams:
            self._answer_list(request, connection)
        elif path.endswith("/") and self._is_name(path[1:-1]):
            self._answer_player(path[1:-1], request, connection)
        elif self._is_name(path[1:]) and self._may_be_stream(path[1:], request):
            self._redirect(path[1:], request, connection)
        elif _wants_page(request):
            self._answer_missing(request, connection)
        else:
            return False
        return True

    def _is_name(self, name: str) -> bool:
        """Whether a stream is or may be called like this."""
        return is_stream_name(name) or self._router.find(name) is not None

    def _may_be_stream(self, name: str, request: Request) -> bool:
        """Whether it is a stream's; for a browser alone one is made that a pattern stands for."""
        return _wants_page(request) or self._router.find(name) is not None

    def _ask(
        self, name: str, request: Request, connection: HttpConnection, then: Callable[[], None]
    ) -> None:
        """Go on if the peer may read this stream, whether there is one or not."""

        def decided(verdict: Verdict) -> None:
            if verdict.allowed:
                then()
            else:
                connection.refuse(verdict.status, verdict.reason)

        self._permit(request.to_read(name, PROTOCOL, ""), decided)

    # -- pages -------------------------------------------------------------------------------

    def _answer_player(self, name: str, request: Request, connection: HttpConnection) -> None:
        def permitted() -> None:
            stream = self._router.lookup(name)
            if stream is None:
                self._answer_missing(request, connection)
                return
            is_embedded = request.query.get("embed", "").lower() not in FALSE_WORDS
            declared = self._router.declared(name)
            is_group = declared is not None and bool(declared.members)
            video = str(_shown(stream).get("video", ""))
            body = self._pages.player(name, is_embedded=is_embedded, is_group=is_group, video=video)
            connection.respond(200, page_headers(may_be_framed=is_embedded), body)

        self._ask(name, request, connection, permitted)

    def _redirect(self, name: str, request: Request, connection: HttpConnection) -> None:
        """To the same with a slash, relative: a proxy may have put a prefix in front."""

        def permitted() -> None:
            if self._router.lookup(name) is None:
                self._answer_missing(request, connection)
                return
            target = quote(name.rpartition("/")[2], safe="") + "/"
            if request.raw_query:
                target += "?" + quote(request.raw_query, safe=QUERY_SAFE, encoding="latin-1")
            connection.respond(307, [("Location", target), ("Cache-Control", "no-store")])

        self._ask(name, request, connection, permitted)

    def _answer_missing(self, request: Request, connection: HttpConnection) -> None:
        if _wants_page(request):
            headers = [*page_headers(), ("Vary", "Accept")]
            connection.respond(404, headers, self._pages.missing(request.path))
        else:
            connection.refuse(404, "not-found")

    def _answer_list(self, request: Request, connection: HttpConnection) -> None:
        """The page of the list; who sees nothing in it is asked who it is."""
        wish = request.to_read("", PROTOCOL, "")

        def known(view: View) -> None:
            names = [name for name, _ in self._all_rows()]
            hides = LOGIN in request.query or (names and not any(map(view.sees, names)))
            if view.refusal is not None:
                connection.refuse(view.refusal.status, view.refusal.reason)
            elif view.may_log_in and hides and not wish.has_credentials:
                connection.refuse(401, "credentials-needed")
            else:
                connection.respond(200, page_headers(), self._pages.streams())

        self._survey(wish, known)

    # -- data --------------------------------------------------------------------------------

    def _answer_own(self, path: str, request: Request, connection: HttpConnection) -> None:
        asset = self.assets.find(path)
        if asset is not None:
            headers, body = asset.answer(request.headers.get("accept-encoding", ""))
            connection.respond(200, headers, body)
        elif path == STREAM:
            self._answer_stream(request.query.get("name", ""), request, connection)
        elif path == STREAMS and self._options.list_streams:
            self._answer_streams(request, connection)
        else:
            connection.refuse(404, "not-found")

    def _answer_stream(self, name: str, request: Request, connection: HttpConnection) -> None:
        """How a stream stands, and the time here: a page measures latency against it."""

        def permitted() -> None:
            stream = self._router.lookup(name)
            if stream is None:
                connection.refuse(404, "stream-not-found")
                return
            standing = standing_of(stream, self._router.declared(name))
            now = round(self._wall() * 1000)
            body = {"name": name, "state": standing, **_shown(stream), "now": now}
            connection.respond(200, JSON_HEADERS, _json(body))

        if self._is_name(name):
            self._ask(name, request, connection, permitted)
        else:
            connection.refuse(404, "stream-not-found")

    def _answer_streams(self, request: Request, connection: HttpConnection) -> None:
        """The rows of the list that this viewer may know of."""

        def known(view: View) -> None:
            if view.refusal is not None:
                connection.refuse(view.refusal.status, view.refusal.reason)
                return
            rows = [row for name, row in self._all_rows() if view.sees_all or view.sees(name)]
            connection.respond(200, JSON_HEADERS, b'{"streams":[%b]}' % b",".join(rows))

        self._survey(request.to_read("", PROTOCOL, ""), known)

    def _all_rows(self) -> list[tuple[str, bytes]]:
        now = self._now()
        if self._listed_at is None or now - self._listed_at >= LIST_LIFETIME:
            self._listed_at = now
            streams = [s for s in self._router.streams() if s.state is not State.CLOSED]
            self._rows = [(stream.name, _json(self._row(stream))) for stream in streams]
        return self._rows

    def _row(self, stream: Stream) -> dict[str, object]:
        standing = standing_of(stream, self._router.declared(stream.name))
        row: dict[str, object] = {"name": stream.name, "state": standing, **_shown(stream)}
        # Only of a live one: to ask for a picture of a sleeping stream would wake its source. A
        # group has no tracks and no picture of its own.
        is_shown = standing is Standing.LIVE and bool(stream.tracks)
        row["thumbnail"] = self._options.thumbnails and is_shown
        return row


def _shown(stream: Stream) -> dict[str, object]:
    """What is to be seen and heard: `video`, `width`, `height`, `audio`; those that there are."""
    found: dict[str, object] = {}
    for track in stream.tracks:
        if track.kind is Kind.VIDEO:
            found["video"] = track.codec
            if isinstance(track.parameters, VideoParameters):
                found["width"] = track.parameters.width
                found["height"] = track.parameters.height
        elif track.kind is Kind.AUDIO and track.recoded_from is None:
            found["audio"] = track.codec
    return found


def _wants_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
