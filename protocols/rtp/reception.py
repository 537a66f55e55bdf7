"""What a receiver counts of one synchronisation source: RFC 3550 section 6.4.1, A.3 and A.8."""

from dataclasses import dataclass

# The transit time of A.8 is kept in 1/1024 ticks, so that an 8 kHz clock does not round
# microseconds away; the running jitter is 16 times that again, as in the RFC's integer form.
TRANSIT_SHIFT = 10
JITTER_SHIFT = TRANSIT_SHIFT + 4


@dataclass(slots=True)
class Reception:
    """Counters of one receiver. Written by it alone, readable by anyone at any time."""

    packets: int = 0  # every valid RTP packet, duplicates and late ones too
    octets: int = 0  # of all that came in, headers and refused packets too
    lost: int = 0  # sequence numbers given up, less those that came late after all
    duplicates: int = 0
    reordered: int = 0  # came after a packet with a higher number
    late: int = 0  # of the reordered ones: too late, their place had been given up
    refused: int = 0  # no RTP, other payload type, other source: never counted as packets
    restarts: int = 0  # new SSRC or sequence jump
    jitter: float = 0.0  # seconds, A.8


@dataclass(frozen=True, slots=True)
class ReceptionState:
    """What a report block is made from; cumulative since the source (re)started, A.3."""

    ssrc: int
    highest_sequence: int  # extended, 32 bits: cycles and highest sequence number received
    expected: int
    received: int  # duplicates and late packets count, as A.3 says
    jitter: int  # ticks
    restarts: int  # another number: expected and received began anew
