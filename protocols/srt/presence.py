"""Whether the two sides are still there: keepalive, idleness, and how a connection ends."""

from enum import Enum, auto

from protocols.srt.options import Options

ENDING_TIME = 0.1  # seconds at least between the peer's SHUTDOWN and our end
CONTRADICTION = 0.03  # seconds after a SHUTDOWN; what comes later was sent later
MIN_SIGNS = 2
MAX_UNREACHABLE = (
    4  # errors of the network in a row; a link that is not answered sends once a second
)
MIN_SILENCE = 1.0  # seconds
# quirk: libsrt 1.5 in a blocking read that is interrupted by SHUTDOWN throws away what it has just
# read (draft section 3.2.7 lets a receiver close at once). tests/interop/test_srt_messages.py
SETTLING = 0.2  # seconds from the last acknowledgement to our SHUTDOWN, in file modes
NEVER = float("inf")


class Phase(Enum):
    """See `connection`."""

    OPEN = auto()
    LINGERING = auto()
    ENDING = auto()
    CLOSED = auto()


class Presence:
    """Public: `phase`, `reason` and `is_remote` of the end, `received_at`, `sent_at`."""

    __slots__ = (
        "_ending",
        "_ends_at",
        "_is_settling",
        "_options",
        "_signs",
        "_told_at",
        "_unreachable",
        "is_remote",
        "phase",
        "reason",
        "received_at",
        "sent_at",
    )

    def __init__(self, options: Options, now: float) -> None:
        self._options = options
        self.phase = Phase.OPEN
        self.reason = ""
        self.is_remote = False
        self.received_at = now
        self.sent_at = now
        self._ending = ""  # the reason, if nothing contradicts
        self._told_at = 0.0  # when SHUTDOWN came
        self._ends_at = NEVER
        self._is_settling = False
        self._signs = 0
        self._unreachable = 0

    @property
    def is_taking(self) -> bool:
        """Whether the application may send; while it is not sure that the peer has left, too."""
        return self.phase is Phase.OPEN or self.phase is Phase.ENDING

    def hear(self, now: float) -> None:
        """Something of the peer came."""
        self.received_at = now
        self._unreachable = 0

    def hear_life(self, now: float) -> bool:
        """A packet or an ACK that goes on; whether it takes a SHUTDOWN back."""
        if self.phase is not Phase.ENDING or now < self._told_at + CONTRADICTION:
            return False
        self._signs += 1
        if self._signs < MIN_SIGNS:
            return False
        self.phase = Phase.OPEN
        self._ends_at = NEVER
        self._signs = 0
        return True

    def linger(self, now: float) -> None:
        """We want to end when all is acknowledged."""
        if self.phase is Phase.OPEN:
            self.phase = Phase.LINGERING
            self._ends_at = now + self._options.linger

    def hear_shutdown(self, now: float, reason: str = "srt-peer-closed") -> None:
        """The peer wants to end."""
        if self.phase is Phase.OPEN or self.phase is Phase.LINGERING:
            self.phase = Phase.ENDING
            self._ending = reason
            self._told_at = now
            self._signs = 0
            self._ends_at = now + ENDING_TIME

    def hear_unreachable(self, now: float) -> None:
        """The network says that nobody is there."""
        self._unreachable += 1
        if self._unreachable >= MAX_UNREACHABLE and now > self.received_at + MIN_SILENCE:
            self.end("srt-peer-unreachable", True)

    def end(self, reason: str, is_remote: bool) -> None:
        """It is over."""
        if self.phase is not Phase.CLOSED:
            self.phase = Phase.CLOSED
            self.reason = reason
            self.is_remote = is_remote

    def look(self, is_sent: bool, is_played: bool, now: float) -> None:
        """See whether it is over: all was acknowledged, all was played out, nobody is there."""
        if self.phase is Phase.LINGERING and is_sent and not self._is_settling:
            self._is_settling = True
            self._ends_at = min(self._ends_at, now + SETTLING)
        elif self.phase is Phase.LINGERING and now >= self._ends_at:
            self.end("srt-closed", False)
        elif self.phase is Phase.ENDING and is_played and now >= self._ends_at:
            self.end(self._ending, True)
        elif now >= self._idle_at:
            self.end("srt-peer-idle", True)

    @property
    def _idle_at(self) -> float:
        """When the peer is gone; one that has left may still be read to the end."""
        limit = self._options.idle_timeout
        if self.phase is Phase.ENDING:
            limit = max(limit, self._options.linger)
        return self.received_at + limit

    @property
    def keepalive_at(self) -> float:
        """When something must be sent."""
        return self.sent_at + self._options.keepalive_interval

    def get_timer(self, now: float) -> float:
        """When `look`, or a keepalive, is wanted."""
        options = self._options
        at = min(self.sent_at + options.keepalive_interval, self.received_at + options.idle_timeout)
        if self.phase is Phase.ENDING:
            at = min(self.keepalive_at, self._idle_at)
        # What is waited for longer than that has timers of its own.
        return min(at, self._ends_at) if self._ends_at > now else at
