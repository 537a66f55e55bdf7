"""Players with the habits of real ones, scripted: VLC (live555) and ffplay as RTSP clients.

Debian's VLC is built without live555, so its habits are kept here. A `Player` is pure: bytes in,
bytes out, a clock that is given; `play` runs one on loopback. It has a parser and a digest of its
own and imports nothing of what it checks.
"""

import asyncio
import hashlib
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

REPLY = re.compile(rb"RTSP/1\.0 (\d{3})[^\r]*\r\n(.*?)\r\n\r\n", re.DOTALL)


@dataclass(frozen=True)
class Habits:
    """What tells one player from another."""

    user_agent: str
    udp_first: bool = True
    fallback_after: float = 10.0  # seconds without media until TCP is tried
    pauses_before_fallback: bool = False  # ffmpeg: PAUSE, forget the session, SETUP by TCP
    keepalive_at: float = 0.5  # of the session's timeout
    lists_both: bool = False  # one SETUP with TCP behind UDP in its Transport header


VLC = Habits("LibVLC/3.0.18 (LIVE555 Streaming Media v2016.11.28)")
FFPLAY = Habits("Lavf59.27.100", pauses_before_fallback=True)
FFPLAY_TCP = Habits("Lavf59.27.100", udp_first=False)


@dataclass
class Player:
    """One player on one connection. `failed` is the status that ended it."""

    url: str
    habits: Habits
    user: str = ""
    password: str = ""
    client_ports: tuple[tuple[int, int], ...] = ((5000, 5001), (5002, 5003))
    now: float = 0.0
    asked: list[tuple[str, str]] = field(default_factory=list)  # (method, URL)
    statuses: list[int] = field(default_factory=list)
    frames: list[tuple[int, bytes]] = field(default_factory=list)
    sdp: str = ""
    public: str = ""
    session: str = ""
    timeout: float = 60.0
    rtp_info: str = ""
    range: str = ""
    transports: list[str] = field(default_factory=list)  # of the replies to SETUP
    is_playing: bool = False
    failed: int = 0
    fallbacks: int = 0

    def __post_init__(self) -> None:
        self._is_udp = self.habits.udp_first
        self._buffer = b""
        self._out: list[bytes] = []
        self._cseq = 1
        self._then: Callable[[int, dict[str, str], bytes], None] = self._ignore
        self._pending: tuple[str, str, dict[str, str]] = ("", "", {})
        self._has_retried = False
        self._challenge: dict[str, str] = {}
        self._base = self.url
        self._controls: list[str] = []
        self._media_at = self._keepalive_at = 0.0

    # For whoever runs it.

    def start(self, now: float) -> None:
        """The connection stands."""
        self.now = now
        self._ask("OPTIONS", self.url, {}, self._on_options)

    def receive(self, data: bytes, now: float) -> None:
        """Bytes of the server."""
        self.now = now
        self._buffer += data
        while self._buffer:
            if self._buffer[:1] == b"$":
                size = 4 + int.from_bytes(self._buffer[2:4], "big")
                if len(self._buffer) < max(size, 4):
                    return
                self.frames.append((self._buffer[1], self._buffer[4:size]))
                self._buffer = self._buffer[size:]
                self.media(now)
                continue
            match = REPLY.match(self._buffer)
            if match is None:
                assert b"\r\n\r\n" not in self._buffer, self._buffer[:200]
                return
            lines = match[2].decode().split("\r\n")
            pairs = [line.split(": ", 1) for line in lines]
            headers: dict[str, str] = {}
            for name, value in pairs:
                headers.setdefault(name.lower(), value)
            length = int(headers.get("content-length", "0"))
            if len(self._buffer) < match.end() + length:
                return
            body = self._buffer[match.end() : match.end() + length]
            self._buffer = self._buffer[match.end() + length :]
            self._answered(int(match[1]), headers, body)

    def media(self, now: float) -> None:
        """Media came, by whatever way."""
        self.now = now
        self._media_at = now

    def tick(self, now: float) -> None:
        """Time goes by."""
        self.now = now
        if not self.is_playing:
            return
        if self._is_udp and now - self._media_at >= self.habits.fallback_after:
            self._fall_back()
        elif now >= self._keepalive_at:
            self._keepalive_at = now + self.timeout * self.habits.keepalive_at
            # The list of Public decides, section 5.1 of what players do: no list, no GET_PARAMETER.
            method = "GET_PARAMETER" if "GET_PARAMETER" in self.public else "OPTIONS"
            self._ask(method, self._base, {}, self._ignore)

    def stop(self) -> None:
        """The user closes it."""
        self.is_playing = False
        self._ask("TEARDOWN", self._base, {}, self._ignore)

    def data_to_send(self) -> bytes:
        """Bytes for the server."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    # Inside.

    def _ask(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        then: Callable[[int, dict[str, str], bytes], None],
    ) -> None:
        self._cseq += 1
        self.asked.append((method, url))
        self._pending = (method, url, headers)
        self._then = then
        lines = [f"{method} {url} RTSP/1.0", f"CSeq: {self._cseq}"]
        if self._challenge:
            lines.append(f"Authorization: {self._authorization(method, url)}")
        lines.append(f"User-Agent: {self.habits.user_agent}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if self.session and method != "DESCRIBE":
            lines.append(f"Session: {self.session}")
        self._out.append("\r\n".join(lines).encode() + b"\r\n\r\n")

    def _answered(self, status: int, headers: dict[str, str], body: bytes) -> None:
        assert headers["cseq"] == str(self._cseq), (headers, self._cseq)
        self.statuses.append(status)
        if status == 401 and self.user and not self._has_retried:
            self._has_retried = True
            value = headers["www-authenticate"]
            # live555 reads realm and nonce, in this order, at the beginning, and nothing else.
            match = re.match(r'Digest realm="([^"]*)", nonce="([^"]*)"', value)
            assert match is not None, value
            self._challenge = {"realm": match[1], "nonce": match[2]}
            self._ask(*self._pending, self._then)
            return
        self._has_retried = False
        self._then(status, headers, body)

    def _authorization(self, method: str, url: str) -> str:
        def hashed(text: str) -> str:
            return hashlib.md5(text.encode()).hexdigest()

        realm, nonce = self._challenge["realm"], self._challenge["nonce"]
        secret = hashed(f"{self.user}:{realm}:{self.password}")
        response = hashed(f"{secret}:{nonce}:{hashed(f'{method}:{url}')}")
        return (
            f'Digest username="{self.user}", realm="{realm}", nonce="{nonce}", '
            f'uri="{url}", response="{response}"'
        )

    def _ignore(self, status: int, headers: dict[str, str], body: bytes) -> None:
        if status == 454:
            self.failed = status

    def _on_options(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.public = headers.get("public", "")
        self._ask("DESCRIBE", self.url, {"Accept": "application/sdp"}, self._on_describe)

    def _on_describe(self, status: int, headers: dict[str, str], body: bytes) -> None:
        if status != 200:
            self.failed = status
            return
        self._base = headers.get("content-base", self.url)
        self.sdp = body.decode()
        media = self.sdp.partition("m=")[2]
        self._controls = re.findall(r"a=control:(\S+)", media)
        self._set_up_next()

    def _set_up_next(self) -> None:
        index = len(self.transports)
        if index == len(self._controls):
            self._ask("PLAY", self._base, {"Range": "npt=0.000-"}, self._on_play)
            return
        control = self._controls[index]
        # The control goes behind the base, query and all: rtsp://h/live?x=1/trackID=0
        url = control if "://" in control else self._base.rstrip("/") + "/" + control
        tcp = f"RTP/AVP/TCP;unicast;interleaved={2 * index}-{2 * index + 1}"
        rtp, rtcp = self.client_ports[index]
        udp = f"RTP/AVP;unicast;client_port={rtp}-{rtcp}"
        value = udp if self._is_udp else tcp
        if self._is_udp and self.habits.lists_both:
            value = f"{udp},{tcp}"
        self._ask("SETUP", url, {"Transport": value}, self._on_setup)

    def _on_setup(self, status: int, headers: dict[str, str], body: bytes) -> None:
        if status == 461 and self._is_udp:  # again by TCP, on the same connection
            self._is_udp = False
            self.fallbacks += 1
            self.transports.clear()
            self._set_up_next()
            return
        if status != 200:
            self.failed = status
            return
        identity, _, rest = headers["session"].partition(";")
        self.session = identity
        match = re.search(r"timeout=(\d+)", rest)
        self.timeout = float(match[1]) if match else 60.0
        self.transports.append(headers["transport"])
        self._is_udp = "TCP" not in headers["transport"]
        self._set_up_next()

    def _on_play(self, status: int, headers: dict[str, str], body: bytes) -> None:
        if status != 200:
            self.failed = status
            return
        self.rtp_info = headers.get("rtp-info", "")
        self.range = headers.get("range", "")
        self.is_playing = True
        self._media_at = self.now
        self._keepalive_at = self.now + self.timeout * self.habits.keepalive_at

    def _fall_back(self) -> None:
        self._is_udp = False
        self.is_playing = False
        self.fallbacks += 1
        method = "PAUSE" if self.habits.pauses_before_fallback else "TEARDOWN"
        self._ask(method, self._base, {}, self._on_left)

    def _on_left(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.session = ""
        self.transports.clear()
        self._set_up_next()


async def play(player: Player, host: str, port: int, until: Callable[[Player], bool]) -> None:
    """Run a player against a server until something is true; then it says goodbye.

    Raises TimeoutError after 15 seconds. Its UDP ports are bound here.
    """
    loop = asyncio.get_running_loop()
    sockets: list[socket.socket] = []
    pairs: list[tuple[int, int]] = []
    for _ in range(2):
        pair = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for sock in pair:
            sock.bind((host, 0))
            sock.setblocking(False)
            loop.add_reader(sock.fileno(), _on_datagram, sock, player)
        sockets += pair
        pairs.append((pair[0].getsockname()[1], pair[1].getsockname()[1]))
    player.client_ports = tuple(pairs)
    reader, writer = await asyncio.open_connection(host, port)
    try:
        async with asyncio.timeout(15):
            player.start(time.monotonic())
            while not until(player):
                writer.write(player.data_to_send())
                try:
                    async with asyncio.timeout(0.05):
                        data = await reader.read(65536)
                except TimeoutError:
                    player.tick(time.monotonic())
                    continue
                if not data:
                    break
                player.receive(data, time.monotonic())
                player.tick(time.monotonic())
        player.stop()
        writer.write(player.data_to_send())
        await writer.drain()
    finally:
        writer.close()
        for sock in sockets:
            loop.remove_reader(sock.fileno())
            sock.close()


def _on_datagram(sock: socket.socket, player: Player) -> None:
    while True:
        try:
            sock.recv(65536)
        except BlockingIOError:
            return
        player.media(time.monotonic())
