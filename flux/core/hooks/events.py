"""What hooks tell the bus about themselves."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HookFailed:
    """A webhook was not taken after all attempts, or a command did not end well."""

    hook: str
    on: str  # ready, not-ready, publish, read, unread, demand
    stream: str
    reason: str


@dataclass(frozen=True, slots=True)
class HookOverflowed:
    """The queue of a hook is full and loses its oldest entries; told once until there is room."""

    hook: str
    dropped: int  # since the server began
