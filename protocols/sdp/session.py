"""Session descriptions, RFC 8866, read as tolerantly as cameras need.

What is refused: a text that is too large, or one that is no session description at all. Everything
else is taken as far as it is understood; lines that are not are kept in `other`.
"""

from dataclasses import dataclass
from typing import Self

from flux.base.errors import WireError
from protocols.sdp.media import Attribute, Bandwidth, MediaDescription, parse_bandwidth, parse_media

MAX_SDP_BYTES = 65_536
MAX_LINES = 4096
MAX_MEDIA = 64


@dataclass(frozen=True, slots=True)
class Origin:
    """The `o=` line, RFC 8866 section 5.2. Ids stay text: cameras write more than digits."""

    username: str = "-"
    session_id: str = "0"
    session_version: str = "0"
    network_type: str = "IN"
    address_type: str = "IP4"
    address: str = "127.0.0.1"

    @classmethod
    def parse(cls, value: str) -> Self | None:
        """The fields of an `o=` value; None where it does not have six of them."""
        fields = value.split()
        return cls(*fields) if len(fields) == 6 else None

    def __str__(self) -> str:
        return (
            f"{self.username} {self.session_id} {self.session_version} "
            f"{self.network_type} {self.address_type} {self.address}"
        )


@dataclass(frozen=True, slots=True)
class SessionDescription:
    """A whole description, RFC 8866 section 5. Absent lines are None or empty."""

    media: tuple[MediaDescription, ...] = ()
    version: str = "0"  # v=
    origin: Origin | None = None  # o=
    name: str | None = None  # s=
    information: str | None = None  # i=
    connection: str | None = None  # c=, such as "IN IP4 0.0.0.0"
    bandwidths: tuple[Bandwidth, ...] = ()  # b=
    timing: str | None = None  # t=, such as "0 0"
    attributes: tuple[Attribute, ...] = ()  # a= before the first m=
    other: tuple[str, ...] = ()  # every other line before the first m=, as it came

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a description.

        Raises WireError: `sdp-too-large`, `sdp-too-many-lines`, `sdp-too-many-media`, `sdp-empty`
        (neither a `v=` nor an `m=` line).
        """
        head, *sections = _sections(data)
        singles, attributes, bandwidths, other = _session_lines(head)
        if "v" not in singles and not sections:
            raise WireError("sdp-empty")
        origin = Origin.parse(singles["o"]) if "o" in singles else None
        if origin is None and "o" in singles:
            other.append("o=" + singles["o"])
        return cls(
            media=tuple(parse_media(section) for section in sections),
            version=singles.get("v", "0"),
            origin=origin,
            name=singles.get("s"),
            information=singles.get("i"),
            connection=singles.get("c"),
            bandwidths=tuple(bandwidths),
            timing=singles.get("t"),
            attributes=tuple(attributes),
            other=tuple(other),
        )

    def serialize(self) -> bytes:
        """The text in the order of RFC 8866 section 5; mandatory lines that lack are added."""
        lines = [
            f"v={self.version}",
            f"o={self.origin or Origin()}",
            f"s={self.name if self.name is not None else '-'}",
        ]
        if self.information is not None:
            lines.append(f"i={self.information}")
        if self.connection is not None:
            lines.append(f"c={self.connection}")
        lines += map(str, self.bandwidths)
        lines.append(f"t={self.timing if self.timing is not None else '0 0'}")
        lines += self.other
        lines += map(str, self.attributes)
        for media in self.media:
            lines += media.lines()
        return "".join(line + "\r\n" for line in lines).encode()

    def attribute(self, name: str) -> str | None:
        """Value of the first session attribute of that name (any case); "" for a bare flag."""
        return next((a.value or "" for a in self.attributes if a.name.lower() == name), None)

    @property
    def control(self) -> str | None:
        """The aggregate control URL, RFC 2326 appendix C.1.1; often `*`."""
        return self.attribute("control")

    @property
    def range(self) -> str | None:
        """The `a=range` value, RFC 2326 appendix C.1.5; `npt=now-` or absent for live sources."""
        return self.attribute("range")


def _sections(data: bytes) -> list[list[str]]:
    """Lines before the first `m=`, then the lines of each media section, `m=` line first."""
    if len(data) > MAX_SDP_BYTES:
        raise WireError("sdp-too-large", f"{len(data)} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    # quirk: several cameras end the body with NULs; RFC 8866 section 5 forbids them anywhere
    lines = text.replace("\0", "").replace("\r", "\n").split("\n")
    if len(lines) > MAX_LINES:
        raise WireError("sdp-too-many-lines", str(len(lines)))
    sections: list[list[str]] = [[]]
    for raw in lines:
        line = raw.strip()
        if line.startswith("m="):
            sections.append([])
            if len(sections) - 1 > MAX_MEDIA:
                raise WireError("sdp-too-many-media")
        if line:
            sections[-1].append(line)
    return sections


def _session_lines(
    lines: list[str],
) -> tuple[dict[str, str], list[Attribute], list[Bandwidth], list[str]]:
    """First value of each one-line type, attributes, bandwidths, and what is left over."""
    singles: dict[str, str] = {}
    attributes: list[Attribute] = []
    bandwidths: list[Bandwidth] = []
    other: list[str] = []
    for line in lines:
        kind, equals, value = line.partition("=")
        value = value.strip()
        if equals and kind == "a" and value:
            attributes.append(Attribute.parse(value))
        elif equals and kind == "b" and (bandwidth := parse_bandwidth(value)):
            bandwidths.append(bandwidth)
        elif equals and kind in ("v", "o", "s", "i", "c", "t") and kind not in singles:
            singles[kind] = value
        else:
            other.append(line)
    return singles, attributes, bandwidths, other
