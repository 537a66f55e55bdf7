"""Keeps secrets out of the logs: one structlog processor that sees every line."""

import re
from collections.abc import Mapping

from structlog.typing import EventDict, WrappedLogger

from config.urls import HIDDEN, hide_in_text

SECRET_KEYS = frozenset(
    {"password", "passphrase", "pass", "secret", "token", "authorization", "cookie", "api_key"}
)
_AUTHORIZATION = re.compile(r"\b(Basic|Bearer|Digest)\s+[A-Za-z0-9+/=._~\"-][^\r\n'\"]*", re.I)


def redact(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Hide credentials in every value of a log line."""
    for key, value in event.items():
        if key.lower() in SECRET_KEYS:
            event[key] = HIDDEN
        elif not isinstance(value, int | float | bool | None):
            event[key] = redact_value(value)
    return event


def redact_value(value: object) -> object:
    """The value with credentials hidden, in nested mappings and sequences too."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {
            key: HIDDEN if str(key).lower() in SECRET_KEYS else redact_value(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact_value(item) for item in value]
    return value


def redact_text(text: str) -> str:
    """Text without the credentials of URLs and of Authorization headers."""
    text = hide_in_text(text)
    if "asic" in text or "earer" in text or "igest" in text:
        text = _AUTHORIZATION.sub(rf"\1 {HIDDEN}", text)
    return text
