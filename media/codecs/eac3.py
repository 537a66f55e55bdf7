"""E-AC-3: parameters and frame headers, ETSI TS 102 366 annex E.

An access unit is what sounds at one instant: the frame of independent substream 0, then those of
its dependent substreams, which add channels, then further programs with theirs.
"""

from dataclasses import dataclass
from typing import Self

from flux.base.bits import BitReader
from flux.base.errors import WireError
from flux.base.units import rescale
from media.codecs.ac3 import (
    CHANNELS,
    MAX_AC3_BSID,
    SAMPLE_RATES,
    Ac3Header,
    Ac3Parameters,
    begin,
)

MAX_BSID = 16
BLOCKS = (1, 2, 3, 6)  # audio blocks of a frame by numblkscod
BLOCK_SAMPLES = 256
MAX_FRAMES = 64  # of one access unit: 8 programs of 8 substreams
INDEPENDENT, DEPENDENT, CONVERTED, RESERVED = range(4)  # strmtyp

# chanmap of annex E.1.3.1.8, its first location in the highest bit: what acmod alone says ...
_L, _C, _R, _LS, _RS, _CS, _LFE = 0x8000, 0x4000, 0x2000, 0x1000, 0x800, 0x100, 0x1
_LOCATIONS = (
    _L | _R, _C, _L | _R, _L | _C | _R, _L | _R | _CS, _L | _C | _R | _CS,
    _L | _R | _LS | _RS, _L | _C | _R | _LS | _RS,
)  # fmt: skip
_PAIRS = 0x400 | 0x200 | 0x40 | 0x20 | 0x10 | 0x4  # ... and the bits that stand for two channels


@dataclass(frozen=True, slots=True, kw_only=True)
class Eac3Parameters(Ac3Parameters):
    """The configuration of an E-AC-3 track, as the headers of its frames tell it."""

    bsid: int = MAX_BSID
    substreams: int = 1  # frames of an access unit
    locations: int = 0  # of the first program's channels, as in chanmap

    @classmethod
    def from_frame(cls, frame: bytes, clock_rate: int, version: int = 0) -> Self:
        """Parameters of an access unit in a track of this clock; `WireError` if it is none."""
        first = parse_header(frame)
        locations, count, at = 0, 0, 0
        is_program = True  # the dependent substreams so far add to the first program
        while at < len(frame) and count < MAX_FRAMES:
            header, mapped = _parse(frame, at)
            is_program = is_program and (not count or mapped.is_dependent)
            if is_program:
                locations |= mapped.locations
            count += 1
            at += header.size_bytes
        channels = first.channels if count == 1 else _count(locations)
        return cls(
            version=version,
            sample_rate=first.sample_rate,
            channels=channels,
            frame_samples=rescale(first.samples, first.sample_rate, clock_rate),
            acmod=first.acmod,
            has_lfe=first.has_lfe,
            bsid=first.bsid,
            substreams=count,
            locations=locations,
        )

    def codec_string(self) -> str:
        """`ec-3`, the sample entry of ETSI TS 102 366 annex F."""
        return "ec-3"


@dataclass(frozen=True, slots=True)
class _Mapped:
    """What a substream adds."""

    is_dependent: bool
    locations: int  # as in chanmap


def parse_header(data: bytes, at: int = 0) -> Ac3Header:
    """Read the header at `data[at:]`; `WireError` if there is none."""
    return _parse(data, at)[0]


def _parse(data: bytes, at: int) -> tuple[Ac3Header, _Mapped]:
    reader = begin(data, at, "eac3-malformed")
    kind = reader.bits(2)
    substream = reader.bits(3)
    size_bytes = 2 * (reader.bits(11) + 1)
    rate_index = reader.bits(2)
    blocks_index = reader.bits(2)
    if rate_index == 3:
        if blocks_index == 3:
            raise WireError("eac3-malformed", "fscod2")
        sample_rate = SAMPLE_RATES[blocks_index] // 2
        blocks_index = 3
    else:
        sample_rate = SAMPLE_RATES[rate_index]
    acmod = reader.bits(3)
    has_lfe = reader.flag()
    bsid = reader.bits(5)
    if not MAX_AC3_BSID < bsid <= MAX_BSID or kind == RESERVED:
        raise WireError("eac3-malformed", "reserved values")
    header = Ac3Header(
        size_bytes=size_bytes,
        sample_rate=sample_rate,
        channels=CHANNELS[acmod] + has_lfe,
        samples=BLOCKS[blocks_index] * BLOCK_SAMPLES,
        is_primary=kind != DEPENDENT and substream == 0,
        acmod=acmod,
        has_lfe=has_lfe,
        bsid=bsid,
    )
    locations = _LOCATIONS[acmod] | (_LFE if has_lfe else 0)
    if kind == DEPENDENT:
        locations = _channel_map(reader, acmod) or locations
    return header, _Mapped(kind == DEPENDENT, locations)


def _channel_map(reader: BitReader, acmod: int) -> int:
    """The locations of a dependent substream's channels; 0 if it does not say."""
    try:
        for _ in range(1 if acmod else 2):
            reader.skip(5)  # dialnorm
            if reader.flag():
                reader.skip(8)  # compr
        return reader.bits(16) if reader.flag() else 0
    except WireError:
        return 0  # a frame that ends here has no sound either


def _count(locations: int) -> int:
    return locations.bit_count() + (locations & _PAIRS).bit_count()


def access_units(data: bytes) -> list[tuple[int, Ac3Header]]:
    """Where the access units of some whole frames end, with the header of each one's first frame.

    `WireError` if these are no whole frames, or do not begin with an access unit.
    """
    units: list[tuple[int, Ac3Header]] = []
    at = 0
    while at < len(data):
        header = parse_header(data, at)
        at += header.size_bytes
        if at > len(data):
            raise WireError("eac3-malformed", "size")
        if header.is_primary:
            units.append((at, header))
        elif units:
            units[-1] = (at, units[-1][1])
        else:
            raise WireError("eac3-substreams-apart-unsupported")
    return units
