"""The FEC packet filter: how packets are arranged in groups, and the sender's half.

The draft does not know it; libsrt's documentation and code do. Data packets are laid out in rows
of C packets from the first one on, R rows to a matrix. A group is a row, or a column: every C-th
packet, R of them. Columns begin all in the first row (`even`), or each one row lower than the one
before, R of them before that begins anew at the top (`staircase`), so that their packets do not
come at once. After the last packet of a group its filter packet is sent:

    sequence   of the data packet that was sent last, so it is no packet of its own
    word 1     solo, message 0, the key that is in use
    timestamp  those of the group, XORed
    payload    |  index  | key flags | length | payloads |   each XORed, but the index:
               |  8 bit  |   8 bit   | 16 bit |   ...    |   255 for a row, else the column

Payloads are taken as they travel, encrypted, and end with zeros where they are shorter. A filter
packet is not sequenced, never acknowledged and never sent again.
"""

from dataclasses import dataclass
from enum import StrEnum
from struct import Struct
from typing import Self

from flux.base.serial import extend
from protocols.srt.filter_string import FilterConfig
from protocols.srt.packet import KEY_SHIFT, SEQUENCE_BITS, SOLO, pack_header

FILTER_HEAD = Struct("!BBH")  # index, key flags, length
FILTER_HEAD_BYTES = 4
ROW_INDEX = 0xFF


class Arq(StrEnum):
    """Which losses are reported to the sender beside the filter."""

    ALWAYS = "always"  # all, at once
    ON_REQUEST = "onreq"  # those that the filter could not mend
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class FilterLayout:
    """An arrangement. Offsets count packets from the first of the connection on and never wrap."""

    columns: int  # packets of a row
    rows: int  # 1: no columns are protected
    has_rows: bool  # rows are protected
    is_staircase: bool
    arq: Arq

    @classmethod
    def of(cls, config: FilterConfig) -> Self:
        """From what both sides agreed on."""
        return cls(
            config.columns,
            abs(config.rows),
            config.rows > 0,
            config.get("layout") == "staircase",
            Arq(config.get("arq")),
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """From the text of `HandshakeResult.filter`. Raises WireError as `FilterConfig.parse`."""
        return cls.of(FilterConfig.parse(text))

    @property
    def has_columns(self) -> bool:
        """Whether columns are protected."""
        return self.rows > 1

    @property
    def matrix(self) -> int:
        """Packets of a matrix."""
        return self.columns * self.rows

    @property
    def reach(self) -> int:
        """From a packet to the end of the last of its groups, in packets, at most."""
        return (self.rows - 1) * self.columns if self.has_columns else self.columns - 1

    def column_start(self, column: int) -> int:
        """Offset of the first packet of a column's first group."""
        if not self.is_staircase:
            return column
        return column + column % self.rows * self.columns

    def row_of(self, offset: int) -> range:
        """The packets of the row that has this one."""
        base = offset - offset % self.columns
        return range(base, base + self.columns)

    def column_of(self, offset: int) -> range | None:
        """The packets of the column that has this one; None: it is before the first group."""
        start = self.column_start(offset % self.columns)
        if offset < start:
            return None
        base = offset - (offset - start) % self.matrix
        return range(base, base + self.matrix, self.columns)

    def covered_until(self, offset: int) -> int:
        """Offset of the packet after which every filter packet that covers this one has come."""
        last = self.row_of(offset)[-1] if self.has_rows else offset
        if self.has_columns:
            column = self.column_of(offset)
            if column is not None:
                last = max(last, column[-1])
        return last


class _Sum:
    """The XOR over a group that is being sent."""

    __slots__ = ("count", "flags", "length", "number", "payload", "size", "timestamp")

    def __init__(self, number: int = 0) -> None:
        self.number = number  # which group of its row or column
        self.count = 0
        self.flags = 0
        self.length = 0
        self.payload = 0
        self.size = 0  # of the longest payload
        self.timestamp = 0

    def add(self, timestamp: int, key: int, length: int, value: int) -> None:
        """Take a packet; `value` is its payload as a little-endian number."""
        self.count += 1
        self.flags ^= key
        self.length ^= length
        self.payload ^= value
        self.timestamp ^= timestamp
        if length > self.size:
            self.size = length


class FilterSender:
    """Makes the filter packets of a connection. Public counter: `packets` made."""

    __slots__ = (
        "_columns",
        "_destination",
        "_first",
        "_last",
        "_layout",
        "_row",
        "_size",
        "packets",
    )

    def __init__(
        self, layout: FilterLayout, first_sequence: int, destination: int, payload_bytes: int = 0
    ) -> None:
        """`destination` is the peer's socket id.

        Filter packets are as long as if each payload had `payload_bytes`; 0: as the longest has.
        """
        self._layout = layout
        self._destination = destination
        self._size = payload_bytes
        self._first = self._last = first_sequence
        self._row = _Sum()
        self._columns = [_Sum() for _ in range(layout.columns if layout.has_columns else 0)]
        self.packets = 0

    def feed(self, sequence: int, timestamp: int, key: int, payload: bytes) -> list[bytes]:
        """Take a data packet that is sent for the first time, as it travels, in sequence order.

        The filter packets that are to be sent behind it come back: none most times, two at most. A
        group that misses a packet, because that was given up before it was sent, gets none.
        """
        layout = self._layout
        self._last = extend(sequence, self._last, SEQUENCE_BITS)
        offset = self._last - self._first
        row, column = divmod(offset, layout.columns)
        value = int.from_bytes(payload, "little")
        made: list[bytes] = []
        if self._columns:
            number = (offset - layout.column_start(column)) // layout.matrix
            if number >= 0:
                group = self._columns[column]
                if group.number != number:
                    group = self._columns[column] = _Sum(number)
                group.add(timestamp, key, len(payload), value)
                if group.count == layout.rows:
                    made.append(self._pack(group, column & 0xFF, sequence, key))
        if layout.has_rows:
            group = self._row
            if group.number != row:
                group = self._row = _Sum(row)
            group.add(timestamp, key, len(payload), value)
            if group.count == layout.columns:
                made.append(self._pack(group, ROW_INDEX, sequence, key))
        self.packets += len(made)
        return made

    def _pack(self, group: _Sum, index: int, sequence: int, key: int) -> bytes:
        size = max(group.size, self._size)
        return b"".join(
            (
                pack_header(sequence, SOLO | key << KEY_SHIFT, group.timestamp, self._destination),
                FILTER_HEAD.pack(index, group.flags, group.length),
                group.payload.to_bytes(size, "little"),
            )
        )
