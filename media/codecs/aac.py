"""AAC parameters: AudioSpecificConfig (ISO/IEC 14496-3 section 1.6.2.1) and ADTS (1.A.2.2)."""

from dataclasses import dataclass
from typing import Self

from flux.base.bits import BitReader
from flux.base.errors import WireError
from media.parameters import AudioParameters

SAMPLE_RATES = (
    96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350,
)  # fmt: skip
CHANNELS = (0, 1, 2, 3, 4, 5, 6, 8, 0, 0, 0, 7, 8, 0, 8)  # by channelConfiguration

AAC_MAIN = 1
AAC_LC = 2
AAC_LTP = 4
AAC_SBR = 5
AAC_LD = 23
AAC_PS = 29
AAC_ELD = 39
AAC_USAC = 42
# Object types with a GASpecificConfig, section 1.6.2.1.
GENERAL_AUDIO = frozenset((1, 2, 3, 4, 6, 7, 17, 19, 20, 21, 22, 23))
ERROR_RESILIENT = frozenset((17, 19, 20, 21, 22, 23))  # followed by epConfig
SYNC_SBR = 0x2B7
SYNC_PS = 0x548
MAX_CONFIG_BYTES = 512
ADTS_HEADER_BYTES = 7
MAX_ADTS_FRAME_BYTES = 8191
ADTS_NO_BASE = 0
ADTS_FRAME_SHIFT = 13  # bits after aac_frame_length


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioConfig:
    """An AudioSpecificConfig, read."""

    object_type: int  # of the core decoder
    core_rate: int  # Hz of the core decoder
    sample_rate: int  # Hz of the decoded sound: twice the core's where SBR is signalled
    channels: int
    channel_configuration: int  # 0: a program config element tells the channels
    frame_length: int  # samples of one frame at core_rate
    has_sbr: bool
    has_ps: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AacParameters(AudioParameters):
    """The configuration of an AAC track."""

    config: bytes  # AudioSpecificConfig
    object_type: int  # of the core decoder; 2 is AAC-LC
    core_rate: int  # Hz of the core decoder; `sample_rate` is twice that with SBR
    has_sbr: bool
    has_ps: bool
    adts_base: int  # the ADTS header without its length; 0 if ADTS cannot carry this

    @classmethod
    def build(cls, config: bytes, clock_rate: int = 0, version: int = 0) -> Self:
        """Parameters of an AudioSpecificConfig; `WireError` if it cannot be read.

        `clock_rate` is that of the track (the decoded sample rate if 0): a frame of a 24 kHz
        core with SBR lasts 1024 ticks of a 24 kHz clock and 2048 of a 48 kHz one.
        """
        parsed = parse_config(config)
        return cls(
            version=version,
            sample_rate=parsed.sample_rate,
            channels=parsed.channels,
            frame_samples=frame_ticks(parsed, clock_rate or parsed.sample_rate),
            config=config,
            object_type=parsed.object_type,
            core_rate=parsed.core_rate,
            has_sbr=parsed.has_sbr,
            has_ps=parsed.has_ps,
            adts_base=_adts_base(parsed),
        )

    def codec_string(self) -> str:
        """`mp4a.40.N`, RFC 6381 section 3.3."""
        if self.has_ps:
            return f"mp4a.40.{AAC_PS}"
        return f"mp4a.40.{AAC_SBR if self.has_sbr else self.object_type}"

    @property
    def is_adts_possible(self) -> bool:
        """Whether ADTS can describe this: object types 1 to 4, a listed rate, 1 to 8 channels."""
        return self.adts_base != ADTS_NO_BASE

    def adts_header(self, size_bytes: int) -> bytes:
        """The 7 bytes before a raw frame of `size_bytes`; check `is_adts_possible` once before."""
        length = size_bytes + ADTS_HEADER_BYTES
        return (self.adts_base | length << ADTS_FRAME_SHIFT).to_bytes(ADTS_HEADER_BYTES, "big")


def parse_config(config: bytes) -> AudioConfig:
    """Parse an AudioSpecificConfig; `WireError` if it is cut or names reserved values."""
    return _read_config(BitReader(config[:MAX_CONFIG_BYTES]), may_extend=True)


def config_bits(data: bytes) -> int:
    """How many bits the AudioSpecificConfig takes that `data` begins with.

    For carriers that do not tell its length. `WireError` if it cannot be read, or belongs to an
    object type whose end only its decoder finds.
    """
    reader = BitReader(data[:MAX_CONFIG_BYTES])
    total = reader.remaining
    config = _read_config(reader, may_extend=False)
    if config.object_type not in GENERAL_AUDIO:
        raise WireError("aac-config-unsupported", f"length of object type {config.object_type}")
    if config.object_type in ERROR_RESILIENT and reader.bits(2):  # epConfig
        raise WireError("aac-config-unsupported", "epConfig")
    used = total - reader.remaining
    if config.has_sbr:
        return used
    # quirk: the backward compatible extension where nobody tells how long the configuration is
    # (ISO/IEC 14496-3 section 1.6.2.1: bits_to_decode() is 0 then, so it cannot be there).
    # GStreamer's rtpmp4apay puts whatever it has. test: test_an_extension_without_length
    try:
        if reader.bits(11) != SYNC_SBR or _object_type(reader) != AAC_SBR:
            return used
        if reader.flag():
            _sample_rate(reader)
        used = total - reader.remaining
        if reader.bits(11) == SYNC_PS:
            reader.skip(1)
            used = total - reader.remaining
    except WireError:
        pass
    return used


def _read_config(reader: BitReader, may_extend: bool) -> AudioConfig:
    object_type = _object_type(reader)
    core_rate = _sample_rate(reader)
    channel_configuration = reader.bits(4)
    if channel_configuration >= len(CHANNELS):
        raise WireError("aac-config-malformed", "channelConfiguration")
    has_ps = object_type == AAC_PS
    has_sbr = has_ps or object_type == AAC_SBR
    sample_rate = core_rate
    if has_sbr:
        sample_rate = _sample_rate(reader)
        object_type = _object_type(reader)
    frame_length = 1024
    channels = CHANNELS[channel_configuration]
    if object_type in GENERAL_AUDIO:
        is_short = reader.flag()  # frameLengthFlag
        frame_length = 960 if is_short else 1024
        if object_type == AAC_LD:
            frame_length = 480 if is_short else 512
        channels = _skip_general_audio(reader, object_type, channel_configuration) or channels
        if not has_sbr and may_extend:
            has_sbr, has_ps, sample_rate = _find_extension(reader, core_rate)
    elif object_type == AAC_ELD:
        frame_length = 480 if reader.flag() else 512
    if not channels:
        raise WireError("aac-config-malformed", "channels")
    return AudioConfig(
        object_type=object_type,
        core_rate=core_rate,
        sample_rate=sample_rate,
        channels=channels,
        channel_configuration=channel_configuration,
        frame_length=frame_length,
        has_sbr=has_sbr,
        has_ps=has_ps,
    )


def make_config(sample_rate: int, channels: int) -> bytes:
    """The AudioSpecificConfig of AAC-LC; `WireError` if there is none for these values."""
    if sample_rate not in SAMPLE_RATES or channels not in CHANNELS[1:8]:
        raise WireError("aac-config-malformed", f"{sample_rate} Hz, {channels} channels")
    index = SAMPLE_RATES.index(sample_rate)
    return (AAC_LC << 11 | index << 7 | CHANNELS.index(channels) << 3).to_bytes(2, "big")


def frame_ticks(config: AudioConfig, clock_rate: int) -> int:
    """How long a frame lasts in ticks of a clock, rounded."""
    return (2 * config.frame_length * clock_rate + config.core_rate) // (2 * config.core_rate)


def _object_type(reader: BitReader) -> int:
    object_type = reader.bits(5)
    if object_type == 31:
        object_type = 32 + reader.bits(6)
    if not object_type:
        raise WireError("aac-config-malformed", "audioObjectType")
    return object_type


def _sample_rate(reader: BitReader) -> int:
    index = reader.bits(4)
    if index == 15:
        rate = reader.bits(24)
    elif index < len(SAMPLE_RATES):
        rate = SAMPLE_RATES[index]
    else:
        rate = 0
    if not rate:
        raise WireError("aac-config-malformed", "samplingFrequency")
    return rate


def _skip_general_audio(reader: BitReader, object_type: int, channel_configuration: int) -> int:
    """Step over GASpecificConfig after its first flag (section 4.4.1); answer channels of a PCE."""
    if reader.flag():  # dependsOnCoreCoder
        reader.skip(14)
    has_extension = reader.flag()
    channels = 0
    if not channel_configuration:
        channels = _count_channels(reader)
    if object_type in (6, 20):
        reader.skip(3)
    if has_extension:
        if object_type == 22:
            reader.skip(16)
        if object_type in (17, 19, 20, AAC_LD):
            reader.skip(3)
        reader.skip(1)
    return channels


def _count_channels(reader: BitReader) -> int:
    """The channels of a program_config_element(), section 4.4.1.1."""
    reader.skip(10)  # element_instance_tag, object_type, sampling_frequency_index
    counts = [reader.bits(width) for width in (4, 4, 4, 2, 3, 4)]
    for width in (4, 4, 3):  # mono, stereo and matrix mixdown
        if reader.flag():
            reader.skip(width)
    front, side, back, lfe, associated, coupling = counts
    channels = lfe
    for _ in range(front + side + back):
        channels += 1 + reader.flag()  # is it a channel pair?
        reader.skip(4)
    reader.skip(4 * (lfe + associated) + 5 * coupling)
    # Byte alignment counts from the start of the AudioSpecificConfig, whose length is whole bytes.
    reader.skip(reader.remaining % 8)
    reader.skip(8 * reader.bits(8))  # comment
    return channels


def _find_extension(reader: BitReader, core_rate: int) -> tuple[bool, bool, int]:
    """SBR, PS and sample rate of the backward compatible extension, section 1.6.6."""
    nothing = (False, False, core_rate)
    if reader.remaining < 16 or reader.bits(11) != SYNC_SBR:
        return nothing
    try:
        if _object_type(reader) != AAC_SBR or not reader.flag():
            return nothing
        sample_rate = _sample_rate(reader)
        has_ps = reader.remaining >= 12 and reader.bits(11) == SYNC_PS and reader.flag()
    except WireError:
        return nothing  # what does not know this extension does not read it either
    return True, has_ps, sample_rate


def _adts_base(config: AudioConfig) -> int:
    """A 56-bit ADTS header whose aac_frame_length is 0, section 1.A.2.2."""
    is_possible = (
        AAC_MAIN <= config.object_type <= AAC_LTP
        and config.core_rate in SAMPLE_RATES
        and 0 < config.channel_configuration < 8
        and config.frame_length == 1024
    )
    if not is_possible:
        return ADTS_NO_BASE
    header = 0xFFF1  # syncword, MPEG-4, no CRC
    header = header << 2 | config.object_type - 1
    header = header << 4 | SAMPLE_RATES.index(config.core_rate)
    header = header << 4 | config.channel_configuration  # with private_bit 0 before it
    header = header << 17  # originality, home, copyright bits, frame length
    return header << 13 | 0x7FF << 2  # adts_buffer_fullness: variable rate; one block
