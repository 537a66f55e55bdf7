"""Publishers and players for soaks: many, light, and coming and going all the time.

No FLUX code: the RTSP of both, the packets of the clip and the judge of their order are written
here. A publisher sends a clip's pictures over TCP under a new name each time; a player joins a
stream over TCP or UDP, checks the sequence numbers of what it gets, and leaves.
"""

import asyncio
import contextlib
import random
import socket
import struct
import time
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from tests.support import clip

MTU = 1200
CLOCK = 90_000
START_CODE = b"\0\0\0\1"
HEADER = struct.Struct("!BBHII")
SO_MEMINFO = 55  # socket(7) does not tell of it: sk_meminfo of linux/sock_diag.h
MEMINFO = struct.Struct("9I")
OPEN_LIMIT = 30.0  # seconds for one answer, on a machine that has other work


@dataclass(frozen=True, slots=True)
class Tape:
    """A clip as RTP payloads: (seconds from the start, [(payload, marker)]), and its length."""

    sdp: bytes
    pictures: tuple[tuple[float, tuple[tuple[bytes, bool], ...]], ...]
    period: float

    @classmethod
    def record(cls, name: str, seconds: float) -> "Tape":
        """The first seconds of a clip's video, to a whole group of pictures."""
        units = clip.units_of(name)["video"]
        with av.open(str(clip.path_of(name))) as opened:
            stream: Any = opened.streams.video[0]
            extradata: bytes = stream.codec_context.extradata
        sets = parameter_sets(extradata)
        first = units.units[0].pts
        pictures = []
        for unit in units.units:
            at = float((unit.pts - first) * Fraction(units.time_base))
            if at >= seconds:
                break
            pieces = unit.pieces
            if any(piece[0] & 31 == 5 for piece in pieces):
                pieces = (*sets, *pieces)
            pictures.append((at, tuple(payloads(pieces))))
        sdp = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=soak\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        sdp += b"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
        sdp += b"a=fmtp:96 packetization-mode=1\r\na=control:trackID=0\r\n"
        return cls(sdp, tuple(pictures), seconds)


def parameter_sets(record: bytes) -> list[bytes]:
    """SPS and PPS of an AVCDecoderConfigurationRecord, ISO/IEC 14496-15 section 5.3.3.1."""
    found: list[bytes] = []
    at, kinds = 5, 2
    for kind in range(kinds):
        count = record[at] & (31 if kind == 0 else 255)
        at += 1
        for _ in range(count):
            size = int.from_bytes(record[at : at + 2], "big")
            found.append(record[at + 2 : at + 2 + size])
            at += 2 + size
    return found


def payloads(nals: tuple[bytes, ...]) -> list[tuple[bytes, bool]]:
    """RFC 6184: single NAL units and FU-A; the marker is on the last."""
    found: list[bytes] = []
    for nal in nals:
        if len(nal) <= MTU:
            found.append(nal)
            continue
        pieces = [nal[at : at + MTU] for at in range(1, len(nal), MTU)]
        for index, piece in enumerate(pieces):
            edge = 0x80 * (index == 0) | 0x40 * (index == len(pieces) - 1)
            found.append(bytes((nal[0] & 0xE0 | 28, nal[0] & 31 | edge)) + piece)
    return [(payload, index == len(found) - 1) for index, payload in enumerate(found)]


class Talk:
    """One RTSP connection of a client."""

    def __init__(self, port: int, name: str) -> None:
        self._port = port
        self.url = f"rtsp://127.0.0.1:{port}/{name}"
        self._cseq = 0
        self._owed = 0  # bytes of a frame whose reader was cancelled in its midst
        self.session = ""

    async def open(self) -> None:
        """Connect."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def ask(self, method: str, url: str = "", body: bytes = b"", **fields: str) -> str:
        """Send a request; the head of its answer. Interleaved frames on the way are skipped."""
        self._cseq += 1
        lines = [f"{method} {url or self.url} RTSP/1.0", f"CSeq: {self._cseq}"]
        lines += [f"{key.replace('_', '-')}: {value}" for key, value in fields.items()]
        if self.session:
            lines.append(f"Session: {self.session}")
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        async with asyncio.timeout(OPEN_LIMIT):
            head = await self.head()
            for line in head.split("\r\n"):
                key, _, value = line.partition(":")
                if key.lower() == "session":
                    self.session = value.split(";")[0].strip()
                if key.lower() == "content-length":
                    await self.reader.readexactly(int(value))
        if " 200 " not in head[:16]:
            raise ConnectionError(f"{method}: {head.splitlines()[0]}")
        return head

    async def head(self) -> str:
        """The next message's head."""
        await self.reader.readexactly(self._owed)
        self._owed = 0
        while True:
            first = await self.reader.readexactly(1)
            if first != b"$":
                rest = await self.reader.readuntil(b"\r\n\r\n")
                return (first + rest).decode()
            size = int.from_bytes((await self.reader.readexactly(3))[1:], "big")
            await self.reader.readexactly(size)

    async def frame(self) -> tuple[int, bytes]:
        """The next interleaved frame: its channel and what is in it."""
        channel, size = struct.unpack("!xBH", await self.reader.readexactly(4))
        self._owed = size
        packet = await self.reader.readexactly(size)
        self._owed = 0
        return channel, packet

    async def close(self) -> None:
        """Close the connection."""
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@dataclass
class Soak:
    """What runs, and what went wrong."""

    port: int
    tape: Tape
    names: dict[str, float] = field(default_factory=dict)  # live streams: since when
    faults: Counter[str] = field(default_factory=Counter)
    packets: int = 0
    overrun: int = 0  # datagrams for which the system had no room: the machine was too busy
    unanswered: int = 0  # questions for the figures
    joins: int = 0
    publishes: int = 0

    async def publisher(self, index: int, chance: random.Random) -> None:
        """Publish under one new name after the other."""
        while True:
            self.publishes += 1
            name = f"soak/{index}-{self.publishes}"
            try:
                await self._publish(name, chance.uniform(4, 12), chance.choice((True, True, False)))
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                self.faults[f"publisher: {type(error).__name__}: {error}"] += 1
            finally:
                self.names.pop(name, None)
            await asyncio.sleep(chance.uniform(0.1, 0.5))

    async def _publish(self, name: str, seconds: float, is_polite: bool) -> None:
        talk = Talk(self.port, name)
        await talk.open()
        try:
            await talk.ask("ANNOUNCE", body=self.tape.sdp, Content_Type="application/sdp")
            await talk.ask(
                "SETUP",
                f"{talk.url}/trackID=0",
                Transport="RTP/AVP/TCP;unicast;interleaved=0-1;mode=record",
            )
            await talk.ask("RECORD", Range="npt=0-")
            self.names[name] = time.monotonic()
            await self._send(talk, seconds)
            self.names.pop(name, None)
            if is_polite:
                await talk.ask("TEARDOWN")
        finally:
            await talk.close()

    async def _send(self, talk: Talk, seconds: float) -> None:
        sequence, began = random.getrandbits(16), time.monotonic()
        lap = 0.0
        while True:
            for at, parts in self.tape.pictures:
                due = began + lap + at
                wait = due - time.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
                if due - began > seconds:
                    return
                stamp = int((lap + at) * CLOCK) & 0xFFFF_FFFF
                for payload, marker in parts:
                    head = HEADER.pack(0x80, 96 | 0x80 * marker, sequence & 0xFFFF, stamp, 7)
                    size = len(head) + len(payload)
                    talk.writer.write(b"$\0" + size.to_bytes(2, "big") + head + payload)
                    sequence += 1
                await talk.writer.drain()
            lap += self.tape.period

    async def player(self, chance: random.Random) -> None:
        """Play one stream after the other."""
        while True:
            if not self.names:
                await asyncio.sleep(0.2)
                continue
            name = chance.choice(list(self.names))
            try:
                await self._play(name, chance.uniform(1, 6), chance.random() < 0.4)
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                if name in self.names:  # it ended under us else
                    self.faults[f"player: {type(error).__name__}: {error}"] += 1
            await asyncio.sleep(chance.uniform(0.05, 0.3))

    async def _play(self, name: str, seconds: float, is_udp: bool) -> None:
        talk = Talk(self.port, name)
        await talk.open()
        sockets = udp_pair() if is_udp else ()
        try:
            await talk.ask("OPTIONS")
            await talk.ask("DESCRIBE", Accept="application/sdp")
            way = "RTP/AVP/TCP;unicast;interleaved=0-1"
            if sockets:
                ports = [sock.getsockname()[1] for sock in sockets]
                way = f"RTP/AVP;unicast;client_port={ports[0]}-{ports[1]}"
            await talk.ask("SETUP", f"{talk.url}/trackID=0", Transport=way)
            await talk.ask("PLAY", Range="npt=0.000-")
            self.joins += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await (self._hear(sockets[0]) if sockets else self._read(talk))
            if random.random() < 0.7:  # the others just go
                await talk.ask("TEARDOWN")
        finally:
            for sock in sockets:
                sock.close()
            await talk.close()

    async def _read(self, talk: Talk) -> None:
        expected: int | None = None
        while True:
            channel, packet = await talk.frame()
            if channel == 0 and self._missing(packet, expected):
                self.faults["player by TCP: packets missing or out of order"] += 1
            if channel == 0:
                expected = following(packet)

    async def _hear(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        expected: int | None = None
        missing, before = 0, dropped_by_system()
        while True:
            packet = await loop.sock_recv(sock, 65_536)
            if gap := self._missing(packet, expected):
                missing += gap
                self.overrun += gap
                if missing > dropped_by(sock) + dropped_by_system() - before:
                    self.faults["player by UDP: packets missing or out of order"] += 1
            expected = following(packet)

    def _missing(self, packet: bytes, expected: int | None) -> int:
        """How many packets before this one did not come; of one out of order very many."""
        self.packets += 1
        sequence = int.from_bytes(packet[2:4], "big")
        return 0 if expected is None else (sequence - expected) & 0xFFFF


def following(packet: bytes) -> int:
    """The sequence number after this packet's."""
    return (int.from_bytes(packet[2:4], "big") + 1) & 0xFFFF


def dropped_by(sock: socket.socket) -> int:
    """Datagrams that came and found no room in the receive buffer."""
    found = sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, MEMINFO.size)
    return int(MEMINFO.unpack(found)[-1])


def dropped_by_system() -> int:
    """Packets that found no room in the queue of a processor; those of loopback go there, too."""
    lines = Path("/proc/net/softnet_stat").read_text().splitlines()
    return sum(int(line.split()[1], 16) for line in lines)


def udp_pair() -> tuple[socket.socket, socket.socket]:
    """Two bound sockets; the ports need not follow each other, the server takes any."""
    pair = []
    for _ in range(2):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        pair.append(sock)
    return pair[0], pair[1]


def chart(title: str, rows: dict[str, list[tuple[float, float]]]) -> str:
    """An SVG with one small panel for each row of (seconds, value)."""
    width, height, gap = 720, 110, 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" '
        f'height="{(height + gap) * len(rows) + gap}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="8" y="18" font-weight="bold">{title}</text>',
    ]
    for index, (name, points) in enumerate(rows.items()):
        top = gap + index * (height + gap)
        most = max((value for _, value in points), default=1.0) or 1.0
        end = max((at for at, _ in points), default=1.0) or 1.0
        line = " ".join(
            f"{60 + at / end * (width - 80):.1f},{top + height - value / most * height:.1f}"
            for at, value in points
        )
        parts += [
            f'<text x="60" y="{top - 4}">{name} (at most {most:g}, {end:.0f} s)</text>',
            f'<rect x="60" y="{top}" width="{width - 80}" height="{height}" fill="none" '
            'stroke="#bbb"/>',
            f'<polyline points="{line}" fill="none" stroke="#05a" stroke-width="1.5"/>',
        ]
    return "\n".join([*parts, "</svg>", ""])
