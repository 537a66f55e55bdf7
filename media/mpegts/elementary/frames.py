"""Sound that is a row of frames, each with a header that tells its size: what the codecs share.

A PES packet holds several frames, whose first one has its time, and a frame may be cut across two
of them; the time of a PES packet is that of the first frame that begins in it (ISO/IEC 13818-1
section 2.4.3.7), and frames follow each other without a gap.

A header is believed where frames join up. To begin, and where the configuration seems to change, it
must be followed by another one with the same configuration or end with its PES packet; a frame that
begins a PES packet is believed too. Bytes between frames are skipped and counted once.
"""

import re
from dataclasses import dataclass

from flux.base.errors import WireError
from flux.base.units import rescale
from media.mpegts.elementary.base import NO_TIME, NO_TIMESTAMP, Output, Pes

CLOCK_HZ = 90_000
MAX_TRIES = 16  # headers that are no headers, in one PES packet: the rest of it is given up


@dataclass(slots=True)
class FrameHeader:
    """What a frame's header says."""

    size_bytes: int  # of the whole frame
    samples: int  # of one channel
    sample_rate: int  # Hz
    configuration: object  # equal while the track stays the same
    header_bytes: int = 0  # in front of what the frame carries
    is_first: bool = True  # of its unit


class FrameSplitter:
    """Base of the parsers; a codec says how headers are read and what is done with a frame."""

    prefix = ""  # of the drop reasons: "adts"
    sync = re.compile(b"")  # how a header begins: two bytes
    header_bytes = 4  # as much as `read_header` needs

    def __init__(self, output: Output) -> None:
        self.output = output
        self.clock_rate = 0  # of the described track; 0 as long as it is not known
        self._carry = b""
        self._since_at = 0.0  # arrival of what is carried
        self._configuration: object = None
        self._is_synced = False
        self._is_counted = True  # a loss of sync, or there is none
        self._tries = 0
        self._base = NO_TIME  # a time in 90 kHz ...
        self._since = 0  # ... and the samples from there to the next frame
        self._last_samples = 0  # of one frame
        self.sample_rate = 1

    # What a codec says.

    def read_header(self, data: bytes, at: int) -> FrameHeader:
        """The header at `data[at:]`; `WireError` if there is none."""
        raise NotImplementedError

    def take(self, header: FrameHeader, frame: bytes, arrived: float) -> None:
        """One whole frame, with its header."""
        raise NotImplementedError

    def end_pes(self) -> None:
        """A PES packet ended where a frame did."""

    # The machine.

    def push(self, pes: Pes) -> None:
        """Take a PES packet."""
        data = self._carry + pes.payload if self._carry else pes.payload
        fresh = len(self._carry)  # where this PES packet begins
        self._carry = b""
        self._tries = MAX_TRIES
        at, size = 0, len(data)
        is_timed = pes.pts != NO_TIME
        while at < size:
            if not self._is_synced:
                found = self._search(data, at, fresh)
                if (found if found >= 0 else size - len(self._carry)) != at:
                    self._count_loss()
                if found < 0:
                    break
                at = found
            if is_timed and at >= fresh:
                self._base, self._since = pes.pts, 0
                is_timed = False
            header = self._next_header(data, at)
            if header is not None and header.configuration == self._configuration:
                end = at + header.size_bytes
                if at < fresh and end < size and not self._follows(data, end, header):
                    self._is_synced = self._is_counted = False
                    at = fresh  # what was carried does not go on here
                    self._count_loss()
                    continue
                if end <= size:
                    self.sample_rate = header.sample_rate
                    self.take(header, data[at:end], pes.arrived if at >= fresh else self._since_at)
                    at = end
                    continue
                self._hold(data, at)
            elif size - at < self.header_bytes:
                self._hold(data, at)
            else:
                self._is_synced = self._is_counted = False
                continue
            break
        if at >= fresh:
            self._since_at = pes.arrived
        if is_timed and self._carry:
            self._base, self._since = pes.pts, 0
        if not pes.is_whole:
            self.lost()
        elif at == size:
            self.end_pes()

    def _next_header(self, data: bytes, at: int) -> FrameHeader | None:
        try:
            return self.read_header(data, at)
        except WireError:
            return None

    def _count_loss(self) -> None:
        """Bytes were skipped: how much sound that was nobody knows until the next time comes."""
        self._base = NO_TIME
        if not self._is_counted:
            self._is_counted = True
            self.output.drop(f"{self.prefix}-sync-lost")

    def _hold(self, data: bytes, at: int) -> None:
        self._carry = data[at:]

    def lost(self) -> None:
        """Packets are missing: frames begin anew with the next PES packet."""
        self._carry = b""
        self._is_synced = False
        self._is_counted = True
        self._base = NO_TIME

    def flush(self) -> None:
        """The stream has ended; a frame that is not complete stays so."""

    @property
    def unit_ticks(self) -> float | None:
        """See `ElementaryParser`."""
        if not self._is_synced or not self._last_samples:
            return None
        return self._last_samples * CLOCK_HZ / self.sample_rate

    def emit(self, payload: tuple[bytes, ...], samples: int, arrived: float) -> None:
        """Hand a unit on; the next one is `samples` later."""
        self.send(self.stamp(samples), payload, arrived)

    def stamp(self, samples: int) -> tuple[int, int]:
        """The time of the next frame, which lasts so many samples, for `send`."""
        stamp = self._base, self._since
        self._since += samples
        self._last_samples = samples
        return stamp

    def send(self, stamp: tuple[int, int], payload: tuple[bytes, ...], arrived: float) -> None:
        """Hand a unit on with the time that `stamp` gave."""
        base, since = stamp
        if base == NO_TIME:
            self.output.drop(NO_TIMESTAMP)
        elif self.clock_rate:
            time = rescale(base, CLOCK_HZ, self.clock_rate)
            if self.sample_rate != self.clock_rate:
                since = rescale(since, self.sample_rate, self.clock_rate)
            time += since
            self.output.unit(time, time, payload, arrived)

    def _search(self, data: bytes, at: int, fresh: int) -> int:
        """Where frames go on; -1 if nowhere yet, then what may begin one is carried."""
        size = len(data)
        while self._tries > 0:
            found = self.sync.search(data, at)
            if found is None:
                if at < size and self.sync.pattern.startswith(data[-1:]):
                    self._hold(data, size - 1)
                break
            at = found.start()
            if size - at < self.header_bytes:
                self._hold(data, at)
                break
            self._tries -= 1
            header = self._next_header(data, at)
            if header is not None:
                end = at + header.size_bytes
                if end > size and at != fresh:
                    self._hold(data, at)  # the next PES packet will tell
                    break
                if end >= size or self._follows(data, end, header):
                    self._is_synced = True
                    self._is_counted = True
                    self._configuration = header.configuration
                    return at
            at += 1
        return -1

    def _follows(self, data: bytes, at: int, header: FrameHeader) -> bool:
        """Whether a frame of the same configuration begins at `at`."""
        if len(data) - at < self.header_bytes:
            return self.sync.pattern.startswith(data[at : at + 1])
        try:
            return self.read_header(data, at).configuration == header.configuration
        except WireError:
            return False
