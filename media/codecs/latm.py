"""LATM, the multiplex of MPEG-4 audio: StreamMuxConfig and AudioMuxElement.

ISO/IEC 14496-3 section 1.7.3. What is understood is what carries AAC in practice: one program, one
layer, frames with a length of their own or of a constant one. The sync layer LOAS is not here.
"""

from dataclasses import dataclass

from flux.base.bits import BitReader
from flux.base.errors import WireError
from media.codecs.aac import MAX_CONFIG_BYTES, config_bits, parse_config

MAX_ELEMENT_BYTES = 1 << 17
MAX_FRAMES = 256  # of what is read at once
MAX_MUX_CONFIG_BYTES = MAX_CONFIG_BYTES + 64
LONG = 255  # the byte that says "and more" in lengths
USUAL_END = b"\x00" * 4  # frameLengthType 0, no other data, no CRC
CONSTANT_BASE = 20  # bytes that frameLength does not count


@dataclass(frozen=True, slots=True)
class StreamMuxConfig:
    """A StreamMuxConfig, read: section 1.7.3.1."""

    audio_config: bytes  # AudioSpecificConfig, zero bits up to a whole byte
    sub_frames: int = 1  # audio frames of one AudioMuxElement
    frame_bytes: int = 0  # of every frame; 0: each has its length before it
    other_bits: int = 0  # behind the frames of each element, of no use here

    @classmethod
    def parse(cls, data: bytes) -> "StreamMuxConfig":
        """Read one that stands alone, as in SDP; `WireError` if it is cut or not understood.

        quirk: GStreamer's rtpmp4apay ends it with the AudioSpecificConfig (`40002320`), against
        section 1.7.3.1; the rest is what it always is. test: test_a_configuration_that_ends_early
        """
        return _read_config(data + USUAL_END, 0)[0]

    def serialize(self) -> bytes:
        """The bytes of it with audioMuxVersion 0 and a buffer fullness that says nothing."""
        used = config_bits(self.audio_config)
        value = int.from_bytes(self.audio_config, "big") >> 8 * len(self.audio_config) - used
        head = 1 << 13 | self.sub_frames - 1 << 7  # allStreamsSameTimeFraming, numSubFrames
        value |= head << used
        value = value << 13 | LONG << 2  # frameLengthType 0, latmBufferFullness, no other data
        bits = 15 + used + 13
        return (value << -bits % 8).to_bytes((bits + 7) // 8, "big")


class AudioMuxReader:
    """Reads AudioMuxElements; `config` is the one in force, which elements can bring along."""

    __slots__ = ("config", "is_in_band")

    def __init__(self, config: StreamMuxConfig | None, is_in_band: bool) -> None:
        """`is_in_band`: elements say whether a configuration comes first (muxConfigPresent)."""
        self.config = config
        self.is_in_band = is_in_band

    def read(self, data: bytes) -> list[bytes]:
        """The audio frames of the elements in `data`, some maybe empty.

        `WireError` unless these are whole elements, of which the last ends where `data` does.
        """
        if len(data) > MAX_ELEMENT_BYTES:
            raise WireError("latm-element-too-large")
        before = self.config
        if not self.is_in_band and before and not before.other_bits:
            return _read_aligned(data, before)
        frames: list[bytes] = []
        at = 0
        try:
            while at < len(data):
                at += self._read_element(data[at:], frames)
        except WireError:
            self.config = before  # what comes with broken frames is not believed either
            raise
        return frames

    def _read_element(self, data: bytes, frames: list[bytes]) -> int:
        """Add the frames of one element; answer how many bytes it takes."""
        reader = BitReader(data)
        if self.is_in_band and not reader.flag():  # useSameStreamMux
            self.config, end = _read_config(data, 1)
            reader.skip(end - 1)
        config = self.config
        if config is None:
            raise WireError("latm-config-missing")
        for _ in range(config.sub_frames):
            size = config.frame_bytes
            if not size:
                size = part = reader.bits(8)
                while part == LONG and size <= len(data):
                    part = reader.bits(8)
                    size += part
            frames.append(reader.bits(8 * size).to_bytes(size, "big"))
            if len(frames) > MAX_FRAMES:
                raise WireError("latm-malformed", "too many frames")
        reader.skip(config.other_bits)
        return len(data) - reader.remaining // 8


def _read_aligned(data: bytes, config: StreamMuxConfig) -> list[bytes]:
    """The frames of elements without configuration and other data: all of it is whole bytes.

    quirk: senders that put several elements into one packet or set numSubFrames to 0 and send more
    frames (RFC 6416 section 6.1 wants one element). test: test_elements_one_after_another
    """
    frames: list[bytes] = []
    at, end, size = 0, len(data), config.frame_bytes
    try:
        while at < end:
            if not config.frame_bytes:
                size = part = data[at]
                at += 1
                while part == LONG:
                    part = data[at]
                    size += part
                    at += 1
            frames.append(data[at : at + size])
            at += size
    except IndexError:
        at = end + 1
    if at != end or len(frames) > MAX_FRAMES or len(frames) % config.sub_frames:
        raise WireError("latm-malformed", "lengths")
    return frames


def _read_config(data: bytes, start: int) -> tuple[StreamMuxConfig, int]:
    """The StreamMuxConfig at a bit of `data`, and at which bit it ends."""
    data = data[: start // 8 + MAX_MUX_CONFIG_BYTES]
    total = 8 * len(data)
    reader = BitReader(data)
    reader.skip(start)
    version = reader.bits(1)
    if version:
        if reader.flag():
            raise WireError("latm-unsupported", "audioMuxVersionA")
        _long_value(reader)  # taraBufferFullness
    is_same_time = reader.flag()
    sub_frames = reader.bits(6) + 1
    if reader.bits(4) or reader.bits(3):
        raise WireError("latm-unsupported", "programs or layers")
    if not is_same_time:
        raise WireError("latm-unsupported", "different time framing")
    told = _long_value(reader) if version else 0
    here = total - reader.remaining
    tail = _from_bit(data, here)
    if version and told > reader.remaining:
        raise WireError("latm-malformed", "ascLen")
    used = told if version else config_bits(tail)
    audio = _first_bits(tail, used)
    parse_config(audio)
    reader.skip(used)
    frame_bytes = 0
    length_type = reader.bits(3)
    if length_type == 0:
        reader.skip(8)  # latmBufferFullness
    elif length_type == 1:
        frame_bytes = reader.bits(9) + CONSTANT_BASE
    else:
        raise WireError("latm-unsupported", f"frameLengthType {length_type}")
    other_bits = _other_bits(reader, version) if reader.flag() else 0
    if other_bits > 8 * MAX_ELEMENT_BYTES:
        raise WireError("latm-malformed", "otherDataLenBits")
    if reader.flag():
        reader.skip(8)  # crcCheckSum
    return StreamMuxConfig(audio, sub_frames, frame_bytes, other_bits), total - reader.remaining


def _long_value(reader: BitReader) -> int:
    """LatmGetValue(), table 1.43."""
    return reader.bits(8 * (reader.bits(2) + 1))


def _other_bits(reader: BitReader, version: int) -> int:
    if version:
        return _long_value(reader)
    value = 0
    for _ in range(4):
        goes_on = reader.flag()
        value = value << 8 | reader.bits(8)
        if not goes_on:
            return value
    raise WireError("latm-malformed", "otherDataLenBits")


def _from_bit(data: bytes, at: int) -> bytes:
    """All from one bit on, moved to the front of whole bytes: alignment in it counts from there."""
    bits = 8 * len(data) - at
    value = int.from_bytes(data, "big") & (1 << bits) - 1
    return (value << -bits % 8).to_bytes((bits + 7) // 8, "big")


def _first_bits(data: bytes, count: int) -> bytes:
    """The first bits, with zeros up to a whole byte."""
    value = int.from_bytes(data, "big") >> 8 * len(data) - count
    return (value << -count % 8).to_bytes((count + 7) // 8, "big")
