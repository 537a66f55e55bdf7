"""MPEG-TS over HTTP and WebSocket: `http://host:8888/NAME.ts`, `ws://...`."""

from flux.bridges.http.feeds import FeedBridgeOptions, FeedOutputKind, HttpFeedBridge
from flux.core.admission import Admission
from media.mpegts.format import TsFormat, carries_track
from media.router import Router
from media.stream import Emit


class TsBody(TsFormat):
    """A transport stream whose readers begin in its past.

    Tables before each key frame, and every 60 ms, are in the chunks themselves. Others in front of
    them, counted as of now, would break the continuity counters.
    """

    def header(self) -> bytes:
        """Nothing."""
        return b""

    def resume(self) -> bytes:
        """Nothing."""
        return b""


HTTP_TS = FeedOutputKind(
    name="ts",
    protocol="http-ts",
    suffix=".ts",
    content_type="video/mp2t",
    carries=carries_track,
    make=TsBody,
    websocket="ws-ts",
)


def http_ts(
    router: Router, admission: Admission, emit: Emit, options: FeedBridgeOptions
) -> HttpFeedBridge:
    """The bridge, for the media listener; behind HLS, whose segments end in `.ts`, too."""
    return HttpFeedBridge(HTTP_TS, router, admission, emit, options)
