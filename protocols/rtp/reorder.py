"""Holds packets that came before their turn, bounded in number and in time."""

from dataclasses import dataclass

REORDER_PACKETS = 128
REORDER_WAIT = 0.1  # seconds
MEMORY = 100  # sequence numbers: how far back a late packet is told from a duplicate


@dataclass(slots=True)
class HeldPacket:
    """A packet that waits for the ones before it."""

    payload: bytes
    marker: bool
    timestamp: int  # 32 bits
    arrived: float


class ReorderBuffer:
    """Packets by unwrapped sequence number, and the memory of the gaps that were given up."""

    __slots__ = ("_highest", "_limit", "_skipped", "_wait", "held")

    def __init__(self, limit: int, wait: float) -> None:
        self._limit = limit  # packets; 0: holds nothing
        self._wait = wait
        self.held: dict[int, HeldPacket] = {}  # to be looked at only
        self._highest = 0  # of those held
        self._skipped: set[int] = set()

    @property
    def is_used(self) -> bool:
        """False where the transport keeps the order and gaps pass at once."""
        return self._limit > 0

    def hold(self, sequence: int, packet: HeldPacket) -> bool:
        """Keep a packet; False if there is one of that number already."""
        if sequence in self.held:
            return False
        if not self.held or sequence > self._highest:
            self._highest = sequence
        self.held[sequence] = packet
        return True

    def take(self, sequence: int) -> HeldPacket | None:
        """Take out the packet of that number."""
        return self.held.pop(sequence, None) if self.held else None

    def lowest(self) -> int:
        """The lowest number held; there must be one."""
        return min(self.held)

    def highest(self, default: int) -> int:
        """The highest number held, or `default` if there is none."""
        return self._highest if self.held else default

    def is_full(self, expected: int) -> bool:
        """More packets wait, or lie apart, than may; `expected` is the number waited for."""
        limit = self._limit
        return bool(self.held) and (len(self.held) > limit or self._highest - expected > limit)

    def due_at(self) -> float | None:
        """When the packet that has waited longest must go on."""
        for packet in self.held.values():  # in the order they came
            return packet.arrived + self._wait
        return None

    def skip(self, first: int, end: int) -> None:
        """Give up the numbers from `first` to before `end`."""
        self._skipped.update(range(max(first, end - MEMORY), end))
        if len(self._skipped) > 4 * MEMORY:
            self._skipped = {number for number in self._skipped if number >= end - MEMORY}

    def was_skipped(self, sequence: int) -> bool:
        """Tell whether that number had been given up; it is told once."""
        if sequence not in self._skipped:
            return False
        self._skipped.remove(sequence)
        return True
