"""The states of a pull and what leads from one to the next; `connection.py` has the theory."""

from enum import StrEnum


class State(StrEnum):
    """Where the machine is."""

    NEW = "new"
    OPTIONS = "options"
    DESCRIBING = "describing"
    DESCRIBED = "described"
    SETTING_UP = "setting-up"
    STARTING = "starting"
    PLAYING = "playing"
    LEAVING = "leaving"
    CLOSED = "closed"


TRANSITIONS: dict[State, dict[str, State]] = {
    State.NEW: {"connect": State.OPTIONS},
    State.OPTIONS: {"answered": State.DESCRIBING},
    State.DESCRIBING: {"answered": State.DESCRIBED},
    State.DESCRIBED: {"set_up": State.SETTING_UP},
    State.SETTING_UP: {
        "answered": State.STARTING,
        "refused": State.DESCRIBED,
        "close": State.LEAVING,
    },
    State.STARTING: {"answered": State.PLAYING, "close": State.LEAVING},
    State.PLAYING: {"close": State.LEAVING},
    State.LEAVING: {},
    State.CLOSED: {},
}
