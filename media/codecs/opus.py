"""Opus parameters and packet length (RFC 6716 section 3.1, RFC 7845 section 5.1)."""

from dataclasses import dataclass
from struct import Struct

from flux.base.errors import WireError
from media.parameters import AudioParameters

CLOCK_RATE = 48000  # always, whatever was coded: RFC 7587 section 4.1
MAX_PACKET_SAMPLES = 5760  # 120 ms
PRE_SKIP = 312  # the look-ahead of libopus
SURROUND_CHANNELS = 8
SILENT = 255  # in the mapping
HEADER = Struct("<8sBBHIhB")

SILK_SAMPLES = (480, 960, 1920, 2880)
# Samples of one frame by the `config` field of the TOC byte: SILK, hybrid, CELT.
FRAME_SAMPLES = SILK_SAMPLES * 3 + (480, 960) * 2 + (120, 240, 480, 960) * 4


@dataclass(frozen=True, slots=True, kw_only=True)
class OpusParameters(AudioParameters):
    """The configuration of an Opus track; `sample_rate` is 48000."""

    pre_skip: int = PRE_SKIP  # samples at 48 kHz that a decoder throws away at the start
    # More than two channels: packets hold several streams, some of them coupled (stereo), and the
    # mapping says which decoded channel each output channel is, RFC 7845 section 5.1.1.
    stream_count: int = 1
    coupled_count: int = 0
    mapping: bytes = b""  # one byte for each channel; empty: mapping family 0, mono or stereo

    def codec_string(self) -> str:
        """`opus`, RFC 6381 as registered with MP4."""
        return "opus"

    def id_header(self) -> bytes:
        """The OpusHead of mapping family 0 (mono or stereo), 1 (surround) or 255 (anything)."""
        family = 0 if not self.mapping else 1 if self.channels <= SURROUND_CHANNELS else 255
        head = HEADER.pack(b"OpusHead", 1, self.channels, self.pre_skip, CLOCK_RATE, 0, family)
        if not family:
            return head
        return head + bytes((self.stream_count, self.coupled_count)) + self.mapping


def parse_id_header(data: bytes) -> OpusParameters:
    """The reverse of `OpusParameters.id_header`; `WireError` if it is none."""
    if len(data) < HEADER.size:
        raise WireError("opus-malformed", "truncated header")
    magic, version, channels, pre_skip, _, _, family = HEADER.unpack_from(data)
    if magic != b"OpusHead" or version > 15 or not channels:
        raise WireError("opus-malformed", "header")
    if not family:
        if channels > 2:
            raise WireError("opus-malformed", "channels")
        return OpusParameters(sample_rate=CLOCK_RATE, channels=channels, pre_skip=pre_skip)
    table = data[HEADER.size :]
    if len(table) < 2:
        raise WireError("opus-malformed", "truncated header")
    return multistream(channels, table[0], table[1], table[2 : 2 + channels], pre_skip)


def multistream(
    channels: int, streams: int, coupled: int, mapping: bytes, pre_skip: int = PRE_SKIP
) -> OpusParameters:
    """Parameters of packets with several streams; `WireError` if the numbers do not fit."""
    decoded = streams + coupled
    if not (0 < streams <= 255 and 0 <= coupled <= streams and decoded <= 255):
        raise WireError("opus-malformed", "streams")
    if not channels or len(mapping) != channels:
        raise WireError("opus-malformed", "channels")
    if any(index >= decoded and index != SILENT for index in mapping):
        raise WireError("opus-malformed", "mapping")
    return OpusParameters(
        sample_rate=CLOCK_RATE,
        channels=channels,
        pre_skip=pre_skip,
        stream_count=streams,
        coupled_count=coupled,
        mapping=mapping,
    )


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
