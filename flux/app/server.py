"""The server: its parts, wired."""

import asyncio
import secrets
import time
from collections.abc import Callable
from functools import partial

from config.addresses import ListenAddress
from config.schema import Config
from flux.api.server import ApiServer
from flux.app.groups import declare_groups, group_settings
from flux.app.listeners import BridgePart, HttpPart, Named, plain_and_secure, written
from flux.app.options import (
    hls_options,
    limits_of,
    onair_options,
    rtsp_options,
    srt_options,
)
from flux.app.sources import make_forwards
from flux.app.streams import StreamRegistry
from flux.app.tls import TlsPart, server_tls
from flux.bridges.hls.bridge import HlsBridge
from flux.bridges.http.feeds import FeedBridgeOptions
from flux.bridges.http.server import HttpLimits, HttpServer, MediaHandler
from flux.bridges.httpaudio import http_audio
from flux.bridges.httpflv import http_flv
from flux.bridges.httpmp4 import http_mp4
from flux.bridges.httpts import http_ts
from flux.bridges.player.bridge import PlayerBridge, PlayerOptions
from flux.bridges.rtsp.server import RtspBridge
from flux.bridges.snapshot.bridge import SnapshotBridge
from flux.bridges.srt.server import SrtBridge
from flux.bridges.srt.sessions import SrtSessions
from flux.core.admission import Admission
from flux.core.bus import Bus
from flux.core.children import Children
from flux.core.events import AccessDenied, AddressBanned
from flux.core.forwarding import Forwards
from flux.core.hooks.events import HookFailed, HookOverflowed
from flux.core.hooks.part import Hooks
from flux.core.lifecycle import Lifecycle
from flux.core.limits import LimitsGate
from flux.core.looplag import LoopLag, settle_garbage_collector
from flux.net.tls import ServerTls
from flux.net.turns import Turn, Turns
from flux.security.access import Access
from flux.telemetry.collect import Collector
from flux.telemetry.eventlog import EventLog
from flux.telemetry.snapshot import ListenerSnapshot
from media.events import (
    KeyFramesMissing,
    OutputFailed,
    ReaderClosed,
    ReaderFailed,
    ReaderJoined,
    ReaderSkipped,
    SlateFailed,
    SlateStarted,
    SourceSwitched,
    StreamDeleted,
    StreamStateChanged,
    TimelineBroken,
    TrackDropped,
    WriteFailed,
)
from media.flv.forms import Form
from media.router import Router

TICK = 0.28  # seconds between the router's ticks: in the third of three turns of 90 ms
TICK_SLACK = 0.095  # that one may come early, with somebody else who wakes the process

LOG_LEVELS: dict[type, str] = {
    ReaderJoined: "debug",
    ReaderClosed: "debug",
    ReaderSkipped: "warning",
    WriteFailed: "warning",
    TrackDropped: "warning",
    SourceSwitched: "warning",
    SlateStarted: "warning",
    SlateFailed: "warning",
    TimelineBroken: "warning",
    KeyFramesMissing: "warning",
    HookFailed: "warning",
    HookOverflowed: "warning",
    AccessDenied: "warning",
    AddressBanned: "warning",
    OutputFailed: "error",
    ReaderFailed: "error",
}


class RouterPart:
    """Starts the sources and gives the router its time."""

    name = "router"

    def __init__(
        self,
        router: Router,
        hls: HlsBridge,
        snapshots: SnapshotBridge,
        registry: StreamRegistry,
        limits: LimitsGate,
        forwards: Forwards,
    ) -> None:
        self._router = router
        self._hls = hls
        self._snapshots = snapshots
        self._registry = registry
        self._limits = limits
        self._forwards = forwards
        self._second_at = 0.0
        self._timer: Turn | None = None

    async def start(self) -> None:
        """Start what runs always."""
        self._tick()
        self._router.start(time.monotonic())

    async def stop(self) -> None:
        """End readers and sources properly."""
        if self._timer is not None:
            self._timer.cancel()
        self._hls.close()
        self._snapshots.close()
        self._forwards.close()
        self._router.close(time.monotonic())
        await self._registry.wait_ended()
        await self._forwards.wait_closed()

    def _tick(self) -> None:
        # First of all the next tick: if something below fails, time must go on for the rest.
        self._timer = Turns.of(asyncio.get_running_loop()).after(TICK, TICK_SLACK, self._tick)
        now = time.monotonic()
        self._router.tick(now, time.time() - now)
        self._hls.tick(now)
        self._forwards.tick(now)
        if now >= self._second_at:
            self._second_at = now + 1.0
            self._registry.tick(now)
            self._limits.tick(now)


class Server:
    """All parts of one process, wired; `run` lives until it is told to stop."""

    def __init__(self, config: Config) -> None:
        self.bus = Bus()
        self.router = Router(self.bus.emit, onair_options(config))
        self.router.defer = _in_the_next_turn
        self.children = Children(self.bus.emit)
        self._loop_lag = LoopLag()
        self.collector = Collector(self.router, self.bus, self._loop_lag)
        self._event_log = EventLog(self.bus, LOG_LEVELS)
        self.admission = Admission(self.bus.emit)
        self._hls = HlsBridge(
            self.router,
            self.admission,
            self.bus.emit,
            hls_options(config),
            _token,
            options_of=lambda name: hls_options(
                config, group_settings(config, name) or self.registry.settings(name)
            ),
        )
        self.bus.subscribe(StreamStateChanged, self._hls.state_changed)
        srt_sessions = SrtSessions()
        self._forwards = make_forwards(config, self.router, self.bus.emit, srt_sessions)
        self.bus.subscribe(StreamStateChanged, self._forwards.stream_changed)
        parts = (self.router, self.children, self.collector, self.bus.emit)
        self.registry = StreamRegistry(config, *parts, self._forwards, srt_sessions)
        self.registry.slates.listen(self.bus)
        declare_groups(config, self.router, self._hls, _token)
        self.access = Access(config.access, self.bus.emit)
        self.admission.add(self.access)  # first: a banned address costs nobody anything
        self.admission.hear_failures(self.access.blame)
        limits_gate = LimitsGate(limits_of(config), self.router, self._loop_lag.take_worst)
        self.admission.add_limit(limits_gate)
        self._snapshots = SnapshotBridge(self.router, self.children, admit=self.admission.admit)
        self.bus.subscribe(StreamDeleted, self._snapshots.stream_deleted)
        self._sources = RouterPart(
            self.router, self._hls, self._snapshots, self.registry, limits_gate, self._forwards
        )
        hooks = Hooks(
            self.bus, config.hooks, config.authorize, address_of=self.collector.address_of
        )
        self.collector.hooks = hooks.status
        if hooks.gate is not None:
            self.admission.add(hooks.gate)
        self.http_server = self._make_http(config)
        rtsp, srt = config.listeners.rtsp, config.listeners.srt
        tls = None
        if rtsp.enabled and rtsp.tls_address is not None:
            tls = server_tls(rtsp.tls, "listeners.rtsp.tls")
        options = rtsp_options(config, self.access.challenges)
        bridge = RtspBridge(self.router, self.admission, self.bus.emit, options, tls)
        self._rtsp = BridgePart("rtsp", bridge)
        self._srt = self._make_srt(config, srt_sessions)
        listeners = config.listeners
        self._http, http_parts = plain_and_secure(
            "listeners.http", listeners.http, partial(HttpPart, self.http_server)
        )
        self._api, api_parts = plain_and_secure(
            "listeners.api", listeners.api, partial(self._make_api, config)
        )
        self._lifecycle = Lifecycle(
            # Stopped in reverse: readers and sources first, the API, which tells health, last.
            [
                *api_parts,
                self._loop_lag,
                hooks,
                self.access,
                *http_parts,
                *([TlsPart(tls)] if tls is not None else []),
                *([Named(self._rtsp, "listeners.rtsp", rtsp.address)] if rtsp.enabled else []),
                *([Named(self._srt, "listeners.srt", srt.address)] if srt.enabled else []),
                self.children,
                self._sources,
            ],
            emit=self.bus.emit,
            stop_timeout=config.shutdown_timeout,
        )
        self._tell_collector()

    def _make_api(self, config: Config, address: ListenAddress, tls: ServerTls | None) -> ApiServer:
        """The API at one of its addresses."""
        return ApiServer(
            address,
            self.collector,
            self.registry,
            self.bus,
            permit=self.admission.permit,
            is_free_on_localhost=config.access.free_on_localhost,
            tls=tls,
        )

    def _make_srt(self, config: Config, sessions: SrtSessions) -> BridgePart[SrtBridge]:
        """The SRT server; `sessions` are those of its sources and targets, too."""
        options = srt_options(config, self.registry.settings)
        bridge = SrtBridge(self.router, self.admission, self.bus.emit, options, sessions)
        return BridgePart("srt", bridge)

    def _make_http(self, config: Config) -> HttpServer:
        """The media listener with everything that is served there."""
        feed_bridge = FeedBridgeOptions(config.flv.start, config.fanout.send_buffer)
        handlers: list[MediaHandler] = [
            http_flv(
                self.router, self.admission, self.bus.emit, feed_bridge, Form(config.flv.format)
            ),
            self._hls,
            http_ts(self.router, self.admission, self.bus.emit, feed_bridge),
            http_mp4(self.router, self.admission, self.bus.emit, feed_bridge),
            *http_audio(self.router, self.admission, self.bus.emit, feed_bridge),
            self._snapshots,
        ]
        if config.player.enabled:
            pages = PlayerOptions(list_streams=config.player.list, thumbnails=True)
            permit, survey = self.admission.permit, self.access.survey
            handlers.append(PlayerBridge(self.router, pages, permit=permit, survey=survey))
        limits = HttpLimits(
            connections_per_address=config.limits.connections_per_address,
            header_bytes=config.listeners.http.header_size,
            header_timeout=config.listeners.http.header_timeout,
        )
        return HttpServer(handlers, limits)

    def _tell_collector(self) -> None:
        """Say where the figures are."""
        bridge, http = self._rtsp.bridge, self.http_server
        self.collector.access = self.access.figures
        self.collector.phase = lambda: self._lifecycle.phase
        self.collector.listeners = self._listeners
        self.collector.http_refusals = lambda: http.refusals
        self.collector.http_connections = lambda: http.connections
        self.collector.forwards = self._forwards.snapshot
        self.collector.rtsp_refusals = bridge.refusals
        self.collector.rtsp_connections = lambda: bridge.connections
        srt = self._srt.bridge
        self.collector.srt_refusals = srt.refusals
        self.collector.srt_connections = lambda: srt.connections
        self.collector.srt_statistics = srt.sessions.statistics

    @property
    def http_address(self) -> str:
        """Where the media listener is bound."""
        return self._http[0].bound

    @property
    def api_address(self) -> str:
        """Where the API is bound."""
        return str(self._api[0].address)

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
            *(
                ListenerSnapshot(name=part.name, address=part.bound, is_up=part.is_up)
                for part in self._http
            ),
            *(
                ListenerSnapshot(name=part.name, address=str(part.address), is_up=part.is_up)
                for part in self._api
            ),
            *(
                ListenerSnapshot(name=name, address=written(*address), is_up=self._rtsp.is_up)
                for name, address in zip(
                    ("rtsp", "rtsps"), self._rtsp.bridge.addresses, strict=False
                )
            ),
            *(
                [ListenerSnapshot(name="srt", address=written(*srt), is_up=self._srt.is_up)]
                if (srt := self._srt.bridge.address)[1]
                else []
            ),
        )


def _token() -> str:
    return secrets.token_hex(8)


def _in_the_next_turn(callback: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(callback)


async def serve(config: Config, on_running: Callable[[], None]) -> None:
    """Run the server until a signal; `on_running` is called when every part works."""
    await Server(config).run(on_running)
