"""The states of a server's session and what leads from one to the next.

RFC 2326 appendix A.2, with RFC 7826's kindness for PAUSE in Ready (200, table 11). SETUP while
media flows is refused (455): no client that was met changes a transport under way.
"""

from enum import StrEnum


class SessionState(StrEnum):
    """Where a session is."""

    ANNOUNCED = "announced"  # a publisher without any track
    RECORD_READY = "record-ready"
    RECORDING = "recording"
    READY = "ready"
    PLAYING = "playing"
    ENDED = "ended"


TRANSITIONS: dict[SessionState, dict[str, SessionState]] = {
    SessionState.ANNOUNCED: {
        "SETUP": SessionState.RECORD_READY,
        "TEARDOWN": SessionState.ENDED,
    },
    SessionState.RECORD_READY: {
        "SETUP": SessionState.RECORD_READY,
        "RECORD": SessionState.RECORDING,
        "PAUSE": SessionState.RECORD_READY,
        "TEARDOWN": SessionState.ENDED,
    },
    SessionState.RECORDING: {
        "RECORD": SessionState.RECORDING,
        "PAUSE": SessionState.RECORD_READY,
        "TEARDOWN": SessionState.ENDED,
    },
    SessionState.READY: {
        "SETUP": SessionState.READY,
        "PLAY": SessionState.PLAYING,
        "PAUSE": SessionState.READY,
        "TEARDOWN": SessionState.ENDED,
    },
    SessionState.PLAYING: {
        "PLAY": SessionState.PLAYING,
        "PAUSE": SessionState.READY,
        "TEARDOWN": SessionState.ENDED,
    },
    SessionState.ENDED: {},
}

ALWAYS = ("OPTIONS", "DESCRIBE", "GET_PARAMETER", "SET_PARAMETER")


def allowed(state: SessionState) -> str:
    """The Allow header of a 455, RFC 2326 section 11.3.6."""
    return ", ".join((*ALWAYS, *TRANSITIONS[state]))
