"""What keeps a stream going while its source is away: slates and other sources."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from config.urls import SourceUrl

OFF, BUILTIN = "off", "builtin"
MAX_SOURCES = 8  # of one stream, beside the first
MAX_PATH = 1000  # characters


def check_slate(text: str) -> str:
    """`text` itself if it is `off`, `builtin` or may be the path of a file; else ValueError."""
    if text in (OFF, BUILTIN):
        return text
    if not text.lower().endswith(".mp4") or len(text) > MAX_PATH or not text.isprintable():
        raise ValueError("expected off, builtin or the path of an .mp4 file")
    return text


def _one_is_a_list(value: object) -> object:
    """One source may stand by itself, and nothing behind the key is none."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _check_sources(sources: tuple[SourceUrl, ...]) -> tuple[SourceUrl, ...]:
    if len(sources) > MAX_SOURCES:
        raise ValueError(f"expected at most {MAX_SOURCES} sources")
    if len({source.reveal() for source in sources}) != len(sources):
        raise ValueError("expected each source once")
    return sources


# What documents say; other characters in a path are taken, too.
_SCHEMA: dict[str, Any] = {
    "type": "string",
    "pattern": r"^(off|builtin|[A-Za-z0-9_/-]{1,100}\.mp4)$",
}
SlateChoice = Annotated[str, AfterValidator(check_slate), WithJsonSchema(_SCHEMA)]

_Sources = Annotated[
    tuple[SourceUrl, ...], Field(max_length=MAX_SOURCES, json_schema_extra={"uniqueItems": True})
]
FallbackList = Annotated[
    tuple[SourceUrl, ...],
    BeforeValidator(_one_is_a_list, json_schema_input_type=_Sources | SourceUrl | None),
    AfterValidator(_check_sources),
]
