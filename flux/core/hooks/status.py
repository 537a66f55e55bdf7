"""What the API and the metrics may know of a hook."""

from dataclasses import dataclass


@dataclass(slots=True)
class HookCounters:
    """Since the server began."""

    done: int = 0  # delivered, or run to a good end
    failed: int = 0
    retries: int = 0  # further attempts, restarts
    dropped: int = 0  # by a full queue, or at the end of the server


@dataclass(frozen=True, slots=True, kw_only=True)
class HookStatus:
    """One hook at one moment."""

    name: str
    kind: str  # webhook, command
    on: tuple[str, ...]
    waiting: int
    running: int
    done: int
    failed: int
    retries: int
    dropped: int
