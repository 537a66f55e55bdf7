"""Opus in PES packets, registration `Opus`.

Before each packet stands a control header: eleven bits 0x3FF, flags for what else is in it, and the
packet's size in bytes of 255 and a last one that is less. That is the mapping which FFmpeg and
GStreamer read and write; ETSI and MPEG never finished one.
"""

from flux.base.errors import WireError
from flux.base.units import rescale
from media.codecs.opus import CLOCK_RATE, OpusParameters, packet_samples
from media.mpegts.elementary.base import NO_TIME, NO_TIMESTAMP, Output, Pes

CLOCK_HZ = 90_000
PREFIX = 0x7FE0  # the first two bytes without flags
_PREFIX_MASK = 0xFFE0
_START_TRIM = 0x10
_END_TRIM = 0x08
_EXTENSION = 0x04
LONG = 255


class OpusParser:
    """Opus packets. The channels are those of the descriptor."""

    def __init__(self, output: Output, channels: int) -> None:
        self._output = output
        self._channels = channels
        self._is_described = False
        self._next = NO_TIME  # time of the next packet, at 48 kHz
        self._samples = 0  # of the last packet

    def push(self, pes: Pes) -> None:
        """Take a PES packet: some packets, each with its control header."""
        if pes.pts != NO_TIME:
            self._next = rescale(pes.pts, CLOCK_HZ, CLOCK_RATE)
        if self._next == NO_TIME:
            self._output.drop(NO_TIMESTAMP)
            return
        data = pes.payload
        at = 0
        try:
            while at < len(data):
                start, size = read_control_header(data, at)
                at = start + size
                if at > len(data):
                    raise WireError("opus-malformed", "au_size")
                packet = data[start:at]
                samples = packet_samples(packet)
                if not self._is_described:
                    self._is_described = True
                    parameters = OpusParameters(sample_rate=CLOCK_RATE, channels=self._channels)
                    self._output.describe(CLOCK_RATE, parameters)
                self._output.unit(self._next, self._next, (packet,), pes.arrived)
                self._next += samples
                self._samples = samples
        except WireError as error:
            if pes.is_whole:
                self._output.drop(error.reason)
            self._next = NO_TIME

    def lost(self) -> None:
        """Packets are missing."""
        self._next = NO_TIME

    def flush(self) -> None:
        """The stream has ended; nothing is held."""

    @property
    def unit_ticks(self) -> float | None:
        """See `ElementaryParser`."""
        return self._samples * CLOCK_HZ / CLOCK_RATE or None


def read_control_header(data: bytes, at: int) -> tuple[int, int]:
    """(where the packet begins, its size) of the control header at `data[at:]`."""
    try:
        head = data[at] << 8 | data[at + 1]
        if head & _PREFIX_MASK != PREFIX:
            raise WireError("opus-malformed", "control header")
        at += 2
        size = 0
        while data[at] == LONG:
            size += LONG
            at += 1
        size += data[at]
        at += 1
        at += 2 * bool(head & _START_TRIM) + 2 * bool(head & _END_TRIM)
        if head & _EXTENSION:
            at += 1 + data[at]
    except IndexError:
        raise WireError("opus-malformed", "control header") from None
    return at, size


def control_header(size_bytes: int) -> bytes:
    """The control header of a packet, without trimming."""
    long, rest = divmod(size_bytes, LONG)
    return PREFIX.to_bytes(2, "big") + b"\xff" * long + bytes((rest,))
