"""RTP payload format for MPEG audio, RFC 2250 sections 3.2 and 3.5 (`MPA`).

Before the sound come two bytes of zeros and the offset of the first one in its frame. A packet
holds whole frames, or a fragment of one. Timestamps are those of a 90 kHz clock.
"""

from collections.abc import Sequence
from struct import Struct

from flux.base.errors import WireError
from flux.base.units import rescale
from media.codecs.mp3 import parse_header
from media.payloads.base import MIN_PAYLOAD_BYTES, NOTHING, DropCallback, Unit, cut_equal
from media.payloads.fragments import FragmentAssembler

CLOCK_RATE = 90000
HEADER = Struct("!HH")  # zeros, Frag_offset
WHOLE = HEADER.pack(0, 0)


class Mp3Depacketizer(FragmentAssembler):
    """Makes audio frames from RTP payloads."""

    __slots__ = ("_clock_rate", "_wanted")

    prefix = "mp3"

    def __init__(self, on_drop: DropCallback, clock_rate: int = CLOCK_RATE) -> None:
        super().__init__(on_drop)
        self._clock_rate = clock_rate
        self._wanted = 0  # size of the open frame

    def _take(self, payload: bytes, marker: bool, timestamp: int) -> Sequence[Unit]:
        if len(payload) <= HEADER.size:
            raise WireError("mp3-malformed", "no sound")
        _, offset = HEADER.unpack_from(payload)
        data = payload[HEADER.size :]
        if not offset:
            self._abandon()
            return self._split(data, timestamp)
        is_next = offset == self._size
        if not self._continue(data, timestamp):
            return NOTHING
        if not is_next or self._size > self._wanted:
            raise WireError("mp3-malformed", "Frag_offset")
        if self._size < self._wanted:
            return NOTHING
        return (Unit(timestamp, (self._join(),)),)

    def _split(self, data: bytes, timestamp: int) -> Sequence[Unit]:
        """The frames of a packet that begins with one."""
        header = parse_header(data)
        size = header.size_bytes
        if size == len(data):
            self._begin_whole()
            return (Unit(timestamp, (data,)),)
        if size > len(data):
            self._begin(data, timestamp)
            self._wanted = size
            return NOTHING
        self._begin_whole()
        units: list[Unit] = []
        at = samples = 0
        while at < len(data):
            try:
                header = parse_header(data, at)
                if at + header.size_bytes > len(data):
                    raise WireError("mp3-malformed", "size")
            except WireError as exc:
                self._on_drop(exc.reason)  # what is whole before stays
                break
            time = timestamp + rescale(samples, header.sample_rate, self._clock_rate)
            units.append(Unit(time, (data[at : at + header.size_bytes],)))
            at += header.size_bytes
            samples += header.samples
        return units


class Mp3Packetizer:
    """Makes RTP payloads; a frame that does not fit is cut into equal fragments."""

    __slots__ = ("_limit",)

    def __init__(self, max_payload_bytes: int) -> None:
        self._limit = max(max_payload_bytes, MIN_PAYLOAD_BYTES) - HEADER.size

    def packetize(self, payload: tuple[bytes, ...]) -> list[tuple[bytes, bool]]:
        """The packets of one frame; the marker is for the start of a talk spurt only."""
        frame = payload[0] if len(payload) == 1 else b"".join(payload)
        if not frame:
            return []
        if len(frame) <= self._limit:
            return [(WHOLE + frame, False)]
        packets: list[tuple[bytes, bool]] = []
        at = 0
        for piece in cut_equal(frame, 0, self._limit):
            packets.append((HEADER.pack(0, at & 0xFFFF) + piece, False))
            at += len(piece)
        return packets
