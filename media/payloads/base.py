"""What every RTP payload format offers, and the one policy for lost and damaged media.

A payload format takes and gives plain (payload, marker, sequence, timestamp); it knows no RTP
class. `sequence` and `timestamp` come in unwrapped, packets in order and without duplicates.

Loss policy, the same for all formats:

- The smallest thing that is passed on is one access unit (video) or one audio frame. It is whole or
  it is dropped: nothing is concealed, no half picture is ever shown to a reader.
- A dropped access unit is counted once, by the first thing that went wrong with it. A packet
  that is refused while nothing is open is counted once too.
- A gap in the sequence while an access unit is open drops it. A gap between two access units is
  counted as one lost unit: how many there were, nobody can know. After a gap the next unit is taken
  only if its first packet begins one; else its head was lost as well, and it is dropped.
- What follows a loss is passed on at once, also before the next key frame: a decoder shows a
  damaged picture for some frames, which viewers of live media prefer to a frozen one. A stream that
  wants otherwise can wait for the next key frame, since every drop is reported through `on_drop`.
- An empty payload is all padding (RFC 3550 section 5.1): neither a unit nor a fault.
- A gap may have swallowed no more than what comes before the first slice: parameter sets, SEI. The
  picture is whole then, and is passed on; the gap is counted all the same.
- Joining in the middle of a unit is no loss: the rest of that unit is skipped and not counted.
- A damaged or forbidden packet is never repaired by guessing. What is tolerated is a written list
  of what known cameras send, kept with each format, and each line of it has its test.

`push` never raises for what a peer sends. `on_drop` is called with a stable slug such as
`h264-fu-loss`; it must not call back into the depacketizer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_UNIT_BYTES = 8 << 20  # one access unit; an intra picture of 8K video stays well below
MAX_UNIT_NALS = 1024
MIN_PAYLOAD_BYTES = 64  # the least that a packetizer can cut to; fragment headers need room

DropCallback = Callable[[str], None]


@dataclass(slots=True)
class Unit:
    """One access unit or audio frame with the RTP time of its presentation, unwrapped."""

    timestamp: int  # ticks of the RTP clock
    payload: tuple[bytes, ...]  # as in `Frame.payload`


NOTHING: tuple[Unit, ...] = ()  # the one empty answer of the hot path


class Depacketizer(Protocol):
    """Makes units from the packets of one RTP stream."""

    def push(self, payload: bytes, marker: bool, sequence: int, timestamp: int) -> Sequence[Unit]:
        """Take one packet; answer the units that it completes, in order, mostly none."""
        ...


class Packetizer(Protocol):
    """Makes RTP payloads from units."""

    def packetize(self, payload: tuple[bytes, ...]) -> list[tuple[bytes, bool]]:
        """The (RTP payload, marker) of each packet of one unit; all carry the unit's timestamp."""
        ...


class SequenceCheck:
    """Finds gaps for the formats whose every packet is a frame of its own."""

    __slots__ = ("_expected", "_on_drop", "_reason")

    def __init__(self, on_drop: DropCallback, reason: str) -> None:
        self._on_drop = on_drop
        self._reason = reason
        self._expected: int | None = None

    def take(self, sequence: int) -> None:
        """Note the next packet; a gap before it is counted once."""
        if sequence != self._expected:
            if self._expected is not None:
                self._on_drop(self._reason)
            self._expected = sequence
        self._expected += 1


def cut_equal(data: bytes, start: int, limit: int) -> list[bytes]:
    """Cut `data[start:]` into pieces of equal size, at most `limit`; only the last may be shorter.

    Equal packets leave in one system call (UDP segmentation offload).
    """
    size = len(data) - start
    count = -(-size // limit)
    step = -(-size // count)
    return [data[at : at + step] for at in range(start, len(data), step)]
