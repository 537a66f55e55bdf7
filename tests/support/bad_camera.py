"""Cameras that misbehave, each in one scripted way; blocking threads, nothing of FLUX.

A `BadCamera` speaks just enough RTSP and replays what GStreamer's server sent for a clip (a
recording of `benchmarks/recording.py`), over TCP or UDP. Its script decides what goes wrong:

    good            nothing
    refuse          401 to every DESCRIBE, with a Digest challenge
    absent          404
    rubbish         random letters instead of a reply, and more of them until it is left alone
    noise           the same with random bytes, in which interleaved frames seem to begin
    web             the reply of a web server
    mute            takes the request and never answers
    strange         announces only a codec that nobody knows, and sends it
    half            stops in the middle of a packet and stays connected
    break           stops in the middle of a packet and closes
    babble          random bytes between packets, for ever
    flood           fragments of one frame that never ends, as fast as they are taken
    endless-head    a reply whose headers never end
    switch          goes on with a second recording's packets: other parameter sets
    lose, reorder   UDP: 1 % of the packets are lost, or come after the next one

Everything random is seeded.
"""

import contextlib
import itertools
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

from benchmarks.recording import FILE_HEADER, PACKET, TRACK

FAULTY_SHARE = 0.01  # of the packets, where packets are lost or reordered
GOOD_SECONDS = 1.5  # of good media before a fault in mid-stream
FLOOD_SECONDS = 20.0
STRANGE_SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=odd\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 X-VENDOR-CODEC/90000\r\na=control:stream=0\r\n"
)
WEB_REPLY = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n<html>Bad Request</html>\r\n"
PUBLIC = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN"
CHALLENGE = 'WWW-Authenticate: Digest realm="camera", nonce="b2f1", algorithm=MD5'


@dataclass(frozen=True, slots=True)
class TrackInfo:
    """One track of a recording."""

    clock_rate: int
    ticks: int  # of one round
    packets: int  # of one round
    sequence: int  # the first one
    timestamp: int  # of the round's beginning


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording in memory."""

    sdp: str
    period: float
    tracks: tuple[TrackInfo, ...]
    packets: tuple[tuple[float, int, bytes], ...]  # seconds, track, RTP packet

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The recording that `benchmarks.recording.record` wrote."""
        _, track_count, packet_count, period_us, sdp_size = FILE_HEADER.unpack_from(data)
        at = FILE_HEADER.size
        tracks = []
        for _ in range(track_count):
            tracks.append(TrackInfo(*TRACK.unpack_from(data, at)))
            at += TRACK.size
        sdp = data[at : at + sdp_size].decode()
        at += sdp_size
        packets = []
        for _ in range(packet_count):
            due_us, track, size = PACKET.unpack_from(data, at)
            at += PACKET.size
            packets.append((due_us / 1e6, track, data[at : at + size]))
            at += size
        return cls(sdp, period_us / 1e6, tuple(tracks), tuple(packets))

    def rounds(self) -> Iterator[tuple[float, int, bytes]]:
        """Its packets for ever; numbers and times continue from round to round."""
        for lap in itertools.count():
            for due, number, packet in self.packets:
                track = self.tracks[number]
                sequence, stamp = struct.unpack_from("!HI", packet, 2)
                changed = packet[:2] + struct.pack(
                    "!HI",
                    (sequence + lap * track.packets) & 0xFFFF,
                    (stamp + lap * track.ticks) & 0xFFFFFFFF,
                )
                yield due + lap * self.period, number, changed + packet[8:]


@dataclass(slots=True)
class Session:
    """One connection of a player."""

    client: socket.socket
    channels: dict[int, int]  # track to interleaved channel
    targets: dict[int, tuple[str, int]]  # track to the player's UDP address
    udp: socket.socket | None = None

    def send(self, track: int, packet: bytes) -> None:
        """One RTP packet the way the player asked for."""
        if self.udp is not None:
            self.udp.sendto(packet, self.targets[track])
        else:
            head = struct.pack("!cBH", b"$", self.channels[track], len(packet))
            self.client.sendall(head + packet)


class BadCamera:
    """Serves one recording by one script on a free port of the loopback interface."""

    def __init__(
        self, script: str, recorded: Recorded | None = None, then: Recorded | None = None
    ) -> None:
        self.script = script
        self.connections = 0
        self.dropped = 0  # packets that were lost on purpose
        self.methods: list[str] = []  # of all requests, in order
        self._recorded = recorded
        self._then = then
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._closing = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it plays."""
        return f"rtsp://127.0.0.1:{self._listener.getsockname()[1]}/cam"

    def stop(self) -> None:
        """Close everything."""
        self._closing.set()
        self._listener.close()
        for client in list(self._open):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.add(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        session = Session(client, {}, {})
        with client, contextlib.suppress(OSError, StopIteration):
            for head in requests(client):
                if not self._answer(session, head):
                    break
        if session.udp is not None:
            session.udp.close()
        self._open.discard(client)

    def _answer(self, session: Session, head: str) -> bool:
        """Answer one request; whether to go on."""
        method, url = head.split()[:2]
        self.methods.append(method)
        client, cseq = session.client, value_of(head, "CSeq")

        def reply(*lines: str, status: str = "200 OK", body: str = "") -> None:
            length = [f"Content-Length: {len(body)}"] if body else []
            text = "\r\n".join([f"RTSP/1.0 {status}", f"CSeq: {cseq}", *length, *lines, "", body])
            client.sendall(text.encode())

        if self.script in ("rubbish", "noise"):
            self._rubbish(client)
        elif self.script == "web":
            client.sendall(WEB_REPLY)
            return False
        elif self.script == "mute":
            self._closing.wait(60)
        elif self.script == "endless-head":
            self._endless_head(client)
        elif method == "DESCRIBE" and self.script == "refuse":
            reply(CHALLENGE, status="401 Unauthorized")
        elif method == "DESCRIBE" and self.script == "absent":
            reply(status="404 Not Found")
        elif method == "DESCRIBE":
            assert self._recorded is not None
            sdp = STRANGE_SDP if self.script == "strange" else self._recorded.sdp
            reply(f"Content-Base: {url}/", "Content-Type: application/sdp", body=sdp)
        elif method == "SETUP":
            reply(self._set_up(session, url, head), "Session: 7;timeout=60")
        elif method == "PLAY":
            reply("Session: 7", self._rtp_info(url))
            threading.Thread(target=self._play, args=(session,), daemon=True).start()
        elif method == "TEARDOWN":
            reply()
            return False
        else:
            reply(PUBLIC)
        return True

    def _set_up(self, session: Session, url: str, head: str) -> str:
        assert self._recorded is not None
        controls = re.findall(r"(?m)^m=.*\n(?:[^m].*\n)*?a=control:(\S+)", self._recorded.sdp)
        track = next(n for n, control in enumerate(controls) if url.endswith(control))
        transport = value_of(head, "Transport")
        if channels := re.search(r"interleaved=(\d+)", transport):
            session.channels[track] = int(channels[1])
            return f"Transport: {transport}"
        ports = re.search(r"client_port=(\d+)", transport)
        assert ports is not None
        session.targets[track] = ("127.0.0.1", int(ports[1]))
        if session.udp is None:
            session.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            session.udp.bind(("127.0.0.1", 0))
        port = session.udp.getsockname()[1]
        return f"Transport: {transport};server_port={port}-{port + 1}"

    def _rtp_info(self, url: str) -> str:
        assert self._recorded is not None
        base = url.rstrip("/")
        parts = [
            f"url={base}/stream={number};seq={track.sequence};rtptime={track.timestamp}"
            for number, track in enumerate(self._recorded.tracks)
        ]
        return f"RTP-Info: {','.join(parts)}"

    def _play(self, session: Session) -> None:
        assert self._recorded is not None
        scripts: dict[str, Callable[[Session], None]] = {
            "half": self._half,
            "break": self._half,
            "babble": self._babble,
            "flood": self._flood,
            "switch": self._switch,
            "lose": self._lose,
            "reorder": self._reorder,
        }
        with contextlib.suppress(OSError):
            scripts.get(self.script, self._good)(session)

    def _paced(self, recorded: Recorded, until: float = 1e9) -> Iterator[tuple[int, bytes]]:
        """Packets of a recording, each when it is due."""
        begun = time.monotonic()
        for due, track, packet in recorded.rounds():
            wait = begun + due - time.monotonic()
            if due > until or (wait > 0 and self._closing.wait(wait)):
                return
            yield track, packet

    def _good(self, session: Session) -> None:
        assert self._recorded is not None
        for track, packet in self._paced(self._recorded):
            session.send(track, packet)

    def _half(self, session: Session) -> None:
        assert self._recorded is not None
        for track, packet in self._paced(self._recorded, GOOD_SECONDS):
            session.send(track, packet)
        session.client.sendall(b"$\0\x05\x00" + bytes(700))
        if self.script == "break":
            session.client.shutdown(socket.SHUT_RDWR)

    def _babble(self, session: Session) -> None:
        assert self._recorded is not None
        dice = random.Random(2)
        for count, (track, packet) in enumerate(self._paced(self._recorded)):
            session.send(track, packet)
            if count % 50 == 49:
                session.client.sendall(dice.randbytes(3000))

    def _flood(self, session: Session) -> None:
        assert self._recorded is not None
        end = time.monotonic() + FLOOD_SECONDS
        _, track, packet = self._recorded.packets[0]
        sequence, fragment = 0, b"\x7c\x05" + bytes(1300)  # FU-A of an IDR, neither start nor end
        while time.monotonic() < end and not self._closing.is_set():
            burst = bytearray()
            for _ in range(200):
                start = bytes([0x7C, 0x85]) + fragment[2:] if sequence == 0 else fragment
                head = packet[:1] + b"\x60" + struct.pack("!H", sequence & 0xFFFF) + packet[4:12]
                size = len(head) + len(start)
                burst += struct.pack("!cBH", b"$", session.channels[track], size) + head + start
                sequence += 1
            session.client.sendall(burst)

    def _rubbish(self, client: socket.socket) -> None:
        dice, end = random.Random(1), time.monotonic() + FLOOD_SECONDS
        while time.monotonic() < end and not self._closing.wait(0.01):
            data = dice.randbytes(5000)
            client.sendall(data.hex().encode() if self.script == "rubbish" else data)

    def _endless_head(self, client: socket.socket) -> None:
        client.sendall(b"RTSP/1.0 200 OK\r\nX-Long: ")
        end = time.monotonic() + FLOOD_SECONDS
        while time.monotonic() < end and not self._closing.is_set():
            client.sendall(b"a" * 65536)

    def _switch(self, session: Session) -> None:
        assert self._recorded is not None
        assert self._then is not None
        last: dict[int, tuple[int, int]] = {}
        for track, packet in self._paced(self._recorded, 2 * self._recorded.period - 0.001):
            session.send(track, packet)
            last[track] = struct.unpack_from("!HI", packet, 2)
        shifts: dict[int, tuple[int, int]] = {}
        for track, packet in self._paced(self._then):
            sequence, stamp = struct.unpack_from("!HI", packet, 2)
            if track not in shifts:
                shifts[track] = (last[track][0] + 1 - sequence, last[track][1] + 3003 - stamp)
            sequence, stamp = (sequence + shifts[track][0], stamp + shifts[track][1])
            head = struct.pack("!HI", sequence & 0xFFFF, stamp & 0xFFFFFFFF)
            first = self._recorded.packets[0][2]
            session.send(track, packet[:2] + head + first[8:12] + packet[12:])

    def _lose(self, session: Session) -> None:
        assert self._recorded is not None
        dice = random.Random(3)
        for track, packet in self._paced(self._recorded):
            if dice.random() < FAULTY_SHARE:
                self.dropped += 1
            else:
                session.send(track, packet)

    def _reorder(self, session: Session) -> None:
        assert self._recorded is not None
        dice = random.Random(4)
        held: tuple[int, bytes] | None = None
        for track, packet in self._paced(self._recorded):
            if held is None and dice.random() < FAULTY_SHARE:
                held = (track, packet)
                continue
            session.send(track, packet)
            if held is not None and held[0] == track:
                session.send(*held)
                held = None


def requests(client: socket.socket) -> Iterator[str]:
    """Request heads; the player's interleaved RTCP and bodies are skipped."""
    data = b""
    while True:
        more = client.recv(65536)
        if not more:
            return
        data += more
        while data:
            if data[:1] == b"$":
                if len(data) < 4 or len(data) < 4 + int.from_bytes(data[2:4], "big"):
                    break
                data = data[4 + int.from_bytes(data[2:4], "big") :]
                continue
            head, separator, rest = data.partition(b"\r\n\r\n")
            size = int(value_of(head.decode(errors="replace"), "Content-Length") or 0)
            if not separator or len(rest) < size:
                break
            data = rest[size:]
            yield head.decode(errors="replace") + "\r\n"


def value_of(head: str, name: str) -> str:
    """The value of one header."""
    found = re.search(rf"(?im)^{name}:[ \t]*(.*?)\s*$", head)
    return found[1] if found else ""
