"""AC-3 and E-AC-3: ATSC A/53 part 3, ETSI EN 300 468 annex D; frames by ETSI TS 102 366."""

import re

from media.codecs import ac3, eac3
from media.codecs.ac3 import Ac3Parameters
from media.codecs.eac3 import MAX_FRAMES, Eac3Parameters
from media.mpegts.elementary.base import NO_TIME, Output
from media.mpegts.elementary.frames import FrameHeader, FrameSplitter


class Ac3Parser(FrameSplitter):
    """Whole AC-3 frames; the clock is the sample rate."""

    prefix = "ac3"
    sync = re.compile(ac3.SYNC_WORD)
    header_bytes = ac3.HEADER_BYTES

    def read_header(self, data: bytes, at: int) -> FrameHeader:
        """syncinfo() and the front of bsi()."""
        header = ac3.parse_header(data, at)
        return FrameHeader(
            header.size_bytes, header.samples, header.sample_rate, header.sample_rate
        )

    def take(self, header: FrameHeader, frame: bytes, arrived: float) -> None:
        """One frame."""
        rate = header.sample_rate
        if rate != self.clock_rate:
            self.clock_rate = rate
            self.output.describe(rate, Ac3Parameters.from_frame(frame, rate))
        self.emit((frame,), header.samples, arrived)


class Eac3Parser(FrameSplitter):
    """E-AC-3 access units: the frames of all substreams of one instant."""

    prefix = "eac3"
    sync = re.compile(ac3.SYNC_WORD)
    header_bytes = ac3.HEADER_BYTES

    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self._frames: list[bytes] = []  # of the access unit that is open
        self._stamp = (NO_TIME, 0)
        self._arrived = 0.0

    def read_header(self, data: bytes, at: int) -> FrameHeader:
        """syncinfo() and the front of bsi(), annex E."""
        header = eac3.parse_header(data, at)
        rate = header.sample_rate
        return FrameHeader(
            header.size_bytes, header.samples, rate, rate, is_first=header.is_primary
        )

    def take(self, header: FrameHeader, frame: bytes, arrived: float) -> None:
        """One frame of one substream."""
        if header.is_first:
            self.end_pes()
            self._stamp, self._arrived = self.stamp(header.samples), arrived
        elif not self._frames or len(self._frames) >= MAX_FRAMES:
            self.output.drop("eac3-substreams-apart-unsupported")
            return
        self._frames.append(frame)

    def end_pes(self) -> None:
        """The open access unit is complete: PES packets hold whole ones."""
        if not self._frames:
            return
        unit = b"".join(self._frames)
        self._frames.clear()
        rate = self.sample_rate
        if rate != self.clock_rate:
            self.clock_rate = rate
            self.output.describe(rate, Eac3Parameters.from_frame(unit, rate))
        self.send(self._stamp, (unit,), self._arrived)

    def lost(self) -> None:
        """Packets are missing."""
        super().lost()
        self._frames.clear()
