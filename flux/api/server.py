"""The admin API as a part of the server."""

import asyncio

from aiohttp import web

from config.access import AccessSection
from config.addresses import ListenAddress
from flux.api.connection import Connection
from flux.api.observed import Observed
from flux.api.routes import Api, build_app
from flux.core.admission import Gate
from flux.core.bus import Bus
from flux.core.control import Control
from flux.net.listener import listen_tcp
from flux.net.tls import ServerTls
from flux.security.access import Access

SHUTDOWN_TIMEOUT = 0.5  # seconds that a request in progress may take to end
KEEPALIVE_TIMEOUT = 30.0


class ApiServer:
    """Serves the API on one address. A Part: start it first and stop it last, it tells health."""

    def __init__(
        self,
        address: ListenAddress,
        observed: Observed,
        control: Control,
        bus: Bus,
        *,
        permit: Gate | None = None,
        is_free_on_localhost: bool = True,
        tls: ServerTls | None = None,
    ) -> None:
        """`permit` is asked about every request; without one it is what the default access says."""
        self.name = "api" if tls is None else "api-tls"
        self._address = address
        self._tls = tls
        self._permit = permit or Access(AccessSection(), bus.emit)
        self._is_free = is_free_on_localhost and address.is_loopback
        self._api = Api(observed, control, bus)
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> ListenAddress:
        """Where it listens; the port that the system chose, once it is started."""
        if self._server is None or not self._server.sockets:
            return self._address
        return ListenAddress(self._address.host, self._server.sockets[0].getsockname()[1])

    @property
    def is_up(self) -> bool:
        """Whether it takes connections."""
        return self._server is not None and self._server.is_serving()

    async def start(self) -> None:
        """Bind and serve; raises `OSError` if the address cannot be had."""
        runner = web.AppRunner(
            build_app(
                self._api,
                is_local=self._address.is_loopback,
                permit=None if self._is_free else self._permit,
            ),
            shutdown_timeout=SHUTDOWN_TIMEOUT,
            handle_signals=False,
            handler_cancellation=True,  # who follows events and leaves is let go at once
        )
        await runner.setup()
        self._runner = runner
        try:
            manager = runner.server
            if manager is None:
                raise RuntimeError("the runner made no server")
            loop = asyncio.get_running_loop()

            def connection() -> Connection:
                return Connection(manager, loop=loop, keepalive_timeout=KEEPALIVE_TIMEOUT)

            self._server = await listen_tcp(
                connection, self._address.host or None, self._address.port, ssl=self._tls
            )
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close the listener and the connections."""
        server, self._server = self._server, None
        runner, self._runner = self._runner, None
        self._api.close()
        if server is not None:
            server.close()
        if runner is not None:
            await runner.cleanup()
