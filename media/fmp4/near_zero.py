"""Fragmented MP4 whose times begin near zero, for one reader that joined whenever it did.

Files are expected to begin at zero. quirk: VLC 3 gives up at the first fragment where times begin
later than some seconds; test: test_vlc_plays
"""

from collections.abc import Sequence
from struct import Struct

from media.fmp4.muxer import BOX, NUMBER_AT, TIME_AT
from media.track import Track

LEAD = 1  # seconds that tracks which come second may begin before the first
_NUMBER = Struct(">I")
_TIME = Struct(">Q")


class NearZero:
    """A variant of a feed of `Fmp4Format`: whole boxes in, fragments of one frame each among them.

    All times go down by the same whole seconds, so that tracks stay in step whatever their clocks.
    """

    __slots__ = ("_clock_rates", "_seconds")

    def __init__(self, tracks: Sequence[Track]) -> None:
        self._clock_rates = [track.clock_rate for track in tracks]
        self._seconds: int | None = None  # that all times go down by

    def __call__(self, data: bytes) -> bytes:
        """The same boxes with other decode times; ISO/IEC 14496-12 section 8.8.12."""
        moved = bytearray(data)
        at, end = 0, len(data)
        while at < end:
            size, kind = BOX.unpack_from(data, at)
            if kind == b"moof":
                (number,) = _NUMBER.unpack_from(data, at + NUMBER_AT)
                (time,) = _TIME.unpack_from(data, at + TIME_AT)
                rate = self._clock_rates[number - 1]
                if self._seconds is None:
                    self._seconds = max(time // rate - LEAD, 0)
                _TIME.pack_into(moved, at + TIME_AT, max(time - self._seconds * rate, 0))
            at += size
        return bytes(moved)
