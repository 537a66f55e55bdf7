"""Fragmented MP4 over HTTP and WebSocket: `http://host:8888/NAME.mp4`, `ws://...`."""

from flux.bridges.http.feeds import FeedBridgeOptions, FeedOutputKind, HttpFeedBridge
from flux.core.admission import Admission
from media.fmp4.format import Fmp4Format, carries_track
from media.fmp4.near_zero import NearZero
from media.router import Router
from media.stream import Emit

HTTP_MP4 = FeedOutputKind(
    name="fmp4",
    protocol="http-fmp4",
    suffix=".mp4",
    content_type="video/mp4",
    carries=carries_track,
    make=Fmp4Format,
    websocket="ws-fmp4",
    dress=NearZero,
)


def http_mp4(
    router: Router, admission: Admission, emit: Emit, options: FeedBridgeOptions
) -> HttpFeedBridge:
    """The bridge, for the media listener; behind HLS, whose segments may end in `.mp4`, too."""
    return HttpFeedBridge(HTTP_MP4, router, admission, emit, options)
