"""A small RTSP player over TCP for tests and benchmarks, blocking and strict; it is not FLUX's.

It proves what a test camera really sends, so that a later difference is FLUX's own: `play` yields
the RTP packets as they come, `units_of` puts access units together with their RTP timestamps. It
knows just enough of RFC 2326, 3550, 3640, 6184 and 7798 for GStreamer's payloaders, and stops at
whatever it does not know.
"""

import re
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Self
from urllib.parse import urlsplit

from tests.support.frames import TrackUnits, Unit, counts

RTP_HEADER = struct.Struct("!BBHII")
TIMEOUT = 15.0  # seconds without any byte


class ProbeError(Exception):
    """The server sent what the probe does not expect."""


@dataclass(slots=True)
class Packet:
    """One interleaved RTP packet."""

    channel: int
    data: bytes  # the whole packet with its header
    at: float  # seconds since PLAY was answered

    @property
    def sequence(self) -> int:
        """Its 16-bit number."""
        return int.from_bytes(self.data[2:4], "big")

    @property
    def timestamp(self) -> int:
        """Its 32-bit media time."""
        return int.from_bytes(self.data[4:8], "big")

    @property
    def marker(self) -> bool:
        """Last packet of an access unit."""
        return self.data[1] >= 0x80

    @property
    def payload(self) -> bytes:
        """What follows the header; there is no extension and no padding."""
        first, _, _, _, _ = RTP_HEADER.unpack_from(self.data)
        if first != 0x80:
            raise ProbeError(f"RTP header begins with {first:#x}")
        return self.data[12:]


@dataclass(slots=True)
class Media:
    """One media section of the session description."""

    kind: str
    control: str
    encoding: str = ""
    clock_rate: int = 0
    rtptime: int | None = None  # of RTP-Info


@dataclass(slots=True)
class Probe:
    """One session that plays all tracks; channel 2 n is track n."""

    url: str
    sdp: str = ""
    refusal: str = ""  # the head of the reply that was not 200
    media: list[Media] = field(default_factory=list)
    _socket: socket.socket | None = None
    _buffer: bytearray = field(default_factory=bytearray)
    _cseq: int = 0
    _session: str = ""

    def __enter__(self) -> Self:
        where = urlsplit(self.url)
        self._socket = socket.create_connection((where.hostname or "", where.port or 554), TIMEOUT)
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()

    def play(self) -> Iterator[Packet]:
        """Set up every track, play, and yield RTP packets until the server closes."""
        self._request("OPTIONS", self.url)
        head, body = self._request("DESCRIBE", self.url, "Accept: application/sdp")
        self.sdp = body
        self.media = list(media_of(body))
        base = header(head, "Content-Base") or self.url
        for number, media in enumerate(self.media):
            transport = f"Transport: RTP/AVP/TCP;unicast;interleaved={2 * number}-{2 * number + 1}"
            control = media.control
            target = control if "://" in control else base.rstrip("/") + "/" + control
            head, _ = self._request("SETUP", target, transport)
            self._session = header(head, "Session").split(";")[0]
        head, _ = self._request("PLAY", base, "Range: npt=0-")
        for part in header(head, "RTP-Info").split(","):
            found = re.search(r"url=([^;]+).*rtptime=(\d+)", part)
            for media in self.media if found else ():
                if found and found[1].endswith(media.control.rsplit("/", 1)[-1]):
                    media.rtptime = int(found[2])
        begun = time.monotonic()
        while True:
            start = self._take(1)
            if start != b"$":
                self._reply(start)
                continue
            channel, size = struct.unpack("!BH", self._take(3))
            data = self._take(size)
            if channel % 2 == 0:
                yield Packet(channel, data, time.monotonic() - begun)

    def silence(self, limit: float) -> None:
        """TimeoutError when nothing comes for so long."""
        assert self._socket is not None
        self._socket.settimeout(limit)

    def _request(self, method: str, url: str, *headers: str) -> tuple[str, str]:
        self._cseq += 1
        lines = [f"{method} {url} RTSP/1.0", f"CSeq: {self._cseq}", *headers]
        if self._session:
            lines.append(f"Session: {self._session}")
        assert self._socket is not None
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        head, body = self._reply(b"")
        if not head.startswith("RTSP/1.0 200"):
            self.refusal = head
            raise ProbeError(f"{method}: {head.splitlines()[0]}")
        return head, body

    def _reply(self, begun: bytes) -> tuple[str, str]:
        head = begun
        while not head.endswith(b"\r\n\r\n"):
            head += self._take(1)
        text = head.decode()
        size = int(header(text, "Content-Length") or 0)
        return text, self._take(size).decode()

    def _take(self, size: int) -> bytes:
        assert self._socket is not None
        while len(self._buffer) < size:
            more = self._socket.recv(1 << 18)
            if not more:
                raise EOFError
            self._buffer += more
        result = bytes(self._buffer[:size])
        del self._buffer[:size]
        return result


def header(head: str, name: str) -> str:
    """The value of one header, empty where it is missing."""
    found = re.search(rf"(?im)^{name}:\s*(.*?)\s*$", head)
    return found[1] if found else ""


def media_of(sdp: str) -> Iterator[Media]:
    """The media sections of a session description (RFC 4566)."""
    for section in re.split(r"(?m)^m=", sdp)[1:]:
        control = re.search(r"(?m)^a=control:(\S+)", section)
        mapped = re.search(r"(?m)^a=rtpmap:\d+ ([^/\s]+)/(\d+)", section)
        yield Media(
            kind=section.split()[0],
            control=control[1] if control else "",
            encoding=mapped[1].lower() if mapped else "",
            clock_rate=int(mapped[2]) if mapped else 8000,
        )


CODECS = {"h264": "h264", "h265": "hevc", "mpeg4-generic": "aac", "opus": "opus"}


def units_of(media: Media, packets: list[Packet]) -> TrackUnits:
    """The access units of one track; PTS are RTP timestamps since RTP-Info's, DTS the order."""
    units: list[Unit] = []
    if not packets:
        raise ProbeError(f"{media.kind}: no packet")
    origin = packets[0].timestamp if media.rtptime is None else media.rtptime
    pieces: list[bytes] = []
    for number, packet in enumerate(packets):
        if number and packet.sequence != (packets[number - 1].sequence + 1) & 0xFFFF:
            raise ProbeError(f"{media.kind}: a gap before sequence number {packet.sequence}")
        since = (packet.timestamp - origin + (1 << 31)) % (1 << 32) - (1 << 31)
        if media.encoding == "mpeg4-generic":
            for index, unit in enumerate(split_aac(packet.payload)):
                units.append(Unit((unit,), since + 1024 * index, len(units)))
            continue
        if media.kind == "audio":
            units.append(Unit((packet.payload,), since, len(units)))
            continue
        add_nal = add_h264 if media.encoding == "h264" else add_h265
        add_nal(pieces, packet.payload)
        if packet.marker:
            codec = CODECS[media.encoding]
            kept = tuple(nal for piece in pieces if counts(nal := piece.rstrip(b"\0"), codec))
            units.append(Unit(kept, since, len(units)))
            pieces = []
    return TrackUnits(
        kind=media.kind,
        codec=CODECS.get(media.encoding, media.encoding),
        time_base=Fraction(1, media.clock_rate),
        units=tuple(units),
        sample_rate=media.clock_rate,
    )


def split_aac(payload: bytes) -> list[bytes]:
    """The units of one AAC-hbr packet, whole ones only (RFC 3640 section 3.3.6)."""
    bits = int.from_bytes(payload[:2], "big")
    at, units = 2 + bits // 8, []
    for number in range(bits // 16):
        size = int.from_bytes(payload[2 + 2 * number : 4 + 2 * number], "big") >> 3
        if at + size > len(payload):
            raise ProbeError("an AAC unit in fragments")
        units.append(payload[at : at + size])
        at += size
    return units


def add_h264(pieces: list[bytes], payload: bytes) -> None:
    """Add what one H.264 packet holds (RFC 6184 sections 5.6 to 5.8)."""
    kind = payload[0] & 0x1F
    if kind == 24:
        add_aggregate(pieces, payload[1:])
    elif kind == 28:
        if payload[1] & 0x80:
            pieces.append(bytes([payload[0] & 0xE0 | payload[1] & 0x1F]))
        pieces[-1] += payload[2:]
    else:
        pieces.append(payload)


def add_h265(pieces: list[bytes], payload: bytes) -> None:
    """Add what one H.265 packet holds (RFC 7798 sections 4.4.1 to 4.4.3)."""
    kind = payload[0] >> 1 & 0x3F
    if kind == 48:
        add_aggregate(pieces, payload[2:])
    elif kind == 49:
        if payload[2] & 0x80:
            pieces.append(bytes([payload[0] & 0x81 | (payload[2] & 0x3F) << 1, payload[1]]))
        pieces[-1] += payload[3:]
    else:
        pieces.append(payload)


def add_aggregate(pieces: list[bytes], data: bytes) -> None:
    """Add NAL units that stand behind 16-bit sizes."""
    while data:
        size = int.from_bytes(data[:2], "big")
        pieces.append(data[2 : 2 + size])
        data = data[2 + size :]
