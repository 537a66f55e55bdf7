"""Payload formats that FLUX does not know: each RTP payload is a unit, with its marker.

The marker has to survive up to the RTP outputs, and a payload is nothing but a tuple of bytes. So
the tuple's length tells it: `(data,)` came without the marker, `(data, b"")` with it. The second
piece is empty: sizes and joined bytes are those of the RTP payload either way.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from media.parameters import Parameters
from media.payloads.base import NOTHING, DropCallback, SequenceCheck, Unit

MARK = b""
MAX_FMTP_CHARACTERS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class OpaqueParameters(Parameters):
    """What the description says of such a format, for receivers that know it."""

    fmtp: str = ""  # the format parameters, word for word
    channels: int = 1  # of the rtpmap


def opaque_parameters(fmtp: str, channels: int, version: int = 0) -> OpaqueParameters | None:
    """The parameters; None where there is nothing to say."""
    if len(fmtp) > MAX_FMTP_CHARACTERS or not fmtp.isprintable():
        fmtp = ""  # it could not stand in a line of a description
    if not fmtp and channels <= 1:
        return None
    return OpaqueParameters(version=version, fmtp=fmtp, channels=channels)


class OpaqueDepacketizer:
    """Makes a unit of each packet."""

    __slots__ = ("_on_drop", "_sequence")

    def __init__(self, on_drop: DropCallback) -> None:
        self._on_drop = on_drop
        self._sequence = SequenceCheck(on_drop, "rtp-packet-loss")

    def push(self, payload: bytes, marker: bool, sequence: int, timestamp: int) -> Sequence[Unit]:
        """Take one packet; the answer is its unit."""
        self._sequence.take(sequence)
        if not payload:
            return NOTHING
        return (Unit(timestamp, (payload, MARK) if marker else (payload,)),)


class OpaquePacketizer:
    """Gives back what came in; what is in it cannot be cut, so no limit applies."""

    __slots__ = ()

    def __init__(self, max_payload_bytes: int) -> None:
        pass

    def packetize(self, payload: tuple[bytes, ...]) -> list[tuple[bytes, bool]]:
        """The packet of one unit."""
        return [(payload[0], len(payload) > 1)] if payload else []
