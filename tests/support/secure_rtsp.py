"""A scripted RTSP server over TLS with SRTP, for players and for publishers.

It does with `flux.bridges.rtp.secure` what that module's head says, and no more: one G.711 track,
whose packets have the payloads of `frame` for players; what a publisher sends is kept. `change` of
`serving` may give a session another manner.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from struct import pack
from typing import cast

from flux.bridges.rtp.secure import SecureTrack
from flux.net.listener import listen_tcp
from flux.net.tls import ServerTls
from protocols.sdp import Attribute, MediaDescription, SessionDescription

SSRC = 0x0F1E_2D3C
FRAME = 160  # samples, and bytes, of 20 ms
RUN = 5  # packets
FIRST = 65_500  # sequence number: it rolls over after less than a second


def frame(number: int) -> bytes:
    """What is in the packet of that number."""
    return bytes((number * 7 + place) & 0xFF for place in range(FRAME))


class Session(asyncio.Protocol):
    """One connection."""

    def __init__(self, ntp: int) -> None:
        self._ntp = ntp
        self._buffer = b""
        self._sockets: list[socket.socket] = []
        self._client_port = 0  # 0: interleaved
        self._playing: asyncio.Task[None] | None = None
        self.track = SecureTrack(SSRC)
        self.sender = self.track.sender  # another one: the key is not the one that is told
        self.profile = "RTP/SAVP"
        self.answered = ""  # the profile of the answer to SETUP, if not that
        self.keys: tuple[Attribute, ...] = self.track.attributes(ntp)  # of the description
        self.key_header = True  # whether SETUP is answered with one
        self.silent_packets = 0  # before the first report
        self.is_udp_only = False
        self.is_srtp_only = False  # of what is announced
        self.changed: Callable[[], None] = lambda: None
        self.headers: list[dict[str, str]] = []  # of each request
        self.bodies: list[bytes] = []
        self.requests: list[str] = []
        self.heard: list[bytes] = []  # RTP of a publisher
        self.reports: list[bytes] = []  # RTCP of the peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._playing is not None:
            self._playing.cancel()
        for sock in self._sockets:
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._buffer:
            if self._buffer[:1] == b"$":
                size = 4 + int.from_bytes(self._buffer[2:4], "big")
                if len(self._buffer) < size:
                    return
                packet, self._buffer = self._buffer[4:size], self._buffer[size:]
                self.take(packet)
                continue
            head, separator, rest = self._buffer.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            size = int(length[1]) if length else 0
            if not separator or len(rest) < size:
                return
            self._buffer = rest[size:]
            self._answer(head.decode(), rest[:size])

    def take(self, packet: bytes) -> None:
        """RTP or RTCP of the peer."""
        receiver = self.track.receiver
        self.changed()
        if receiver is not None and 192 <= packet[1] <= 223:
            self.reports += receiver.unprotect_rtcp([packet])
        elif receiver is not None:
            self.heard += receiver.unprotect([packet])

    def _answer(self, head: str, body: bytes) -> None:
        method, url, _ = head.split(" ", 2)
        self.requests.append(method)
        headers = dict(re.findall(r"(?m)^([\w-]+): *(.*?)\r?$", head))
        self.headers.append(headers)
        self.bodies.append(body)
        more, reply, status = ["Session: 1"], b"", "200 OK"
        if method == "OPTIONS":
            more = ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, ANNOUNCE, RECORD, TEARDOWN"]
        elif method == "DESCRIBE":
            reply = self._describe()
            more = [f"Content-Base: {url}/", "Content-Type: application/sdp"]
        elif method == "ANNOUNCE":
            if self.is_srtp_only and b"RTP/SAVP" not in body:
                status = "415 Unsupported Media Type"
            elif self.key_header:
                more = [f"KeyMgmt: {self.track.header(url + '/stream=0', self._ntp)}"]
        elif method == "SETUP":
            if self.is_udp_only and "interleaved" in headers["Transport"]:
                status = "461 Unsupported Transport"
            else:
                if "KeyMgmt" in headers:
                    self.track.take_header(headers["KeyMgmt"])
                transport = self._set_up(headers["Transport"])
                answered = self.answered or self.profile
                more.append(f"Transport: {transport.replace(self.profile, answered)}")
            if self.key_header:
                more.append(f"KeyMgmt: {self.track.header(url, self._ntp)}")
        elif method == "PLAY":
            self._playing = asyncio.get_running_loop().create_task(self._play())
        more.append(f"CSeq: {headers['CSeq']}")
        if reply:
            more.append(f"Content-Length: {len(reply)}")
        text = f"RTSP/1.0 {status}\r\n" + "".join(f"{line}\r\n" for line in more) + "\r\n"
        self._transport.write(text.encode() + reply)

    def _describe(self) -> bytes:
        media = MediaDescription(
            "audio",
            protocol=self.profile,
            formats=("8",),
            attributes=(Attribute("control", "stream=0"), *self.keys),
        )
        return SessionDescription(media=(media,)).serialize()

    def _set_up(self, offers: str) -> str:
        offer = offers.split(",")[0]
        ports = re.search(r"client_port=(\d+)-", offer)
        if ports is None:
            return f"{offer};ssrc={SSRC:08X}"
        self._client_port = int(ports[1])
        loop = asyncio.get_running_loop()
        while len(self._sockets) < 2:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setblocking(False)
            sock.bind(("127.0.0.1", 0))
            self._sockets.append(sock)
            loop.add_reader(sock, self._receive, sock)
        mine = "-".join(str(sock.getsockname()[1]) for sock in self._sockets)
        return f"{offer};server_port={mine};ssrc={SSRC:08X}"

    def _receive(self, sock: socket.socket) -> None:
        self.take(sock.recv(4096))

    async def _play(self) -> None:
        sender, number = self.sender, 0
        while not self._transport.is_closing():
            run = b"".join(
                pack("!BBHII", 0x80, 8, FIRST + index & 0xFFFF, index * FRAME, SSRC) + frame(index)
                for index in range(number, number + RUN)
            )
            for data, segment in sender.protect_run(run, 12 + FRAME):
                for at in range(0, len(data), segment):
                    self._send(0, data[at : at + segment])
            number += RUN
            if number > self.silent_packets:
                self._send(1, sender.protect_rtcp(pack("!BBHI", 0x80, 201, 1, SSRC)))
            await asyncio.sleep(RUN * FRAME / 8000)

    def hang_up(self) -> None:
        """Close the connection, after what was sent."""
        self._transport.close()

    def report(self, plain: bytes) -> None:
        """Send RTCP to who publishes here."""
        self._send(1, self.sender.protect_rtcp(plain))

    def _send(self, channel: int, packet: bytes) -> None:
        if self._client_port:
            address = ("127.0.0.1", self._client_port + channel)
            self._sockets[channel].sendto(packet, address)
        else:
            self._transport.write(b"$" + pack("!BH", channel, len(packet)) + packet)


@asynccontextmanager
async def serving(
    tls: ServerTls | None, ntp: int, change: Callable[[Session], None] = lambda session: None
) -> AsyncIterator[tuple[int, list[Session]]]:
    """The port, and the connections that came."""
    sessions: list[Session] = []

    def factory() -> Session:
        sessions.append(Session(ntp))
        change(sessions[-1])
        return sessions[-1]

    server = await listen_tcp(factory, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], sessions
    finally:
        server.close()
