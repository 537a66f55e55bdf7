"""RTP payload format for linear 16 bit samples, RFC 3551 section 4.5.11."""

from collections.abc import Mapping

from media.codecs.pcm import L16_SAMPLE_BYTES, L16Parameters
from media.payloads.base import DropCallback
from media.payloads.samples import SampleDepacketizer, SamplePacketizer

STATIC_CLOCK_RATE = 44100  # of payload types 10 and 11


class L16Depacketizer(SampleDepacketizer):
    """Makes audio frames from RTP payloads."""

    __slots__ = ()

    def __init__(self, on_drop: DropCallback, channels: int = 1) -> None:
        super().__init__(on_drop, "l16", L16_SAMPLE_BYTES * max(channels, 1))


class L16Packetizer(SamplePacketizer):
    """Makes RTP payloads: one packet a unit, whatever its size."""

    __slots__ = ()


def parameters_from_fmtp(
    fmtp: Mapping[str, str], clock_rate: int = STATIC_CLOCK_RATE, channels: int = 1
) -> L16Parameters:
    """Parameters of rtpmap; what a description can add (RFC 3555 section 4.1.16) changes none."""
    return L16Parameters(sample_rate=clock_rate, channels=max(channels, 1))


def fmtp_from_parameters(parameters: L16Parameters) -> dict[str, str]:
    """There are no format parameters that a receiver needs."""
    return {}
