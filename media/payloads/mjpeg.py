"""RTP payload format for JPEG, RFC 2435: types 0 and 1 (4:2:2 and 4:2:0), 64 and 65 with restarts.

A packet has the size, the kind and the quality of the picture and a piece of its scan; JPEG headers
are left out by the sender and made anew by the receiver. Quantisation tables are those of a quality
factor (Q of 1 to 99) or come in the first packet (Q of 128 to 255; below 255 they hold for all
pictures of this Q and may be left out once they were sent).

Tolerated: a scan with or without EOI, restart headers that count restart intervals (whole pictures
are put together whatever they say). Not carried: pictures above 2040 pixels (their size does not
fit into the header), fields of interlaced video, and what `media.codecs.mjpeg.Picture` refuses.
"""

from struct import Struct

from flux.base.errors import WireError
from media.codecs.mjpeg import END, H420, H422, TABLE_BYTES, Picture, quality_of, scaled_tables
from media.payloads.assembler import UnitAssembler
from media.payloads.base import DropCallback, cut_equal

HEADER = Struct("!IBBBB")  # type-specific and fragment offset, type, Q, width, height
RESTART = Struct("!HH")  # restart interval; F, L and count
TABLES = Struct("!BBH")  # MBZ, precision, length
RESTARTS = 64  # added to a type whose packets have a restart header
SAMPLINGS = {0: H422, 1: H420}  # of each type
TYPES = {sampling: kind for kind, sampling in SAMPLINGS.items()}
WHOLE_PICTURE = 0xFFFF  # F, L and count of a restart header
FIRST_TABLE_Q, EVERY_PICTURE_Q = 128, 255
FIELDS = (1, 2)  # type-specific: an odd or an even field
BLOCK = 8  # pixels: the unit of width and height
MAX_SIDE = 255 * BLOCK
MAX_OFFSET = 0xFFFFFF
# The tables belong into the first packet whole, and packets are equal: twice their size.
MIN_PACKET_BYTES = 288


class MjpegDepacketizer(UnitAssembler):
    """Makes JPEG files from RTP payloads."""

    __slots__ = ("_picture", "_scan_bytes", "_tables")

    prefix = "mjpeg"

    def __init__(self, on_drop: DropCallback) -> None:
        super().__init__(on_drop)
        self._tables: dict[int, bytes] = {}  # by Q, of 128 to 254
        self._picture: Picture | None = None  # the one that is open, without its scan
        self._scan_bytes = 0  # of it, so far

    def _take(self, payload: bytes) -> None:
        if len(payload) < HEADER.size:
            self._fail("malformed")
            return
        word, kind, quality, width, height = HEADER.unpack_from(payload)
        offset = word & 0xFFFFFF
        at = HEADER.size
        if kind >= RESTARTS:
            at += RESTART.size
            if len(payload) < at:
                self._fail("malformed")
                return
        if not offset:
            if self._fragments:
                self._fail("malformed")  # a second picture of the same time stamp
                return
            try:
                at = self._begin(payload, at, kind, quality, (width, height), word >> 24)
            except WireError as error:
                self._fail(error.reason)
                return
        elif not self._fragments:
            self._fail("fu-loss")
            return
        elif offset != self._scan_bytes:
            self._fail("malformed")
            return
        piece = payload[at:]
        self._scan_bytes += len(piece)
        self._append_fragment(piece)

    def _begin(
        self,
        payload: bytes,
        at: int,
        kind: int,
        quality: int,
        size: tuple[int, int],
        type_specific: int,
    ) -> int:
        """Take the headers of a picture's first packet; answer where its scan begins.

        Raises `WireError` with the rest of the drop reason.
        """
        interval = 0
        if kind >= RESTARTS:
            interval, _ = RESTART.unpack_from(payload, HEADER.size)
        sampling = SAMPLINGS.get(kind & ~RESTARTS)
        if sampling is None or kind >= 2 * RESTARTS:
            raise WireError("type-unsupported", str(kind))
        if type_specific in FIELDS:
            raise WireError("interlaced-unsupported")
        if not all(size):
            raise WireError("size-unknown")  # above 2040 pixels: said elsewhere, if at all
        if 0 < quality < 100:
            tables = scaled_tables(quality)
        elif quality >= FIRST_TABLE_Q:
            tables, at = self._take_tables(payload, at, quality)
        else:
            raise WireError("malformed", f"Q {quality}")
        self._picture = Picture(size[0] * BLOCK, size[1] * BLOCK, sampling, tables, interval, b"")
        self._scan_bytes = 0
        return at

    def _take_tables(self, payload: bytes, at: int, quality: int) -> tuple[bytes, int]:
        """The quantisation table header, section 3.1.8."""
        if len(payload) < at + TABLES.size:
            raise WireError("malformed", "tables")
        _, precision, length = TABLES.unpack_from(payload, at)
        at += TABLES.size
        if not length:
            tables = self._tables.get(quality, b"")
            if not tables:
                raise WireError("tables-missing", str(quality))
            return tables, at
        tables = payload[at : at + length]
        if len(tables) != length or precision & 3 or length not in (TABLE_BYTES, 2 * TABLE_BYTES):
            raise WireError("malformed", "tables")
        if length == TABLE_BYTES:
            tables += tables  # quirk: one table for luma and chroma
        if quality < EVERY_PICTURE_Q:
            self._tables[quality] = tables
        return tables, at + length

    def _end_fragments(self) -> None:
        picture = self._picture
        assert picture is not None  # there are no fragments without one
        scan = b"".join(self._fragments)
        self._fragments = []
        self._size_bytes = 0
        # EOI may be there or not (section 3.1.9); quirk: some senders pad behind it.
        stop = scan.rfind(END)
        picture.scan = scan[:stop] if stop >= 0 else scan
        self._append(picture.serialize())

    def _begins_unit(self, payload: bytes) -> bool:
        return len(payload) >= HEADER.size and payload[1:4] == b"\0\0\0"


class MjpegPacketizer:
    """Makes RTP payloads from JPEG files, in packets of equal size.

    Files that RFC 2435 cannot carry give no packets; `on_drop` hears why. A size that is no
    multiple of 8 is rounded up: the scan has these pixels anyway.
    """

    __slots__ = ("_limit", "_on_drop")

    def __init__(self, max_payload_bytes: int, on_drop: DropCallback) -> None:
        self._limit = max(max_payload_bytes, MIN_PACKET_BYTES)
        self._on_drop = on_drop

    def packetize(self, payload: tuple[bytes, ...]) -> list[tuple[bytes, bool]]:
        """The packets of one picture; the marker is on the last."""
        try:
            picture = Picture.parse(payload[0] if payload else b"")
            if max(picture.width, picture.height) > MAX_SIDE or len(picture.scan) > MAX_OFFSET:
                raise WireError("mjpeg-size-unsupported", f"{picture.width}x{picture.height}")
        except WireError as error:
            self._on_drop(error.reason)
            return []
        kind = TYPES[picture.sampling]
        restart = tables = b""
        if picture.restart_interval:
            kind |= RESTARTS
            restart = RESTART.pack(picture.restart_interval, WHOLE_PICTURE)
        quality = quality_of(picture.tables)
        if not quality:
            quality = EVERY_PICTURE_Q
            tables = TABLES.pack(0, 0, len(picture.tables)) + picture.tables
        tail = (kind, quality, -(-picture.width // BLOCK), -(-picture.height // BLOCK))
        pieces = cut_equal(tables + picture.scan, 0, self._limit - HEADER.size - len(restart))
        packets: list[tuple[bytes, bool]] = []
        at = 0  # in tables and scan; fragment offsets count the scan alone
        for piece in pieces:
            head = HEADER.pack(max(0, at - len(tables)), *tail)
            at += len(piece)
            packets.append((head + restart + piece, False))
        packets[-1] = (packets[-1][0], True)
        return packets
