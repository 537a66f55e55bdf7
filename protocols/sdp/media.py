"""Media sections of a session description: RFC 8866 sections 5.14 and 6.6, RFC 3551 section 6."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from protocols.sdp.fmtp import FormatParameters

MAX_FORMATS = 128  # payload types of one m= line
MAX_CLOCK_RATE = 1_000_000_000

DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")

# Encoding name, clock rate and channels by payload type, RFC 3551 tables 4 and 5.
STATIC_PAYLOADS: dict[int, tuple[str, int, int]] = {
    0: ("PCMU", 8000, 1),
    # quirk: devices that still use 2 without rtpmap, which RFC 3551 section 6 took back: G.726 was
    # G.721 then. test: test_static_payload_types
    2: ("G726-32", 8000, 1),
    3: ("GSM", 8000, 1),
    4: ("G723", 8000, 1),
    5: ("DVI4", 8000, 1),
    6: ("DVI4", 16000, 1),
    7: ("LPC", 8000, 1),
    8: ("PCMA", 8000, 1),
    9: ("G722", 8000, 1),  # sampled at 16 kHz; the clock is 8000 for historical reasons
    10: ("L16", 44100, 2),
    11: ("L16", 44100, 1),
    12: ("QCELP", 8000, 1),
    13: ("CN", 8000, 1),
    14: ("MPA", 90000, 1),
    15: ("G728", 8000, 1),
    16: ("DVI4", 11025, 1),
    17: ("DVI4", 22050, 1),
    18: ("G729", 8000, 1),
    25: ("CelB", 90000, 1),
    26: ("JPEG", 90000, 1),
    28: ("nv", 90000, 1),
    31: ("H261", 90000, 1),
    32: ("MPV", 90000, 1),
    33: ("MP2T", 90000, 1),
    34: ("H263", 90000, 1),
}


@dataclass(frozen=True, slots=True)
class Attribute:
    """One `a=` line. `value` is None for a bare flag such as `recvonly`."""

    name: str
    value: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Split `name` or `name:value`."""
        name, colon, value = text.partition(":")
        return cls(name.strip(), value.strip() if colon else None)

    def __str__(self) -> str:
        return f"a={self.name}" if self.value is None else f"a={self.name}:{self.value}"


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """One `b=` line, RFC 8866 section 5.8."""

    kind: str  # AS, TIAS, RS, RR
    value: int  # kbit/s for AS, bit/s for the others

    def __str__(self) -> str:
        return f"b={self.kind}:{self.value}"


@dataclass(frozen=True, slots=True)
class PayloadType:
    """One payload type of a media section with what rtpmap, fmtp and RFC 3551 say of it."""

    number: int  # 7 bits
    encoding: str  # rtpmap's encoding name as written; "" where nothing says what it is
    clock_rate: int  # Hz; 0 where nothing says
    channels: int  # 1 where nothing says
    fmtp: FormatParameters

    def attributes(self) -> tuple[Attribute, ...]:
        """The rtpmap and fmtp lines that describe this payload type."""
        channels = f"/{self.channels}" if self.channels > 1 else ""
        rtpmap = f"{self.number} {self.encoding}/{self.clock_rate}{channels}"
        lines = [Attribute("rtpmap", rtpmap)]
        if self.fmtp:
            lines.append(Attribute("fmtp", f"{self.number} {self.fmtp}"))
        return tuple(lines)


@dataclass(frozen=True, slots=True)
class MediaDescription:
    """One `m=` section. `attributes` is the truth; the properties read it."""

    kind: str  # video, audio, application, ...
    port: int = 0
    port_count: int = 1
    protocol: str = "RTP/AVP"
    formats: tuple[str, ...] = ()  # payload types as text, in order of preference
    title: str | None = None  # i=
    connection: str | None = None  # c=
    bandwidths: tuple[Bandwidth, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    other: tuple[str, ...] = ()  # lines that are none of these, as they came

    def attribute(self, name: str) -> str | None:
        """Value of the first attribute of that name (lower case given); "" for a bare flag."""
        return next((a.value or "" for a in self.attributes if a.name.lower() == name), None)

    @property
    def control(self) -> str | None:
        """The control URL of this media, RFC 2326 appendix C.1.1."""
        return self.attribute("control")

    @property
    def direction(self) -> str | None:
        """sendrecv, sendonly, recvonly or inactive; None where the section does not say."""
        return next((a.name.lower() for a in self.attributes if a.name.lower() in DIRECTIONS), None)

    @property
    def payload_types(self) -> tuple[PayloadType, ...]:
        """The payload types of an RTP section, in the order of the m= line."""
        numbers = [_bounded(text, 127, -1) for text in self.formats]
        maps = _by_payload_type(self.attributes, "rtpmap")
        fmtps = _by_payload_type(self.attributes, "fmtp")
        return tuple(
            _payload_type(number, self.kind, maps.get(number), fmtps.get(number, ""))
            for number in dict.fromkeys(numbers)
            if number >= 0
        )

    def lines(self) -> list[str]:
        """The lines of this section without line ends, in the order of RFC 8866 section 5."""
        port = f"{self.port}/{self.port_count}" if self.port_count > 1 else str(self.port)
        lines = [f"m={self.kind} {port} {self.protocol} {' '.join(self.formats)}".rstrip()]
        if self.title is not None:
            lines.append(f"i={self.title}")
        if self.connection is not None:
            lines.append(f"c={self.connection}")
        lines += map(str, self.bandwidths)
        lines += self.other
        lines += map(str, self.attributes)
        return lines


def parse_media(lines: Iterable[str]) -> MediaDescription:
    """Read one section, its `m=` line first; lines are stripped and not empty."""
    first, *rest = lines
    kind, port, port_count, protocol, formats = _media_line(first[2:])
    title: str | None = None
    connection: str | None = None
    bandwidths: list[Bandwidth] = []
    attributes: list[Attribute] = []
    other: list[str] = []
    for line in rest:
        letter, _, value = line.partition("=")
        value = value.strip()
        if letter == "a" and value:
            attributes.append(Attribute.parse(value))
        elif letter == "b" and (bandwidth := parse_bandwidth(value)):
            bandwidths.append(bandwidth)
        elif letter == "c" and connection is None and value:
            connection = value
        elif letter == "i" and title is None and value:
            title = value
        else:
            other.append(line)
    return MediaDescription(
        kind=kind,
        port=port,
        port_count=port_count,
        protocol=protocol,
        formats=formats,
        title=title,
        connection=connection,
        bandwidths=tuple(bandwidths),
        attributes=tuple(attributes),
        other=tuple(other),
    )


def parse_bandwidth(value: str) -> Bandwidth | None:
    """Read `AS:5000`; None where it is not of that form (the line is then kept as it came)."""
    kind, colon, number = value.partition(":")
    number = number.strip()
    if not colon or not (number.isascii() and number.isdigit()) or len(number) > 12:
        return None
    return Bandwidth(kind.strip(), int(number))


def _media_line(value: str) -> tuple[str, int, int, str, tuple[str, ...]]:
    """kind, port, number of ports, protocol, formats; what is missing gets its default."""
    fields = value.split()
    kind = fields[0].lower() if fields else ""
    port_text, _, count_text = fields[1].partition("/") if len(fields) > 1 else ("0", "", "")
    port = _bounded(port_text, 65_535, 0)
    port_count = max(1, _bounded(count_text, 65_535, 1))
    protocol = fields[2] if len(fields) > 2 else "RTP/AVP"
    return kind, port, port_count, protocol, tuple(fields[3 : 3 + MAX_FORMATS])


def _by_payload_type(attributes: Iterable[Attribute], name: str) -> dict[int, str]:
    """`number text` attributes of that name by number; the first of a number wins."""
    found: dict[int, str] = {}
    for attribute in attributes:
        if attribute.name.lower() == name and attribute.value:
            number, _, text = attribute.value.replace("\t", " ").partition(" ")
            found.setdefault(_bounded(number, 127, -1), text.strip())
    return found


def _payload_type(number: int, kind: str, rtpmap: str | None, fmtp: str) -> PayloadType:
    encoding, clock_rate, channels = STATIC_PAYLOADS.get(number, ("", 0, 1))
    if rtpmap:
        name, _, rest = rtpmap.partition("/")
        rate_text, _, channels_text = rest.partition("/")
        same = name.strip().lower() == encoding.lower()
        encoding = name.strip()
        # quirk: a missing or zero clock rate; every video format of RTP runs at 90 kHz
        fallback = clock_rate if same else 90_000 if kind == "video" else 0
        clock_rate = _bounded(rate_text, MAX_CLOCK_RATE, fallback) or fallback
        channels = max(1, _bounded(channels_text, 255, channels if same else 1))
    return PayloadType(number, encoding, clock_rate, channels, FormatParameters.parse(fmtp))


def _bounded(text: str, limit: int, default: int) -> int:
    """A plain decimal number up to `limit`, else `default`."""
    text = text.strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 12:
        return default
    number = int(text)
    return number if number <= limit else default
