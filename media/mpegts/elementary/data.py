"""Data in PES packets: KLV (MISB ST 1402), and what FLUX does not know.

Both may come without times; then theirs is that of what came last on any other PID: MISB ST 1402
relates asynchronous metadata to the pictures next to it.
"""

from struct import Struct

from media.mpegts.elementary.base import MAX_UNIT_BYTES, NO_TIME, NO_TIMESTAMP, Output, Pes
from media.mpegts.stream_types import KLV_LABEL

_CELL = Struct(">BBBH")  # service, sequence number, flags, length
CELL_BYTES = _CELL.size
_WHOLE, _FIRST, _LAST, _MIDDLE = 3, 2, 1, 0  # cell_fragment_indication


class OpaqueParser:
    """A PES packet's payload is a unit."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def push(self, pes: Pes) -> None:
        """Take a PES packet."""
        if pes.is_whole and pes.payload:
            self._send(pes, pes.payload)

    def _send(self, pes: Pes, payload: bytes) -> None:
        pts, dts = pes.pts, pes.dts
        if pts == NO_TIME:
            pts = dts = self._output.time()
        if pts == NO_TIME:
            self._output.drop(NO_TIMESTAMP)
        else:
            self._output.unit(pts, dts, (payload,), pes.arrived)

    def lost(self) -> None:
        """Packets are missing."""

    def flush(self) -> None:
        """The stream has ended; nothing is held."""

    @property
    def unit_ticks(self) -> float | None:
        """See `ElementaryParser`."""
        return 0.0


class KlvParser(OpaqueParser):
    """KLV, asynchronous: as it is; synchronous (`has_cells`): out of metadata access unit cells.

    The cells are those of ISO/IEC 13818-1 section 2.12.4.
    """

    def __init__(self, output: Output, *, has_cells: bool) -> None:
        super().__init__(output)
        self._has_cells = has_cells
        self._pieces: list[bytes] = []
        self._size = 0

    def push(self, pes: Pes) -> None:
        """Take a PES packet."""
        data = pes.payload
        # quirk: KLV under stream_type 0x15 without its cells, against MISB ST 1402 table 4; test:
        # test_klv_without_cells
        if not self._has_cells or data.startswith(KLV_LABEL):
            super().push(pes)
            return
        at = 0
        while at + CELL_BYTES <= len(data):
            _, _, flags, length = _CELL.unpack_from(data, at)
            at += CELL_BYTES
            if at + length > len(data):
                if pes.is_whole:
                    self._output.drop("klv-cell-malformed")
                self.lost()
                return
            self._take_cell(pes, flags >> 6, data[at : at + length])
            at += length

    def _take_cell(self, pes: Pes, fragment: int, data: bytes) -> None:
        if fragment in (_WHOLE, _FIRST):
            self.lost()
        elif not self._pieces:
            return  # its beginning is gone
        self._pieces.append(data)
        self._size += len(data)
        if self._size > MAX_UNIT_BYTES:
            self._output.drop("ts-unit-too-large")
            self.lost()
        elif fragment in (_WHOLE, _LAST):
            unit = b"".join(self._pieces)
            self.lost()
            if unit:
                self._send(pes, unit)

    def lost(self) -> None:
        """Packets are missing."""
        self._pieces.clear()
        self._size = 0

    @property
    def unit_ticks(self) -> float | None:
        """See `ElementaryParser`; a PES packet may hold any number of cells."""
        return None if self._has_cells else 0.0


def cell_header(size_bytes: int, sequence: int) -> bytes:
    """The header of a cell that is a whole unit where one can begin to read."""
    return _CELL.pack(0, sequence & 0xFF, _WHOLE << 6 | 0x1F, size_bytes)
