"""RTP payload format for G.711, RFC 3551 section 4.5.14: bytes are samples."""

from collections.abc import Mapping, Sequence

from media.codecs.g711 import G711Parameters
from media.payloads.base import NOTHING, DropCallback, SequenceCheck, Unit

# Frames of one packet at most: 120 ms at 8 kHz. So what comes in over TCP in larger packets fits
# into any packet on its way out, where it cannot be cut any more: one timestamp goes with one unit.
MAX_UNIT_SAMPLES = 960


class G711Depacketizer:
    """Makes audio frames from RTP payloads."""

    __slots__ = ("_channels", "_on_drop", "_sequence")

    def __init__(self, on_drop: DropCallback, channels: int = 1) -> None:
        self._on_drop = on_drop
        self._channels = max(channels, 1)
        self._sequence = SequenceCheck(on_drop, "g711-unit-loss")

    def push(self, payload: bytes, marker: bool, sequence: int, timestamp: int) -> Sequence[Unit]:
        """Take one packet; the answer is its sound, in several units if it is long."""
        self._sequence.take(sequence)
        if not payload:
            return NOTHING
        if len(payload) % self._channels:
            self._on_drop("g711-malformed")
            return NOTHING
        step = MAX_UNIT_SAMPLES * self._channels
        if len(payload) <= step:
            return (Unit(timestamp, (payload,)),)
        return [
            Unit(timestamp + at // self._channels, (payload[at : at + step],))
            for at in range(0, len(payload), step)
        ]


class G711Packetizer:
    """Makes RTP payloads: one packet a unit, whatever its size."""

    __slots__ = ()

    def __init__(self, max_payload_bytes: int) -> None:
        pass

    def packetize(self, payload: tuple[bytes, ...]) -> list[tuple[bytes, bool]]:
        """The packet of one unit; the marker is for the start of a talk spurt only."""
        data = payload[0] if len(payload) == 1 else b"".join(payload)
        return [(data, False)] if data else []


def parameters_from_fmtp(
    fmtp: Mapping[str, str], clock_rate: int = 8000, channels: int = 1
) -> G711Parameters:
    """Parameters of rtpmap: there are no format parameters."""
    return G711Parameters(sample_rate=clock_rate, channels=max(channels, 1))


def fmtp_from_parameters(parameters: G711Parameters) -> dict[str, str]:
    """There are no format parameters."""
    return {}
