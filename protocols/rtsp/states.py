"""The states of a client and what leads from one to the next.

`connection.py` has the theory of the client that plays, `push/connection.py` of the one that
records.
"""

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    """Where the machine is."""

    NEW = "new"
    OPTIONS = "options"
    DESCRIBING = "describing"
    DESCRIBED = "described"
    ANNOUNCING = "announcing"
    ANNOUNCED = "announced"
    SETTING_UP = "setting-up"
    STARTING = "starting"
    PLAYING = "playing"
    RECORDING = "recording"
    LEAVING = "leaving"
    CLOSED = "closed"


Transitions = Mapping[State, Mapping[str, State]]

PULL_TRANSITIONS: Transitions = {
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
}
PUSH_TRANSITIONS: Transitions = {
    State.NEW: {"connect": State.OPTIONS},
    State.OPTIONS: {"answered": State.ANNOUNCING},
    State.ANNOUNCING: {"answered": State.ANNOUNCED},
    State.ANNOUNCED: {"set_up": State.SETTING_UP, "close": State.LEAVING},
    State.SETTING_UP: {
        "answered": State.STARTING,
        "refused": State.ANNOUNCED,
        "close": State.LEAVING,
    },
    State.STARTING: {"answered": State.RECORDING, "close": State.LEAVING},
    State.RECORDING: {"close": State.LEAVING},
}
