"""Drop requests that wait to be sent, draft section 3.2.9: what the peer need not wait for."""

from protocols.srt.packet import SEQUENCE_MASK

MAX_WAITING = 16
# quirk: libsrt before 1.5.2 drops what a request names by message as far as it has come, and what
# it names by numbers but for the last (draft section 3.2.9); tests/interop/test_srt_messages.py
FIRST_CLOSED = 0x010502


class DropRequests:
    """Of one sender."""

    __slots__ = ("_is_open", "_waiting")

    def __init__(self, peer_version: int) -> None:
        self._waiting: list[tuple[int, int, int]] = []
        self._is_open = peer_version < FIRST_CLOSED

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, message: int, start: int, end: int) -> None:
        """The peer shall not wait for these packets, unwrapped numbers; `message` 0: of any."""
        if message and self._is_open:
            message, end = 0, end + 1
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append((message, start & SEQUENCE_MASK, end - 1 & SEQUENCE_MASK))

    def take(self) -> list[tuple[int, int, int]]:
        """What is to be told: message, first and last packet as on the wire."""
        waiting, self._waiting = self._waiting, []
        return waiting
