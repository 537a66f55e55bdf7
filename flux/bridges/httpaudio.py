"""Sound alone over HTTP: `http://host:8888/NAME.aac`, `.mp3`, `.opus`."""

from flux.bridges.http.feeds import FeedBridgeOptions, FeedOutputKind, HttpFeedBridge
from flux.core.admission import Admission
from media.elementary import AdtsFormat, Mp3Format, OggOpusFormat
from media.router import Router
from media.stream import Emit
from media.track import Kind

KINDS = tuple(
    FeedOutputKind(
        name=form.name,
        protocol="http-audio",
        suffix=f".{form.name}",
        content_type=content_type,
        carries=form.carries,
        make=form,
        only=Kind.AUDIO,
    )
    for form, content_type in (
        (AdtsFormat, "audio/aac"),
        (Mp3Format, "audio/mpeg"),
        (OggOpusFormat, "audio/ogg; codecs=opus"),
    )
)


def http_audio(
    router: Router, admission: Admission, emit: Emit, options: FeedBridgeOptions
) -> list[HttpFeedBridge]:
    """The bridges, for the media listener."""
    return [HttpFeedBridge(kind, router, admission, emit, options) for kind in KINDS]
