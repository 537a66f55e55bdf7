"""The streams that the configuration or the API declares: their sources are made and ended here."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from config.continuity import OFF
from config.names import check_stream_name
from config.patterns import ALL, StreamPattern, fill_in
from config.schema import Config, StreamSection
from config.urls import SourceUrl
from flux.app.options import stream_options
from flux.app.seats import SourceMaker
from flux.app.sources import targets_of
from flux.base.errors import PeerError
from flux.bridges.recoder import Recoders
from flux.bridges.slate.bridge import SlateBridge
from flux.bridges.srt.sessions import SrtSessions
from flux.core.children import Children
from flux.core.forwarding import Forwards
from flux.telemetry.collect import Collector
from media.events import StreamChanged, StreamCreated, StreamDeleted
from media.router import Router
from media.stream import State

PATTERN = "pattern"  # origin of streams that a pattern stands for
PUBLISHER = "publisher"  # of streams that exist because somebody published them
WITHOUT_RESTART = ("forward", "slate", "hls", "audio", "max_lag")  # the source goes on
PASSING = (PATTERN, PUBLISHER)  # go when nobody wants them any more


@dataclass(slots=True)
class _Entry:
    section: StreamSection
    origin: str


class StreamRegistry:
    """Every declared stream; implements `flux.core.control.Control` for the API."""

    def __init__(
        self,
        config: Config,
        router: Router,
        children: Children,
        collector: Collector,
        emit: Callable[[object], None],
        forwards: Forwards,
        srt_sessions: SrtSessions,
    ) -> None:
        self._config = config
        self._router = router
        self._collector = collector
        self._emit = emit
        self._forwards = forwards
        self._sources = SourceMaker(config, router, children, srt_sessions)
        self.slates = SlateBridge(router, children, emit)
        collector.slates = self.slates.state
        self._recoders = Recoders(children)
        router.on_recoding = self._recoders.use
        self._entries: dict[str, _Entry] = {}
        self._versions: Counter[str] = Counter()
        self._idle_since: dict[str, float] = {}  # of streams that patterns made
        self._patterns: list[tuple[StreamPattern, StreamSection]] = []
        for name, section in config.streams.items():
            pattern = StreamPattern.parse(name)
            if pattern.is_exact:
                self._declare(name, section, "config")
            else:
                self._patterns.append((pattern, section))
        self._patterns.sort(key=lambda each: each[0].text == ALL)  # what is special goes first
        router.resolve = self._resolve
        router.resolve_published = self._resolve_published

    # -- Control -----------------------------------------------------------------------------

    def create(self, name: str, section: StreamSection) -> None:
        """Declare a stream at run time and start its source."""
        if name in self._entries:
            raise PeerError("name-taken", 409, name)
        self._declare(name, section, "api")
        self._router.start(time.monotonic(), name)

    def change(self, name: str, section: StreamSection) -> None:
        """Give a stream another source; its readers are held meanwhile."""
        entry = self._find(name)
        before = entry.section
        if before == section:
            return
        entry.section = section
        self._versions[name] += 1
        self._send_on(name, section, entry.origin, ())
        self._choose_slate(name, section)
        self._use_options(name, section)
        same = {key: getattr(section, key) for key in WITHOUT_RESTART}
        if before.model_copy(update=same) == section:
            self._emit(StreamChanged(name, entry.origin))
            return  # its source is the one before
        self._router.replace_source(
            name,
            self._sources.make(name, section),
            kind=section.source.scheme if section.source else "",
            url=str(section.source or ""),
            on_demand=section.on_demand,
            take_over=section.second_publisher == "take_over",
            now=time.monotonic(),
        )
        self._count_rtp(name)
        self._emit(StreamChanged(name, entry.origin))

    def switch(self, name: str, source: int | None) -> None:
        """Prefer one of a stream's sources; None: the first one that delivers, as declared."""
        onair = self._router.onair(name)
        if onair is None:
            raise PeerError("stream-not-found", 404, name)
        if onair.priority is None:
            raise PeerError("one-source-only", 409, name)
        onair.priority.choose(source, time.monotonic())

    def delete(self, name: str) -> None:
        """End a stream and forget its name."""
        entry = self._find(name)
        del self._entries[name]
        self._versions[name] += 1
        if entry.origin in PASSING:
            del self._versions[name]  # anybody makes such names, as many as they like
        self._forwards.remove(name)
        self._router.remove(name, "stream-deleted", time.monotonic())
        self._sources.drop(name)
        self._count_rtp(name)
        self.slates.choose(name, OFF)
        self._emit(StreamDeleted(name, entry.origin))

    def section(self, name: str) -> StreamSection | None:
        """What a stream was declared with."""
        entry = self._entries.get(name)
        return entry.section if entry is not None else None

    def settings(self, name: str) -> StreamSection | None:
        """What stands for a name: its declaration, or the first pattern that it matches."""
        entry = self._entries.get(name)
        if entry is not None:
            return entry.section
        matches = (
            section for pattern, section in self._patterns if pattern.match(name) is not None
        )
        return next(matches, None)

    def version(self, name: str) -> int:
        """Grows with each change, also over deletion."""
        return self._versions[name]

    def kick(self, session: str) -> bool:
        """End a session by its id."""
        return self._router.kick(session, time.monotonic())

    def tick(self, now: float) -> None:
        """About once a second: forget streams that nobody declared or wants any more."""
        self._recoders.tick(now)
        keep = self._config.sources.close_after
        for name in [name for name, entry in self._entries.items() if entry.origin in PASSING]:
            stream = self._router.find(name)
            is_idle = stream is not None and stream.state is State.IDLE
            if stream is None or not is_idle or self._router.leases(name):
                self._idle_since.pop(name, None)
            elif now - self._idle_since.setdefault(name, now) >= keep:
                del self._idle_since[name]
                self.delete(name)

    async def wait_ended(self) -> None:
        """Return once every source has said goodbye."""
        self.slates.close()
        self._recoders.close("server-stopping")
        await self._sources.wait_ended()

    # -- inside ------------------------------------------------------------------------------

    def _resolve(self, name: str) -> bool:
        """Declare the stream that the first matching pattern stands for, if there is one."""
        try:
            check_stream_name(name)
        except ValueError:
            return False
        for pattern, section in self._patterns:
            parts = pattern.match(name)
            if parts is None:
                continue
            if self._is_full():
                return False
            urls = (section.source, *section.fallback)
            try:
                source, *fallback = (_filled(url, name, parts) for url in urls)
            except ValueError:
                return False  # what a viewer asked for makes no URL
            update = {"source": source, "fallback": tuple(fallback), "on_demand": True}
            self._declare(name, section.model_copy(update=update), PATTERN, parts)
            return True
        return False

    def _resolve_published(self, name: str) -> bool:
        """Declare the stream that somebody publishes under a name nobody declared."""
        if self._resolve(name):
            return True
        try:
            check_stream_name(name)
        except ValueError:
            return False
        if not self._config.publishers.any_name or self._is_full():
            return False
        self._declare(name, StreamSection(), PUBLISHER)
        return True

    def _is_full(self) -> bool:
        passing = sum(entry.origin in PASSING for entry in self._entries.values())
        return passing >= self._config.limits.undeclared_streams

    def _use_options(self, name: str, section: StreamSection) -> None:
        stream = self._router.find(name)
        if stream is not None:
            options = stream_options(self._config, section)
            stream.use_audio(options.audio, time.monotonic(), options.audio_by_output)
            stream.options = options

    def _find(self, name: str) -> _Entry:
        entry = self._entries.get(name)
        if entry is None:
            raise PeerError("stream-not-found", 404, name)
        return entry

    def _declare(
        self, name: str, section: StreamSection, origin: str, parts: tuple[str, ...] = ()
    ) -> None:
        sources = self._config.sources
        self._router.declare(
            name,
            stream_options(self._config, section),
            kind=section.source.scheme if section.source else "",
            url=str(section.source or ""),
            on_demand=section.on_demand,
            origin=origin,
            start_timeout=sources.start_timeout,
            close_after=sources.close_after,
            take_over=section.second_publisher == "take_over",
        )
        source = self._sources.make(name, section)
        if source is not None:
            self._router.set_source(name, source)
        self._count_rtp(name)
        self._entries[name] = _Entry(section, origin)
        self._versions[name] += 1
        self._choose_slate(name, section)
        self._send_on(name, section, origin, parts)
        self._emit(StreamCreated(name, origin))

    def _send_on(
        self, name: str, section: StreamSection, origin: str, parts: tuple[str, ...]
    ) -> None:
        """Tell who sends streams on. A stream that runs for others only is not kept by that."""
        is_passive = origin in PASSING or section.source is None
        self._forwards.declare(name, targets_of(section, name, parts), passive=is_passive)

    def _choose_slate(self, name: str, section: StreamSection) -> None:
        usual = self._config.sources.slate
        self.slates.choose(name, usual if section.slate is None else section.slate)

    def _count_rtp(self, name: str) -> None:
        """Tell the collector who counts what comes for a name."""
        figures = self._sources.figures(name)
        self._collector.rtp_sources.pop(name, None)
        if figures is not None:
            self._collector.rtp_sources[name] = figures


def _filled(url: SourceUrl | None, name: str, parts: tuple[str, ...]) -> SourceUrl | None:
    """The URL with what a pattern's variable parts matched; raises `ValueError`."""
    return SourceUrl.parse(fill_in(url.reveal(), name, parts)) if url is not None else None
