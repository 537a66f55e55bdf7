"""What may stand behind the `?` of each list, and how it is read and refused."""

from collections import Counter
from typing import Annotated, Any, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from flux.api.problem import ApiProblem, Fault
from media.stream import State

DEFAULT_ITEMS = 100
MAX_ITEMS = 1000
MAX_PAGE = 1_000_000
MAX_TEXT = 200  # characters of one value


def _whole_number(value: Any) -> Any:
    """Digits alone: no sign, no space, no other script's digits."""
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) < 10):
            raise ValueError("expected a whole number")
        return int(value)
    return value


def _words(value: Any) -> Any:
    """Words with commas between them."""
    return tuple(value.split(",")) if isinstance(value, str) else value


Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]


class Query(BaseModel):
    """Base of all: what a resource does not know is refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class NoQuery(Query):
    """For resources without parameters."""


class PageQuery(Query):
    """Which page of a list."""

    page: Annotated[int, Field(ge=0, le=MAX_PAGE), BeforeValidator(_whole_number)] = 0
    """Which page, from 0."""
    items_per_page: Annotated[int, Field(ge=1, le=MAX_ITEMS), BeforeValidator(_whole_number)] = (
        DEFAULT_ITEMS
    )
    """Items on a page."""


StreamKey = Literal[
    "name",
    "-name",
    "state",
    "-state",
    "readers",
    "-readers",
    "received_bps",
    "-received_bps",
    "sent_bytes",
    "-sent_bytes",
    "memory_bytes",
    "-memory_bytes",
    "ready_since",
    "-ready_since",
]
SessionKey = Literal[
    "since",
    "-since",
    "id",
    "-id",
    "stream",
    "-stream",
    "lag",
    "-lag",
    "dropped",
    "-dropped",
    "sent_bytes",
    "-sent_bytes",
    "received_bytes",
    "-received_bytes",
]


class StreamsQuery(PageQuery):
    """Which streams, and their order."""

    state: State | None = None
    """Only streams in this state."""
    protocol: Text | None = None
    """Only streams whose source speaks this protocol: `rtsp`, `testcard`."""
    origin: Text | None = None
    """Only streams that came from there: `config`, `api`, `publisher`."""
    prefix: Text | None = None
    """Only streams whose name begins so."""
    sort: StreamKey = "name"
    """The order; `-` in front turns it round."""


class SessionsQuery(PageQuery):
    """Which sessions, and their order."""

    role: Literal["reader", "publisher"] | None = None
    """Only readers, or only publishers."""
    protocol: Text | None = None
    """Only sessions of this protocol: `http-flv`, `hls`."""
    stream: Text | None = None
    """Only sessions of this stream."""
    address: Text | None = None
    """Only sessions from this address."""
    state: Text | None = None
    """Only sessions in this state."""
    sort: SessionKey = "since"
    """The order; `-` in front turns it round."""


class SwitchQuery(Query):
    """Which source."""

    source: Annotated[int, Field(ge=0, le=100), BeforeValidator(_whole_number)] | None = None
    """Its place in `sources` of the stream, from 0; without it the best one that delivers."""


class EventsQuery(Query):
    """Which events."""

    kinds: Annotated[tuple[Text, ...], Field(max_length=100), BeforeValidator(_words)] = ()
    """Only events of these kinds, with commas between them."""
    stream: Text | None = None
    """Only events of this stream."""
    after: Text | None = None
    """Begin behind the event of this id, as the header `Last-Event-ID` does."""


Q = TypeVar("Q", bound=Query)


def read_query(request: web.Request, model: type[Q]) -> Q:
    """The query of a request; raises `ApiProblem` with everything that is wrong with it."""
    counts = Counter(name for name, _ in request.query.items())
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        faults = [Fault("given more than once", parameter=shorten(name)) for name in twice]
        raise ApiProblem(400, "query-invalid", "A parameter is given once.", errors=faults)
    try:
        return model.model_validate(dict(request.query))
    except ValidationError as error:
        details = error.errors(include_url=False)
    faults = [Fault(_reason(each), parameter=shorten(str(each["loc"][0]))) for each in details]
    if any(each["type"] == "extra_forbidden" for each in details):
        known = ", ".join(sorted(model.model_fields)) or "none"
        raise ApiProblem(400, "query-unknown", f"Known parameters: {known}.", errors=faults)
    raise ApiProblem(400, "query-invalid", "A parameter has no valid value.", errors=faults)


def shorten(text: str) -> str:
    """What a client sent, for a message to it."""
    return text if len(text) <= 40 else text[:37] + "..."


def _reason(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    if detail["type"] == "extra_forbidden":
        return "unknown parameter"
    if detail["type"] in ("literal_error", "enum"):
        return f"expected {context['expected']}"
    if detail["type"] == "value_error":
        return str(context["error"])
    return detail["msg"].replace("Input should be", "expected", 1)
