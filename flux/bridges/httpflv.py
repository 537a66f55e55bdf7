"""HTTP-FLV and WS-FLV: `http://host:8888/NAME.flv`, `ws://host:8888/NAME.flv`."""

from collections.abc import Callable, Sequence
from functools import partial

from flux.bridges.http.feeds import FeedBridgeOptions, FeedOutputKind, HttpFeedBridge
from flux.bridges.http.request import Request
from flux.core.admission import Admission
from media.flv.forms import Form, carries_track, is_same_in_auto
from media.flv.muxer import FlvMuxer
from media.router import Router
from media.stream import Emit, Stream
from media.track import PCMA, PCMU, Track

FORM_QUERY = "flv"  # `?flv=enhanced`
FORMS = frozenset(map(str, Form))


def kind_of(form: Form) -> FeedOutputKind:
    """FLV in one of its forms."""
    carries: Callable[[Track], bool] = partial(_carries, form)
    make: Callable[[Sequence[Track]], FlvMuxer] = partial(_make, form)
    return FeedOutputKind(
        name="flv" if form is Form.AUTO else f"flv-{form}",
        protocol="http-flv",
        suffix=".flv",
        content_type="video/x-flv",
        carries=carries,
        make=make,
        websocket="ws-flv",
        is_welcome=_is_welcome,
    )


def _carries(form: Form, track: Track) -> bool:
    return carries_track(track, form)


def _is_welcome(track: Track) -> bool:
    return track.codec not in (PCMA, PCMU)  # browsers have no decoder for them


def _make(form: Form, tracks: Sequence[Track]) -> FlvMuxer:
    return FlvMuxer(tracks, form)


KINDS = {form: kind_of(form) for form in Form}
HTTP_FLV = KINDS[Form.AUTO]


class FlvForms:
    """Picks the form of a reader: what it asks for, or what configuration says."""

    def __init__(self, usual: Form) -> None:
        self._usual = usual

    def refusal(self, request: Request) -> str:
        """A form that there is not."""
        is_known = request.query.get(FORM_QUERY, self._usual) in FORMS
        return "" if is_known else "unknown-flv-form"

    def choose(self, stream: Stream, request: Request) -> FeedOutputKind:
        """The kind of output; readers of forms that come to the same share one."""
        form = Form(request.query.get(FORM_QUERY, self._usual))
        return HTTP_FLV if is_same_in_auto(stream.tracks, form) else KINDS[form]


def http_flv(
    router: Router,
    admission: Admission,
    emit: Emit,
    options: FeedBridgeOptions,
    form: Form = Form.AUTO,
) -> HttpFeedBridge:
    """The bridge, for the media listener; `form` is for readers that ask for none."""
    return HttpFeedBridge(HTTP_FLV, router, admission, emit, options, forms=FlvForms(form))
