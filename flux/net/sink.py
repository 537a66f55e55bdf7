"""A TCP transport as the sink of a feed's reader."""

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Callable

SIOCOUTQ = termios.TIOCOUTQ  # bytes in the socket's send queue, tcp(7)
NOTSENT_LOWAT_BYTES = 128 << 10
TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)


class TransportSink:
    """Writes go straight to the transport; `end` closes it after what is pending."""

    __slots__ = ("_fd", "_on_end", "_transport", "pending_bytes", "write", "writelines")

    def __init__(
        self, transport: asyncio.Transport, on_end: Callable[[str], None], send_buffer: int
    ) -> None:
        """`send_buffer` bounds SO_SNDBUF: the kernel else swallows seconds of media unseen."""
        self._transport = transport
        self._on_end = on_end
        self.write: Callable[[bytes], None] = transport.write
        self.writelines: Callable[[list[bytes]], None] = transport.writelines
        self.pending_bytes: Callable[[], int] = transport.get_write_buffer_size
        sock = transport.get_extra_info("socket")
        self._fd: int = sock.fileno() if sock is not None else -1
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
            sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES)

    def unsent_bytes(self) -> int:
        """What the transport and the socket hold."""
        pending = self.pending_bytes()
        if self._fd < 0 or self._transport.is_closing():
            return pending
        try:
            queued = fcntl.ioctl(self._fd, SIOCOUTQ, b"\0\0\0\0")
        except OSError:
            return pending
        return pending + int(struct.unpack("i", queued)[0])

    def end(self, reason: str) -> None:
        """Close after what is pending has gone out; a sink that takes nothing is cut."""
        self._on_end(reason)
        if reason == "reader-stalled":
            sock = self._transport.get_extra_info("socket")
            if sock is not None and not self._transport.is_closing():
                # Without lingering the kernel lets go at once of what nobody will ever read.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        elif not self._transport.is_closing():
            self._transport.close()
