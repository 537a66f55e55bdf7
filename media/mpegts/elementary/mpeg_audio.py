"""MPEG audio, layers I to III, stream_types 0x03 and 0x04; ISO/IEC 11172-3, 13818-3."""

import re

from media.codecs.mp3 import Mp3Parameters, parse_header
from media.mpegts.elementary.frames import CLOCK_HZ, FrameHeader, FrameSplitter


class MpegAudioParser(FrameSplitter):
    """Whole frames with their headers; the clock is the 90 kHz of RTP."""

    prefix = "mp3"
    sync = re.compile(b"\xff[\xe2-\xff]")
    header_bytes = 4

    def read_header(self, data: bytes, at: int) -> FrameHeader:
        """The four bytes in front of each frame."""
        header = parse_header(data, at)
        configuration = (header.layer, header.is_mpeg1, header.sample_rate, header.channels)
        return FrameHeader(header.size_bytes, header.samples, header.sample_rate, configuration)

    def take(self, header: FrameHeader, frame: bytes, arrived: float) -> None:
        """One frame."""
        if not self.clock_rate:
            self.clock_rate = CLOCK_HZ
            self.output.describe(CLOCK_HZ, Mp3Parameters.from_frame(frame, CLOCK_HZ))
        self.emit((frame,), header.samples, arrived)
