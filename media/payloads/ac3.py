"""RTP payload format for AC-3, RFC 4184; E-AC-3 (`media/payloads/eac3.py`) is built on it.

Before the sound come two bytes: the frame type (section 4.1.1) and a number, of frames where they
are whole, else of the fragments of this frame. The RTP clock is the sample rate.
"""

from collections.abc import Sequence

from flux.base.errors import WireError
from flux.base.units import rescale
from media.codecs.ac3 import SYNC_WORD, Ac3Header, parse_header
from media.payloads.base import MIN_PAYLOAD_BYTES, NOTHING, DropCallback, Unit, cut_equal
from media.payloads.fragments import FragmentAssembler

HEADER_BYTES = 2
WHOLE, _, FIRST, LATER = range(4)  # FT; 1 is a first fragment too, with 5/8 of the frame
MAX_FRAGMENTS = 255


def access_units(data: bytes) -> list[tuple[int, Ac3Header]]:
    """Where some whole frames end, with their headers; `WireError` if these are none."""
    units: list[tuple[int, Ac3Header]] = []
    at = 0
    while at < len(data):
        header = parse_header(data, at)
        at += header.size_bytes
        if at > len(data):
            raise WireError("ac3-malformed", "size")
        units.append((at, header))
    return units


class Ac3Depacketizer(FragmentAssembler):
    """Makes audio frames from RTP payloads."""

    __slots__ = ("_clock_rate",)

    prefix = "ac3"

    def __init__(self, on_drop: DropCallback, clock_rate: int = 48000) -> None:
        super().__init__(on_drop)
        self._clock_rate = clock_rate

    def _is_head(self, payload: bytes) -> bool:
        """Tell whether a fragment begins a frame."""
        return payload[0] & 3 != LATER

    def _is_whole(self, payload: bytes) -> bool:
        """Tell whether a packet holds whole frames."""
        return payload[0] & 3 == WHOLE

    def _access_units(self, data: bytes) -> list[tuple[int, Ac3Header]]:
        return access_units(data)

    def _take(self, payload: bytes, marker: bool, timestamp: int) -> Sequence[Unit]:
        data = payload[HEADER_BYTES:]
        if not data:
            raise WireError(f"{self.prefix}-malformed", "no sound")
        if self._is_whole(payload):
            self._begin_whole()
            return self._split(data, timestamp)
        if self._is_head(payload):
            self._abandon()
            if data[:2] != SYNC_WORD[: len(data)]:
                raise WireError(f"{self.prefix}-malformed", "syncword")
            self._begin(data, timestamp)
        elif not self._continue(data, timestamp):
            return NOTHING
        # quirk: senders that leave the marker away (section 4): the number of fragments says it.
        # test: test_the_number_of_fragments_ends_a_frame
        if not marker and len(self._pieces) != payload[1]:
            return NOTHING
        return self._split(self._join(), timestamp)

    def _split(self, data: bytes, timestamp: int) -> Sequence[Unit]:
        units: list[Unit] = []
        at = samples = 0
        for end, header in self._access_units(data):
            time = timestamp + rescale(samples, header.sample_rate, self._clock_rate)
            units.append(Unit(time, (data[at:end],)))
            at = end
            samples += header.samples
        return units


class Ac3Packetizer:
    """Makes RTP payloads; a frame that does not fit is cut into equal fragments."""

    __slots__ = ("_limit",)

    def __init__(self, max_payload_bytes: int) -> None:
        self._limit = max(max_payload_bytes, MIN_PAYLOAD_BYTES) - HEADER_BYTES

    def packetize(self, payload: tuple[bytes, ...]) -> list[tuple[bytes, bool]]:
        """The packets of one frame; the marker is on the last (section 3)."""
        frame = payload[0] if len(payload) == 1 else b"".join(payload)
        if not frame:
            return []
        if len(frame) <= self._limit:
            return [(bytes((WHOLE, 1)) + frame, True)]
        pieces = cut_equal(frame, 0, self._limit)
        count = len(pieces)
        if count > MAX_FRAGMENTS:
            return []
        return [
            (bytes((LATER if index else FIRST, count)) + piece, index == count - 1)
            for index, piece in enumerate(pieces)
        ]
