"""A caller made of libsrt itself, in a process of its own: which code it is refused with.

`python -m tests.support.srt_knock PORT STREAM_ID PASSPHRASE` prints 0 if it was let in, else the
code of `srt_getrejectreason`, as applications of libsrt see it.
"""

import asyncio
import ctypes
import ctypes.util
import socket
import struct
import sys

LIBRARY = "libsrt-gnutls.so.1.5"
SRTO_PASSPHRASE, SRTO_STREAMID = 26, 46
TIMEOUT = 10.0


async def knock(port: int, stream_id: str, passphrase: str = "") -> int:
    """Call a server on this machine."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, str(port), stream_id, passphrase),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(TIMEOUT):
        said, _ = await process.communicate()
    return int(said)


def call(port: int, stream_id: str, passphrase: str) -> int:
    """0, or the code; libsrt is held to what its manual says of these functions."""
    srt = ctypes.CDLL(LIBRARY)
    srt.srt_startup()
    srt.srt_setloglevel(0)
    sock = srt.srt_create_socket()
    for option, text in ((SRTO_STREAMID, stream_id), (SRTO_PASSPHRASE, passphrase)):
        value = text.encode()
        if value and srt.srt_setsockflag(sock, option, value, len(value)) != 0:
            raise OSError(f"option {option}")
    address = struct.pack("=HH4s8x", socket.AF_INET, socket.htons(port), b"\x7f\0\0\1")
    code = srt.srt_getrejectreason(sock) if srt.srt_connect(sock, address, 16) else 0
    srt.srt_close(sock)
    srt.srt_cleanup()
    return int(code)


if __name__ == "__main__":
    sys.stdout.write(str(call(int(sys.argv[1]), sys.argv[2], sys.argv[3])))
