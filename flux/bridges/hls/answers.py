"""What goes out: playlists with the viewer's token, and media, with what caches have to know.

A playlist's body differs between viewers in the token alone, and its head not at all: both are made
once for each version.
"""

from flux.bridges.http.connection import HttpConnection
from flux.bridges.http.request import Request
from flux.bridges.http.resource import give, is_known, takes_gzip
from flux.bridges.http.response import CORS, Header, head
from media.hls.parts import Part
from media.hls.playlist import CONTENT_TYPE, Playlist
from media.hls.segment import Initialization, Segment

SEGMENT_CACHE = ("Cache-Control", "public, max-age=3600, immutable")
OWN = "private, no-cache"  # a viewer's own: no cache may give it to another one
LEAST_PACKED = 400  # bytes that are worth compressing
VARY = ("Vary", "Accept-Encoding")
PLAYLIST_HEADERS: tuple[Header, ...] = (
    *CORS,
    ("Content-Type", CONTENT_TYPE),
    ("Cache-Control", OWN),
    VARY,
)


def give_playlist(
    connection: HttpConnection, request: Request, playlist: Playlist, token: str, cache: str
) -> int:
    """Answer with a playlist; `cache` is its Cache-Control. Answers how many bytes go out.

    Who asks without the token has not seen this playlist, whatever he says.
    """
    is_packed = takes_gzip(request.headers.get("accept-encoding", ""))
    body = playlist.render(token)
    is_packed = is_packed and len(body) >= LEAST_PACKED
    etag = f'"{playlist.etag}{"-gz" if is_packed else ""}"'
    if request.query.get("s", "") == token and is_known(request, etag):
        fields = [*CORS, ("Cache-Control", cache), VARY, ("ETag", etag)]
        connection.respond(304, fields)
        return 0
    if is_packed:
        body = playlist.compress(token)
    key = (len(body), is_packed, cache, request.keep_alive)
    first = playlist.heads.get(key)
    if first is None:
        fields = [*CORS, ("Content-Type", CONTENT_TYPE), ("Cache-Control", cache), VARY]
        fields.append(("ETag", etag))
        if is_packed:
            fields.append(("Content-Encoding", "gzip"))
        first = head(200, fields, length=len(body), keep_alive=request.keep_alive)
        playlist.heads[key] = first
    connection.give(200, first, body)
    return len(body) if request.method == "GET" else 0


def give_media(
    connection: HttpConnection,
    request: Request,
    found: Segment | Part | Initialization,
    content_type: str,
) -> int:
    """Answer with a segment, a part, or what comes before them."""
    headers = [("Content-Type", content_type), SEGMENT_CACHE]
    return give(connection, request, found.data, f'"{found.name}"', headers)


def shared_cache(target_duration: int, *, is_multivariant: bool, has_waited: bool) -> str:
    """The Cache-Control of a playlist that is the same for all viewers.

    draft-pantos-hls-rfc8216bis appendix B: what was waited for never changes, the rest for half a
    target duration.
    """
    if has_waited:
        seconds = 6 * target_duration
    elif is_multivariant:
        seconds = max(1, target_duration)
    else:
        seconds = max(1, target_duration // 2)
    return f"public, max-age={seconds}"
