"""Assembles units from the packets of one RTP stream: the machine of all video and data formats.

A unit ends with the marker or where the timestamp changes, whichever is seen first: the marker
alone cannot be relied on, since some cameras never set it (RFC 6184 section 5.1 wants it).

    state       packet in order                gap before the packet
    ---------   ----------------------------   ----------------------------------------------------
    idle        opens a unit                   counts one loss; opens, if the packet begins a unit
    open        goes on, or ends and opens     drops the unit; a packet of a new time stamp opens,
                (new timestamp)                if it begins a unit; else skipping
    skipping    until marker or new timestamp  the same

A unit is made of parts (NAL units, OBUs, VP9 layer frames) and a part of fragments. Formats whose
units have one part only, such as VP8, know fragments alone.
"""

from collections.abc import Sequence

from media.payloads.base import MAX_UNIT_BYTES, MAX_UNIT_NALS, NOTHING, DropCallback, Unit


class UnitAssembler:
    """Base of the depacketizers; a format says how one packet is taken apart."""

    __slots__ = (
        "_expected",
        "_fragments",
        "_is_marker_trusted",
        "_marked",
        "_on_drop",
        "_parts",
        "_size_bytes",
        "_skipping",
        "_timestamp",
    )

    prefix = ""  # of the drop reasons: "h264"
    has_one_unit_a_time = False  # two units never have the same timestamp

    def __init__(self, on_drop: DropCallback) -> None:
        self._on_drop = on_drop
        self._expected: int | None = None  # sequence of the next packet
        self._timestamp: int | None = None  # of the unit that is open or was the last
        self._parts: list[bytes] = []  # whole parts of the open unit
        self._fragments: list[bytes] = []  # of the open part
        self._size_bytes = 0  # of both
        self._skipping = False  # the rest of this unit is not wanted
        self._marked: int | None = None  # timestamp of the last unit that a marker ended
        self._is_marker_trusted = True

    # What a format says.

    def _take(self, payload: bytes) -> None:
        """Add what one packet holds, or `_fail`; the payload is never empty."""
        raise NotImplementedError

    def _begins_unit(self, payload: bytes) -> bool:
        """Tell whether this packet can be the first of a unit."""
        raise NotImplementedError

    def _is_fragment(self, payload: bytes) -> bool:
        """Tell whether this packet is a fragment; asked of one that begins no unit."""
        return bool(payload)

    def _finish(self, parts: list[bytes]) -> tuple[bytes, ...]:
        """The payload of a unit that is whole; empty if it is none after all."""
        return tuple(parts)

    # The machine.

    def push(self, payload: bytes, marker: bool, sequence: int, timestamp: int) -> Sequence[Unit]:
        """Take one packet; answer the units that it completes: none, one or two."""
        done = NOTHING
        if sequence != self._expected or timestamp != self._timestamp:
            done = self._turn(payload, sequence, timestamp)
        self._expected = sequence + 1
        if payload and not self._skipping:
            self._take(payload)
        if marker and self._is_marker_trusted:
            done += self._end()
            # The next packet takes a turn, so that it shows whether the unit was at its end.
            self._marked, self._timestamp = timestamp, None
        return done

    def _turn(self, payload: bytes, sequence: int, timestamp: int) -> tuple[Unit, ...]:
        """A gap, a new timestamp or both come before this packet."""
        done = NOTHING
        if timestamp == self._marked and self.has_one_unit_a_time:
            # quirk: cameras that mark each slice of a picture, against RFC 6184 section 5.1; from
            # now on the next timestamp ends a unit. test: test_a_marker_on_each_slice
            self._is_marker_trusted = False
        is_gap = sequence != self._expected
        is_first = self._expected is None
        was_skipping = self._skipping
        is_open = bool(self._parts or self._fragments)
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
        """Close the unit, whether it is open, skipped or empty."""
        if self._fragments:
            self._end_fragments()  # quirk: a last fragment without its end bit
        self._skipping = False
        parts = self._parts
        if not parts:
            return NOTHING
        self._parts = []
        self._size_bytes = 0
        payload = self._finish(parts)
        return (Unit(self._timestamp or 0, payload),) if payload else NOTHING

    def _drop(self, reason: str) -> None:
        """Forget the open unit and count it."""
        self._parts = []
        self._fragments = []
        self._size_bytes = 0
        self._on_drop(f"{self.prefix}-{reason}")

    def _fail(self, reason: str) -> None:
        """The open unit cannot be whole any more: drop it and skip its rest."""
        if not self._skipping:
            self._drop(reason)
            self._skipping = True

    def _append(self, part: bytes) -> None:
        """Add a whole part."""
        if self._skipping:
            return
        self._parts.append(part)
        self._size_bytes += len(part)
        if self._size_bytes > MAX_UNIT_BYTES or len(self._parts) > MAX_UNIT_NALS:
            self._fail("unit-too-large")

    def _append_fragment(self, piece: bytes) -> None:
        """Add a piece of the open part."""
        self._fragments.append(piece)
        self._size_bytes += len(piece)
        if self._size_bytes > MAX_UNIT_BYTES:
            self._fail("unit-too-large")

    def _end_fragments(self) -> None:
        """The open part is whole."""
        part = b"".join(self._fragments)
        self._fragments = []
        self._size_bytes -= len(part)  # `_append` counts it again
        self._append(part)
