"""When and what the receiver acknowledges, draft section 4.8.1, and the rates that it reports.

Every 10 ms a full ACK while there is something new; between two of them a light ACK after each 64
packets. A position that the peer has not confirmed by ACKACK is told again when the confirmation is
overdue, and so is a buffer that was full and has room again.
"""

from protocols.srt.control import serialize_full_ack, serialize_light_ack
from protocols.srt.inbox import Inbox
from protocols.srt.packet import SEQUENCE_MASK
from protocols.srt.rates import MIN_CAPACITY, DeliveryRate
from protocols.srt.rtt import AckJournal, RttEstimator

FULL_INTERVAL = 0.010
LIGHT_PACKETS = 64
MAX_REPEATS = 16  # of one position
LITTLE_ROOM = 2  # packets: then the peer has stopped
MAX_WORD = 0xFFFFFFFF
NEVER = float("inf")


class Acknowledger:
    """Public counters: `full`, `light`; `rate`: a DeliveryRate."""

    __slots__ = (
        "_at",
        "_journal",
        "_light_at",
        "_position",
        "_repeats",
        "_room",
        "_rtt",
        "full",
        "light",
        "rate",
    )

    def __init__(
        self, position: int, rtt: RttEstimator, now: float, least_capacity: float = MIN_CAPACITY
    ) -> None:
        """`position`: unwrapped sequence number of the peer's first packet; see `DeliveryRate`."""
        self._journal = AckJournal()
        self._rtt = rtt
        self._position = position  # that was told last
        self._at = now - FULL_INTERVAL  # when
        self._light_at = position + LIGHT_PACKETS
        self._room = LITTLE_ROOM + 1  # that was told last
        self._repeats = 0
        self.full = 0
        self.light = 0
        self.rate = DeliveryRate(now, least_capacity)

    def acknowledge(
        self, position: int, inbox: Inbox, now: float, timestamp: int, destination: int
    ) -> bytes | None:
        """The ACK to send now, if one is due; `position` is the first missing packet's number."""
        if position == self._position:
            if now < self._repeat_at(inbox):
                return None
            self._repeats += 1
        elif now < self._at + FULL_INTERVAL:
            if position < self._light_at:
                return None
            self._light_at = position + LIGHT_PACKETS
            self.light += 1
            # quirk: libsrt's sender that waits for its window goes on at a full ACK with news, not
            # at a light one; so one packet is left to the full one (test_file_transmit).
            return serialize_light_ack(position - 1 & SEQUENCE_MASK, timestamp, destination)
        else:
            self._repeats = 0
        self._position = position
        self._at = now
        self._light_at = position + LIGHT_PACKETS
        self._room = room = inbox.room()
        self.full += 1
        rtt, rate = self._rtt, self.rate
        rate.update(now)  # not the mean: the peer takes one
        return serialize_full_ack(
            self._journal.note(position, now),
            timestamp,
            destination,
            position & SEQUENCE_MASK,
            min(int(rtt.rtt * 1e6), MAX_WORD),
            min(int(rtt.variance * 1e6), MAX_WORD),
            room,
            min(int(rate.latest), MAX_WORD),
            min(int(rate.capacity), MAX_WORD),
            min(int(rate.latest_bytes), MAX_WORD),
        )

    def _repeat_at(self, inbox: Inbox) -> float:
        """When the same position is told again."""
        if self._room <= LITTLE_ROOM < inbox.room():
            return self._at + FULL_INTERVAL
        if not self.full or self._repeats >= MAX_REPEATS:
            return NEVER
        if self._journal.last_confirmed >= self._position:
            return NEVER
        return self._at + max(self._rtt.timeout, FULL_INTERVAL) * (1 << min(self._repeats, 6))

    def confirm(self, number: int, now: float) -> bool:
        """An ACKACK came; whether its ACK is known. The round trip is taken."""
        sample = self._journal.confirm(number, now)
        if sample is None:
            return False
        self._rtt.add(sample, now)
        return True

    def get_timer(self, position: int, inbox: Inbox) -> float:
        """When `acknowledge` has something."""
        if position == self._position:
            return self._repeat_at(inbox)
        return self._at + FULL_INTERVAL
