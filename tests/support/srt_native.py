"""Debian's libsrt by ctypes, in message mode, as a program of its own.

    python -m tests.support.srt_native receive|send listen|call PORT [OPTION=VALUE...] [SIZE...]

`send` sends messages of these sizes (content: `message`), waits until they are acknowledged, and
ends. `receive` writes a line for each message that comes, its size and SHA-256, until the peer
leaves. Options: `ttl` milliseconds of each message but the first and the last, `inorder` 0 or 1,
`maxbw` bytes a second, `passphrase`.
"""

import ctypes
import hashlib
import random
import socket
import struct
import sys
from collections.abc import Sequence

HOST = "127.0.0.1"
NAMES = ("libsrt-gnutls.so.1.5", "libsrt-openssl.so.1.5", "libsrt.so.1.5")
MAXBW, PASSPHRASE, CONNTIMEO, MESSAGEAPI, TRANSTYPE = 16, 26, 36, 48, 50  # SRTO_...
FILE = 1  # SRTT_FILE
LONGEST = 4 << 20  # bytes of a message


def message(number: int, size: int) -> bytes:
    """The content of a message."""
    return random.Random(f"{number} {size}").randbytes(size)


def line_of(content: bytes) -> str:
    """What `receive` writes of it."""
    return f"{len(content)} {hashlib.sha256(content).hexdigest()}"


def command(role: str, way: str, port: int, *sizes: int, **options: object) -> list[str]:
    """How to start it."""
    words = [role, way, str(port), *(f"{name}={value}" for name, value in options.items())]
    return [sys.executable, "-m", "tests.support.srt_native", *words, *map(str, sizes)]


class Library:
    """The calls that are needed; those that fail raise OSError."""

    def __init__(self) -> None:
        for name in NAMES:
            try:
                self._calls = ctypes.CDLL(name)
                break
            except OSError:
                continue
        else:
            raise OSError("no libsrt")
        self._calls.srt_getlasterror_str.restype = ctypes.c_char_p
        self._calls.srt_startup()

    def call(self, name: str, *arguments: object) -> int:
        """One of libsrt's functions."""
        result = int(getattr(self._calls, name)(*arguments))
        if result < 0:
            raise OSError(f"{name}: {self._calls.srt_getlasterror_str().decode()}")
        return result

    def option(
        self, sock: int, number: int, value: int | bytes, kind: object = ctypes.c_int
    ) -> None:
        """Set an option."""
        if isinstance(value, bytes):
            self.call("srt_setsockflag", sock, number, value, len(value))
            return
        held = kind(value)  # type: ignore[operator]
        self.call("srt_setsockflag", sock, number, ctypes.byref(held), ctypes.sizeof(held))


def connect(library: Library, way: str, port: int, options: dict[str, str]) -> int:
    """A socket with a peer."""
    sock = library.call("srt_create_socket")
    library.option(sock, TRANSTYPE, FILE)
    library.option(sock, MESSAGEAPI, 1, ctypes.c_bool)
    library.option(sock, CONNTIMEO, 10_000)
    if "maxbw" in options:
        library.option(sock, MAXBW, int(options["maxbw"]), ctypes.c_int64)
    if "passphrase" in options:
        library.option(sock, PASSPHRASE, options["passphrase"].encode())
    place = struct.pack("=HH4s8x", socket.AF_INET, socket.htons(port), socket.inet_aton(HOST))
    if way == "call":
        library.call("srt_connect", sock, place, len(place))
        return sock
    library.call("srt_bind", sock, place, len(place))
    library.call("srt_listen", sock, 1)
    return library.call("srt_accept", sock, None, None)


def main(words: Sequence[str]) -> None:
    """Until all is sent, or the peer has left."""
    role, way, port, *rest = words
    options = dict(each.split("=", 1) for each in rest if "=" in each)
    sizes = [int(each) for each in rest if "=" not in each]
    library = Library()
    sock = connect(library, way, int(port), options)
    if role == "send":
        ttl, in_order = int(options.get("ttl", "-1")), int(options.get("inorder", "1"))
        for number, size in enumerate(sizes):
            lifetime = ttl if 0 < number < len(sizes) - 1 else -1
            library.call("srt_sendmsg", sock, message(number, size), size, lifetime, in_order)
    else:
        buffer = ctypes.create_string_buffer(LONGEST)
        try:
            while size := library.call("srt_recvmsg", sock, buffer, LONGEST):
                sys.stdout.write(line_of(buffer.raw[:size]) + "\n")
                sys.stdout.flush()
        except OSError as error:
            sys.stderr.write(f"{error}\n")
    library.call("srt_close", sock)  # lingers until all is acknowledged


if __name__ == "__main__":
    main(sys.argv[1:])
