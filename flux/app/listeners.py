"""The listeners as parts of the server: where they are bound, and whether they are up."""

import os
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from config.addresses import ListenAddress
from config.tls import TlsSection
from flux.app.tls import TlsPart, server_tls
from flux.base.errors import ConfigError, PeerError
from flux.bridges.http.server import HttpServer
from flux.core.part import Part
from flux.net.tls import ServerTls


class HttpPart:
    """One address of the media listener, plain or TLS."""

    def __init__(self, server: HttpServer, address: ListenAddress, tls: ServerTls | None) -> None:
        self.name = "http" if tls is None else "https"
        self._server = server
        self._address = address
        self._tls = tls
        self.is_up = False
        self.bound = ""

    async def start(self) -> None:
        """Bind; raises OSError if the address cannot be had."""
        host, port = self._address.host or None, self._address.port
        self.bound = written(*await self._server.start(host, port, self._tls))
        self.is_up = True

    async def stop(self) -> None:
        """Let what is being sent go out, on all addresses."""
        self.is_up = False
        await self._server.stop()


class Bridge(Protocol):
    """A protocol's server with sockets of its own."""

    async def start(self) -> None:
        """Bind."""

    async def stop(self) -> None:
        """End every session."""


AnyBridge = TypeVar("AnyBridge", bound=Bridge)


class BridgePart(Generic[AnyBridge]):
    """A bridge with sockets of its own: RTSP, SRT."""

    def __init__(self, name: str, bridge: AnyBridge) -> None:
        self.name = name
        self.bridge = bridge
        self.is_up = False

    async def start(self) -> None:
        """Bind; raises OSError or PeerError if an address cannot be had."""
        await self.bridge.start()
        self.is_up = True

    async def stop(self) -> None:
        """End every session."""
        self.is_up = False
        await self.bridge.stop()


class Named:
    """A part whose listener is named by its key when the address cannot be had."""

    def __init__(self, part: Part, key: str, address: ListenAddress) -> None:
        self.name = part.name
        self._part = part
        self._key = key
        self._address = address

    async def start(self) -> None:
        """Start the part; raises `ConfigError` instead of a bare OSError."""
        try:
            await self._part.start()
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise ConfigError(self._key, f"cannot listen on {self._address}: {why}") from error
        except PeerError as error:
            raise ConfigError(
                self._key, f"cannot listen: {error.detail or error.reason}"
            ) from error

    async def stop(self) -> None:
        """Stop the part."""
        await self._part.stop()


class Listener(Protocol):
    """The section of a listener that can be had with TLS, too."""

    address: ListenAddress
    tls_address: ListenAddress | None
    tls: TlsSection


AnyPart = TypeVar("AnyPart", bound=Part)


def plain_and_secure(
    key: str, listener: Listener, serve: Callable[[ListenAddress, ServerTls | None], AnyPart]
) -> tuple[list[AnyPart], list[Part]]:
    """What `serve` makes for the addresses of a section, and all parts that this takes.

    `key` names the section. Raises `ConfigError` where the certificate cannot be used.
    """
    plain = serve(listener.address, None)
    if listener.tls_address is None:
        return [plain], [Named(plain, f"{key}.address", listener.address)]
    tls = server_tls(listener.tls, f"{key}.tls")
    secure = serve(listener.tls_address, tls)
    return [plain, secure], [
        Named(plain, f"{key}.address", listener.address),
        TlsPart(tls),
        Named(secure, f"{key}.tls_address", listener.tls_address),
    ]


def written(host: str, port: int) -> str:
    """An address as one text."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
