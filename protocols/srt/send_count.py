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
    dropped: int = 0  # given up
    dropped_bytes: int = 0
    filter_packets: int = 0
    acks: int = 0
    naks: int = 0
    timeouts: int = 0
    active_seconds: float = 0.0  # with something to send or not acknowledged
    reasons: dict[str, int] = field(default_factory=dict)  # of what was refused

    def refuse(self, reason: str, packets: int = 1) -> None:
        """Something was not taken, or not done."""
        self.reasons[reason] = self.reasons.get(reason, 0) + packets
