"""AAC in ADTS, stream_type 0x0F; ISO/IEC 14496-3 section 1.A.2.2."""

import re

from flux.base.bits import BitReader
from flux.base.errors import WireError
from media.codecs.aac import SAMPLE_RATES, AacParameters
from media.mpegts.elementary.base import Output
from media.mpegts.elementary.frames import FrameHeader, FrameSplitter

FRAME_SAMPLES = 1024
HEADER_BYTES = 7
CRC_BYTES = 2
PROGRAM_CONFIG_ELEMENT = 5  # id_syn_ele
MAX_ELEMENT_BYTES = 128  # of a program config element, without its comment


class AdtsParser(FrameSplitter):
    """Raw AAC frames. A configuration that changed comes as a piece of its own before the frame."""

    prefix = "adts"
    sync = re.compile(b"\xff[\xf0\xf1\xf8\xf9]")
    header_bytes = HEADER_BYTES

    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self._known: object = None  # the header bits that `_config` was made from
        self._config = b""
        self._is_joining = True

    def read_header(self, data: bytes, at: int) -> FrameHeader:
        """The fixed and the variable header."""
        if len(data) - at < HEADER_BYTES:
            raise WireError("adts-malformed", "truncated")
        _, second, third, fourth, fifth, sixth, seventh = data[at : at + HEADER_BYTES]
        index = third >> 2 & 15
        size = (fourth & 3) << 11 | fifth << 3 | sixth >> 5
        head = HEADER_BYTES if second & 1 else HEADER_BYTES + CRC_BYTES
        if data[at] != 0xFF or second & 0xF6 != 0xF0 or index >= len(SAMPLE_RATES) or size <= head:
            raise WireError("adts-malformed", "header")
        blocks = (seventh & 3) + 1
        configuration = (third & 0xFD) << 8 | fourth & 0xC0
        return FrameHeader(size, blocks * FRAME_SAMPLES, SAMPLE_RATES[index], configuration, head)

    def take(self, header: FrameHeader, frame: bytes, arrived: float) -> None:
        """One ADTS frame."""
        if header.samples != FRAME_SAMPLES:
            self.output.drop("adts-blocks-unsupported")  # they cannot be told apart
            self.stamp(header.samples)
            return
        raw = frame[header.header_bytes :]
        fixed = (frame[2] & 0xFD) << 8 | frame[3] & 0xC0
        if fixed != self._known or not fixed & 0x1C0:
            try:
                config = _configuration(fixed, raw)
            except WireError as error:
                config = b""
                if not self._config:
                    self.output.drop(error.reason)
            if config and config != self._config:
                self._known = fixed
                self._change(config, raw, arrived)
                return
            self._known = fixed
        self.emit((raw,), header.samples, arrived)

    def _change(self, config: bytes, raw: bytes, arrived: float) -> None:
        """The first frame of a configuration."""
        try:
            parameters = AacParameters.build(config)
        except WireError as error:
            self.output.drop(error.reason)
            return
        is_first = not self._config
        is_same_clock = parameters.sample_rate == self.clock_rate
        self._config = config
        self.clock_rate = parameters.sample_rate
        self.output.describe(self.clock_rate, parameters)
        payload = (raw,) if is_first or not is_same_clock else (config, raw)
        self.emit(payload, FRAME_SAMPLES, arrived)


def _configuration(fixed: int, raw: bytes) -> bytes:
    """The AudioSpecificConfig that an ADTS header stands for.

    `fixed` is the header's third byte and the channels' low bits in the fourth. Without a channel
    configuration a program config element at the front of the frame tells the channels.
    """
    object_type = (fixed >> 14) + 1
    index = fixed >> 10 & 15
    channels = fixed >> 6 & 7
    head = object_type << 8 | index << 4 | channels
    if channels:
        return (head << 3).to_bytes(2, "big")
    reader = BitReader(raw[:MAX_ELEMENT_BYTES])
    if reader.bits(3) != PROGRAM_CONFIG_ELEMENT:
        raise WireError("adts-channels-unknown")
    total = reader.remaining
    _skip_program(reader)
    bits = total - reader.remaining
    element = int.from_bytes(raw[:MAX_ELEMENT_BYTES], "big") >> reader.remaining & (1 << bits) - 1
    value = (head << 3) << bits | element
    size = 16 + bits
    fill = -size % 8
    return ((value << fill) << 8).to_bytes((size + fill) // 8 + 1, "big")  # and no comment


def _skip_program(reader: BitReader) -> None:
    """Step over a program_config_element() up to its byte alignment; section 4.4.1.1."""
    reader.skip(10)
    front, side, back, lfe, associated, coupling = (
        reader.bits(width) for width in (4, 4, 4, 2, 3, 4)
    )
    for width in (4, 4, 3):
        if reader.flag():
            reader.skip(width)
    reader.skip(5 * (front + side + back + coupling) + 4 * (lfe + associated))
