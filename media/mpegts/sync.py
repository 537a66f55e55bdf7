"""Finds the packets in a byte stream; ISO/IEC 13818-1 section 2.4.3 and annex G.1.

The packets are 188 bytes long, or 192 (M2TS: four bytes of arrival time stand before each) or 204
(sixteen bytes of Reed-Solomon parity stand behind each). Where packets begin is sure once three
sync bytes stand one such stride apart.

A sync byte that is not where it must be:

- The next two are: one packet is damaged and left out.
- Else the stream is searched for the next three. Where they begin inside one of the two packets
  before, that packet was cut and is left out.
- Where the bytes come as datagrams, a packet whose halves came in two of them is left out as well:
  the datagram in the middle may be missing. quirk: ffmpeg cuts `udp://` into 1472 bytes unless it
  is told better, where RFC 2250 section 2 wants whole packets; test: test_lost_odd_datagrams
"""

from collections.abc import Callable

from media.mpegts.bulk import PACKET_BYTES, SYNC_BYTE

STRIDES = (PACKET_BYTES, 192, 204)
SUSPECTS = 2  # packets before a missing sync byte: one in 256 wrong bytes looks like a right one
BLOCK = 1024  # packets that are handed on at once
_SYNC = bytes((SYNC_BYTE,))
_ROW = _SYNC * (BLOCK + 1)
_NOWHERE = -1

LOST = "ts-sync-lost"
DAMAGED = "ts-sync-byte"
CUT = "ts-packet-cut"

OnBlock = Callable[[bytes, int, int], None]
OnDrop = Callable[[str], None]


class PacketSync:
    """Cuts bytes into packets: `on_block(data, start, count)` for `count` packets in a row.

    The packet `i` of a block begins at `start + i * stride` with its sync byte, and is whole.
    """

    __slots__ = (
        "_due",
        "_held",
        "_is_far",
        "_is_locked",
        "_is_seam",
        "_on_block",
        "_on_drop",
        "_skip",
        "_suspect",
        "junk_bytes",
        "stride",
    )

    def __init__(self, on_block: OnBlock, on_drop: OnDrop) -> None:
        self._on_block = on_block
        self._on_drop = on_drop
        self._held = b""  # not yet used; begins with a packet where locked
        self._skip = 0  # bytes until the next packet begins
        self._is_locked = False
        self._due = _NOWHERE  # where in `_held` a sync byte is missing
        self._is_far = False  # that place has gone by
        self._suspect = _NOWHERE  # the first of the packets before that, which may be broken too
        self._is_seam = False  # one of them came in two datagrams
        self.stride = 0  # 0: not known
        self.junk_bytes = 0  # that stood where no packet was

    def feed(self, data: bytes, *, is_datagram: bool) -> None:
        """Take bytes, cut anywhere."""
        held = len(self._held)
        if held:
            data = self._held + data
            self._held = b""
        at, self._skip = self._skip, 0
        while True:
            if not self._is_locked:
                at = self._search(data)
                if at == _NOWHERE:
                    return
            stride = self.stride
            count = min((len(data) - at - PACKET_BYTES) // stride + 1, BLOCK)
            if count <= 0:
                self._hold(data, at)
                return
            # With the sync byte of the one behind, if it has come: it vouches for the last packet.
            row = data[at : at + count * stride + 1 : stride]
            if row == _ROW[: len(row)]:
                self._on_block(data, at, count)
                at += count * stride
                continue
            good = len(row) - len(row.lstrip(_SYNC))
            self._due = at + good * stride
            if good:
                sure = max(good - SUSPECTS, 0)
                self._suspect = at + sure * stride
                self._is_seam = is_datagram and self._suspect < held
                if sure:
                    self._on_block(data, at, sure)
            self._is_locked = False

    def gap(self) -> None:
        """Bytes are missing here: what is held will not be completed."""
        self._held = b""
        self._skip = 0
        self._forget()
        self._is_locked = False

    def flush(self) -> None:
        """The stream has ended: take packets that had too few successors to be proven."""
        data, self._held = self._held, b""
        if not self._is_locked and self._due == _NOWHERE:
            stride = self.stride or PACKET_BYTES
            row = data[::stride]
            if row and row == _SYNC * len(row) and len(data) % stride == 0:
                self.stride = stride
                self._on_block(data, 0, len(row))
        elif self._suspect != _NOWHERE:
            self._judge_suspects(data, self._due)
        self._skip = 0
        self._forget()
        self._is_locked = False

    def _hold(self, data: bytes, at: int) -> None:
        """Keep what is left from `at` on, which may lie beyond the end."""
        if at < len(data):
            self._held = data[at:]
        else:
            self._skip = at - len(data)

    def _forget(self) -> None:
        self._due = self._suspect = _NOWHERE
        self._is_seam = self._is_far = False

    def _search(self, data: bytes) -> int:
        """Where packets go on, or nowhere yet: then what is still of use is held."""
        due, stride = self._due, self.stride
        if due != _NOWHERE and not self._is_far:
            after = due + stride
            if after + stride >= len(data):
                self._keep(data, self._suspect if self._suspect != _NOWHERE else due)
                return _NOWHERE
            if data[after] == data[after + stride] == SYNC_BYTE:
                return self._found(data, after, DAMAGED)
        at = self._suspect + 1 if self._suspect != _NOWHERE else max(due, 0)
        while (at := data.find(_SYNC, at)) >= 0:
            verdict = self._judge(data, at)
            if verdict is None:  # more bytes are needed
                if self._suspect != _NOWHERE and at > due:
                    self._judge_suspects(data, due)
                self._keep(data, self._suspect if self._suspect != _NOWHERE else at)
                return _NOWHERE
            if verdict:
                return self._found(data, at, LOST)
            at += 1
        if self._suspect != _NOWHERE:
            self._judge_suspects(data, due)
        self._keep(data, len(data))
        return _NOWHERE

    def _judge(self, data: bytes, at: int) -> bool | None:
        """Whether packets begin at `at`; None if it cannot be told yet. Sets the stride."""
        is_open = False
        size = len(data)
        for stride in (self.stride, *STRIDES) if self.stride else STRIDES:
            second, third = at + stride, at + 2 * stride
            if third < size:
                if data[second] == data[third] == SYNC_BYTE:
                    self.stride = stride
                    return True
            elif second >= size or data[second] == SYNC_BYTE:
                is_open = True
        return None if is_open else False

    def _keep(self, data: bytes, start: int) -> None:
        """Hold `data` from `start` on; the places that are remembered move with it."""
        self._held = data[start:]
        if self._due != _NOWHERE:
            if self._suspect == _NOWHERE and start > self._due:
                self.junk_bytes += start - self._due
                self._is_far = True
            self._due = max(self._due - start, 0)
            if self._suspect != _NOWHERE:
                self._suspect -= start

    def _judge_suspects(self, data: bytes, end: int) -> None:
        """Hand on the suspect packets that end before `end`, where a row begins or sync was lost.

        None of them if one has a seam. Nor the last one where two sync bytes, the first of them
        inside of it, are no row but doubt enough: perhaps the next packet was cut too.
        """
        start, due = self._suspect, self._due
        count = 2 if due - start > STRIDES[-1] else 1
        stride = (due - start) // count
        for at in range(start, due, stride):
            is_whole = not self._is_seam and at + PACKET_BYTES <= end
            if is_whole and at + stride == due:
                ahead = zip(data[at + 1 : due], data[at + 1 + stride : due + stride], strict=False)
                is_whole = (SYNC_BYTE, SYNC_BYTE) not in ahead
            if is_whole:
                self._on_block(data, at, 1)
            else:
                self._on_drop(CUT)
        self._suspect = _NOWHERE
        self._is_seam = False

    def _found(self, data: bytes, at: int, reason: str) -> int:
        """Packets go on at `at`."""
        if self._due != _NOWHERE:
            self._on_drop(reason)
            if self._suspect != _NOWHERE:
                self._judge_suspects(data, min(at, self._due))
            self.junk_bytes += max(0, at - self._due)
        self._forget()
        self._is_locked = True
        return at
