"""AAC in LATM with the sync layer LOAS, stream_type 0x11; ISO/IEC 14496-3 section 1.7.2."""

import re

from flux.base.errors import WireError
from media.codecs.aac import AacParameters, parse_config
from media.codecs.latm import AudioMuxReader
from media.mpegts.elementary.base import Output
from media.mpegts.elementary.frames import FrameHeader, FrameSplitter

HEADER_BYTES = 3


class LoasParser(FrameSplitter):
    """Raw AAC frames out of AudioSyncStream. What comes before a configuration is skipped."""

    prefix = "loas"
    sync = re.compile(b"\x56[\xe0-\xff]")
    header_bytes = HEADER_BYTES

    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self._reader = AudioMuxReader(None, is_in_band=True)
        self._config = b""
        self._core_rate = 1
        self._samples = 0  # of one frame, at the core's rate

    def read_header(self, data: bytes, at: int) -> FrameHeader:
        """Sync word and length."""
        if len(data) - at < HEADER_BYTES or data[at] != 0x56 or data[at + 1] & 0xE0 != 0xE0:
            raise WireError("loas-malformed", "syncword")
        size = HEADER_BYTES + ((data[at + 1] & 0x1F) << 8 | data[at + 2])
        return FrameHeader(size, self._samples, self._core_rate, None, HEADER_BYTES)

    def take(self, header: FrameHeader, frame: bytes, arrived: float) -> None:
        """One AudioMuxElement."""
        reader = self._reader
        try:
            frames = reader.read(frame[HEADER_BYTES:])
            if reader.config is None:
                return
            config = reader.config.audio_config
            is_new = config != self._config
            if is_new:
                parsed = parse_config(config)
                parameters = AacParameters.build(config)
        except WireError as error:
            if reader.config is not None:
                self.output.drop(error.reason)
                self.stamp(self._samples * reader.config.sub_frames)
            return
        if is_new:
            is_same_clock = parameters.sample_rate == self.clock_rate
            is_known = bool(self._config) and is_same_clock
            self._config = config
            self._samples, self._core_rate = parsed.frame_length, parsed.core_rate
            self.clock_rate = parameters.sample_rate
            self.output.describe(self.clock_rate, parameters)
        for index, raw in enumerate(frames):
            if not raw:
                self.stamp(self._samples)
                continue
            # Who follows the track through a change of the configuration needs it in band.
            payload = (config, raw) if is_new and is_known and not index else (raw,)
            self.emit(payload, self._samples, arrived)
