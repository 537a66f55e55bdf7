"""`rtp://` and `udp://` URLs: where datagrams come from, and where they are sent.

    rtp://HOST:PORT?source=ADDRESS&interface=NAME&ttl=N&sdp=PATH
    udp://[SOURCE]@GROUP:PORT?source=ADDRESS&interface=NAME&ttl=N&pkt_size=BYTES

HOST is a group, an address or a name. Of a source it is what FLUX listens on: an address of this
machine, a group, or nothing for every address; of a target it is where FLUX sends.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, parse_qsl, urlsplit

TS_PACKET = 188
DEFAULT_PACKET_BYTES = 7 * TS_PACKET  # what fits into an Ethernet frame
MAX_PACKET_BYTES = 340 * TS_PACKET  # the most that one datagram holds
MAX_TTL = 255
OPTIONS = ("source", "interface", "ttl", "pkt_size", "sdp")
SDP_SUFFIX = ".sdp"

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9.])?|\[[0-9A-Fa-f:.]+(%25?[\w.-]+)?\]")
_INTERFACE = re.compile(r"[\w.:%-]{1,64}")


@dataclass(frozen=True, slots=True)
class DatagramUrl:
    """A checked URL; what it does not say is empty, zero or None."""

    scheme: str  # rtp, udp
    host: str  # without brackets
    port: int
    source: str = ""  # IP address: nobody else is heard
    interface: str = ""  # name or address of one of ours
    ttl: int | None = None
    packet_bytes: int = DEFAULT_PACKET_BYTES  # of datagrams that are sent
    sdp_path: str = ""  # where a target's description is written

    @property
    def address(self) -> str:
        """HOST:PORT as people write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @classmethod
    def parse_source(cls, text: str) -> Self:
        """A URL to listen on; `ValueError` says what is wrong without repeating it."""
        url = cls._parse(text)
        if url.sdp_path:
            raise ValueError("expected the description of a source in the stream's key sdp")
        if not url.port and url.scheme == "udp":
            raise ValueError("expected udp://HOST:PORT with a port from 1 to 65535")
        return url

    @classmethod
    def parse_target(cls, text: str) -> Self:
        """A URL to send to; `ValueError` says what is wrong without repeating it."""
        url = cls._parse(text)
        if not url.host or not url.port:
            raise ValueError(f"expected {url.scheme}://HOST:PORT, with a host and a port")
        if url.source:
            raise ValueError("expected no source in a target, it is for what FLUX receives")
        if url.sdp_path and (url.scheme != "rtp" or not url.sdp_path.endswith(SDP_SUFFIX)):
            raise ValueError(f"expected sdp=PATH of rtp://, with a path that ends in {SDP_SUFFIX}")
        return url

    @classmethod
    def _parse(cls, text: str) -> Self:
        scheme = text.partition(":")[0].lower()
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise ValueError(f"expected {scheme}://HOST:PORT with a port from 1 to 65535") from None
        if not text[len(scheme) + 1 :].startswith("//") or port == 0:
            raise ValueError(f"expected {scheme}://HOST:PORT with a port from 1 to 65535")
        if parts.path not in ("", "/") or parts.fragment:
            raise ValueError(f"expected {scheme}://HOST:PORT without a path")
        host, user = _host_of(parts)
        options = _options_of(parts.query)
        if "pkt_size" in options and scheme != "udp":
            raise ValueError("expected no pkt_size, it is for udp://")
        source = options.get("source", user)
        if source and (":" in source) != (":" in host) and host:
            raise ValueError("expected source and host both of IPv4 or both of IPv6")
        return cls(
            scheme,
            host,
            port or 0,
            source,
            options.get("interface", ""),
            int(options["ttl"]) if "ttl" in options else None,
            int(options.get("pkt_size", DEFAULT_PACKET_BYTES)),
            options.get("sdp", ""),
        )


def _host_of(parts: SplitResult) -> tuple[str, str]:
    """Host without brackets, and the address before the `@` (udp://SOURCE@GROUP of VLC)."""
    user, _, place = parts.netloc.rpartition("@")
    host = place[: place.index("]") + 1] if place.startswith("[") else place.partition(":")[0]
    if host and not _HOST.fullmatch(host):
        raise ValueError(f"expected {parts.scheme}://HOST:PORT, with a name or an address")
    bare = host.strip("[]").replace("%25", "%")
    if host.startswith("[") and not _is_address(bare.partition("%")[0]):
        raise ValueError(f"expected {parts.scheme}://[ADDRESS]:PORT, with an address of IPv6")
    user = user.strip("[]")
    if user and not _is_address(user):
        raise ValueError("expected the address of a sender before the @, or nothing")
    return bare, user


def _options_of(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in OPTIONS:
            raise ValueError(f"expected the options {', '.join(OPTIONS)}")
        if name in options:
            raise ValueError(f"expected {name} once")
        options[name] = value
    if "source" in options and not _is_address(options["source"]):
        raise ValueError("expected source=ADDRESS, an IP address")
    if "interface" in options and not _INTERFACE.fullmatch(options["interface"]):
        raise ValueError("expected interface=NAME or interface=ADDRESS")
    if "ttl" in options and _number(options["ttl"]) not in range(MAX_TTL + 1):
        raise ValueError(f"expected ttl from 0 to {MAX_TTL}")
    size = _number(options.get("pkt_size", str(DEFAULT_PACKET_BYTES)))
    if not TS_PACKET <= size <= MAX_PACKET_BYTES or size % TS_PACKET:
        raise ValueError(f"expected pkt_size of whole packets: {TS_PACKET}, ... 1316, ...")
    return options


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else -1


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
