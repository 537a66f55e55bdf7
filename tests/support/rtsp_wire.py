"""A player that looks at packets alone: what RTP promises of each of them, with and without loss.

It takes nothing apart and imports nothing of what it checks. `listen` plays a stream by TCP or UDP
for some seconds; `faults` tells what is wrong with one track (RFC 3550 section 5.1, RFC 2326
section 12.33).
"""

import re
import socket
import struct
import time
from dataclasses import dataclass, field
from itertools import pairwise
from urllib.parse import urlsplit

from tests.support.rtsp_probe import header, media_of

TIMEOUT = 10.0
RTP = struct.Struct("!BBHII")
RECEIVE_BUFFER = 4 << 20


@dataclass(slots=True)
class Heard:
    """One track as it came."""

    kind: str
    clock_rate: int
    ssrc: int  # of the SETUP answer
    info: tuple[int, int] | None = None  # sequence and rtptime of RTP-Info
    packets: list[bytes] = field(default_factory=list)
    reports: list[bytes] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Sequence numbers that are missing."""
        numbers = [sequence for _, _, sequence, _, _ in self.headers()]
        return sum((two - one - 1) & 0xFFFF for one, two in pairwise(numbers))

    def headers(self) -> list[tuple[int, int, int, int, int]]:
        """First byte, second byte, sequence, timestamp, SSRC of each packet."""
        return [RTP.unpack_from(packet) for packet in self.packets]


def listen(url: str, transport: str, seconds: float) -> list[Heard]:
    """Play all tracks; what came, by track."""
    where = urlsplit(url)
    tracks: list[Heard] = []
    sockets: list[tuple[socket.socket, socket.socket]] = []
    with socket.create_connection((where.hostname or "", where.port or 554), TIMEOUT) as talk:
        ask = _Asker(talk)
        head, sdp = ask("DESCRIBE", url, "Accept: application/sdp")
        base = header(head, "Content-Base").rstrip("/")
        for number, media in enumerate(media_of(sdp)):
            way = f"RTP/AVP/TCP;unicast;interleaved={2 * number}-{2 * number + 1}"
            if transport == "udp":
                pair = (_bound(), _bound())
                sockets.append(pair)
                ports = [each.getsockname()[1] for each in pair]
                way = f"RTP/AVP;unicast;client_port={ports[0]}-{ports[1]}"
            head, _ = ask("SETUP", f"{base}/{media.control}", f"Transport: {way}")
            ssrc = re.search(r"ssrc=([0-9A-Fa-f]{8})", header(head, "Transport"))
            tracks.append(Heard(media.kind, media.clock_rate, int(ssrc[1], 16) if ssrc else -1))
        head, _ = ask("PLAY", base, "Range: npt=0-")
        for part in header(head, "RTP-Info").split(","):
            found = re.search(r"trackID=(\d+);seq=(\d+);rtptime=(\d+)", part)
            if found:
                tracks[int(found[1])].info = int(found[2]), int(found[3])
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if transport == "udp":
                _receive(sockets, tracks)
                time.sleep(min(left, 0.01))
            else:
                channel, packet = ask.frame()
                _keep(tracks[channel >> 1], packet, is_rtcp=bool(channel & 1))
        ask("TEARDOWN", base)
    for pair in sockets:
        for each in pair:
            each.close()
    return tracks


def _keep(track: Heard, packet: bytes, *, is_rtcp: bool) -> None:
    (track.reports if is_rtcp else track.packets).append(packet)


def _bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


def _receive(sockets: list[tuple[socket.socket, socket.socket]], tracks: list[Heard]) -> None:
    for track, pair in zip(tracks, sockets, strict=True):
        for is_rtcp, sock in enumerate(pair):
            while True:
                try:
                    _keep(track, sock.recv(65_536), is_rtcp=bool(is_rtcp))
                except BlockingIOError:
                    break


class _Asker:
    """Requests and replies; frames between them are read by `frame`."""

    def __init__(self, talk: socket.socket) -> None:
        self._talk = talk
        self._buffer = b""
        self._cseq = 0
        self._session = ""
        self._waiting: list[tuple[int, bytes]] = []

    def __call__(self, method: str, url: str, *headers: str) -> tuple[str, str]:
        self._cseq += 1
        lines = [f"{method} {url} RTSP/1.0", f"CSeq: {self._cseq}", *headers]
        if self._session:
            lines.append(f"Session: {self._session}")
        self._talk.sendall("\r\n".join([*lines, "", ""]).encode())
        while True:
            if self._peek(1) == b"$":
                self._waiting.append(self._frame())
                continue
            while b"\r\n\r\n" not in self._buffer:
                self._more()
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            text = head.decode()
            if not text.startswith("RTSP/1.0 200"):
                raise ConnectionError(f"{method}: {text.splitlines()[0]}")
            self._session = self._session or header(text, "Session").partition(";")[0]
            return text, self._take(int(header(text, "Content-Length") or 0)).decode()

    def frame(self) -> tuple[int, bytes]:
        """The next interleaved frame."""
        return self._waiting.pop(0) if self._waiting else self._frame()

    def _frame(self) -> tuple[int, bytes]:
        start, channel, size = struct.unpack("!sBH", self._take(4))
        if start != b"$":
            raise ConnectionError(f"a frame begins with {start!r}")
        return channel, self._take(size)

    def _peek(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        return self._buffer[:size]

    def _take(self, size: int) -> bytes:
        self._peek(size)
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _more(self) -> None:
        data = self._talk.recv(1 << 18)
        if not data:
            raise ConnectionError("the server left")
        self._buffer += data


def faults(track: Heard, *, is_lossy: bool, first_may_be_lost: bool = False) -> list[str]:
    """Everything that a packet should not be."""
    found: list[str] = []
    headers = track.headers()
    if not headers:
        return [f"{track.kind}: nothing came"]
    if {ssrc for *_, ssrc in headers} != {track.ssrc}:
        found.append(f"{track.kind}: SSRC {headers[0][4]:08X} is not {track.ssrc:08X} of SETUP")
    if any(first != 0x80 for first, *_ in headers):
        found.append(f"{track.kind}: a first byte that is not 0x80")
    if len({second & 0x7F for _, second, *_ in headers}) != 1:
        found.append(f"{track.kind}: several payload types")
    if track.info is not None and not first_may_be_lost and headers[0][2] != track.info[0]:
        found.append(f"{track.kind}: begins with {headers[0][2]}, RTP-Info said {track.info[0]}")
    for one, two in pairwise(headers):
        step = (two[2] - one[2]) & 0xFFFF
        if step == 0 or step > 0x7FFF:
            found.append(f"{track.kind}: {two[2]} follows {one[2]}")
        elif step > 1 and not is_lossy:
            found.append(f"{track.kind}: {step - 1} missing before {two[2]}")
        elif step == 1 and track.kind == "video":
            # The marker ends a picture, and nothing else does (RFC 6184 section 5.1).
            has_marker, is_other = bool(one[1] & 0x80), one[3] != two[3]
            if has_marker is not is_other:
                found.append(f"{track.kind}: marker {has_marker} before another picture {is_other}")
    return found
