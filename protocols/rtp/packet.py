"""The RTP packet, RFC 3550 section 5.1. The receive path reads headers itself (`receiver.py`)."""

from dataclasses import dataclass
from struct import Struct
from typing import Self

from flux.base.errors import WireError

#  0                   1                   2                   3
#  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
# |V=2|P|X|  CC   |M|     PT      |       sequence number         |
# |                           timestamp                           |
# |                             SSRC                              |
HEADER = Struct("!BBHII")
HEADER_BYTES = 12
EXTENSION = Struct("!HH")  # profile, length in 32-bit words; section 5.3.1

VERSION = 0x80
VERSION_MASK = 0xC0
PADDING = 0x20
HAS_EXTENSION = 0x10
CSRC_COUNT = 0x0F
MARKER = 0x80
PAYLOAD_TYPE = 0x7F
MAX_CSRC = 15


@dataclass(frozen=True, slots=True)
class Extension:
    """A header extension, section 5.3.1. `data` is a multiple of four bytes long."""

    profile: int  # 16 bits
    data: bytes


@dataclass(slots=True)
class RtpPacket:
    """One packet. Read-only once made."""

    payload_type: int  # 7 bits
    sequence: int  # 16 bits
    timestamp: int  # 32 bits
    ssrc: int  # 32 bits
    payload: bytes
    marker: bool = False
    csrc: tuple[int, ...] = ()  # at most 15
    extension: Extension | None = None
    padding_bytes: int = 0  # octets after the payload, the count itself included; 0 if none

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read one packet; raises WireError (`rtp-truncated`, `rtp-version`, ...)."""
        start, end = payload_bounds(data)
        first, second, sequence, timestamp, ssrc = HEADER.unpack_from(data)
        count = first & CSRC_COUNT
        csrc = Struct(f"!{count}I").unpack_from(data, HEADER_BYTES) if count else ()
        extension = None
        if first & HAS_EXTENSION:
            at = HEADER_BYTES + 4 * count
            profile, _ = EXTENSION.unpack_from(data, at)
            extension = Extension(profile, data[at + EXTENSION.size : start])
        return cls(
            second & PAYLOAD_TYPE,
            sequence,
            timestamp,
            ssrc,
            data[start:end],
            second >= MARKER,
            csrc,
            extension,
            len(data) - end,
        )

    def serialize(self) -> bytes:
        """The packet's bytes."""
        first = VERSION | len(self.csrc)
        parts = [b"", self.payload]
        head = Struct(f"!{len(self.csrc)}I").pack(*self.csrc) if self.csrc else b""
        if self.extension is not None:
            first |= HAS_EXTENSION
            words = len(self.extension.data) // 4
            head += EXTENSION.pack(self.extension.profile, words) + self.extension.data
        if self.padding_bytes:
            first |= PADDING
            parts.append(bytes(self.padding_bytes - 1) + bytes((self.padding_bytes,)))
        second = self.payload_type | (MARKER if self.marker else 0)
        fixed = HEADER.pack(first, second, self.sequence, self.timestamp, self.ssrc)
        parts[0] = fixed + head
        return b"".join(parts)


def payload_bounds(data: bytes) -> tuple[int, int]:
    """Where the payload begins and ends, past CSRCs and extension, before padding.

    Raises WireError: `rtp-truncated`, `rtp-version`, `rtp-padding` (count 0 or past the header).
    """
    size = len(data)
    if size < HEADER_BYTES:
        raise WireError("rtp-truncated", f"{size} bytes")
    first = data[0]
    if first & VERSION_MASK != VERSION:
        raise WireError("rtp-version", str(first >> 6))
    start = HEADER_BYTES + 4 * (first & CSRC_COUNT)
    if first & HAS_EXTENSION:
        if size < start + EXTENSION.size:
            raise WireError("rtp-truncated", "extension")
        _, words = EXTENSION.unpack_from(data, start)
        start += EXTENSION.size + 4 * words
    if size < start:
        raise WireError("rtp-truncated", "header")
    if not first & PADDING:
        return start, size
    end = size - data[-1]
    if data[-1] == 0 or end < start:
        raise WireError("rtp-padding", str(data[-1]))
    return start, end
