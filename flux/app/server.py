"""The server: its parts, wired."""

import asyncio
import secrets
import time
from collections.abc import Callable

from config.schema import Config
from flux.api.server import ApiServer
from flux.app.options import hls_options
from flux.app.streams import StreamRegistry
from flux.bridges.hls.bridge import HlsBridge
from flux.bridges.http.feeds import FeedBridgeOptions
from flux.bridges.http.server import HttpLimits, HttpServer, MediaHandler
from flux.bridges.httpflv import http_flv
from flux.core.bus import Bus
from flux.core.children import Children
from flux.core.lifecycle import Lifecycle
from flux.core.looplag import LoopLag, settle_garbage_collector
from flux.telemetry.collect import Collector
from flux.telemetry.eventlog import EventLog
from flux.telemetry.snapshot import ListenerSnapshot
from media.events import (
    KeyFramesMissing,
    ReaderClosed,
    ReaderJoined,
    ReaderSkipped,
    StreamStateChanged,
    TimelineBroken,
    TrackDropped,
)
from media.router import Router

TICK = 0.25  # seconds between the router's ticks

LOG_LEVELS: dict[type, str] = {
    ReaderJoined: "debug",
    ReaderClosed: "debug",
    ReaderSkipped: "warning",
    TrackDropped: "warning",
    TimelineBroken: "warning",
    KeyFramesMissing: "warning",
}


class RouterPart:
    """Starts the sources and gives the router its time."""

    name = "router"

    def __init__(self, router: Router, hls: HlsBridge, registry: StreamRegistry) -> None:
        self._router = router
        self._hls = hls
        self._registry = registry
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Start what runs always."""
        self._tick()
        self._router.start(time.monotonic())

    async def stop(self) -> None:
        """End readers and sources properly."""
        if self._timer is not None:
            self._timer.cancel()
        self._hls.close()
        self._router.close(time.monotonic())
        await self._registry.wait_ended()

    def _tick(self) -> None:
        now = time.monotonic()
        self._router.tick(now, time.time() - now)
        self._hls.tick(now)
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)


class HttpPart:
    """The media listener."""

    name = "http"

    def __init__(self, server: HttpServer, host: str, port: int) -> None:
        self._server = server
        self._host = host
        self._port = port
        self.is_up = False
        self.bound = ""

    async def start(self) -> None:
        """Bind; raises OSError if the address cannot be had."""
        host, port = await self._server.start(self._host or None, self._port)
        self.bound = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.is_up = True

    async def stop(self) -> None:
        """Let what is being sent go out."""
        self.is_up = False
        await self._server.stop()


class Server:
    """All parts of one process, wired; `run` lives until it is told to stop."""

    def __init__(self, config: Config) -> None:
        self.bus = Bus()
        self.router = Router(self.bus.emit)
        self.children = Children(self.bus.emit)
        self._loop_lag = LoopLag()
        self.collector = Collector(self.router, self.bus, self._loop_lag)
        self._event_log = EventLog(self.bus, LOG_LEVELS)
        self._hls = HlsBridge(
            self.router, self.bus.emit, hls_options(config), lambda: secrets.token_hex(8)
        )
        self.bus.subscribe(StreamStateChanged, self._hls.state_changed)
        self.registry = StreamRegistry(
            config, self.router, self.children, self.collector, self.bus.emit
        )
        self._sources = RouterPart(self.router, self._hls, self.registry)
        feed_bridge = FeedBridgeOptions(config.flv.start, config.fanout.send_buffer)
        handlers: list[MediaHandler] = [
            http_flv(self.router, self.bus.emit, feed_bridge),
            self._hls,
        ]
        http = config.listeners.http
        limits = HttpLimits(
            connections_per_address=config.limits.connections_per_address,
            header_bytes=http.header_size,
            header_timeout=http.header_timeout,
        )
        self.http_server = HttpServer(handlers, limits)
        self._http = HttpPart(self.http_server, http.address.host, http.address.port)
        self._api = ApiServer(config.listeners.api.address, self.collector.snapshot)
        self._lifecycle = Lifecycle(
            # Stopped in reverse: readers and sources first, the API, which tells health, last.
            [self._api, self._loop_lag, self._http, self.children, self._sources],
            emit=self.bus.emit,
            stop_timeout=config.shutdown_timeout,
        )
        self.collector.phase = lambda: self._lifecycle.phase
        self.collector.listeners = self._listeners

    @property
    def http_address(self) -> str:
        """Where the media listener is bound."""
        return self._http.bound

    @property
    def api_address(self) -> str:
        """Where the API is bound."""
        return str(self._api.address)

    async def run(self, on_running: Callable[[], None]) -> None:
        """Start, serve, stop; raises what a part raised that could not start."""

        def running() -> None:
            settle_garbage_collector()
            on_running()

        await self._lifecycle.run(running)

    def request_stop(self, reason: str) -> None:
        """Ask for the end."""
        self._lifecycle.request_stop(reason)

    def _listeners(self) -> tuple[ListenerSnapshot, ...]:
        return (
            ListenerSnapshot(name="http", address=self._http.bound, is_up=self._http.is_up),
            ListenerSnapshot(name="api", address=self.api_address, is_up=self._api.is_up),
        )


async def serve(config: Config, on_running: Callable[[], None]) -> None:
    """Run the server until a signal; `on_running` is called when every part works."""
    await Server(config).run(on_running)
