"""How a stream stands in the words of a viewer."""

from enum import StrEnum

from media.source import Declared
from media.stream import State, Stream


class Standing(StrEnum):
    """What the pages show."""

    LIVE = "live"
    STARTING = "starting"
    INTERRUPTED = "interrupted"  # it was live and may go on any moment
    ON_DEMAND = "on-demand"  # it starts when somebody watches
    OFFLINE = "offline"


def standing_of(stream: Stream, declared: Declared | None) -> Standing:
    """From the state of the stream and of its source."""
    match stream.state:
        case State.READY | State.SLATE:
            return Standing.LIVE
        case State.LOST:
            return Standing.INTERRUPTED
        case State.WAITING:
            return Standing.STARTING
        case State.STARTING:
            # A source that waits for its next try has failed the last one.
            failed = declared is not None and declared.status.state == "waiting"
            return Standing.OFFLINE if failed else Standing.STARTING
        case State.CLOSED:
            return Standing.OFFLINE
        case State.IDLE:
            is_asleep = declared is not None and declared.on_demand
            return Standing.ON_DEMAND if is_asleep else Standing.OFFLINE
