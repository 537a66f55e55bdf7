"""What the connection's receiver puts packets into: timed play-out or messages, behind one face.

An inbox may be shared by the links of a group. Sequence numbers are unwrapped: they grow for ever.
"""

from collections.abc import Sequence
from typing import Protocol

from protocols.srt.events import DataReceived
from protocols.srt.tsbpd import PlayClock

# Play time (0 where nothing is timed), payload in clear (None: nobody can read it), word 1 of the
# header.
Entry = tuple[float, bytes | None, int]


class Inbox(Protocol):
    """`expected`: the first packet that is missing. `clock` None: nothing is timed. `deferred`:
    seconds that packets wait beyond their play time."""

    expected: int
    clock: PlayClock | None
    deferred: float

    @property
    def held(self) -> int:
        """Packets that wait inside."""

    @property
    def waiting(self) -> int:
        """Of these, packets that will be handed out even if nothing more comes."""

    def append_run(self, first: int, entries: Sequence[Entry]) -> int:
        """Take packets in a row; how many of them are new."""

    def insert(self, sequence: int, entry: Entry) -> bool:
        """Take one packet from anywhere; whether it is new."""

    def has(self, sequence: int) -> bool:
        """Whether a packet came, or is not wanted any more."""

    def was_skipped(self, sequence: int) -> bool:
        """Whether this one, which is not wanted any more, never came."""

    def room(self) -> int:
        """Packets from `expected` on that may come."""

    def give_up(self, first: int, end: int, message: int) -> None:
        """The sender will not send these any more; `message` 0: as packets."""

    def release(self, now: float) -> list[DataReceived]:
        """What is due now."""

    def get_timer(self) -> float:
        """When `release` is wanted; infinity: not before something comes."""
