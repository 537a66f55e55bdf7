"""Boxes of ISO base media files; ISO/IEC 14496-12 section 4.2."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.conform.problem import Findings

CONTAINERS = frozenset(
    (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"stbl", b"mvex", b"edts", b"moof", b"traf")
)
DEPTH = 10


@dataclass(slots=True)
class Box:
    """One box; `at` counts from the start of the file."""

    kind: bytes
    at: int
    size: int
    head: int  # bytes of size and type
    data: bytes  # what is behind them
    children: list["Box"] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The type as text."""
        return self.kind.decode("latin-1")

    @property
    def where(self) -> str:
        """The place, for people."""
        return f"{self.name} at byte {self.at}"

    @property
    def version(self) -> int:
        """Of a full box."""
        return self.data[0] if self.data else 0

    @property
    def flags(self) -> int:
        """Of a full box."""
        return int.from_bytes(self.data[1:4], "big")

    def u(self, at: int, size: int) -> int:
        """A number in the content; 0 where the box is too short."""
        return int.from_bytes(self.data[at : at + size], "big")

    def find(self, *path: bytes) -> "Box | None":
        """The first box of this path below."""
        place = self
        for kind in path:
            found = next((box for box in place.children if box.kind == kind), None)
            if found is None:
                return None
            place = found
        return place

    def all(self, kind: bytes) -> list["Box"]:
        """The direct children of this type."""
        return [box for box in self.children if box.kind == kind]


def read_boxes(data: bytes, findings: Findings, at: int = 0, depth: int = 0) -> list[Box]:
    """The boxes of a file or a container that begins at byte `at` of it."""
    boxes, place = [], 0
    while place < len(data):
        where = f"byte {at + place}"
        if place + 8 > len(data):
            findings.add("box-size", where, f"{len(data) - place} bytes are no box")
            break
        size, kind, head = int.from_bytes(data[place : place + 4], "big"), data[place + 4 :][:4], 8
        if size == 1:
            size, head = int.from_bytes(data[place + 8 : place + 16], "big"), 16
        elif size == 0 and not depth:
            findings.add("box-size", where, "an open end, in what has more to come")
            break
        if kind == b"uuid":
            head += 16
        if size < head or place + size > len(data):
            findings.add("box-size", where, f"{kind!r} of {size} bytes in {len(data) - place}")
            break
        if not all(32 <= byte < 127 or byte == 0xA9 for byte in kind):
            findings.add("box-type", where, kind.hex())
            break
        box = Box(kind, at + place, size, head, data[place + head : place + size])
        if kind in CONTAINERS and depth < DEPTH:
            box.children = read_boxes(box.data, findings, at + place + head, depth + 1)
        boxes.append(box)
        place += size
    return boxes


def entries(box: Box, findings: Findings) -> Iterator[Box]:
    """The sample entries of an stsd box."""
    yield from read_boxes(box.data[8:], findings, box.at + box.head + 8, 1)
