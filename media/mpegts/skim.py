"""What a demultiplexer does while nobody wants frames: it counts them, and takes nothing apart.

Theory of operation. Most cameras are watched by nobody most of the time, and what their streams
cost is mostly to take them apart. So while nobody watches, packets are only skimmed. Headers,
continuity counters, tables and clocks are read as ever, and what is missing is counted; but of a
PES packet only the front is looked at. It tells the time, whether a decoder can start there, and,
with the parser's word for how long a unit lasts, how many units the packet holds.

The packets themselves lie in a log, from the newest place on where a decoder can start. Who comes
then gets what the log holds, taken apart after all, and misses nothing.

    reads --skim, then a place to start--> skims --read_on--> reads

That is done where each parser knows what its PES packets hold, and where there are pictures:
without them there is little to save.
"""

import re
from collections import deque
from dataclasses import dataclass

from media.mpegts.events import TsHead
from media.track import H264, H265

# NAL units that a decoder can start with: IDR pictures; of H.265 BLA and CRA pictures, too.
_STARTS = {
    H264: re.compile(rb"\x00\x00\x01[\x05\x25\x45\x65]"),
    H265: re.compile(rb"\x00\x00\x01[\x20-\x2b]"),
}


def is_start(codec: str, front: bytes) -> bool:
    """Whether a picture that a decoder can start with shows in the front of a PES packet."""
    pattern = _STARTS.get(codec)
    return pattern is not None and pattern.search(front) is not None


@dataclass(slots=True)
class Block:
    """Packets in a row, which begin `stride` bytes apart; see `PacketSync`."""

    data: bytes
    start: int
    count: int
    stride: int
    arrived: float

    def after(self, packets: int) -> "Block":
        """The same without so many at its beginning."""
        start = self.start + packets * self.stride
        return Block(self.data, start, self.count - packets, self.stride, self.arrived)

    def before(self, packets: int) -> "Block":
        """No more of it than so many at its beginning."""
        if packets >= self.count:
            return self
        return Block(self.data, self.start, packets, self.stride, self.arrived)


class SkimLog:
    """Packets from the newest start on. A packet's place is its number, counted from one.

    Public: `heads`, of the PES packets that began in it and are complete; `size_bytes`.
    """

    __slots__ = ("_blocks", "_end", "_first", "heads", "size_bytes")

    def __init__(self) -> None:
        self._blocks: deque[Block] = deque()
        self._first = self._end = 1  # places: of the first packet, and behind the last one
        self.heads: list[TsHead] = []
        self.size_bytes = 0

    def add(self, block: Block) -> int:
        """Keep some more; the place of the first of them."""
        place = self._end
        self._blocks.append(block)
        self._end += block.count
        self.size_bytes += block.count * block.stride
        return place

    def note(self, head: TsHead) -> None:
        """A PES packet is complete. The log begins anew with one that is a start."""
        if head.is_start and head.place > self._first:
            self._cut(head.place)
            self.heads = [each for each in self.heads if each.place >= head.place]
        if head.place >= self._first:
            self.heads.append(head)

    def blocks(self, end: int | None = None) -> list[Block]:
        """What is kept, oldest first; `end`: only what is before this place."""
        kept: list[Block] = []
        room = (self._end if end is None else end) - self._first
        for block in self._blocks:
            kept.append(block.before(room))
            room -= block.count
            if room <= 0:
                break
        return kept

    def _cut(self, place: int) -> None:
        """Let go of what is before this place."""
        blocks = self._blocks
        while self._first < place:
            block = blocks.popleft()
            gone = min(block.count, place - self._first)
            if gone < block.count:
                blocks.appendleft(block.after(gone))
            self._first += gone
            self.size_bytes -= gone * block.stride
