"""The listeners as parts of the server: where they are bound, and whether they are up."""

import os

from config.addresses import ListenAddress
from flux.base.errors import ConfigError, PeerError
from flux.bridges.http.server import HttpServer
from flux.bridges.rtsp.server import RtspBridge
from flux.bridges.srt.server import SrtBridge
from flux.core.part import Part
from flux.net.tls import ServerTls


class HttpPart:
    """One address of the media listener, plain or TLS."""

    def __init__(
        self, name: str, server: HttpServer, address: ListenAddress, tls: ServerTls | None = None
    ) -> None:
        self.name = name
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


class RtspPart:
    """The RTSP server."""

    name = "rtsp"

    def __init__(self, bridge: RtspBridge) -> None:
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

    @property
    def bound(self) -> list[str]:
        """Addresses of RTSP and RTSPS."""
        return [written(*address) for address in self.bridge.addresses]


class SrtPart:
    """The SRT server."""

    name = "srt"

    def __init__(self, bridge: SrtBridge) -> None:
        self.bridge = bridge
        self.is_up = False

    async def start(self) -> None:
        """Bind; raises OSError or PeerError if the address cannot be had."""
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


def written(host: str, port: int) -> str:
    """An address as one text."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
