"""Hooks and the question who may enter, as the configuration says them (docs/hooks.md)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from config.patterns import ALL, StreamPattern
from config.quantities import DurationIn
from config.section import Section
from config.text_value import TextValue
from config.urls import MAX_URL, hide_credentials

HookName = Literal["ready", "not-ready", "publish", "read", "unread", "demand", "record-segment"]
TIED: frozenset[str] = frozenset({"ready", "publish", "read", "demand"})  # have an end of their own

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _one_is_a_list(value: object) -> object:
    """`on: ready` is `on: [ready]`."""
    return (value,) if isinstance(value, str | StreamPattern) else _as_tuple(value)


def _as_tuple(value: object) -> object:
    """A list that cannot be changed; one whose entries are all commented out is null in YAML."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise ValueError("expected a list")
    return tuple(value)


@dataclass(frozen=True, slots=True)
class HttpUrl(TextValue):
    """A service that is asked or told. `str()` and `repr()` hide credentials; `reveal()` not."""

    expected = "expected a URL such as https://host/path"
    json_schema: ClassVar[dict[str, Any]] = {"pattern": "^https?://.+"}

    _url: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Check a URL; `ValueError` says what is wrong without repeating it."""
        expected = "expected a URL such as https://host/path"
        if len(text) > MAX_URL or any(c.isspace() or not c.isprintable() for c in text):
            raise ValueError(f"{expected}, at most {MAX_URL} characters and no spaces")
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ValueError(expected) from None
        if parts.scheme not in ("http", "https") or not host or port == 0:
            raise ValueError(expected)
        return cls(text)

    def reveal(self) -> str:
        """The whole URL, credentials included: for the connection, never for people."""
        return self._url

    def __str__(self) -> str:
        return hide_credentials(self._url)


class WebhookSection(Section):
    """A POST with JSON."""

    url: HttpUrl
    """Where it goes: `http://` or `https://`."""
    secret: SecretStr = SecretStr("")
    """Key of the HMAC-SHA256 signature; empty is no signature."""
    timeout: Annotated[float, DurationIn("50ms", "1m")] = 5.0
    """How long one attempt may take, the look-up of the name included."""
    retries: Annotated[int, Field(ge=0, le=20)] = 3
    """Attempts after the first one has failed."""
    queue: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Events that wait for the receiver; over this the oldest is dropped."""


class CommandSection(Section):
    """A program."""

    argv: Annotated[Sequence[str], BeforeValidator(_as_tuple)]
    """The program and its arguments. No shell reads them."""
    env: Mapping[str, str] = Field(default_factory=dict)
    """More environment variables."""
    timeout: Annotated[float, DurationIn("100ms", "30d")] | None = None
    """Longest run. Unset: one minute, and no limit for what ends with its cause."""
    restart: bool = False
    """Start it again when it ends while its cause lasts."""
    close_after: Annotated[float, DurationIn("0", "1d")] = 10.0
    """`demand`: how long it goes on after the last reader left."""
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 32
    """Processes of this hook at a time; more wait."""
    queue: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Runs that wait; over this the oldest is dropped."""

    @field_validator("argv")
    @classmethod
    def _check_argv(cls, value: Sequence[str]) -> Sequence[str]:
        if not value or not value[0] or any("\0" in argument for argument in value):
            raise ValueError("expected a list: the program, then its arguments")
        return value

    @field_validator("env")
    @classmethod
    def _check_env(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for name, text in value.items():
            if _VARIABLE.fullmatch(name) is None or "\0" in text:
                raise ValueError("expected names of letters, digits and underscores")
        return value


class HookSection(Section):
    """What is done when something happens."""

    on: Annotated[Sequence[HookName], BeforeValidator(_one_is_a_list)]
    """What it waits for: one name or a list."""
    streams: Annotated[Sequence[StreamPattern], BeforeValidator(_one_is_a_list)] = Field(
        default=(StreamPattern.parse(ALL),)
    )
    """The streams that are meant, one pattern or a list: a name, `live/*`, `~regex`, `all`."""
    webhook: WebhookSection | None = None
    """Tell a service."""
    command: CommandSection | None = None
    """Run a program."""

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if (self.webhook is None) == (self.command is None):
            raise ValueError("expected either webhook or command")
        if not self.on or not self.streams:
            raise ValueError("expected at least one event and one stream pattern")
        if self.command is not None and self.command.restart and not TIED.intersection(self.on):
            raise ValueError(f"expected restart only with one of {', '.join(sorted(TIED))}")
        return self

    def covers(self, stream: str) -> bool:
        """Whether this stream is meant."""
        return any(pattern.matches(stream) for pattern in self.streams)


HookList = Annotated[Sequence[HookSection], BeforeValidator(_as_tuple)]


class AuthorizeSection(Section):
    """A service that says who may enter."""

    url: HttpUrl | None = None
    """The service; without it nobody is asked."""
    timeout: Annotated[float, DurationIn("50ms", "30s")] = 3.0
    """How long it may take to answer; after that the answer is no."""
    on: Annotated[Sequence[Literal["read", "publish"]], BeforeValidator(_one_is_a_list)] = (
        "read",
        "publish",
    )
    """What is asked for."""
    secret: SecretStr = SecretStr("")
    """Key of the HMAC-SHA256 signature; empty is no signature."""
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 64
    """Questions at a time; more wait, within their timeout."""
