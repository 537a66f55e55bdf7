"""The probes by the scheme of their URL. Another protocol is one more row and one more module."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from flux.cli.probe.figures import Board

TRANSPORTS = ("auto", "tcp", "udp", "multicast", "http")


class ProbeFailed(Exception):
    """A stream cannot be read; `reason` is a stable slug."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """What the command line says."""

    transport: str = "auto"  # of RTSP
    fingerprint: str = ""  # of the certificate of rtsps://, SHA-256 in hex
    interface: str = ""  # that joins multicast groups
    timeout: float = 10.0  # seconds without a byte


class Probe(Protocol):
    """Reads one URL."""

    async def run(self, board: Board) -> str:
        """Read and measure until cancelled, or until the stream ends: then the answer is why.

        What is open with the peer is ended properly either way. Raises `ProbeFailed`.
        """
        ...

    def refresh(self, board: Board) -> None:
        """Write figures that somebody else counts; called before they are shown."""
        ...


def _rtsp(url: str, options: ProbeOptions) -> Probe:
    from flux.cli.probe.rtsp import RtspProbe

    return RtspProbe(url, options)


def _srt(url: str, options: ProbeOptions) -> Probe:
    from flux.cli.probe.srt import SrtProbe

    return SrtProbe(url, options)


def _http(url: str, options: ProbeOptions) -> Probe:
    from flux.cli.probe.http import HttpProbe

    return HttpProbe(url, options)


PROBES: dict[str, Callable[[str, ProbeOptions], Probe]] = {
    "rtsp": _rtsp,
    "rtsps": _rtsp,
    "srt": _srt,
    "http": _http,
    "https": _http,
    "ws": _http,
    "wss": _http,
}


def probe_for(url: str, options: ProbeOptions) -> Probe:
    """The probe of a URL; raises `ProbeFailed("url")` for one that none can read."""
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname)
        _ = parts.port
    except ValueError:
        raise ProbeFailed("url", "the host or the port is none") from None
    make = PROBES.get(parts.scheme.lower())
    if make is None:
        known = ", ".join(f"{scheme}://" for scheme in PROBES)
        raise ProbeFailed("url", f"expected a URL that begins with one of {known}")
    if not has_host:
        raise ProbeFailed("url", "expected a host")
    return make(url, options)
