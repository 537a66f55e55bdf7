"""Motion JPEG: the headers of one baseline JPEG file, read and written (ITU-T T.81 Annex B).

RTP carries neither Huffman tables nor component numbers (RFC 2435): a picture that is written here
has the tables of T.81 Annex K.3 and a JFIF header; one that is read must have had these tables.
"""

from dataclasses import dataclass
from functools import cache, lru_cache
from struct import Struct
from typing import Self

from flux.base.errors import WireError
from media.parameters import VideoParameters

SOI, EOI, SOS, DQT, DHT, DRI = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD
SOF_BASELINE, SOF_EXTENDED = 0xC0, 0xC1
# Start of frame of any kind: 0xC0 to 0xCF but DHT, JPG and DAC.
FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {DHT, 0xC8, 0xCC}
STANDALONE = frozenset(range(0xD0, 0xD9)) | {0x01}  # RSTn, SOI, TEM: no length follows
MAX_SEGMENTS = 128  # before the scan; JFIF thumbnails and vendor data are some ten at most
START = b"\xff\xd8"
END = b"\xff\xd9"
SEGMENT = Struct("!BBH")  # 0xFF, marker, length of what follows with the length itself
FRAME = Struct("!BHHB")  # precision, height, width, components
INTERVAL = Struct("!H")
JFIF = bytes.fromhex("ffe000104a46494600010100000100010000")
TABLE_BYTES = 64
H422, H420 = 0x21, 0x22  # sampling factors of Y, where Cb and Cr have 0x11

# T.81 table K.1 and K.2 in zigzag order, at quality factor 50.
LUMA = bytes.fromhex(
    "100b0c0e0c0a100e0d0e1211101318281a181616183123251d283a333d3c3933"
    "383740485c4e404457453738506d51575f626768673e4d71797064785c656763"
)
CHROMA = bytes.fromhex("1112121815182f1a1a2f634238426363" + "63" * 48)


def _huffman_tables() -> bytes:
    """The DHT segments of T.81 tables K.3 to K.6."""
    dc = "00010501010101010100000000000000", "00030101010101010101010000000000"
    ac = "0002010303020403050504040000017d", "00020102040403040705040400010277"
    values = (
        "01020300041105122131410613516107227114328191a1082342b1c11552d1f0"
        "2433627282090a161718191a25262728292a3435363738393a434445464748494a"
        "535455565758595a636465666768696a737475767778797a838485868788898a"
        "92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6"
        "c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa",
        "0001020311040521310612415107617113223281081442"
        "91a1b1c109233352f0156272d10a162434e125f11718191a262728292a353637"
        "38393a434445464748494a535455565758595a636465666768696a7374757677"
        "78797a82838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3"
        "b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8"
        "e9eaf2f3f4f5f6f7f8f9fa",
    )
    tables = b""
    for number in (0, 1):
        for kind, counts, coded in (
            (0x00, dc[number], bytes(range(12)).hex()),
            (0x10, ac[number], values[number]),
        ):
            body = bytes((kind | number,)) + bytes.fromhex(counts + coded)
            tables += SEGMENT.pack(0xFF, DHT, 2 + len(body)) + body
    return tables


HUFFMAN_TABLES = _huffman_tables()
# By class and number: what a DHT segment must say of it.
STANDARD_TABLES = {
    table[0]: table[1:] for piece in HUFFMAN_TABLES.split(b"\xff\xc4")[1:] for table in (piece[2:],)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MjpegParameters(VideoParameters):
    """One version of a motion JPEG track."""

    @classmethod
    def read(cls, frame: bytes, version: int = 0) -> Self:
        """Parameters of a JPEG file; every frame is a key frame. `WireError` if it is malformed."""
        width, height = read_size(frame)
        return cls(version=version, width=width, height=height, reorder_frames=0)

    def codec_string(self) -> str:
        """`mp4v.6C`: JPEG by its object type indication, RFC 6381 section 3.3."""
        return "mp4v.6C"


@dataclass(slots=True)
class Picture:
    """What a JPEG file with the standard Huffman tables is made of, as far as RTP carries it."""

    width: int  # pixels
    height: int
    sampling: int  # H422 or H420
    tables: bytes  # quantisation tables of luma and of chroma, 64 bytes each, in zigzag order
    restart_interval: int  # MCUs; 0: no restart markers
    scan: bytes  # entropy-coded data, without EOI

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Take a JPEG file apart; `WireError` if it is broken, or nothing that RFC 2435 carries.

        Reasons: mjpeg-malformed, mjpeg-progressive-unsupported (no baseline DCT of 8 bits),
        mjpeg-sampling-unsupported (neither 4:2:2 nor 4:2:0), mjpeg-tables-unsupported (other
        Huffman tables, or quantisation tables that RTP cannot carry) and mjpeg-scans-unsupported.
        """
        tables: dict[int, bytes] = {}
        frame = b""
        interval = 0
        for marker, start, end in _segments(data):
            body = data[start:end]
            if marker == SOS:
                _check_scan(body)
                if not frame:
                    raise WireError("mjpeg-malformed", "no frame header")
                width, height, sampling, luma, chroma = _read_frame(frame)
                if luma not in tables or chroma not in tables:
                    raise WireError("mjpeg-malformed", "no quantisation table")
                stop = data.find(END, end)
                scan = data[end : stop if stop >= 0 else len(data)]
                return cls(width, height, sampling, tables[luma] + tables[chroma], interval, scan)
            if marker == DQT:
                _read_quantisation(body, tables)
            elif marker == DHT:
                _check_huffman(body)
            elif marker == DRI:
                if len(body) != INTERVAL.size:
                    raise WireError("mjpeg-malformed", "DRI")
                (interval,) = INTERVAL.unpack(body)
            elif marker in (SOF_BASELINE, SOF_EXTENDED):
                frame = body
            elif marker in FRAME_MARKERS:
                raise WireError("mjpeg-progressive-unsupported", f"SOF{marker - SOF_BASELINE}")
        raise WireError("mjpeg-malformed", "no scan")

    def serialize(self) -> bytes:
        """The whole file, from SOI to EOI."""
        head = header(self.width, self.height, self.sampling, self.tables, self.restart_interval)
        return b"".join((head, self.scan, END))


def header(width: int, height: int, sampling: int, tables: bytes, restart_interval: int) -> bytes:
    """A JPEG file up to its scan; the arguments are as in `Picture`."""
    parts = [START, JFIF]
    for number in (0, 1):
        table = tables[number * TABLE_BYTES : (number + 1) * TABLE_BYTES]
        parts += (SEGMENT.pack(0xFF, DQT, 3 + TABLE_BYTES), bytes((number,)), table)
    if restart_interval:
        parts += (SEGMENT.pack(0xFF, DRI, 4), INTERVAL.pack(restart_interval))
    parts += (
        SEGMENT.pack(0xFF, SOF_BASELINE, 17),
        FRAME.pack(8, height, width, 3),
        bytes((1, sampling, 0, 2, 0x11, 1, 3, 0x11, 1)),
        HUFFMAN_TABLES,
        SEGMENT.pack(0xFF, SOS, 12),
        bytes((3, 1, 0x00, 2, 0x11, 3, 0x11, 0, 63, 0)),
    )
    return b"".join(parts)


@cache
def scaled_tables(quality: int) -> bytes:
    """The quantisation tables of a quality factor of 1 to 99, RFC 2435 section 4.2."""
    return bytes(_scaled(value, quality) for value in LUMA + CHROMA)


def _scaled(value: int, quality: int) -> int:
    scale = 5000 // quality if quality < 50 else 200 - quality * 2
    return min(max((value * scale + 50) // 100, 1), 255)


@lru_cache(maxsize=64)
def quality_of(tables: bytes) -> int:
    """The quality factor that has these tables; 0 if there is none."""
    for quality in range(1, 100):
        is_like = _scaled(LUMA[0], quality) == tables[0]
        if is_like and scaled_tables(quality) == tables:
            return quality
    return 0


def read_size(data: bytes) -> tuple[int, int]:
    """Width and height of a JPEG file of any kind; `WireError` if it has none."""
    for marker, start, end in _segments(data):
        if marker in FRAME_MARKERS:
            if end - start < FRAME.size:
                break
            _, height, width, _ = FRAME.unpack_from(data, start)
            if not width or not height:
                break
            return width, height
    raise WireError("mjpeg-malformed", "no size")


def _segments(data: bytes) -> list[tuple[int, int, int]]:
    """Marker, start and end of what each segment holds, as far as the first scan's header."""
    if data[:2] != START:
        raise WireError("mjpeg-malformed", "no SOI")
    found: list[tuple[int, int, int]] = []
    at = 2
    end = len(data)
    while len(found) < MAX_SEGMENTS and at + SEGMENT.size <= end:
        prefix, marker, size = SEGMENT.unpack_from(data, at)
        if prefix != 0xFF:
            raise WireError("mjpeg-malformed", "marker")
        if marker == 0xFF:  # a fill byte, section B.1.1.2
            at += 1
            continue
        if marker in STANDALONE:
            at += 2
            continue
        start = at + SEGMENT.size
        at += 2 + size
        if size < 2 or at > end:
            raise WireError("mjpeg-malformed", "segment size")
        found.append((marker, start, at))
        if marker == SOS:
            break
    return found


def _read_frame(body: bytes) -> tuple[int, int, int, int, int]:
    """Width, height, sampling of Y, numbers of the tables of luma and chroma."""
    if len(body) < FRAME.size:
        raise WireError("mjpeg-malformed", "frame header")
    precision, height, width, count = FRAME.unpack_from(body)
    if precision != 8:
        raise WireError("mjpeg-progressive-unsupported", f"{precision} bits")
    if not width or not height or len(body) != FRAME.size + 3 * count:
        raise WireError("mjpeg-malformed", "frame header")
    parts = [body[at : at + 3] for at in range(FRAME.size, len(body), 3)]
    if count != 3 or parts[0][1] not in (H422, H420) or {p[1] for p in parts[1:]} != {0x11}:
        raise WireError("mjpeg-sampling-unsupported", " ".join(f"{p[1]:x}" for p in parts))
    if parts[1][2] != parts[2][2]:
        raise WireError("mjpeg-tables-unsupported", "tables of Cb and Cr")
    return width, height, parts[0][1], parts[0][2], parts[1][2]


def _read_quantisation(body: bytes, tables: dict[int, bytes]) -> None:
    """DQT, section B.2.4.1."""
    at = 0
    while at < len(body):
        if body[at] >> 4:
            raise WireError("mjpeg-tables-unsupported", "16-bit quantisation")
        table = body[at + 1 : at + 1 + TABLE_BYTES]
        if len(table) != TABLE_BYTES:
            raise WireError("mjpeg-malformed", "DQT")
        tables[body[at] & 15] = table
        at += 1 + TABLE_BYTES


def _check_huffman(body: bytes) -> None:
    """DHT, section B.2.4.2: `WireError` unless all tables are the standard ones."""
    at = 0
    while at < len(body):
        standard = STANDARD_TABLES.get(body[at])
        if standard is None or not body.startswith(standard, at + 1):
            raise WireError("mjpeg-tables-unsupported", "Huffman tables")
        at += 1 + len(standard)


def _check_scan(body: bytes) -> None:
    """SOS, section B.2.3: one scan of three components that use tables 0, 1 and 1."""
    if len(body) != 10 or body[0] != 3:
        raise WireError("mjpeg-scans-unsupported")
    if (body[2], body[4], body[6]) != (0x00, 0x11, 0x11):
        raise WireError("mjpeg-tables-unsupported", "Huffman table numbers")
