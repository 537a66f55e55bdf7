"""The error family. Reasons are stable slugs: metric labels, log fields, what tests assert."""

import traceback
from pathlib import PurePath


class FluxError(Exception):
    """Base of every error that FLUX raises on purpose."""


class WireError(FluxError):
    """The bytes are wrong. Raised by parsers only; machines turn it into an event or a count."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class PeerError(FluxError):
    """The peer broke the rules; `status` is the hint for the reply (0 if there is none)."""

    def __init__(self, reason: str, status: int = 0, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.status = status
        self.detail = detail


class StateError(FluxError):
    """We called something at a time when it cannot be called."""


class ConfigError(FluxError):
    """A configuration value is wrong; `path` is where, in the file's own words."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.path = path
        self.reason = reason


class AuthError(FluxError):
    """Credentials are missing or wrong."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def fault_of(error: Exception) -> str:
    """An unforeseen exception and where it came from, in one line."""
    places = traceback.extract_tb(error.__traceback__)
    if not places:
        return repr(error)
    return f"{error!r} at {PurePath(places[-1].filename).name}:{places[-1].lineno}"
