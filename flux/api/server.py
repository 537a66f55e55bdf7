"""The admin API as a part of the server."""

import asyncio

from aiohttp import web

from config.addresses import ListenAddress
from flux.api.routes import build_app
from flux.net.listener import listen_tcp
from flux.telemetry.snapshot import SnapshotProvider

SHUTDOWN_TIMEOUT = 0.5  # seconds that a request in progress may take to end
KEEPALIVE_TIMEOUT = 30.0


class ApiServer:
    """Serves the API on one address. A Part: start it first and stop it last, it tells health."""

    name = "api"

    def __init__(self, address: ListenAddress, provider: SnapshotProvider) -> None:
        self._address = address
        self._provider = provider
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
            build_app(self._provider, is_local=self._address.is_loopback),
            access_log=None,
            keepalive_timeout=KEEPALIVE_TIMEOUT,
            shutdown_timeout=SHUTDOWN_TIMEOUT,
            handle_signals=False,
        )
        await runner.setup()
        self._runner = runner
        try:
            if runner.server is None:
                raise RuntimeError("the runner made no server")
            self._server = await listen_tcp(
                runner.server, self._address.host or None, self._address.port
            )
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close the listener and the connections."""
        server, self._server = self._server, None
        runner, self._runner = self._runner, None
        if server is not None:
            server.close()
        if runner is not None:
            await runner.cleanup()
