"""What goes out as private data: Opus, KLV, and streams that came in with a TS and are not known.

Only live outputs carry these. HLS has no place for them (RFC 8216 section 3.2 and Apple's list of
formats), so its segments are without.
"""

from media.codecs.opus import OpusParameters
from media.frame import Frame
from media.mpegts import psi
from media.mpegts.elementary.data import CELL_BYTES, cell_header
from media.mpegts.elementary.opus import control_header
from media.mpegts.pes import MAX_PES_LENGTH, STREAM_ID_METADATA, STREAM_ID_PRIVATE_1, pes_header
from media.mpegts.stream_types import KLVA, STREAM_METADATA, STREAM_PRIVATE, OpaqueParameters
from media.mpegts.tables import (
    DESCRIPTOR_EXTENSION,
    DESCRIPTOR_METADATA,
    DESCRIPTOR_METADATA_STD,
    EXTENSION_OPUS,
)
from media.parameters import Parameters
from media.track import KLV, OPUS, Track

MAX_PAYLOAD_BYTES = MAX_PES_LENGTH - 13  # of a PES packet that has to tell its length

# MISB ST 1402: metadata of the general application, KLV by its registration, service 0, no decoder
# configuration; and a buffer of which nothing is said.
_KLV_DESCRIPTORS = (
    psi.registration(KLVA)
    + bytes((DESCRIPTOR_METADATA, 9, 0x01, 0x00, 0xFF))
    + KLVA
    + b"\x00\x0f"
    + bytes((DESCRIPTOR_METADATA_STD, 9))
    + b"\xc0\x00\x00" * 3
)


def carries_privately(track: Track) -> bool:
    """Whether this track goes out as private data."""
    return track.codec in (KLV, OPUS) or isinstance(track.parameters, OpaqueParameters)


def private_stream(track: Track, pid: int) -> psi.Stream:
    """The PMT entry of such a track."""
    parameters = track.parameters
    if isinstance(parameters, OpaqueParameters):
        return psi.Stream(pid, parameters.stream_type, parameters.descriptors)
    if track.codec == KLV:
        return psi.Stream(pid, STREAM_METADATA, _KLV_DESCRIPTORS)
    channels = parameters.channels if isinstance(parameters, OpusParameters) else 2
    extension = bytes((DESCRIPTOR_EXTENSION, 2, EXTENSION_OPUS, channels))
    return psi.Stream(pid, STREAM_PRIVATE, psi.registration(b"Opus") + extension)


class PrivateWriter:
    """Makes the PES packets of one such track."""

    __slots__ = ("_codec", "_sequence", "_stream_id")

    def __init__(self, codec: str, parameters: Parameters | None) -> None:
        self._codec = codec
        self._sequence = 0  # of KLV cells
        if isinstance(parameters, OpaqueParameters):
            self._stream_id = parameters.stream_id
        else:
            self._stream_id = STREAM_ID_METADATA if codec == KLV else STREAM_ID_PRIVATE_1

    def pes(self, frame: Frame, pts: int, dts: int) -> tuple[bytes, ...]:
        """The frame as one PES packet, in pieces; empty if there is no room for it."""
        payload = frame.payload
        size = frame.size_bytes
        before = b""
        if self._codec == OPUS:
            before = control_header(size)
        elif self._codec == KLV:
            if size + CELL_BYTES > MAX_PAYLOAD_BYTES:
                return ()
            before = cell_header(size, self._sequence)
            self._sequence += 1
            dts = pts
        size += len(before)
        head = pes_header(self._stream_id, pts, dts, size)
        if size > MAX_PAYLOAD_BYTES and self._stream_id & 0xF0 != 0xE0:
            return ()
        return head, before, *payload
