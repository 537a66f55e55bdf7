"""One handshake packet, sent again and again until it is replaced: the timer of both initiators."""

from protocols.srt.handshake_wire import Handshake
from protocols.srt.packet import timestamp_at

# libsrt waits 250 ms each time, so that one lost packet costs as much; an answer that is on its way
# costs nothing but a few bytes to ask for again.
FIRST_INTERVAL = 0.05
MAX_INTERVAL = 0.25
GROWTH = 2.0
RTT_SHARE = 1.25
# Two machines that answer each other must not run hot, and what the peer asks for once more is
# mostly on its way.
MIN_REPEAT = FIRST_INTERVAL
NEVER = float("inf")


class Repeater:
    """Public: `sent` (times that the present packet left), `first_sent_at`, `send_at` (infinity:
    never), `is_once`."""

    __slots__ = (
        "_destination",
        "_handshake",
        "_interval",
        "_last_sent_at",
        "_started_at",
        "first_sent_at",
        "is_once",
        "send_at",
        "sent",
    )

    def __init__(self, started_at: float) -> None:
        self._started_at = started_at
        self._handshake: Handshake | None = None
        self._destination = 0
        self._interval = FIRST_INTERVAL
        self._last_sent_at = -NEVER
        self.sent = 0
        self.first_sent_at = 0.0
        self.send_at = NEVER
        self.is_once = False

    def send(
        self, handshake: Handshake, destination: int, now: float, interval: float = FIRST_INTERVAL
    ) -> None:
        """Send this at once, and again until there is something else to say or `stop`.

        `interval`: to the first repetition, see `interval_for`.
        """
        self._handshake, self._destination = handshake, destination
        self._interval = interval
        self.sent = 0
        self.send_at = now
        self.is_once = False

    def send_again(self, now: float) -> None:
        """The peer asks once more: the present packet at once, if it was ever sent."""
        if self._handshake is not None and self.sent:
            self.send_at = min(self.send_at, max(now, self._last_sent_at + MIN_REPEAT))

    def send_once(self) -> None:
        """The present packet goes out no more than once, but for `send_again`."""
        self.is_once = True

    def stop(self) -> None:
        """Nothing more."""
        self.send_at = NEVER

    def forget(self) -> None:
        """Nothing more, whoever asks."""
        self.send_at = NEVER
        self._handshake = None

    def take(self, now: float) -> bytes | None:
        """The datagram, if it is time."""
        if now < self.send_at or self._handshake is None:
            return None
        if not self.sent:
            self.first_sent_at = now
        self._last_sent_at = now
        self.sent += 1
        self.send_at = NEVER if self.is_once else now + self._interval
        self._interval = max(self._interval, min(self._interval * GROWTH, MAX_INTERVAL))
        return self._handshake.to_datagram(timestamp_at(now, self._started_at), self._destination)


def interval_for(answer_time: float) -> float:
    """How long to wait for an answer where another took so many seconds.

    Never longer than libsrt waits: on a long way a copy too many costs less than a lost one.
    """
    return max(FIRST_INTERVAL, min(answer_time * RTT_SHARE, MAX_INTERVAL))
