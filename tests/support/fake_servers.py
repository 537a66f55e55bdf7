"""Servers with known faults, for testing the load generator: HTTP-FLV, RTSP, HLS.

Each handler serves one connection from a thread of its own at a steady 25 frames a second.
"""

import contextlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Self

Handler = Callable[[socket.socket], None]
FRAME = 0.04  # seconds
FRAMES = 200  # of one connection; then it is closed


class FakeServer:
    """Runs a handler for every connection, on a free port of the loopback interface."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            self._handler(client)


def head_of(client: socket.socket) -> str:
    """One request head."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(4096)
        if not more:
            raise OSError("the client is gone")
        data += more
    return data.decode()


def flv_tag(kind: int, time_ms: int, body: bytes) -> bytes:
    """One FLV tag with its trailing size (FLV specification E.4.1)."""
    head = struct.pack("!B", kind) + len(body).to_bytes(3, "big")
    head += (time_ms & 0xFFFFFF).to_bytes(3, "big") + bytes([time_ms >> 24]) + b"\0\0\0"
    return head + body + struct.pack("!I", len(body) + 11)


def video_tag(number: int, *, wrapped: bool = False, mark: int = 0) -> bytes:
    """Frame `number` of an endless clip; `wrapped` adds NAL units that show nothing."""
    key = number % 25 == 0
    nals = [bytes([0x65 if key else 0x41]) + struct.pack("!II", number % 50, mark) * 110]
    if wrapped:
        nals = [b"\x09\xf0", b"\x67\x42\0\x1e", b"\x68\xce", *nals, b"\x0c\xff\x80"]
    body = bytes([0x17 if key else 0x27, 1, 0, 0, 0])
    body += b"".join(struct.pack("!I", len(nal)) + nal for nal in nals)
    return flv_tag(9, number * 40, body)


def audio_tag(number: int) -> bytes:
    """An audio unit; most of them are alike, as silence is."""
    return flv_tag(
        8, number * 40, b"\xaf\x01" + (b"silence" if number % 10 else b"%d" % (number % 50))
    )


FLV_HEADER = b"FLV\x01\x05\0\0\0\x09\0\0\0\0"


def flv_clip() -> bytes:
    """The reference of what `flv` serves: 50 frames of each track."""
    tags = [video_tag(number) + audio_tag(number) for number in range(50)]
    return FLV_HEADER + b"".join(tags)


def flv(
    *,
    is_chunked: bool = False,
    is_websocket: bool = False,
    piece_bytes: int = 1 << 16,
    fault: str = "",
    start: int = 0,
) -> Handler:
    """An HTTP-FLV server; at frame 30 the fault: drop, stall, change, repeat, wrapped, opcode."""

    def handle(client: socket.socket) -> None:
        head_of(client)
        coding = b"Transfer-Encoding: chunked\r\n" if is_chunked else b""
        status = b"101 Switching Protocols" if is_websocket else b"200 OK"
        client.sendall(b"HTTP/1.1 %s\r\nContent-Type: video/x-flv\r\n%s\r\n" % (status, coding))

        def put(data: bytes) -> None:
            if is_chunked:
                data = b"%x;x=1\r\n%s\r\n" % (len(data), data)
            if is_websocket:  # a ping before each message
                data = b"\x89\x02hi" + struct.pack("!BBH", 0x82, 126, len(data)) + data
            for at in range(0, len(data), piece_bytes):
                client.sendall(data[at : at + piece_bytes])

        put(FLV_HEADER)
        number = start
        for count in range(FRAMES):
            is_here = count == 30
            if is_here and fault == "drop":
                number += 10
            if is_here and fault == "repeat":
                number -= 1
            if is_here and fault == "opcode":
                client.sendall(b"\x83\x00")
            if is_here and fault == "stall":
                time.sleep(0.6)
            mark = int(is_here and fault == "change")
            put(video_tag(number, wrapped=fault == "wrapped", mark=mark) + audio_tag(number))
            number += 1
            time.sleep(FRAME)

    return handle


def rtsp(fault: str = "") -> Handler:
    """An RTSP server, interleaved; faults: lost, split (pieces of 7 bytes), text (a late reply)."""

    def handle(client: socket.socket) -> None:
        method = ""
        while method != "PLAY":
            head = head_of(client)
            method = head.split()[0]
            lines = ["RTSP/1.0 200 OK", *re.findall(r"(?m)^CSeq.*?$", head)]
            body = ""
            if method == "DESCRIBE":
                body = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:t0\r\n"
                body += "m=audio 0 RTP/AVP 97\r\na=control:t1\r\n"
                lines.append(f"Content-Length: {len(body)}")
            if method == "SETUP":
                lines += ["Session: 12;timeout=60", *re.findall(r"(?m)^Transport.*?$", head)]
            client.sendall("\r\n".join([*(line.strip() for line in lines), "", body]).encode())
        for count in range(FRAMES):
            sequence = 65500 + count + (3 if fault == "lost" and count > 20 else 0)
            packet = b"\x80\x60" + struct.pack("!HII", sequence & 0xFFFF, count * 3600, 7)
            packet += (b"\x65" if count % 25 == 0 else b"\x41") + bytes(500)
            data = b"$\0" + struct.pack("!H", len(packet)) + packet + b"$\1\0\x08" + bytes(8)
            if fault == "text" and count == 25:
                data += b"RTSP/1.0 200 OK\r\nCSeq: 9\r\nContent-Length: 3\r\n\r\n$$$"
            piece = 7 if fault == "split" else len(data)
            for at in range(0, len(data), piece):
                client.sendall(data[at : at + piece])
            time.sleep(FRAME)

    return handle


def hls(fault: str = "") -> Handler:
    """An HLS server with a segment each half second; the fault: gap."""
    begun = time.monotonic()

    def handle(client: socket.socket) -> None:
        while True:
            path = head_of(client).split()[1]
            status = "200 OK"
            if path == "/m.m3u8":
                body = b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nsub/p.m3u8?ctx=1\n"
            elif path.startswith("/sub/p.m3u8"):
                number = int((time.monotonic() - begun) / 0.5)
                number += 5 if fault == "gap" and number > 3 else 0
                lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{number}"]
                lines += [f"#EXTINF:0.5,\ns{number + index}.ts" for index in range(4)]
                body = "\n".join([*lines, ""]).encode()
            elif path.startswith("/sub/s"):
                body = b"\x47" + bytes(9999)
            else:
                status, body = "404 Not Found", b"no"
            client.sendall(
                f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            )

    return handle


def low_latency(fault: str = "") -> Handler:
    """Low-latency HLS with five parts of 100 ms a segment; the fault: gap (lacks segments)."""
    begun = time.monotonic()
    per_segment, listed, part = 5, 3, 0.1

    def playlist(newest: int) -> bytes:
        """The playlist when this is the newest part of all."""
        newest += 25 if fault == "gap" and newest > 15 else 0
        segment = newest // per_segment
        first = max(0, segment - listed)
        lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", f"#EXT-X-PART-INF:PART-TARGET={part}"]
        lines.append(f"#EXT-X-MEDIA-SEQUENCE:{first}")
        for number in range(first, segment + 1):
            count = newest % per_segment + 1 if number == segment else per_segment
            names = [f"s{number}.{index}.ts" for index in range(count)]
            lines += [f'#EXT-X-PART:DURATION={part},URI="{name}?s=1"' for name in names]
            if number < segment:
                lines += ["#EXTINF:0.5,", f"s{number}.ts"]
        return "\n".join([*lines, ""]).encode()

    def handle(client: socket.socket) -> None:
        while True:
            path = head_of(client).split()[1]
            body = b"\x47" + bytes(999)
            if path.startswith("/ll.m3u8"):
                wanted = [int(each) for each in re.findall(r"_HLS_(?:msn|part)=(\d+)", path)]
                due = wanted[0] * per_segment + wanted[1] if wanted else 0
                while (newest := int((time.monotonic() - begun) / part)) < due:
                    time.sleep(0.01)
                body = playlist(newest)
            client.sendall(
                f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            )

    return handle
