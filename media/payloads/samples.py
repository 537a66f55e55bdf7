"""Payload formats whose bytes are samples and nothing else, RFC 3551 sections 4.1 to 4.3.

A packet is cut where it is large: what comes in over TCP, or in IP fragments, must fit into any
packet on its way out, where it cannot be cut any more, since one timestamp goes with one unit.
"""

from collections.abc import Sequence

from media.payloads.base import NOTHING, DropCallback, SequenceCheck, Unit

MAX_UNIT_TICKS = 960  # 120 ms of G.711
MAX_SAMPLE_BYTES = 1400  # what RTP outputs put into a packet


class SampleDepacketizer:
    """Makes audio frames from RTP payloads.

    A group is the least number of bytes that holds a whole number of samples of each channel.
    """

    __slots__ = ("_group_bytes", "_group_ticks", "_limit", "_on_drop", "_prefix", "_sequence")

    def __init__(
        self, on_drop: DropCallback, prefix: str, group_bytes: int, group_ticks: int = 1
    ) -> None:
        """`group_ticks`: how long a group lasts on the RTP clock; `prefix`: of the drop reasons."""
        self._on_drop = on_drop
        self._prefix = prefix
        self._group_bytes = group_bytes
        self._group_ticks = group_ticks
        groups = min(MAX_UNIT_TICKS // group_ticks, MAX_SAMPLE_BYTES // group_bytes)
        self._limit = max(groups, 1) * group_bytes
        self._sequence = SequenceCheck(on_drop, f"{prefix}-unit-loss")

    def push(self, payload: bytes, marker: bool, sequence: int, timestamp: int) -> Sequence[Unit]:
        """Take one packet; the answer is its sound, in several units if it is long."""
        self._sequence.take(sequence)
        size = len(payload)
        if not size:
            return NOTHING
        group = self._group_bytes
        if size % group:
            self._on_drop(f"{self._prefix}-malformed")
            return NOTHING
        step = self._limit
        if size <= step:
            return (Unit(timestamp, (payload,)),)
        ticks = self._group_ticks
        return [
            Unit(timestamp + at // group * ticks, (payload[at : at + step],))
            for at in range(0, size, step)
        ]


class SamplePacketizer:
    """Makes RTP payloads: one packet a unit, whatever its size."""

    __slots__ = ()

    def __init__(self, max_payload_bytes: int) -> None:
        pass

    def packetize(self, payload: tuple[bytes, ...]) -> list[tuple[bytes, bool]]:
        """The packet of one unit; the marker is for the start of a talk spurt only."""
        data = payload[0] if len(payload) == 1 else b"".join(payload)
        return [(data, False)] if data else []
