"""FLV from a stream of bytes to tags: Adobe's FLV specification 10.1, annex E.2 to E.4.1.

What follows a tag (PreviousTagSize) is not believed: writers get it wrong. Only when what should be
a tag is none it helps to find the next one: the reader then goes on at the first place where a
header and the number behind its tag agree. A file header between tags, as relays put it where their
source came back, is stepped over.
"""

import re
from dataclasses import dataclass
from struct import Struct

from flux.base.errors import WireError
from media.flv.tags import TAG_AUDIO, TAG_HEADER_BYTES, TAG_SCRIPT, TAG_VIDEO

SIGNATURE = b"FLV"
FILE_HEADER_BYTES = 9
BACK_POINTER_BYTES = 4
MAX_FILE_HEADER_BYTES = 1024
ENCRYPTED = 0x20  # Filter, E.4.1
HAS_AUDIO, HAS_VIDEO = 4, 1
MAX_SOUGHT_TAG_BYTES = 1 << 20  # a larger one is not believed where tags are looked for
MAX_JUNK_BYTES = 4 << 20  # in a row

_KNOWN = (TAG_AUDIO, TAG_VIDEO, TAG_SCRIPT)
_HEADER = Struct(">BBHHBB")  # type, size (8 + 16), time (16 + 8, then the high 8)
_CANDIDATE = re.compile(rb"(?=[\x08\x09\x12][\x00-\x0f].{6}\x00\x00\x00)", re.DOTALL)


@dataclass(slots=True)
class FlvTag:
    """One tag."""

    type: int  # 8 sound, 9 picture, 18 script data
    timestamp: int  # milliseconds, 32 bits, as they came
    body: bytes


class FlvReader:
    """Bytes in, tags out. Raises `WireError` for what is no FLV, or none any more."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._has_header = False
        self._junk = 0  # in a row
        self._is_lost = False
        self.flags = 0  # of the file's header: HAS_AUDIO, HAS_VIDEO
        self.junk_bytes = 0  # all of them
        self.breaks = 0  # how often tags had to be looked for

    def feed(self, data: bytes) -> list[FlvTag]:
        """The tags that are whole now."""
        buffer = self._buffer
        buffer += data
        if not self._has_header and not self._take_header():
            return []
        found: list[FlvTag] = []
        at = 0
        while True:
            if self._is_lost:
                at = self._find(at)
                if self._is_lost:
                    break
            size = len(buffer)
            if size - at < TAG_HEADER_BYTES:
                break
            kind, high, low, time, time_low, time_high = _HEADER.unpack_from(buffer, at)
            if kind not in _KNOWN:
                step = self._step_over(at, kind, high << 16 | low)
                if step < 0:
                    break
                at += step
                continue
            body = at + TAG_HEADER_BYTES
            end = body + (high << 16 | low)
            if size < end:
                break
            # The back pointer may still be on its way: the tag need not wait for it.
            if size < end + BACK_POINTER_BYTES:
                break
            stamp = time_high << 24 | time << 8 | time_low
            found.append(FlvTag(kind, stamp, bytes(memoryview(buffer)[body:end])))
            self._junk = 0
            at = end + BACK_POINTER_BYTES
        del buffer[:at]
        return found

    def _take_header(self) -> bool:
        buffer = self._buffer
        if buffer[:3] != SIGNATURE[: len(buffer)]:
            raise WireError("flv-signature")
        if len(buffer) < FILE_HEADER_BYTES:
            return False
        size = int.from_bytes(buffer[5:9], "big")
        if not FILE_HEADER_BYTES <= size <= MAX_FILE_HEADER_BYTES:
            raise WireError("flv-signature", "the size of its header")
        if len(buffer) < size + BACK_POINTER_BYTES:
            return False
        self.flags = buffer[4]
        del buffer[: size + BACK_POINTER_BYTES]
        self._has_header = True
        return True

    def _step_over(self, at: int, kind: int, size: int) -> int:
        """How far it is over something that is no known tag; -1: more bytes are needed."""
        buffer = self._buffer
        if kind & ~ENCRYPTED in _KNOWN and kind & ENCRYPTED:
            raise WireError("flv-encrypted")
        if buffer[at : at + 3] == SIGNATURE:
            length = int.from_bytes(buffer[at + 5 : at + 9], "big")
            if FILE_HEADER_BYTES <= length <= MAX_FILE_HEADER_BYTES:
                length += BACK_POINTER_BYTES
                return length if len(buffer) - at >= length else -1
        end = at + TAG_HEADER_BYTES + size
        if size <= MAX_SOUGHT_TAG_BYTES and self._agrees(end, size):
            return TAG_HEADER_BYTES + size + BACK_POINTER_BYTES  # a kind that nobody knows
        self._is_lost = True
        self.breaks += 1
        return 0

    def _agrees(self, end: int, size: int) -> bool:
        told = self._buffer[end : end + BACK_POINTER_BYTES]
        return (
            len(told) == BACK_POINTER_BYTES
            and int.from_bytes(told, "big") == size + TAG_HEADER_BYTES
        )

    def _find(self, at: int) -> int:
        """Where a tag stands, or may once more has come; what lies before is junk."""
        buffer = self._buffer
        place = len(buffer) - TAG_HEADER_BYTES + 1
        for match in _CANDIDATE.finditer(buffer, at):
            start = match.start()
            size = int.from_bytes(buffer[start + 1 : start + 4], "big")
            end = start + TAG_HEADER_BYTES + size
            if end + BACK_POINTER_BYTES > len(buffer):
                place = min(place, start)
            elif self._agrees(end, size):
                place = start
                self._is_lost = False
                break
        place = max(at, place)
        self._junk += place - at
        self.junk_bytes += place - at
        if self._junk > MAX_JUNK_BYTES:
            raise WireError("flv-junk")
        return place
