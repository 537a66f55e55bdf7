"""The receiver's half of the FEC packet filter: rebuilds what is missing.

Theory of operation. Nothing is summed up while all goes well: packets that came are kept by
reference for as long as a group may need them. A filter packet tells the end of its group; if the
group then misses one packet, that is rebuilt from the others; if it misses more, the filter packet
waits, because each packet that comes after all, or is rebuilt by a group across, may bring it down
to one. So rows and columns mend each other, and order of arrival does not matter.

A rebuilt packet looks like one that was sent again: same bytes, R set. Its message number is that
of a neighbour, counted on, as in live mode each packet is one message; so the header is the one
that an authenticating cipher has covered.

With `arq:onreq` a loss is told once all filter packets that cover it should have come, and a third
of a row more has passed, for those that are late.
"""

from collections.abc import Sequence
from heapq import heappop, heappush

from flux.base.serial import extend
from protocols.srt.filter import (
    FILTER_HEAD,
    FILTER_HEAD_BYTES,
    ROW_INDEX,
    Arq,
    FilterLayout,
)
from protocols.srt.packet import (
    HEADER_BYTES,
    IN_ORDER,
    KEY_SHIFT,
    MAX_MESSAGE,
    MESSAGE_MASK,
    RETRANSMITTED,
    SEQUENCE_BITS,
    SEQUENCE_MASK,
    SOLO,
    pack_header,
    unpack_header,
)

MAX_KEPT = 8192  # packets: as many as a receive buffer has
MAX_JUMP_MATRICES = 10
MAX_JUMP_ROWS = 5  # where there are rows only
MAX_TOLD = 8192  # losses of one jump
MAX_AWAITED = 32_768  # packets that open groups miss, each counted once a group

Losses = list[tuple[int, int]]  # first and last sequence number, both missing


class _Group:
    """A filter packet whose group misses more than one packet."""

    __slots__ = ("members", "missing", "packet")

    def __init__(self, members: range, missing: set[int], packet: bytes) -> None:
        self.members = members
        self.missing = missing  # offsets
        self.packet = packet


class FilterReceiver:
    """Rebuilds packets of one connection.

    Public counters: `filter_packets` that came, `rebuilt` packets, payload bytes of both, `lost`
    ones that were told, `useless` filter packets: malformed, or of groups that are forgotten.
    """

    def __init__(
        self, layout: FilterLayout, first_sequence: int, socket_id: int, max_kept: int = MAX_KEPT
    ) -> None:
        """`first_sequence` is the peer's first, `socket_id` ours."""
        self._layout = layout
        self._socket_id = socket_id
        self._first = first_sequence
        self._highest = -1  # offset of the highest packet that came or was told of
        self._oldest = 0  # offsets below are forgotten
        self._packets: dict[int, bytes] = {}  # by offset, in the order of arrival
        self._waiting: dict[int, list[_Group]] = {}  # by offset of a missing packet
        self._awaited = 0
        self._open_losses: list[tuple[int, int]] = []  # heap: told at this offset, offset
        self._given_up: list[int] = []  # offsets of losses that are told next
        # Two groups that cross can both be open; more than that is of no use to any.
        self._history = min(2 * layout.reach + layout.matrix + layout.columns, max_kept)
        jump = MAX_JUMP_MATRICES * layout.rows if layout.has_columns else MAX_JUMP_ROWS
        self._max_jump = min(jump * layout.columns, max_kept)
        self._patience = max(layout.columns // 3, 1)
        self._tells = layout.arq is Arq.ON_REQUEST
        self.filter_packets = 0
        self.filter_bytes = 0
        self.rebuilt = 0
        self.rebuilt_bytes = 0
        self.lost = 0
        self.useless = 0

    def receive(self, datagrams: Sequence[bytes]) -> tuple[list[bytes], Losses]:
        """Take data packets with whole headers, those of the filter among them.

        What goes on to the receiver comes back, in order and with rebuilt packets between, and
        the losses that the filter could not mend (`arq:onreq`).
        """
        passed: list[bytes] = []
        packets = self._packets
        first = self._first
        for datagram in datagrams:
            sequence, second, _, _ = unpack_header(datagram)
            offset = extend(sequence, first + max(self._highest, 0), SEQUENCE_BITS) - first
            if not second & MESSAGE_MASK:
                self._take_filter_packet(offset, datagram, passed)
                continue
            passed.append(datagram)
            if offset < self._oldest or offset in packets:
                continue
            if offset > self._highest:
                self._advance(offset)
            packets[offset] = datagram
            if offset in self._waiting:
                self._settle(self._arrive(offset), passed)
        return passed, self._tell()

    # -- inside ------------------------------------------------------------------------------

    def _advance(self, offset: int) -> None:
        """A packet beyond all others: what is between them is missing."""
        if offset - self._highest > self._max_jump:
            self._forget(offset)
        elif self._tells:
            for lost in range(max(self._highest + 1, self._oldest), offset):
                self._miss(lost)
        self._highest = offset
        heap = self._open_losses
        while heap and heap[0][0] <= offset:
            lost = heappop(heap)[1]
            if lost not in self._packets:
                self._given_up.append(lost)
        oldest = offset - self._history
        if oldest >= self._oldest + self._layout.columns:  # not for each packet
            for old in range(self._oldest, oldest):
                self._packets.pop(old, None)
                for group in self._waiting.pop(old, ()):
                    self._awaited -= 1
                    for missing in group.missing - {old}:
                        others = self._waiting.get(missing)
                        if others and group in others:
                            others.remove(group)
                            self._awaited -= 1
            self._oldest = oldest

    def _miss(self, offset: int) -> None:
        """A packet is missing: it is told of when no filter packet can be of help any more."""
        due = self._layout.covered_until(offset) + self._patience
        due = min(due, offset + self._history - self._layout.columns)
        heappush(self._open_losses, (due, offset))

    def _forget(self, offset: int) -> None:
        """A jump: nothing of before belongs to groups of now, and what is missing stays so."""
        if self._tells:
            self._given_up += [each for _, each in self._open_losses if each not in self._packets]
            self._given_up += range(max(self._highest + 1, offset - MAX_TOLD), offset)
        self._packets.clear()
        self._waiting.clear()
        self._awaited = 0
        self._open_losses.clear()
        self._oldest = max(offset - offset % self._layout.columns, 0)

    def _take_filter_packet(self, offset: int, datagram: bytes, passed: list[bytes]) -> None:
        self.filter_packets += 1
        self.filter_bytes += len(datagram) - HEADER_BYTES
        members = self._members(offset, datagram)
        if members is None or members[0] < self._oldest or offset - self._highest > self._max_jump:
            self.useless += 1
            return
        packets = self._packets
        missing = {each for each in members if each not in packets}
        if not missing:
            return
        if offset > self._highest:  # the last of the group is lost, or comes behind this
            self._advance(offset)
            if self._tells:
                self._miss(offset)
        group = _Group(members, missing, datagram)
        if len(missing) == 1:
            self._settle([group], passed)
            return
        if any(other.members == members for other in self._waiting.get(min(missing), ())):
            return  # a repeat
        if self._awaited + len(missing) > MAX_AWAITED:
            self.useless += 1
            return
        self._awaited += len(missing)
        for each in missing:
            self._waiting.setdefault(each, []).append(group)

    def _members(self, offset: int, datagram: bytes) -> range | None:
        """The group that a filter packet speaks of; None: there is no such."""
        if len(datagram) < HEADER_BYTES + FILTER_HEAD_BYTES or offset < 0:
            return None
        layout = self._layout
        column = offset % layout.columns
        index = datagram[HEADER_BYTES]
        if index == ROW_INDEX and column == layout.columns - 1:
            return layout.row_of(offset)
        if not layout.has_columns or index != column & 0xFF:
            return None
        members = layout.column_of(offset)
        return members if members is not None and members[-1] == offset else None

    def _arrive(self, offset: int) -> list[_Group]:
        """A packet came that groups were waiting for: those that miss one alone now."""
        ripe: list[_Group] = []
        for group in self._waiting.pop(offset):
            self._awaited -= 1
            group.missing.discard(offset)
            if len(group.missing) == 1:
                ripe.append(group)
        return ripe

    def _settle(self, ripe: list[_Group], passed: list[bytes]) -> None:
        """Rebuild the one packet that each of these misses, and what that makes possible."""
        while ripe:
            group = ripe.pop()
            if not group.missing:
                continue  # another group was faster
            (offset,) = group.missing
            packet = None if offset in self._packets else self._mend(group, offset)
            if packet is None:
                self.useless += 1
                continue
            self.rebuilt += 1
            self.rebuilt_bytes += len(packet) - HEADER_BYTES
            passed.append(packet)
            self._packets[offset] = packet
            if offset in self._waiting:
                ripe += self._arrive(offset)

    def _mend(self, group: _Group, offset: int) -> bytes | None:
        """The missing packet; None: what came does not fit together."""
        _, _, timestamp, _ = unpack_header(group.packet)
        _, flags, length = FILTER_HEAD.unpack_from(group.packet, HEADER_BYTES)
        start = HEADER_BYTES + FILTER_HEAD_BYTES
        value = int.from_bytes(group.packet[start:], "little")
        size = len(group.packet) - start
        neighbour = neighbour_word = 0
        for each in group.members:
            if each == offset:
                continue
            other = self._packets.get(each)
            if other is None:
                return None  # it is forgotten: the packet that was missing came too late
            _, second, stamp, _ = unpack_header(other)
            timestamp ^= stamp
            flags ^= second >> KEY_SHIFT & 3
            length ^= len(other) - HEADER_BYTES
            value ^= int.from_bytes(other[HEADER_BYTES:], "little")
            neighbour, neighbour_word = each, second
        if length > size or flags > 3 or value >> 8 * length:
            return None
        message = (neighbour_word & MESSAGE_MASK) - 1 + offset - neighbour
        second = (
            SOLO
            | neighbour_word & IN_ORDER
            | flags << KEY_SHIFT
            | RETRANSMITTED
            | message % MAX_MESSAGE + 1
        )
        header = pack_header(
            self._first + offset & SEQUENCE_MASK, second, timestamp, self._socket_id
        )
        return header + value.to_bytes(length, "little")

    def _tell(self) -> Losses:
        """Losses that no filter packet can mend any more."""
        if not self._given_up:
            return []
        offsets, self._given_up = sorted(self._given_up), []
        self.lost += len(offsets)
        losses: Losses = []
        last = -1
        for offset in offsets:
            sequence = self._first + offset & SEQUENCE_MASK
            if losses and offset == last + 1:
                losses[-1] = losses[-1][0], sequence
            else:
                losses.append((sequence, sequence))
            last = offset
        return losses
