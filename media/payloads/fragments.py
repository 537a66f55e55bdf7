"""Audio frames in packets of several whole ones, or cut into fragments: MPEG audio, AC-3, E-AC-3.

Each fragment says whether it begins a frame, and a frame's own header says how long it is, so a
frame ends where its bytes are complete. A gap within a frame drops it; what goes on with the same
timestamp is skipped without a further count.
"""

from collections.abc import Sequence

from flux.base.errors import WireError
from media.payloads.base import NOTHING, DropCallback, Unit

MAX_FRAME_BYTES = 65536  # the largest, E-AC-3 with all of its substreams, stays far below


class FragmentAssembler:
    """Base of the depacketizers; a format says how one packet is taken apart."""

    __slots__ = ("_expected", "_is_suspect", "_on_drop", "_pieces", "_size", "_skipped", "_start")

    prefix = ""  # of the drop reasons: "ac3"

    def __init__(self, on_drop: DropCallback) -> None:
        self._on_drop = on_drop
        self._expected: int | None = None  # sequence of the next packet
        self._pieces: list[bytes] = []  # of the open frame
        self._size = 0  # of all pieces, bytes
        self._start = 0  # timestamp of the open frame
        self._skipped: int | None = None  # what comes with this timestamp is the rest of a lost one
        self._is_suspect = True  # a frame without head is no news: it is counted, or we just joined

    def _take(self, payload: bytes, marker: bool, timestamp: int) -> Sequence[Unit]:
        """Take one packet apart; `WireError` drops it and the open frame."""
        raise NotImplementedError

    def push(self, payload: bytes, marker: bool, sequence: int, timestamp: int) -> Sequence[Unit]:
        """Take one packet; answer the frames that it completes."""
        if sequence != self._expected:
            if self._expected is not None:
                self._note_gap()
            self._expected = sequence
        self._expected += 1
        if not payload:
            return NOTHING
        if self._pieces and timestamp != self._start:
            self._abandon()
        try:
            return self._take(payload, marker, timestamp)
        except WireError as exc:
            self._pieces = []
            self._skipped = timestamp
            self._on_drop(exc.reason)
            return NOTHING

    def _note_gap(self) -> None:
        if self._pieces:
            self._skipped = self._start
            self._abandon()
        else:
            self._on_drop(f"{self.prefix}-unit-loss")
            self._is_suspect = True

    def _abandon(self) -> None:
        """Drop the open frame: it will not be complete."""
        if self._pieces:
            self._pieces = []
            self._on_drop(f"{self.prefix}-fragment-loss")

    def _begin(self, piece: bytes, timestamp: int) -> None:
        """Open a frame with its first piece."""
        self._pieces = [piece]
        self._size = len(piece)
        self._start = timestamp
        self._is_suspect = False
        self._skipped = None

    def _continue(self, piece: bytes, timestamp: int) -> bool:
        """Add a piece to the open frame; false where its head was lost."""
        if not self._pieces:
            if timestamp != self._skipped:
                self._skipped = timestamp
                if not self._is_suspect:
                    self._on_drop(f"{self.prefix}-fragment-loss")
                self._is_suspect = False
            return False
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > MAX_FRAME_BYTES:
            raise WireError(f"{self.prefix}-unit-too-large")
        return True

    def _join(self) -> bytes:
        """The open frame, which is whole."""
        data = b"".join(self._pieces)
        self._pieces = []
        return data

    def _begin_whole(self) -> None:
        """A packet of whole frames is next."""
        self._abandon()
        self._is_suspect = False
        self._skipped = None
