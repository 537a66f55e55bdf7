"""Whose doing it is that a reader gets less than there is: the table from reasons to causes."""

from collections.abc import Mapping
from enum import StrEnum


class Cause(StrEnum):
    """Who is to blame."""

    NETWORK = "network"  # the reader's own, or the reader itself: it does not take what it is sent
    SERVER = "server"  # this process, or the machine that it has too little of
    SOURCE = "source"  # who publishes the stream, and the way from there

    __hash__ = str.__hash__  # Enum's own is Python; there is a lookup for each of many readers


# What was not passed on (`Stream.drops`). Everything else there came in broken or not at all.
_DROPS = {
    "reader-skipped": Cause.NETWORK,
    "output-fault": Cause.SERVER,
    "recoder-slow": Cause.SERVER,
    "worker-late": Cause.SERVER,
}
# Why a reader was closed or not let in. What is not here is nobody's fault, or its source's, which
# counts once when the source goes, for all readers.
_ENDS = {
    "reader-stalled": Cause.NETWORK,
    "egress-limit": Cause.SERVER,
    "internal-error": Cause.SERVER,
    "output-fault": Cause.SERVER,
    "server-overloaded": Cause.SERVER,
    "too-many-readers": Cause.SERVER,
    "too-many-sessions": Cause.SERVER,
}


def cause_of_drop(reason: str) -> Cause:
    """Why a unit was not passed on."""
    return _DROPS.get(reason, Cause.SOURCE)


def cause_of_end(reason: str) -> Cause | None:
    """Why a reader was closed or refused; None if that is no interruption of its own."""
    return _ENDS.get(reason)


def dropped_by(cause: Cause, drops: Mapping[str, int]) -> int:
    """How much of what was not passed on has this cause."""
    return sum(count for reason, count in drops.items() if cause_of_drop(reason) is cause)
