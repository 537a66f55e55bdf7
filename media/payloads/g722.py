"""RTP payload format for G.722, RFC 3551 section 4.5.2.

A byte is two samples at 16 kHz and one tick: the clock was registered as 8000 Hz by mistake and has
to stay so.
"""

from collections.abc import Mapping

from media.codecs.adpcm import G722_CLOCK_RATE, G722_SAMPLE_RATE, G722Parameters
from media.payloads.base import DropCallback
from media.payloads.samples import SampleDepacketizer, SamplePacketizer


class G722Depacketizer(SampleDepacketizer):
    """Makes audio frames from RTP payloads.

    quirk: devices that say `G722/16000` (section 4.5.2 has 8000 alone) count two ticks a byte.
    test: test_a_clock_of_16_khz
    """

    __slots__ = ()

    def __init__(
        self, on_drop: DropCallback, channels: int = 1, clock_rate: int = G722_CLOCK_RATE
    ) -> None:
        super().__init__(on_drop, "g722", max(channels, 1), max(1, clock_rate // G722_CLOCK_RATE))


class G722Packetizer(SamplePacketizer):
    """Makes RTP payloads: one packet a unit, whatever its size."""

    __slots__ = ()


def parameters_from_fmtp(
    fmtp: Mapping[str, str], clock_rate: int = G722_CLOCK_RATE, channels: int = 1
) -> G722Parameters:
    """Parameters of rtpmap, whose rate is not that of the sound."""
    return G722Parameters(sample_rate=G722_SAMPLE_RATE, channels=max(channels, 1))


def fmtp_from_parameters(parameters: G722Parameters) -> dict[str, str]:
    """There are no format parameters."""
    return {}
