"""RTP payload format for G.711, RFC 3551 section 4.5.14: bytes are samples."""

from collections.abc import Mapping

from media.codecs.g711 import G711Parameters
from media.payloads.base import DropCallback
from media.payloads.samples import SampleDepacketizer, SamplePacketizer


class G711Depacketizer(SampleDepacketizer):
    """Makes audio frames from RTP payloads."""

    __slots__ = ()

    def __init__(self, on_drop: DropCallback, channels: int = 1) -> None:
        super().__init__(on_drop, "g711", max(channels, 1))


class G711Packetizer(SamplePacketizer):
    """Makes RTP payloads: one packet a unit, whatever its size."""

    __slots__ = ()


def parameters_from_fmtp(
    fmtp: Mapping[str, str], clock_rate: int = 8000, channels: int = 1
) -> G711Parameters:
    """Parameters of rtpmap: there are no format parameters."""
    return G711Parameters(sample_rate=clock_rate, channels=max(channels, 1))


def fmtp_from_parameters(parameters: G711Parameters) -> dict[str, str]:
    """There are no format parameters."""
    return {}
