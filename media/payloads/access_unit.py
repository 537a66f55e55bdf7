"""Assembles access units from packets of NAL units: what H.264 and H.265 have in common.

An access unit ends with the marker or where the timestamp changes, whichever is seen first: the
marker alone cannot be relied on, since some cameras never set it (RFC 6184 section 5.1 wants it).

    state       packet in order                gap before the packet
    ---------   ----------------------------   ----------------------------------------------------
    idle        opens a unit                   counts one loss; opens, if the packet begins a unit
    open        goes on, or ends and opens     drops the unit; a packet of a new time stamp opens,
                (new timestamp)                if it begins a unit; else skipping
    skipping    until marker or new timestamp  the same

Tolerated: a last fragment without its end bit, a missing marker, and Annex-B start codes between
NAL units that a camera packs into one payload or fragmented unit (RFC 6184 sections 5.6 and 5.8
allow one unit only; the bytes 00 00 01 cannot occur inside of one). The search for them costs more
than all the rest, and who packs units does so from the first picture on. So slices, which are most
of the bytes, are searched at the start only, and for ever once a start code was found anywhere.
"""

from collections.abc import Sequence

from media.codecs.nal import START_CODE, split_annexb
from media.payloads.base import MAX_UNIT_BYTES, MAX_UNIT_NALS, NOTHING, DropCallback, Unit

SEARCHED_SLICES = 64


class AccessUnitAssembler:
    """Base of the NAL unit depacketizers; a format says how one packet is taken apart."""

    __slots__ = (
        "_expected",
        "_fragments",
        "_nals",
        "_on_drop",
        "_searches",
        "_size_bytes",
        "_skipping",
        "_timestamp",
    )

    prefix = ""  # of the drop reasons: "h264"
    slices = bytes(256)  # by the first byte of a NAL unit: 1 for slices

    def __init__(self, on_drop: DropCallback) -> None:
        self._on_drop = on_drop
        self._expected: int | None = None  # sequence of the next packet
        self._timestamp: int | None = None  # of the unit that is open or was the last
        self._nals: list[bytes] = []  # whole NAL units of the open access unit
        self._fragments: list[bytes] = []  # of the open NAL unit: its header, then pieces
        self._size_bytes = 0  # of both
        self._skipping = False  # the rest of this access unit is not wanted
        self._searches = SEARCHED_SLICES  # slices to be searched still; -1: all

    # What a format says.

    def _take(self, payload: bytes) -> None:
        """Add what one packet holds by `_add`, `_fragments` or `_fail`; it is never empty."""
        raise NotImplementedError

    def _begins_unit(self, payload: bytes) -> bool:
        """Tell whether this packet can be the first of an access unit."""
        raise NotImplementedError

    def _is_fragment(self, payload: bytes) -> bool:
        """Tell whether this packet is a fragment."""
        raise NotImplementedError

    # The machine.

    def push(self, payload: bytes, marker: bool, sequence: int, timestamp: int) -> Sequence[Unit]:
        """Take one packet; answer the access units that it completes: none, one or two."""
        done = NOTHING
        if sequence != self._expected or timestamp != self._timestamp:
            done = self._turn(payload, sequence, timestamp)
        self._expected = sequence + 1
        if payload and not self._skipping:
            self._take(payload)
        if marker:
            done += self._end()
        return done

    def _turn(self, payload: bytes, sequence: int, timestamp: int) -> tuple[Unit, ...]:
        """A gap, a new timestamp or both come before this packet."""
        done = NOTHING
        is_gap = sequence != self._expected
        is_first = self._expected is None
        was_skipping = self._skipping
        is_open = bool(self._nals or self._fragments)
        if is_gap and is_open:
            self._drop("fu-loss" if self._fragments else "unit-loss")
        if timestamp != self._timestamp:
            if not is_gap:
                done = self._end()
            self._timestamp = timestamp
            self._skipping = False
        elif is_gap and is_open:
            self._skipping = True  # the same unit goes on, without its middle
        if not is_gap or self._skipping:
            return done
        begins = self._begins_unit(payload)
        self._skipping = not begins
        if not is_first and not (begins and (is_open or was_skipping)):
            # Either a unit between the last one and this is gone, or the head of this one is.
            self._on_drop(f"{self.prefix}-{self._loss_reason(payload, begins)}")
        return done

    def _loss_reason(self, payload: bytes, begins: bool) -> str:
        return "fu-loss" if not begins and self._is_fragment(payload) else "unit-loss"

    def _end(self) -> tuple[Unit, ...]:
        """Close the access unit, whether it is open, skipped or empty."""
        if self._fragments:
            self._end_fragments()  # quirk: a last fragment without its end bit
        self._skipping = False
        nals = self._nals
        if not nals:
            return NOTHING
        self._nals = []
        self._size_bytes = 0
        return (Unit(self._timestamp or 0, tuple(nals)),)

    def _drop(self, reason: str) -> None:
        """Forget the open access unit and count it."""
        self._nals = []
        self._fragments = []
        self._size_bytes = 0
        self._on_drop(f"{self.prefix}-{reason}")

    def _fail(self, reason: str) -> None:
        """The open access unit cannot be whole any more: drop it and skip its rest."""
        if not self._skipping:
            self._drop(reason)
            self._skipping = True

    def _add(self, nal: bytes) -> None:
        """Add one NAL unit, or several that a camera packed into one."""
        if self.slices[nal[0]]:
            if not self._searches:
                self._append(nal)
                return
            if self._searches > 0:
                self._searches -= 1
        if START_CODE in nal:
            # quirk: cameras that put a whole Annex-B access unit into one NAL or FU payload.
            self._searches = -1
            for piece in split_annexb(nal):
                self._append(piece)
        else:
            self._append(nal)

    def _append(self, nal: bytes) -> None:
        if self._skipping:
            return
        self._nals.append(nal)
        self._size_bytes += len(nal)
        if self._size_bytes > MAX_UNIT_BYTES or len(self._nals) > MAX_UNIT_NALS:
            self._fail("unit-too-large")

    def _begin_fragments(self, header: bytes, piece: bytes) -> None:
        if self._fragments:
            self._end_fragments()  # quirk: the fragmented unit before has no end bit
        if not self._skipping:
            self._fragments = [header, piece]
            self._size_bytes += len(header) + len(piece)

    def _end_fragments(self) -> None:
        nal = b"".join(self._fragments)
        self._fragments = []
        self._size_bytes -= len(nal)  # `_append` counts it again
        self._add(nal)
