"""RTP payload format for VP9, RFC 9628, in flexible and in non-flexible mode.

The packets of one time stamp are a picture: the frames of its spatial layers, each from a packet
with B to one with E. A picture of several frames becomes a superframe, which is how decoders take
them; a frame that is a superframe itself (a hidden frame and a shown one) stays as it is.

The scalability structure that comes with key frames is kept (`structure`). The structure that is
sent with key frames names one layer, its size, and that a picture needs the one before.
"""

from dataclasses import dataclass
from struct import Struct
from typing import Self

from flux.base.errors import WireError
from media.codecs.vp9 import (
    MAX_SUPERFRAME,
    Vp9Parameters,
    is_key_frame,
    join_superframe,
    split_superframe,
)
from media.payloads.assembler import UnitAssembler
from media.payloads.base import MIN_PAYLOAD_BYTES, DropCallback, cut_equal

# The first byte, section 4.2.
PICTURE_ID, INTER, LAYERS, FLEXIBLE = 0x80, 0x40, 0x20, 0x10
BEGIN, END, STRUCTURE, NO_UPPER_REFERENCE = 0x08, 0x04, 0x02, 0x01
MAX_REFERENCES = 3
SIZE = Struct("!HH")
DESCRIPTOR_BYTES = 3  # of those that are made here: a picture number of 15 bits
# N_S 0 and Y | width, height | N_G 1 | temporal id 0, one reference: the picture before.
STRUCTURE_HEAD, STRUCTURE_GROUP = 0x18, b"\x01\x04\x01"


@dataclass(frozen=True, slots=True)
class ScalabilityStructure:
    """What a key frame says of the layers to come, section 4.2.1."""

    layers: int  # spatial layers
    sizes: tuple[tuple[int, int], ...]  # width and height by layer; empty: not said
    group: tuple[tuple[int, ...], ...]  # distances of the references, picture by picture

    @classmethod
    def parse(cls, payload: bytes, at: int) -> tuple[Self, int]:
        """The structure at `at` and where it ends; `WireError` if it goes beyond the payload."""
        try:
            head = payload[at]
            at += 1
            layers = (head >> 5) + 1
            sizes: list[tuple[int, int]] = []
            if head & 0x10:
                for _ in range(layers):
                    if at + SIZE.size > len(payload):
                        raise WireError("vp9-malformed", "structure")
                    sizes.append(SIZE.unpack_from(payload, at))
                    at += SIZE.size
            group: list[tuple[int, ...]] = []
            if head & 0x08:
                count = payload[at]
                at += 1
                for _ in range(count):
                    references = payload[at] >> 2 & 3
                    group.append(tuple(payload[at + 1 : at + 1 + references]))
                    at += 1 + references
        except IndexError:
            raise WireError("vp9-malformed", "structure") from None
        return cls(layers, tuple(sizes), tuple(group)), at


class Vp9Depacketizer(UnitAssembler):
    """Makes pictures from RTP payloads."""

    __slots__ = ("structure",)

    prefix = "vp9"

    def __init__(self, on_drop: DropCallback) -> None:
        super().__init__(on_drop)
        self.structure: ScalabilityStructure | None = None  # of the last key frame that had one

    def _take(self, payload: bytes) -> None:
        first = payload[0]
        try:
            at = self._descriptor_bytes(payload, first)
        except WireError:
            self._fail("malformed")
            return
        if at >= len(payload):
            self._fail("malformed")
            return
        if first & BEGIN:
            if self._fragments:
                self._end_fragments()  # quirk: a layer's frame without E
        elif not self._fragments:
            self._fail("fu-loss")
            return
        if self._skipping:
            return
        self._append_fragment(payload[at:])
        if first & END and self._fragments:
            self._end_fragments()

    def _descriptor_bytes(self, payload: bytes, first: int) -> int:
        """The length of the descriptor; it may go beyond the payload. Keeps its structure."""
        at = 1
        if first & PICTURE_ID:
            at += 2 if len(payload) > 1 and payload[1] & 0x80 else 1
        if first & LAYERS:
            at += 1 if first & FLEXIBLE else 2  # TL0PICIDX in non-flexible mode
        if first & FLEXIBLE and first & INTER:
            for _ in range(MAX_REFERENCES):  # P_DIFF(7) N(1)
                at += 1
                if at > len(payload) or not payload[at - 1] & 1:
                    break
            else:
                raise WireError("vp9-malformed", "a fourth reference")
        if first & STRUCTURE:
            self.structure, at = ScalabilityStructure.parse(payload, at)
        return at

    def _begins_unit(self, payload: bytes) -> bool:
        if not payload or not payload[0] & BEGIN:
            return False
        if not payload[0] & LAYERS:
            return True
        at = 1
        if payload[0] & PICTURE_ID:
            at += 2 if len(payload) > 1 and payload[1] & 0x80 else 1
        # T(3) U(1) S(3) D(1): the lowest layer, or one that needs no lower one.
        return len(payload) > at and (not payload[at] & 0x0E or not payload[at] & 0x01)

    def _finish(self, parts: list[bytes]) -> tuple[bytes, ...]:
        if len(parts) == 1:
            return (parts[0],)
        frames = [frame for part in parts for frame in split_superframe(part)]
        if len(frames) > MAX_SUPERFRAME:
            self._on_drop("vp9-too-many-frames")
            return ()
        return (join_superframe(frames),)


class Vp9Packetizer:
    """Makes RTP payloads in non-flexible mode from pictures, in pieces of equal size.

    Key frames carry the scalability structure in their first packet.
    """

    __slots__ = ("_limit", "_picture")

    def __init__(self, max_payload_bytes: int) -> None:
        self._limit = max(max_payload_bytes, MIN_PAYLOAD_BYTES)
        self._picture = 0

    def packetize(self, payload: tuple[bytes, ...]) -> list[tuple[bytes, bool]]:
        """The packets of one picture; the marker is on the last."""
        if not payload or not payload[0]:
            return []
        frame = payload[0]
        picture = self._picture
        self._picture = picture + 1 & 0x7FFF
        number = bytes((0x80 | picture >> 8, picture & 0xFF))
        flags = PICTURE_ID | NO_UPPER_REFERENCE
        structure = b""
        if is_key_frame(frame):
            structure = _structure_of(frame)
        else:
            flags |= INTER
        body = structure + frame
        pieces = cut_equal(body, 0, self._limit - DESCRIPTOR_BYTES)
        last = len(pieces) - 1
        packets: list[tuple[bytes, bool]] = []
        middle = bytes((flags,)) + number
        for index, piece in enumerate(pieces):
            if index and index < last:
                packets.append((middle + piece, False))
                continue
            edge = flags | (index == 0) * BEGIN | (index == last) * END
            if index == 0 and structure:
                edge |= STRUCTURE
            packets.append((bytes((edge,)) + number + piece, index == last))
        return packets


def _structure_of(frame: bytes) -> bytes:
    """The scalability structure of a key frame; none where its size cannot be read."""
    try:
        parameters = Vp9Parameters.read(frame)
    except WireError:
        return b""
    if parameters is None:
        return b""
    size = SIZE.pack(parameters.width & 0xFFFF, parameters.height & 0xFFFF)
    return bytes((STRUCTURE_HEAD,)) + size + STRUCTURE_GROUP


def fmtp_from_parameters(parameters: Vp9Parameters) -> dict[str, str]:
    """The format parameters of an SDP offer, section 6.1."""
    return {"profile-id": str(parameters.profile)}
