"""Ogg pages with Opus in them: RFC 3533 section 6, RFC 7845."""

from struct import Struct

from flux.base.checksum import crc32_forward
from flux.base.errors import WireError
from media.codecs.opus import OpusParameters, packet_samples

SERIAL = 0x464C5558  # any number: there is one logical stream
BEGINNING, CONTINUED = 2, 0  # header_type_flag
VENDOR = b"FLUX"
MOST_SEGMENTS = 255
SEGMENT_BYTES = 255

_PAGE = Struct("<4sBBqIIIB")  # ..., granule position, serial number, sequence, checksum, segments
_CHECKSUM = slice(22, 26)
_U32 = Struct("<I")


class OpusPages:
    """The pages of one Opus stream that goes on for ever, whoever listens from when on.

    The granule position counts samples at 48 kHz from the first packet on, by the packets' times:
    where some were lost it goes on by as much.
    """

    def __init__(self, parameters: OpusParameters) -> None:
        tags = b"OpusTags" + _U32.pack(len(VENDOR)) + VENDOR + _U32.pack(0)
        first = make_page(parameters.id_header(), 0, 0, BEGINNING)
        self._header = first + make_page(tags, 0, 1, CONTINUED)
        self._sequence = 2
        self._origin: int | None = None  # time of the first packet
        self._granule = 0

    def header(self) -> bytes:
        """The two pages of a joiner; RFC 7845 section 3."""
        return self._header

    def page(self, packet: bytes, pts: int) -> bytes:
        """The page of one packet; empty for what is none. `pts`: samples at 48 kHz."""
        try:
            samples = packet_samples(packet)
        except WireError:
            return b""
        if len(packet) >= MOST_SEGMENTS * SEGMENT_BYTES:
            return b""
        if self._origin is None:
            self._origin = pts
        self._granule = max(self._granule, pts - self._origin) + samples
        page = make_page(packet, self._granule, self._sequence, CONTINUED)
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        return page


def make_page(packet: bytes, granule: int, sequence: int, flags: int) -> bytes:
    """A page that holds one whole packet of less than 65,025 bytes."""
    full, rest = divmod(len(packet), SEGMENT_BYTES)
    lacing = bytes((SEGMENT_BYTES,)) * full + bytes((rest,))
    head = _PAGE.pack(b"OggS", 0, flags, granule, SERIAL, sequence, 0, len(lacing))
    page = bytearray(head + lacing + packet)
    page[_CHECKSUM] = _U32.pack(crc32_forward(page, starts_at_ones=False))
    return bytes(page)
