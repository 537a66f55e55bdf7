"""The composition root: what exists, how it is wired, and in which order it starts and stops."""

import asyncio
import secrets
import time
from collections.abc import Callable

from config.schema import Config, StreamSection
from flux.api.server import ApiServer
from flux.bridges.hls.bridge import HlsBridge, HlsBridgeOptions
from flux.bridges.http.feeds import FeedBridgeOptions
from flux.bridges.http.server import HttpLimits, HttpServer, MediaHandler
from flux.bridges.httpflv import http_flv
from flux.bridges.rtsp import Retries, RtspSource
from flux.bridges.worker import WorkerSource, command_for
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
from media.feed_reader import FeedOptions
from media.gop import GopLimits
from media.hls.options import HlsOptions
from media.router import Router
from media.stream import StreamOptions
from protocols.rtsp.options import PullOptions, TransportChoice

TICK = 0.25  # seconds between the router's ticks
HLS_FIRST_SEGMENTS = 10.0  # seconds that a playlist is held for once its stream is ready

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

    def __init__(self, router: Router, hls: HlsBridge) -> None:
        self._router = router
        self._hls = hls
        self._timer: asyncio.TimerHandle | None = None
        self.sources: list[RtspSource] = []

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
        await asyncio.gather(*(source.wait_stopped() for source in self.sources))

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
        self._config = config
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
        self._sources = RouterPart(self.router, self._hls)
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
        options = stream_options(config)
        for name, section in config.streams.items():
            self._declare(name, section, options)

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

    def _declare(self, name: str, section: StreamSection, options: StreamOptions) -> None:
        config = self._config
        self.router.declare(
            name,
            options,
            kind=section.source.scheme,
            url=str(section.source),
            on_demand=section.on_demand,
            start_timeout=config.sources.start_timeout,
            close_after=config.sources.close_after,
        )

        def on_state(state: str, reason: str) -> None:
            self.router.source_state(name, state, reason, time.monotonic())

        url = section.source.reveal()
        if section.source.scheme == "testcard":
            command = command_for(url)
            worker = WorkerSource(name, command, self.router, self.children, on_state)
            self.router.set_source(name, worker)
            return
        source = RtspSource(
            name, url, self.router, on_state, pull_options(config, section), retries(config)
        )
        self.router.set_source(name, source)
        self._sources.sources.append(source)
        self.collector.rtp_sources[name] = source.figures


def stream_options(config: Config) -> StreamOptions:
    """What every stream is made with."""
    cache, fanout = config.gop_cache, config.fanout
    return StreamOptions(
        gop=GopLimits(cache.duration, cache.frames, cache.size),
        feed=FeedOptions(
            window=fanout.write_window,
            low_mark=fanout.lag_mark,
            lag_bound=fanout.lag_limit,
            stall_timeout=fanout.stall_timeout,
            log_seconds=max(cache.duration, fanout.lag_limit),
        ),
        grace=config.sources.grace_period,
    )


def hls_options(config: Config) -> HlsBridgeOptions:
    """What the HLS bridge is made with."""
    hls = config.hls
    return HlsBridgeOptions(
        segmenter=HlsOptions(
            segment_duration=hls.segment_duration,
            window_segments=hls.segment_count,
            max_segment_bytes=hls.segment_size,
        ),
        always=hls.mode == "always",
        close_after=hls.close_after,
        hold=config.sources.start_timeout + HLS_FIRST_SEGMENTS,
    )


def pull_options(config: Config, section: StreamSection) -> PullOptions:
    """What an RTSP source is made with."""
    sources = config.sources
    return PullOptions(
        transport=TransportChoice(section.transport),
        connect_timeout=sources.connect_timeout,
        request_timeout=sources.request_timeout,
        media_timeout=sources.media_timeout,
        receive_buffer_bytes=sources.udp_receive_buffer,
    )


def retries(config: Config) -> Retries:
    """How a source waits between its attempts."""
    sources = config.sources
    return Retries(sources.retry_first, sources.retry_longest, sources.retry_refused)


async def serve(config: Config, on_running: Callable[[], None]) -> None:
    """Run the server until a signal; `on_running` is called when every part works."""
    await Server(config).run(on_running)
