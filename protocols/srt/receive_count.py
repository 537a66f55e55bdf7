"""What the receiving half of a link has counted."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class ReceiveCount:
    """Packets, unless the name says otherwise; bytes are of payloads. All of them only grow."""

    packets: int = 0  # all that were for us, duplicates too
    bytes: int = 0
    unique: int = 0
    unique_bytes: int = 0
    lost: int = 0  # found missing
    retransmitted: int = 0
    recovered: int = 0  # missing ones that came because they were sent again
    reordered: int = 0  # missing ones that came by themselves
    reorder_distance: int = 0  # packets; the farthest since it was last looked at
    duplicates: int = 0
    belated: int = 0  # they came when they had been given up
    belated_mean_ms: float = 0.0  # behind their play time, a mean that fades
    undecryptable: int = 0  # no key opens them
    unreadable: int = 0  # of these: they took their place all the same
    undecryptable_bytes: int = 0
    naks: int = 0  # control packets
    asked: int = 0  # for so many packets, each time counted
    reasons: dict[str, int] = field(default_factory=dict)  # of what was refused

    def refuse(self, reason: str, packets: int = 1) -> None:
        """Something was not taken."""
        self.reasons[reason] = self.reasons.get(reason, 0) + packets
