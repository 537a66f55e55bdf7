"""Opus parameters and packet length (RFC 6716 section 3.1, RFC 7845 section 5.1)."""

from dataclasses import dataclass
from struct import Struct

from flux.base.errors import WireError
from media.parameters import AudioParameters

CLOCK_RATE = 48000  # always, whatever was coded: RFC 7587 section 4.1
MAX_PACKET_SAMPLES = 5760  # 120 ms
PRE_SKIP = 312  # the look-ahead of libopus
HEADER = Struct("<8sBBHIhB")

SILK_SAMPLES = (480, 960, 1920, 2880)
# Samples of one frame by the `config` field of the TOC byte: SILK, hybrid, CELT.
FRAME_SAMPLES = SILK_SAMPLES * 3 + (480, 960) * 2 + (120, 240, 480, 960) * 4


@dataclass(frozen=True, slots=True, kw_only=True)
class OpusParameters(AudioParameters):
    """The configuration of an Opus track; `sample_rate` is 48000."""

    pre_skip: int = PRE_SKIP  # samples at 48 kHz that a decoder throws away at the start

    def codec_string(self) -> str:
        """`opus`, RFC 6381 as registered with MP4."""
        return "opus"

    def id_header(self) -> bytes:
        """The OpusHead of mapping family 0: mono or stereo."""
        return HEADER.pack(b"OpusHead", 1, self.channels, self.pre_skip, CLOCK_RATE, 0, 0)


def packet_samples(packet: bytes) -> int:
    """How long a packet lasts, in samples at 48 kHz; `WireError` if it is none."""
    if not packet:
        raise WireError("opus-malformed", "empty")
    toc = packet[0]
    code = toc & 3
    count = 1 if code == 0 else 2
    if code == 3:
        if len(packet) < 2:
            raise WireError("opus-malformed", "no frame count")
        count = packet[1] & 63
    samples = count * FRAME_SAMPLES[toc >> 3]
    if not 0 < samples <= MAX_PACKET_SAMPLES:
        raise WireError("opus-malformed", f"{samples} samples")
    return samples
