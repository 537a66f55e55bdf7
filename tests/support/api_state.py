"""A server as the API sees it, whose state a test sets and whose streams the API changes."""

from dataclasses import replace

from config.schema import StreamSection
from flux.base.errors import PeerError
from flux.core.bus import Bus
from flux.telemetry.snapshot import (
    ReaderSnapshot,
    ServerSnapshot,
    SessionSnapshot,
    SourceSnapshot,
    StreamSnapshot,
)
from media.events import StreamChanged, StreamCreated, StreamDeleted
from tests.support.snapshots import make_server, make_stream


def section(**values: object) -> StreamSection:
    """Settings of a stream that a camera feeds, unless they say otherwise."""
    return StreamSection.model_validate({"source": "rtsp://cam/1", **values})


class ApiState:
    """Observed and Control in one, over plain dictionaries."""

    def __init__(self, *streams: StreamSnapshot) -> None:
        self.server = make_server(*streams)
        self.fault: Exception | None = None
        self.bus = Bus()
        self.sections: dict[str, StreamSection] = {}
        self.versions: dict[str, int] = {}
        self.readers: dict[str, tuple[ReaderSnapshot, ...]] = {}
        self.live_sessions: list[SessionSnapshot] = []
        self.kicked: list[str] = []
        self.switched: list[tuple[str, int | None]] = []
        self.srt_sessions: set[str] = set()
        self.srt_cleared = 0

    @property
    def names(self) -> list[str]:
        """The streams that there are."""
        return [stream.name for stream in self.server.streams]

    def declare(self, name: str, settings: StreamSection) -> None:
        """As if the configuration had this stream."""
        self.sections[name] = settings
        self._grow(name)

    # -- Observed ----------------------------------------------------------------------------

    def snapshot(self) -> ServerSnapshot:
        """The server, or the fault that the test wants."""
        if self.fault is not None:
            raise self.fault
        return self.server

    def sessions(self) -> tuple[SessionSnapshot, ...]:
        """All sessions."""
        return tuple(self.live_sessions)

    def reader_list(self, name: str) -> tuple[ReaderSnapshot, ...]:
        """The readers of one stream."""
        return self.readers.get(name, ())

    def srt(
        self, session: str, *, is_clearing: bool, is_tool: bool = False
    ) -> dict[str, object] | None:
        """What a connection of SRT would have."""
        if session not in self.srt_sessions:
            return None
        self.srt_cleared += is_clearing
        if is_tool:
            groups = {"window": {"flow": 8192}, "link": {"rtt": 20.5}, "recv": {"packets": 0}}
            about = {"sid": 7, "timepoint": "2026-11-21T10:57:58.702108+0000", "time": 1000}
            return {**about, **groups, "send": {"packets": 2}}
        return {
            "msTimeStamp": 1000,
            "pktSentTotal": 12,
            "pktSent": 2,
            "msRTT": 20.5,
            "reasons": {"nak-malformed": 1},
            "flux": {"msDrift": 0.25, "recoveryMs": {"bounds": [1], "counts": [0, 1], "sum": 2.0}},
        }

    # -- Control -----------------------------------------------------------------------------

    def create(self, name: str, section: StreamSection) -> None:
        """Make a stream that is at its beginning."""
        if name in self.names:
            raise PeerError("name-taken", 409, name)
        self.declare(name, section)
        kind = section.source.scheme if section.source else ""
        source = SourceSnapshot(kind=kind, url=str(section.source or ""), state="connecting")
        made = StreamSnapshot(name=name, state="starting", origin="api", source=source)
        self.server = replace(self.server, streams=(*self.server.streams, made))
        self.bus.emit(StreamCreated(name, "api"))

    def change(self, name: str, section: StreamSection) -> None:
        """Keep other settings."""
        if name not in self.sections:
            raise PeerError("stream-not-found", 404, name)
        self.declare(name, section)
        self.bus.emit(StreamChanged(name, "api"))

    def delete(self, name: str) -> None:
        """Forget a stream."""
        if self.sections.pop(name, None) is None:
            raise PeerError("stream-not-found", 404, name)
        self._grow(name)
        kept = tuple(stream for stream in self.server.streams if stream.name != name)
        self.server = replace(self.server, streams=kept)
        self.bus.emit(StreamDeleted(name, "api"))

    def section(self, name: str) -> StreamSection | None:
        """What a stream was declared with."""
        return self.sections.get(name)

    def version(self, name: str) -> int:
        """Grows with each change."""
        return self.versions.get(name, 0)

    def switch(self, name: str, source: int | None) -> None:
        """Prefer a source; the streams here have one each."""
        if name not in self.sections:
            raise PeerError("stream-not-found", 404, name)
        if not self.sections[name].fallback:
            raise PeerError("one-source-only", 409, name)
        if source is not None and source > len(self.sections[name].fallback):
            raise PeerError("source-not-found", 404, str(source))
        self.switched.append((name, source))

    def kick(self, session: str) -> bool:
        """End a session."""
        found = [each for each in self.live_sessions if each.id == session]
        for each in found:
            self.live_sessions.remove(each)
            self.kicked.append(each.id)
        return bool(found)

    def _grow(self, name: str) -> None:
        self.versions[name] = self.versions.get(name, 0) + 1


def populated() -> ApiState:
    """Three streams with settings, one that only its publisher knows, and four sessions."""
    published = replace(make_stream("obs"), origin="publisher", source=None, readers={})
    state = ApiState(make_stream("live/cam1"), make_stream("b"), make_stream("a"), published)
    state.declare("live/cam1", section(source="rtsp://user:secret@cam/1", transport="tcp"))
    state.declare("a", section())
    state.declare("b", section(on_demand=True))
    state.readers["live/cam1"] = (
        ReaderSnapshot(id="r1", protocol="http-flv", lag=0.01, sent_bytes=8_000_000),
        ReaderSnapshot(id="r2", protocol="hls", sent_bytes=1_000_000, dropped=7),
    )
    state.live_sessions = [
        SessionSnapshot(
            id=f"r{number}",
            role="reader",
            protocol=protocol,
            stream=stream,
            address=address,
            user_agent="player",
            since=1_795_175_000.0 + number,
            lag=number / 10,
            sent_bytes=1000 - number,
        )
        for number, (protocol, stream, address) in enumerate(
            [
                ("http-flv", "live/cam1", "10.0.0.1"),
                ("hls", "live/cam1", "10.0.0.2"),
                ("http-flv", "b", "10.0.0.2"),
            ],
            start=1,
        )
    ]
    state.live_sessions.append(
        SessionSnapshot(id="p1", role="publisher", protocol="rtsp", stream="b", state="running")
    )
    return state
