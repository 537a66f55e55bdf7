"""What only the cyclic garbage collector can free: the rings of references that something leaves.

A server that leaves some with each visitor grows until the collector comes to the oldest
generation, which takes it minutes. The visitors here are blocking and written without any FLUX
code: they run in a thread beside the server's loop, and leave no ring of their own.
"""

import base64
import gc
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self

from tests.support.soak import HEADER, Tape

PATIENCE = 10.0  # seconds for one answer
TCP_OFFER = "RTP/AVP/TCP;unicast;interleaved=0-1"
UDP_OFFER = "RTP/AVP;unicast;client_port={}-{}"


@contextmanager
def uncollected() -> Iterator[Counter[str]]:
    """Nothing is collected in the block; then the types of what a collection finds are counted."""
    found: Counter[str] = Counter()
    thresholds = gc.get_threshold()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        found.update(f"{type(it).__module__}.{type(it).__qualname__}" for it in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.set_threshold(*thresholds)
        gc.enable()


class Visitor:
    """One RTSP connection of a client; as a context it is hung up at the end."""

    def __init__(self, port: int, name: str) -> None:
        self.url = f"rtsp://127.0.0.1:{port}/{name}"
        self.session = ""
        self._sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._file = self._sock.makefile("rb")
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._sock.close()

    def send(self, data: bytes) -> None:
        """Send bytes of the protocol."""
        self._sock.sendall(data)

    def ask(self, method: str, url: str = "", body: bytes = b"", **fields: str) -> dict[str, str]:
        """A request; the headers of its answer, which is 200."""
        self._number += 1
        lines = [f"{method} {url or self.url} RTSP/1.0", f"CSeq: {self._number}"]
        lines += [f"{key.replace('_', '-')}: {value}" for key, value in fields.items()]
        lines += [f"Session: {self.session}"] if self.session else []
        lines += [f"Content-Length: {len(body)}"] if body else []
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        while (first := self._file.read(1)) == b"$":
            self._skip_frame()
        status = first + self._file.readline()
        headers = self._headers()
        self._file.read(int(headers.get("content-length", 0)))
        assert b" 200 " in status, (method, status)
        self.session = headers.get("session", self.session).partition(";")[0]
        return headers

    def hear(self, frames: int) -> None:
        """Take interleaved frames."""
        for _ in range(frames):
            assert self._file.read(1) == b"$"
            self._skip_frame()

    def until_end(self) -> None:
        """Take what comes until the server closes the connection."""
        while self._file.read(65_536):
            pass

    def _skip_frame(self) -> None:
        self._file.read(int.from_bytes(self._file.read(3)[1:], "big"))

    def _headers(self) -> dict[str, str]:
        found: dict[str, str] = {}
        while line := self._file.readline().decode().strip():
            key, _, value = line.partition(":")
            found[key.lower()] = value.strip()
        return found


class TunnelVisitor(Visitor):
    """The same within HTTP: what it sends goes through a POST, in base64."""

    def __init__(self, port: int, name: str) -> None:
        super().__init__(port, name)
        head = f"/{name} HTTP/1.0\r\nx-sessioncookie: {os.urandom(8).hex()}\r\n"
        self._sock.sendall(f"GET {head}\r\n".encode())
        self._file.readline()
        self._headers()
        self._post = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._post.sendall(f"POST {head}Content-Length: 32767\r\n\r\n".encode())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._post.close()
        super().__exit__(kind, error, trace)

    def send(self, data: bytes) -> None:
        """Send bytes of the protocol."""
        self._post.sendall(base64.b64encode(data))


def play(
    port: int,
    name: str,
    *,
    way: str = "tcp",
    polite: bool = True,
    make: Callable[[int, str], Visitor] = Visitor,
) -> None:
    """Play until some media has come; who is not polite just goes."""
    with ExitStack() as stack:
        visitor = stack.enter_context(make(port, name))
        visitor.ask("OPTIONS")
        visitor.ask("DESCRIBE", Accept="application/sdp")
        offer = {"tcp": TCP_OFFER, "multicast": "RTP/AVP;multicast"}.get(way, "")
        pair = [] if offer else [stack.enter_context(udp_socket()) for _ in range(2)]
        if pair:
            offer = UDP_OFFER.format(*(sock.getsockname()[1] for sock in pair))
        visitor.ask("SETUP", f"{visitor.url}/trackID=0", Transport=offer)
        visitor.ask("PLAY", Range="npt=0-")
        if pair:
            pair[0].recv(65_536)
        elif way == "tcp":
            visitor.hear(3)
        if polite:
            visitor.ask("TEARDOWN")


def look(port: int, name: str, requests: int) -> None:
    """Begin and leave after so many requests."""
    with Visitor(port, name) as visitor:
        for request in range(requests):
            if request == 0:
                visitor.ask("DESCRIBE")
            else:
                visitor.ask("SETUP", f"{visitor.url}/trackID=0", Transport=TCP_OFFER)


def publish(
    port: int,
    name: str,
    tape: Tape,
    *,
    way: str = "tcp",
    polite: bool = True,
    until: Callable[[float], bool] = lambda _: True,
) -> None:
    """Publish a clip: its first pictures at once, then in time until `until(seconds)` says so."""
    with ExitStack() as stack:
        visitor = stack.enter_context(Visitor(port, name))
        visitor.ask("ANNOUNCE", body=tape.sdp, Content_Type="application/sdp")
        pair = [stack.enter_context(udp_socket()) for _ in range(2)] if way == "udp" else []
        numbers = [sock.getsockname()[1] for sock in pair]
        offer = UDP_OFFER.format(*numbers) if pair else TCP_OFFER
        answer = visitor.ask("SETUP", f"{visitor.url}/trackID=0", Transport=f"{offer};mode=record")
        visitor.ask("RECORD", Range="npt=0-")
        if pair:
            first = answer["transport"].partition("server_port=")[2].partition("-")[0]
            pair[0].connect(("127.0.0.1", int(first)))
        sequence, lap, began = 0, 0.0, time.monotonic()
        while True:
            for at, parts in tape.pictures:
                for payload, marker in parts:
                    stamp = int((lap + at) * 90_000) & 0xFFFF_FFFF
                    head = HEADER.pack(0x80, 96 | 0x80 * marker, sequence & 0xFFFF, stamp, 7)
                    data = head + payload
                    if pair:
                        pair[0].send(data)
                    else:
                        visitor.send(b"$\0" + len(data).to_bytes(2, "big") + data)
                    sequence += 1
                due = began + lap + at - 0.2  # a little ahead, so that there is something at once
                if due > began and until(max(0.0, due - time.monotonic())):
                    if polite:
                        visitor.ask("TEARDOWN")
                    return
            lap += tape.period


def fetch(port: int, path: str, size: int = -1, method: str = "GET") -> bytes:
    """The beginning of an answer over HTTP, or all of it."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
        sock.sendall(head.encode())
        with sock.makefile("rb") as file:
            answer: Any = file.read(size)
    assert b" 200 " in answer[:16] or b" 204 " in answer[:16], answer[:200]
    return bytes(answer)


def udp_socket() -> socket.socket:
    """A bound one."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE)
    sock.bind(("127.0.0.1", 0))
    return sock
