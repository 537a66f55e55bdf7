"""HTTP-FLV: `http://host:8888/NAME.flv`."""

from flux.bridges.http.feeds import FeedBridgeOptions, FeedOutputKind, HttpFeedBridge
from flux.core.admission import Admission
from media.flv.muxer import FlvMuxer, carries_track
from media.router import Router
from media.stream import Emit

HTTP_FLV = FeedOutputKind(
    name="flv",
    protocol="http-flv",
    suffix=".flv",
    content_type="video/x-flv",
    carries=carries_track,
    make=FlvMuxer,
)


def http_flv(
    router: Router, admission: Admission, emit: Emit, options: FeedBridgeOptions
) -> HttpFeedBridge:
    """The bridge, for the media listener."""
    return HttpFeedBridge(HTTP_FLV, router, admission, emit, options)
