"""Free ports of the loopback interface."""

import socket
from pathlib import Path


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM, host: str = "127.0.0.1") -> int:
    """A port that nobody uses at this moment."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def is_bound(host: str, port: int) -> bool:
    """Whether somebody has this UDP port, of this address or of all of its family."""
    is_6 = ":" in host
    family, everywhere = (socket.AF_INET6, "::") if is_6 else (socket.AF_INET, "0.0.0.0")
    words = set()
    for each in (host, everywhere):
        packed = socket.inet_pton(family, each)
        parts = (packed[at : at + 4][::-1].hex().upper() for at in range(0, len(packed), 4))
        words.add(f"{''.join(parts)}:{port:04X}")
    lines = Path("/proc/net/udp6" if is_6 else "/proc/net/udp").read_text().splitlines()[1:]
    return any(line.split()[1] in words for line in lines)
