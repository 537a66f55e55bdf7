"""How long a missing packet may be on its way before it counts as lost: a time, and it learns.

It starts at an eighth of the round trip. A packet that comes after its hole was seen, and was not
sent again, shows how late they come here: the tolerance becomes that and a margin. Without such a
packet it shrinks again, by half in about ten seconds. It never takes an attempt of repair away
that the latency has room for, unless reordering was really seen, or a number of packets was set
(libsrt's lossmaxttl); then half of the latency is the most.
"""

MIN_TOLERANCE = 0.001
MARGIN = 0.002
GROWTH = 1.15
RTT_SHARE = 8
SLACK_SHARE = 0.4
LATENCY_SHARE = 0.5
HALF_LIFE = 10.0
UNTIMED_LATENCY = 1.0  # stands in for the latency where nothing is played out in time


class ReorderTolerance:
    """Public: `seconds`, and `most` seconds that a packet was ever late."""

    __slots__ = ("_learned", "_learned_at", "_limit", "_packets", "most", "seconds")

    def __init__(self, latency: float, packets: int = 0) -> None:
        """`latency` in seconds; 0: nothing is played out in time. `packets`: to wait for."""
        self._limit = (latency or UNTIMED_LATENCY) * LATENCY_SHARE
        self._packets = packets
        self._learned = 0.0
        self._learned_at = 0.0
        self.most = 0.0
        self.seconds = MIN_TOLERANCE

    def update(self, rtt: float, slack: float, pace: float, now: float) -> None:
        """Follow the round trip; `slack` is the time that attempts of repair leave free, `pace`
        that from packet to packet."""
        learned = self._learned
        if learned:
            age = now - self._learned_at
            if age > 1.0:
                learned = self._learned = learned * 0.5 ** (age / HALF_LIFE)
                self._learned_at = now
                if learned < MIN_TOLERANCE:
                    self._learned = 0.0
        initial = min(rtt / RTT_SHARE, slack * SLACK_SHARE)
        least = max(self._packets * pace, MIN_TOLERANCE)
        self.seconds = min(max(initial, learned, least), self._limit)

    def learn(self, late: float, now: float) -> None:
        """A packet came `late` seconds after its hole was seen, and had not been sent again."""
        if late > self.most:
            self.most = late
        wanted = min(late * GROWTH + MARGIN, self._limit)
        if wanted >= self._learned * 0.9:
            self._learned_at = now
        if wanted > self._learned:
            self._learned = wanted
            self.seconds = max(self.seconds, wanted)
