"""What the sending half of a connection has counted."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class SendCount:
    """Packets, unless the name says otherwise; bytes are of payloads. All of them only grow."""

    packets: int = 0  # with those sent again, without the filter's
    bytes: int = 0
    unique: int = 0
    unique_bytes: int = 0
    repeated: int = 0  # sent again
    repeated_bytes: int = 0
    doubled: int = 0  # of these: a second copy at the last chance
    unasked: int = 0  # of these: the peer did not ask
    probes: int = 0  # of these: the last packet, as nothing is heard of it
    lost: int = 0  # told by NAK, each time counted
    confirmed: int = 0  # acknowledged by the peer
    dropped: int = 0  # given up
    dropped_bytes: int = 0
    filter_packets: int = 0
    filter_bytes: int = 0
    acks: int = 0  # full ones
    light_acks: int = 0
    naks: int = 0
    timeouts: int = 0
    active_seconds: float = 0.0  # with something to send or not acknowledged, until `active_since`
    active_since: float | None = None
    reasons: dict[str, int] = field(default_factory=dict)  # of what was refused

    def begin(self, now: float) -> None:
        """There is something to send."""
        if self.active_since is None:
            self.active_since = now

    def rest(self, now: float) -> None:
        """All is acknowledged, or given up."""
        self.active_seconds = self.active(now)
        self.active_since = None

    def active(self, now: float) -> float:
        """Seconds so far with something to send."""
        since = self.active_since
        return self.active_seconds + (0.0 if since is None else now - since)

    def refuse(self, reason: str, packets: int = 1) -> None:
        """Something was not taken, or not done."""
        self.reasons[reason] = self.reasons.get(reason, 0) + packets
