"""RTP payload format for AAC, RFC 3640: modes AAC-hbr and AAC-lbr, all header sizes from fmtp.

A packet holds several whole access units, each one frame later than the one before, or a fragment
of one. Whether an access unit is complete, its size says, not the marker: devices set that at will.
Interleaving (an AU-Index or AU-Index-delta that is not 0, section 3.2.3.2) is refused by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Self

from flux.base.errors import WireError
from media.codecs.aac import (
    AAC_ELD,
    AAC_USAC,
    GENERAL_AUDIO,
    AacParameters,
    make_config,
    parse_config,
)
from media.payloads.base import MIN_PAYLOAD_BYTES, NOTHING, DropCallback, Unit, cut_equal

MAX_FRAME_BYTES = 65536  # an AAC frame has 768 bytes a channel at most
MAX_FRAMES = 256  # of one packet
HEADER_LENGTH = Struct("!H")
MODES = ("aac-hbr", "aac-lbr", "generic", "")
DEFAULT_LENGTHS = {"aac-lbr": (6, 2), "generic": (0, 0)}  # of AU-size and AU-Index
HBR_HEADER = Struct("!HH")  # AU-headers-length and the header of a single access unit
HBR_MAX_FRAME_BYTES = 8191  # 13 bits
AAC_TYPES = GENERAL_AUDIO | {AAC_ELD, AAC_USAC}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuHeaderLayout:
    """The fields of an AU header, in bits (section 4.1); the default is that of AAC-hbr."""

    size_length: int = 13
    index_length: int = 3
    index_delta_length: int = 3
    constant_size: int = 0  # bytes
    cts_delta_length: int = 0
    dts_delta_length: int = 0
    has_random_access: bool = False
    stream_state_length: int = 0
    auxiliary_size_length: int = 0

    @classmethod
    def from_fmtp(cls, fmtp: Mapping[str, str]) -> Self:
        """Read the layout; `WireError` if a number is none, or too large."""
        mode = fmtp.get("mode", "").lower()
        # quirk: devices that name the mode and leave its mandatory sizes away (section 3.3.6).
        default_size, default_index = DEFAULT_LENGTHS.get(mode, (13, 3))
        constant_size = _number(fmtp, "constantsize", 0, MAX_FRAME_BYTES)
        if constant_size:
            default_size = 0
        return cls(
            size_length=_number(fmtp, "sizelength", default_size),
            index_length=_number(fmtp, "indexlength", default_index),
            index_delta_length=_number(fmtp, "indexdeltalength", default_index),
            constant_size=constant_size,
            cts_delta_length=_number(fmtp, "ctsdeltalength", 0),
            dts_delta_length=_number(fmtp, "dtsdeltalength", 0),
            has_random_access=_number(fmtp, "randomaccessindication", 0) != 0,
            stream_state_length=_number(fmtp, "streamstateindication", 0),
            auxiliary_size_length=_number(fmtp, "auxiliarydatasizelength", 0),
        )

    @property
    def has_headers(self) -> bool:
        """Whether there is an AU Header Section at all, section 3.2.1."""
        return bool(
            self.size_length
            or self.index_length
            or self.index_delta_length
            or self.cts_delta_length
            or self.dts_delta_length
            or self.has_random_access
            or self.stream_state_length
        )


def _number(fmtp: Mapping[str, str], name: str, default: int, limit: int = 32) -> int:
    text = fmtp.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 9 and int(text) <= limit):
        raise WireError("aac-fmtp-malformed", name)
    return int(text)


class _HeaderReader:
    """Reads fields of the AU headers of one packet."""

    __slots__ = ("_left", "_value")

    def __init__(self, value: int, bits: int) -> None:
        self._value = value
        self._left = bits

    @property
    def is_empty(self) -> bool:
        return self._left <= 0

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise WireError("aac-malformed", "AU headers")
        return self._value >> self._left & (1 << count) - 1


class AacDepacketizer:
    """Makes audio frames from RTP payloads.

    Each fragment of an access unit tells the size of the whole (section 3.2.3.1). So a unit whose
    head was lost looks like a whole one that never gets complete: it is dropped at the next time
    stamp, without a second count.
    """

    __slots__ = (
        "_data",
        "_expected",
        "_frame_ticks",
        "_is_plain",
        "_is_suspect",
        "_layout",
        "_on_drop",
        "_size",
        "_skipped",
        "_timestamp",
    )

    def __init__(
        self, on_drop: DropCallback, frame_ticks: int = 1024, layout: AuHeaderLayout | None = None
    ) -> None:
        self._on_drop = on_drop
        self._frame_ticks = frame_ticks  # of the RTP clock, from one access unit to the next
        self._layout = layout or AuHeaderLayout()
        self._is_plain = self._layout == AuHeaderLayout()  # AAC-hbr: the hot path
        self._expected: int | None = None  # sequence of the next packet
        self._data = b""  # of the access unit that comes in fragments
        self._size = 0  # that it will have; 0: none is open
        self._timestamp = 0  # of the open one
        self._is_suspect = True  # the head of the unit may be lost, which is counted already
        self._skipped: int | None = None  # what comes with this time stamp is not wanted

    def push(self, payload: bytes, marker: bool, sequence: int, timestamp: int) -> Sequence[Unit]:
        """Take one packet; answer its audio frames."""
        if sequence != self._expected:
            if self._expected is not None:
                self._note_gap()
            self._expected = sequence
        self._expected += 1
        rest = len(payload) - HBR_HEADER.size
        if rest > 0 and self._is_plain and not self._size:
            # One AU header: 13 bits of size, 3 of index.
            bits, header = HBR_HEADER.unpack_from(payload)
            if bits == 16 and header == rest << 3:
                self._is_suspect = False
                self._skipped = None
                return (Unit(timestamp, (payload[HBR_HEADER.size :],)),)
        try:
            return self._parse(payload, timestamp)
        except WireError as exc:
            self._size = 0
            self._data = b""
            self._skipped = timestamp
            self._on_drop(exc.reason)
            return NOTHING

    def _note_gap(self) -> None:
        """A packet is missing before this one."""
        if self._size:
            self._skipped = self._timestamp
            self._abandon()
        elif self._skipped is None:
            self._on_drop("aac-unit-loss")
        self._is_suspect = True

    def _abandon(self) -> None:
        """Drop the access unit that comes in fragments: it is not complete."""
        self._data = b""
        self._size = 0
        if not self._is_suspect:
            self._on_drop("aac-fragment-loss")
        self._is_suspect = False

    def _parse(self, payload: bytes, timestamp: int) -> Sequence[Unit]:
        if not payload or timestamp == self._skipped:
            return NOTHING
        self._skipped = None
        if self._size and timestamp != self._timestamp:
            self._abandon()
        sizes, at = _read_headers(payload, self._layout)
        rest = len(payload) - at
        if self._size or (len(sizes) == 1 and sizes[0] > rest):
            return self._add_fragment(payload[at:], sizes, timestamp)
        self._is_suspect = False
        units: list[Unit] = []
        for size in sizes:
            if size > len(payload) - at:
                raise WireError("aac-malformed", "size")
            if size:
                units.append(Unit(timestamp, (payload[at : at + size],)))
            at += size
            timestamp += self._frame_ticks
        return units

    def _add_fragment(self, data: bytes, sizes: list[int], timestamp: int) -> Sequence[Unit]:
        if not self._size:
            if sizes[0] > MAX_FRAME_BYTES:
                raise WireError("aac-unit-too-large")
            self._size = sizes[0]
            self._timestamp = timestamp
        elif sizes != [self._size]:
            raise WireError("aac-malformed", "fragment")
        self._data += data
        if len(self._data) < self._size:
            return NOTHING
        if len(self._data) > self._size:
            raise WireError("aac-malformed", "fragment")
        unit = Unit(timestamp, (self._data,))
        self._data = b""
        self._size = 0
        self._is_suspect = False
        return (unit,)


def _read_headers(payload: bytes, layout: AuHeaderLayout) -> tuple[list[int], int]:
    """The sizes of a packet's access units and where the first begins, sections 3.2.1, 3.2.2."""
    at = 0
    sizes: list[int] = []
    if layout.has_headers:
        if len(payload) < HEADER_LENGTH.size:
            raise WireError("aac-malformed", "AU-headers-length")
        (bits,) = HEADER_LENGTH.unpack_from(payload)
        at = HEADER_LENGTH.size + (bits + 7) // 8
        if at > len(payload):
            raise WireError("aac-malformed", "AU-headers-length")
        value = int.from_bytes(payload[HEADER_LENGTH.size : at], "big") >> -bits % 8
        sizes = _read_sizes(_HeaderReader(value, bits), layout)
    if layout.auxiliary_size_length:
        width = layout.auxiliary_size_length
        value = int.from_bytes(payload[at : at + 4], "big")
        if len(payload) < at + 4:
            value <<= 8 * (at + 4 - len(payload))
        at += (width + (value >> 32 - width) + 7) // 8
        if at > len(payload):
            raise WireError("aac-malformed", "auxiliary data")
    rest = len(payload) - at
    if not layout.size_length and not layout.constant_size:
        if len(sizes) > 1:
            raise WireError("aac-malformed", "no sizes")
        return [rest], at
    if not sizes:
        if rest % layout.constant_size if layout.constant_size else rest:
            raise WireError("aac-malformed", "no sizes")
        sizes = [layout.constant_size] * (rest // layout.constant_size) if rest else []
    return sizes, at


def _read_sizes(reader: _HeaderReader, layout: AuHeaderLayout) -> list[int]:
    """Read the AU headers, section 3.2.1.1; time differences are implied by the frame length."""
    sizes: list[int] = []
    index_length = layout.index_length
    while not reader.is_empty:
        sizes.append(reader.take(layout.size_length) or layout.constant_size)
        if reader.take(index_length):
            raise WireError("aac-interleaving-unsupported")
        index_length = layout.index_delta_length
        for width in (layout.cts_delta_length, layout.dts_delta_length):
            if width and reader.take(1):
                reader.take(width)
        reader.take(layout.has_random_access + layout.stream_state_length)
        if len(sizes) > MAX_FRAMES:
            raise WireError("aac-malformed", "too many access units")
    return sizes


class AacPacketizer:
    """Makes RTP payloads of mode AAC-hbr; a unit that does not fit is cut to equal fragments."""

    __slots__ = ("_limit",)

    def __init__(self, max_payload_bytes: int) -> None:
        self._limit = max(max_payload_bytes, MIN_PAYLOAD_BYTES) - HBR_HEADER.size

    def packetize(self, payload: tuple[bytes, ...]) -> list[tuple[bytes, bool]]:
        """The packets of one audio frame; none if it is too large for 13 bits of size."""
        frame = payload[0] if len(payload) == 1 else b"".join(payload)
        if not 0 < len(frame) <= HBR_MAX_FRAME_BYTES:
            return []
        header = HBR_HEADER.pack(16, len(frame) << 3)
        if len(frame) <= self._limit:
            return [(header + frame, True)]
        pieces = cut_equal(frame, 0, self._limit)
        last = pieces.pop()
        packets = [(header + piece, False) for piece in pieces]
        packets.append((header + last, True))
        return packets


def is_supported(fmtp: Mapping[str, str]) -> bool:
    """Whether this is AAC in a mode that is understood; other modes carry speech codecs."""
    return fmtp.get("mode", "").lower() in MODES


def parameters_from_fmtp(
    fmtp: Mapping[str, str], clock_rate: int, channels: int = 1
) -> AacParameters | None:
    """Parameters of `config` (section 4.1); None if it cannot be read or is no AAC.

    quirk: cameras that leave `config`, which is mandatory, away: AAC-LC as rtpmap describes it.
    """
    text = fmtp.get("config", "").strip().strip('"')
    try:
        config = bytes.fromhex(text) if text else make_config(clock_rate, channels)
        if parse_config(config).object_type not in AAC_TYPES:
            return None
        return AacParameters.build(config, clock_rate)
    except (WireError, ValueError):
        return None


def fmtp_from_parameters(parameters: AacParameters) -> dict[str, str]:
    """The format parameters of an SDP offer in mode AAC-hbr, section 3.3.6."""
    return {
        "streamtype": "5",
        "profile-level-id": "1",
        "mode": "AAC-hbr",
        "sizelength": "13",
        "indexlength": "3",
        "indexdeltalength": "3",
        "config": parameters.config.hex().upper(),
    }
