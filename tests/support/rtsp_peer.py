"""A scripted RTSP server for tests: a small camera that can be told to misbehave.

It has a parser and a digest of its own and imports nothing of what it checks. `Camera` is pure
(bytes in, bytes out); `CameraServer` puts cameras on a loopback socket.
"""

import asyncio
import hashlib
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

SDP = b"""v=0\r
o=- 1 1 IN IP4 127.0.0.1\r
s=camera\r
t=0 0\r
a=control:*\r
m=video 0 RTP/AVP 96\r
a=rtpmap:96 H264/90000\r
a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0LAHtkDxWhAAAADAEAAAAwDxYuS,aMuMsg==\r
a=control:trackID=1\r
m=audio 0 RTP/AVP 0\r
a=control:trackID=2\r
"""
PUBLIC = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"
NONCE = "4f1a"


@dataclass
class Asked:
    """One request as the camera saw it."""

    method: str
    url: str
    headers: dict[str, str]  # lower-case names
    body: bytes = b""


@dataclass
class Camera:
    """What a camera does. `statuses` = answers in order by method; afterwards 200."""

    sdp: bytes = SDP
    public: str = PUBLIC
    transports: tuple[str, ...] = ("TCP", "UDP")
    session: str = "12345678;timeout=60"
    statuses: dict[str, list[int]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)  # methods that get no answer
    extra: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  # headers by method
    user: str = ""
    password: str = ""
    algorithms: tuple[str, ...] = ("MD5",)  # of the challenge; "Basic" is one
    stale_after: int = 0  # requests after which the nonce is replaced
    channel_offset: int = 0  # added to the interleaved channels that were asked for
    has_cseq: bool = True
    before_answer: bytes = b""  # sent in front of every answer
    after_play: Callable[["Camera"], bytes] = lambda camera: b""
    asked: list[Asked] = field(default_factory=list)
    received: list[tuple[int, bytes]] = field(default_factory=list)  # interleaved frames
    client_ports: list[tuple[int, int]] = field(default_factory=list)
    server_ports: tuple[int, int] = (6970, 6971)
    ssrc: str = "DEADBEEF"  # that an answer over TCP tells
    multicast: str = "destination=239.1.1.1;port=5000-5001;ttl=4"  # what the answer tells
    _buffer: bytes = b""
    _nonce_number: int = 0
    _nonce_uses: int = 0

    @property
    def methods(self) -> list[str]:
        """The methods asked for, in order."""
        return [asked.method for asked in self.asked]

    def receive(self, data: bytes) -> bytes:
        """Take bytes of the client, give the answer's."""
        self._buffer += data
        out = b""
        while self._buffer:
            if self._buffer[:1] == b"$":
                if len(self._buffer) < 4:
                    break
                end = 4 + int.from_bytes(self._buffer[2:4], "big")
                if len(self._buffer) < end:
                    break
                self.received.append((self._buffer[1], self._buffer[4:end]))
                self._buffer = self._buffer[end:]
                continue
            head, mark, rest = self._buffer.partition(b"\r\n\r\n")
            if not mark:
                break
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            size = int(length[1]) if length else 0
            if len(rest) < size:
                break
            body, self._buffer = rest[:size], rest[size:]
            lines = head.decode().split("\r\n")
            if lines[0].startswith("RTSP/"):
                self.asked.append(Asked("answer", lines[0], {}))
                continue
            method, url, version = lines[0].split(" ")
            assert version == "RTSP/1.0"
            headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}
            self.asked.append(Asked(method, url, headers, body))
            out += self._answer(self.asked[-1])
        return out

    def _answer(self, asked: Asked) -> bytes:
        if asked.method in self.silent:
            return b""
        if self.user and not self._is_known(asked):
            return self._reply(401, asked, [("WWW-Authenticate", c) for c in self._challenges()])
        planned = self.statuses.get(asked.method, [])
        status = planned.pop(0) if planned else 200
        if status != 200:
            return self._reply(status, asked, self.extra.get(asked.method, []))
        headers: list[tuple[str, str]] = []
        body = b""
        if asked.method == "OPTIONS" and self.public:
            headers = [("Public", self.public)]
        elif asked.method == "DESCRIBE":
            body = self.sdp
            headers = [("Content-Type", "application/sdp")]
        elif asked.method == "SETUP":
            transport = self._transport(asked.headers["transport"])
            if not transport:
                return self._reply(461, asked, [])
            headers = [("Transport", transport), ("Session", self.session)]
        headers += self.extra.get(asked.method, [])
        reply = self._reply(200, asked, headers, body)
        return reply + (self.after_play(self) if asked.method == "PLAY" else b"")

    def _reply(
        self, status: int, asked: Asked, headers: list[tuple[str, str]], body: bytes = b""
    ) -> bytes:
        lines = [f"RTSP/1.0 {status} Whatever"]
        if self.has_cseq:
            lines.append(f"CSeq: {asked.headers['cseq']}")
        lines += [f"{name}: {value}" for name, value in headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return self.before_answer + "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    def _transport(self, wanted: str) -> str:
        if match := re.search(r"TCP;unicast;interleaved=(\d+)-(\d+)", wanted):
            if "TCP" not in self.transports:
                return ""
            first, second = (int(n) + self.channel_offset for n in match.groups())
            return f"RTP/AVP/TCP;unicast;interleaved={first}-{second};ssrc={self.ssrc}"
        if wanted == "RTP/AVP;multicast":
            return f"{wanted};{self.multicast}" if "MULTICAST" in self.transports else ""
        match = re.search(r"RTP/AVP;unicast;client_port=(\d+)-(\d+)", wanted)
        assert match is not None, wanted
        if "UDP" not in self.transports:
            return ""
        self.client_ports.append((int(match[1]), int(match[2])))
        rtp, rtcp = self.server_ports
        return f"{match[0]};server_port={rtp}-{rtcp}"

    # Authentication.

    @property
    def _nonce(self) -> str:
        return f"{NONCE}{self._nonce_number}"

    def _challenges(self) -> list[str]:
        stale = ", stale=TRUE" if self._nonce_uses else ""
        self._nonce_uses = 0
        return [
            'Basic realm="cam, 1"'
            if algorithm == "Basic"
            else f'Digest realm="cam, 1", nonce="{self._nonce}", qop="auth"'
            + f", algorithm={algorithm}{stale}"
            for algorithm in self.algorithms
        ]

    def _is_known(self, asked: Asked) -> bool:
        value = asked.headers.get("authorization", "")
        fields = dict(
            re.findall(r'(\w+)="?([^",]*)"?', value.partition(" ")[2].replace("m, 1", "m"))
        )
        if not value.startswith("Digest") or fields.get("nonce") != self._nonce:
            return False
        digest = hashlib.sha256 if fields.get("algorithm") == "SHA-256" else hashlib.md5

        def hashed(text: str) -> str:
            return digest(text.encode()).hexdigest()

        secret = hashed(f"{self.user}:cam, 1:{self.password}")
        request = hashed(f"{asked.method}:{asked.url}")
        middle = f"{fields['nonce']}:{fields.get('nc')}:{fields.get('cnonce')}:auth"
        response = hashed(f"{secret}:{middle}:{request}")
        if (fields["uri"], fields["response"]) != (asked.url, response):
            return False
        self._nonce_uses += 1
        if self.stale_after and self._nonce_uses > self.stale_after:
            self._nonce_number += 1
            return False
        return True


def frame(channel: int, payload: bytes) -> bytes:
    """One interleaved frame."""
    return b"$" + bytes([channel]) + len(payload).to_bytes(2, "big") + payload


def rtp(sequence: int, timestamp: int, payload: bytes, payload_type: int = 0) -> bytes:
    """One RTP packet with its marker set."""
    head = bytes([0x80, 0x80 | payload_type]) + (sequence & 0xFFFF).to_bytes(2, "big")
    return head + (timestamp & 0xFFFFFFFF).to_bytes(4, "big") + b"\0\0\0\7" + payload


class CameraServer:
    """Cameras on a loopback port; a new one, made by `make`, for each connection."""

    def __init__(self, make: Callable[[], Camera], context: ssl.SSLContext | None = None) -> None:
        """`context`: speak TLS."""
        self._make = make
        self._context = context
        self._server: asyncio.Server | None = None
        self.cameras: list[Camera] = []
        self.transports: list[asyncio.Transport] = []
        self.closed = 0
        self._changed = asyncio.Event()

    def change(self) -> None:
        """Something happened on a connection."""
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is true, looking after every input."""
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def __aenter__(self) -> "CameraServer":
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Link(self), "127.0.0.1", 0, ssl=self._context
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for transport in self.transports:
            transport.abort()
        await self._server.wait_closed()
        await self.until(lambda: self.closed == len(self.transports))

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def accept(self, transport: asyncio.Transport) -> Camera:
        """A camera for a new connection."""
        self.transports.append(transport)
        self.cameras.append(self._make())
        return self.cameras[-1]


class _Link(asyncio.Protocol):
    def __init__(self, server: CameraServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # of uvloop it is no instance
        self._camera = self._server.accept(self._transport)

    def data_received(self, data: bytes) -> None:
        answer = self._camera.receive(data)
        if answer:
            self._transport.write(answer)
        self._server.change()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.closed += 1
        self._server.change()
