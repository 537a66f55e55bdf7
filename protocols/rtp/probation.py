"""When to believe a packet that does not fit: another source, or a jump of the sequence numbers."""

from flux.base.serial import add

PROBATION = 2  # packets in sequence; RFC 3550 A.1 MIN_SEQUENTIAL
RETIRED_SILENCE = 1.0  # seconds that the new source is silent before the old one may come back


class Probation:
    """Keeps the packets of one candidate until there are enough of them, in sequence.

    One stray packet (an old session's, a damaged one) moves nothing; a source that really began
    anew loses none of its packets.
    """

    __slots__ = ("_needed", "_next", "_packets", "_refused", "_retired", "_ssrc")

    def __init__(self, needed: int) -> None:
        self._needed = needed
        self._refused = 0
        self._packets: list[bytes] = []
        self._ssrc = 0
        self._next = 0  # sequence number that the candidate's next packet must have
        self._retired: int | None = None  # the SSRC that was left last

    def admit(self, ssrc: int, sequence: int, data: bytes) -> list[bytes]:
        """The candidate's packets once there are enough, this one last; until then none."""
        if ssrc != self._ssrc or sequence != self._next:
            self._refused += len(self._packets)
            self._packets = []
            self._ssrc = ssrc
        self._next = add(sequence, 1, 16)
        self._packets.append(data)
        if len(self._packets) < self._needed:
            return []
        packets = self._packets
        self._packets = []
        return packets

    def take_refused(self) -> int:
        """How many packets there were, since the last call, whose candidate was none."""
        refused, self._refused = self._refused, 0
        return refused

    def retire(self, ssrc: int) -> None:
        """This source was left for another; its stragglers are to be refused."""
        self._retired = ssrc

    def is_straggler(self, ssrc: int, silence: float) -> bool:
        """Tell whether this is the source that was left, `silence` being that of the present one.

        So two sources that send on one channel do not take it from each other with every packet.
        """
        return ssrc == self._retired and silence < RETIRED_SILENCE
