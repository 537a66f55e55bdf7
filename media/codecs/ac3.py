"""AC-3: parameters and frame headers, ETSI TS 102 366 (ATSC A/52) section 4.4.

Also what E-AC-3 (`media/codecs/eac3.py`) has in common with it.
"""

from dataclasses import dataclass
from typing import Self

from flux.base.bits import BitReader
from flux.base.errors import WireError
from flux.base.units import rescale
from media.parameters import AudioParameters

SYNC_WORD = b"\x0b\x77"
HEADER_BYTES = 8  # as much as is read here of syncinfo() and bsi()
SAMPLE_RATES = (48000, 44100, 32000)  # by fscod
CHANNELS = (2, 1, 2, 3, 3, 4, 4, 5)  # by acmod, without the low frequency channel
FRAME_SAMPLES = 1536
MAX_AC3_BSID = 10  # 9 and 10: half and a quarter of the sample rate; from 11 on: E-AC-3
PLAIN_BSID = 8
# kbit/s by frmsizecod / 2, table 4.13
_BIT_RATES = (
    32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Ac3Header:
    """A frame header, read."""

    size_bytes: int  # of the whole frame
    sample_rate: int  # Hz
    channels: int  # with the low frequency one
    samples: int  # of one channel in this frame
    is_primary: bool = True  # false: another substream of the same instant (E-AC-3)
    acmod: int = 0
    has_lfe: bool = False
    bsid: int = PLAIN_BSID
    bsmod: int = 0
    bit_rate_code: int = 0  # frmsizecod without its last bit; of AC-3 alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Ac3Parameters(AudioParameters):
    """The configuration of an AC-3 track, as the headers of its frames tell it."""

    acmod: int = 2
    has_lfe: bool = False
    bsid: int = PLAIN_BSID
    bsmod: int = 0
    bit_rate_code: int = 0

    @classmethod
    def from_frame(cls, frame: bytes, clock_rate: int, version: int = 0) -> Self:
        """Parameters of a frame in a track of this clock; `WireError` if it has no header."""
        header = parse_header(frame)
        return cls(
            version=version,
            sample_rate=header.sample_rate,
            channels=header.channels,
            frame_samples=rescale(header.samples, header.sample_rate, clock_rate),
            acmod=header.acmod,
            has_lfe=header.has_lfe,
            bsid=header.bsid,
            bsmod=header.bsmod,
            bit_rate_code=header.bit_rate_code,
        )

    def codec_string(self) -> str:
        """`ac-3`, the sample entry of ETSI TS 102 366 annex F."""
        return "ac-3"


def parse_header(data: bytes, at: int = 0) -> Ac3Header:
    """Read the header at `data[at:]`; `WireError` if there is none."""
    reader = begin(data, at, "ac3-malformed")
    reader.skip(16)  # crc1
    rate_index = reader.bits(2)
    size_code = reader.bits(6)
    bsid = reader.bits(5)
    bsmod = reader.bits(3)
    acmod = reader.bits(3)
    if rate_index == 3 or size_code >= 2 * len(_BIT_RATES) or bsid > MAX_AC3_BSID:
        raise WireError("ac3-malformed", "reserved values")
    if acmod & 1 and acmod != 1:
        reader.skip(2)  # cmixlev
    if acmod & 4:
        reader.skip(2)  # surmixlev
    if acmod == 2:
        reader.skip(2)  # dsurmod
    has_lfe = reader.flag()
    sample_rate = SAMPLE_RATES[rate_index]
    words = _BIT_RATES[size_code >> 1] * FRAME_SAMPLES * 1000 // (16 * sample_rate)
    if sample_rate == 44100:
        words += size_code & 1  # frames take turns, so that the rate is right
    return Ac3Header(
        size_bytes=2 * words,
        sample_rate=sample_rate >> max(bsid - PLAIN_BSID, 0),
        channels=CHANNELS[acmod] + has_lfe,
        samples=FRAME_SAMPLES,
        acmod=acmod,
        has_lfe=has_lfe,
        bsid=bsid,
        bsmod=bsmod,
        bit_rate_code=size_code >> 1,
    )


def begin(data: bytes, at: int, reason: str) -> BitReader:
    """A reader behind the sync word at `data[at:]`; what comes is 6 bytes long at least."""
    head = data[at : at + 3 * HEADER_BYTES]
    if len(head) < HEADER_BYTES:
        raise WireError(reason, "truncated")
    if head[:2] != SYNC_WORD:
        raise WireError(reason, "syncword")
    return BitReader(head[2:])
