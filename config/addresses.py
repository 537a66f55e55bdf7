"""Where a listener binds: `:8888`, `127.0.0.1:9997`, `[::1]:9997`, `localhost:9997`."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, ClassVar, Self

from config.text_value import TextValue

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9-]+)*\.?")
_EXPECTED = "expected an address such as :8888, 127.0.0.1:8888 or [::1]:8888"


@dataclass(frozen=True, slots=True)
class ListenAddress(TextValue):
    """A host and a port to bind; an empty host is every address, IPv4 and IPv6."""

    expected = _EXPECTED
    json_schema: ClassVar[dict[str, Any]] = {"examples": [":8888", "127.0.0.1:9997", "[::1]:9997"]}

    host: str
    port: int  # 0 lets the system choose

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `HOST:PORT`, an IPv6 address in brackets; `ValueError` if it is none."""
        host, separator, port = text.rpartition(":")
        if not separator or not (port.isascii() and port.isdigit()) or len(port) > 5:
            raise ValueError(_EXPECTED)
        if int(port) > 65535:
            raise ValueError("expected a port from 0 to 65535")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            if not isinstance(_address(host), IPv6Address):
                raise ValueError(_EXPECTED)
        elif re.fullmatch(r"[0-9.]+", host):
            if _address(host) is None:
                raise ValueError(_EXPECTED)
        elif host and (len(host) > 253 or _HOST_NAME.fullmatch(host) is None):
            raise ValueError(_EXPECTED)
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        address = _address(self.host)
        if address is None:
            return self.host.lower().rstrip(".") == "localhost"
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            return address.ipv4_mapped.is_loopback
        return address.is_loopback

    @property
    def is_wildcard(self) -> bool:
        """Whether it takes connections on every address of the machine."""
        address = _address(self.host)
        return not self.host or (address is not None and address.is_unspecified)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
