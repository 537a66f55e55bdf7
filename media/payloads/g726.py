"""RTP payload formats for G.726, RFC 3551 section 4.5.4: G726-16, -24, -32, -40.

The names with `AAL2-` before them have the samples of a byte in the other order. Bytes pass as they
are: which order it is, the parameters keep, and the name says it again on the way out.
"""

from media.codecs.adpcm import G726_BITS, G726_SAMPLE_RATE, G726Parameters
from media.payloads.base import DropCallback
from media.payloads.samples import SampleDepacketizer, SamplePacketizer

AAL2 = "aal2-"
PREFIX = "g726-"
# Bytes and samples of the least number of samples that fills whole bytes, by bits of a sample.
GROUPS = {2: (1, 4), 3: (3, 8), 4: (1, 2), 5: (5, 8)}
# Encoding names in lower case: bits of a sample, AAL2 order.
ENCODINGS = {
    f"{order}{PREFIX}{8 * bits}": (bits, bool(order)) for order in ("", AAL2) for bits in G726_BITS
}


class G726Depacketizer(SampleDepacketizer):
    """Makes audio frames from RTP payloads."""

    __slots__ = ()

    def __init__(self, on_drop: DropCallback, bits: int = 4, channels: int = 1) -> None:
        size, samples = GROUPS[bits]
        super().__init__(on_drop, "g726", size * max(channels, 1), samples)


class G726Packetizer(SamplePacketizer):
    """Makes RTP payloads: one packet a unit, whatever its size."""

    __slots__ = ()


def parameters_from_encoding(
    name: str, clock_rate: int = G726_SAMPLE_RATE, channels: int = 1
) -> G726Parameters:
    """Parameters of rtpmap; `name` is one of `ENCODINGS`. There are no format parameters."""
    bits, is_aal2 = ENCODINGS[name]
    return G726Parameters(
        sample_rate=clock_rate, channels=max(channels, 1), bits=bits, is_aal2=is_aal2
    )


def encoding_name(parameters: G726Parameters) -> str:
    """The rtpmap name, such as `AAL2-G726-32`."""
    return f"{AAL2 if parameters.is_aal2 else ''}{PREFIX}{8 * parameters.bits}".upper()


def fmtp_from_parameters(parameters: G726Parameters) -> dict[str, str]:
    """There are no format parameters."""
    return {}
