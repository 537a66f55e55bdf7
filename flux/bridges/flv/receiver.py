"""FLV to the router: tags become units, and a run begins once it is known what is in them.

FLV does not say which tracks there are: the flags of the file and onMetaData say what to expect,
where they tell the truth. A run begins when all that is expected has been described, or
START_TIMEOUT after the first. What shows up later, or as another codec, begins another run.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from flux.base.errors import PeerError, WireError
from flux.base.units import rescale
from media.flv.amf import Read
from media.flv.demuxer import FlvDemuxer, FlvEvent, FlvTrack, FlvUnit, MetaData, TrackDescribed
from media.flv.reader import HAS_AUDIO, HAS_VIDEO, FlvReader
from media.frame import NO_TIME
from media.publisher import Publisher
from media.track import Kind, Track, TrackDescription

START_TIMEOUT = 2.0  # seconds for the tracks that are still missing
MEDIA_TIMEOUT = 10.0  # seconds for the first one
RUN_PAUSE = 1.0  # seconds between the beginnings of two runs
MAX_KEPT_BYTES = 32 << 20  # of units that wait for a run
NO_MEDIA = "no-media"
TRACKS_CHANGED = "tracks-changed"
ANCHOR_HZ = 90_000

logger = structlog.get_logger()


class Publishing(Protocol):
    """What is needed of the router."""

    def publish(
        self, name: str, descriptions: Sequence[TrackDescription], *, now: float, origin: str
    ) -> Publisher:
        """Begin a run; raises `PeerError` where the name cannot be published."""


class FlvReceiver:
    """One FLV stream in. Sans-IO: bytes or messages and `now` in; units go to the publisher.

    `on_ended(reason)` comes once, when nothing more can be published: the router refused, somebody
    else ended the run, or what comes is no FLV. After `close` it does not come.
    """

    def __init__(
        self,
        name: str,
        router: Publishing,
        origin: str,
        on_ended: Callable[[str], None],
        *,
        on_playing: Callable[[], None] | None = None,
    ) -> None:
        """`origin` is the protocol that it comes by; `on_playing()` is called when a run begins."""
        self._name = name
        self._router = router
        self._origin = origin
        self._on_ended = on_ended
        self._on_playing = on_playing
        self._reader = FlvReader()
        self._demuxer = FlvDemuxer(self.dropped)
        self._publisher: Publisher | None = None
        self._found: dict[Kind, FlvTrack] = {}  # those that were described
        self._expected: set[Kind] = set()
        self._carried: dict[FlvTrack, Track] = {}  # those of the run
        self._kept: list[FlvUnit] = []
        self._kept_bytes = 0
        self._deadline: float | None = None
        self._run_at: float | None = None
        self._now = 0.0
        self.tags = 0  # that came
        self.drops: Counter[str] = Counter()
        self._untold: Counter[str] = Counter()  # drops from before there was a publisher
        self.closed = False

    @property
    def is_playing(self) -> bool:
        """Whether a run is under way."""
        return self._publisher is not None

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes of a file, cut anywhere."""
        if self.closed:
            return
        self._now = now
        try:
            tags = self._reader.feed(data)
        except WireError as error:
            self._end(error.reason)
            return
        flags = self._reader.flags
        if flags and not self.tags:
            self._expect(video=bool(flags & HAS_VIDEO), audio=bool(flags & HAS_AUDIO))
        for tag in tags:
            self.take(tag.type, tag.timestamp, tag.body, now)
        if self._reader.breaks:
            self.dropped("flv-junk", self._reader.breaks)
            self._reader.breaks = 0

    def take(self, kind: int, timestamp: int, body: bytes, now: float) -> None:
        """Take one tag or message: its type, its time in milliseconds of 32 bits, its body."""
        if self.closed:
            return
        self._now = now
        self.tags += 1
        if self._deadline is None and not self._found:
            self._deadline = now + MEDIA_TIMEOUT
        for event in self._demuxer.take(kind, timestamp, body):
            self._handle(event)
        if self._deadline is not None and now >= self._deadline:
            self.handle_timer(now)

    def dropped(self, reason: str, count: int = 1) -> None:
        """Count what was lost or refused on the way here."""
        self.drops[reason] += count
        if self._publisher is not None:
            self._publisher.dropped(reason, None, count)
        else:
            self._untold[reason] += count

    def get_timer(self) -> float | None:
        """When to call handle_timer."""
        return self._deadline

    def handle_timer(self, now: float) -> None:
        """Begin with what has come, or give up."""
        if self.closed or self._deadline is None or now < self._deadline:
            return
        self._now = now
        self._deadline = None
        if self._found:
            self._run()
        else:
            self._end(NO_MEDIA)

    def close(self, reason: str, now: float) -> None:
        """End the run."""
        if self.closed:
            return
        self._close(reason, now)
        self._on_ended = _nobody  # whoever hears it may hold this

    # -- what came ---------------------------------------------------------------------------

    def _handle(self, event: FlvEvent) -> None:
        if self.closed:
            return
        if isinstance(event, FlvUnit):
            track = self._carried.get(event.track)
            if track is not None and self._publisher is not None:
                # Only pictures are decoded in another order than they are shown.
                dts = event.dts if track.kind is Kind.VIDEO else NO_TIME
                self._publisher.write(track, event.pts, event.payload, self._now, dts)
            else:
                self._keep(event)
        elif isinstance(event, TrackDescribed):
            self._describe(event.track)
        elif isinstance(event, MetaData):
            self._take_metadata(event.values)
        else:
            logger.warning(
                "track not taken",
                stream=self._name,
                protocol=self._origin,
                kind=str(event.kind),
                codec=event.codec,
            )

    def _take_metadata(self, values: dict[str, Read]) -> None:
        """What it names is there; what it does not name may be there all the same."""
        self._expect(
            video=bool(values.get("videocodecid")), audio="audiocodecid" in values
        )  # 0 is PCM

    def _expect(self, *, video: bool, audio: bool) -> None:
        if video:
            self._expected.add(Kind.VIDEO)
        if audio:
            self._expected.add(Kind.AUDIO)

    def _describe(self, track: FlvTrack) -> None:
        self._found[track.kind] = track
        self._carried.pop(track, None)  # what comes from now on is for the next run
        self._kept = [unit for unit in self._kept if unit.track is not track]
        if self._publisher is None:
            if self._expected and self._expected <= set(self._found):
                self._run()
            elif len(self._found) == 1:
                self._deadline = self._now + START_TIMEOUT
            else:
                self._run()
        elif self._run_at is None or self._now >= self._run_at + RUN_PAUSE:
            self._run()
        else:
            self._deadline = self._run_at + RUN_PAUSE

    def _keep(self, unit: FlvUnit) -> None:
        """A unit of a track that is in no run yet."""
        if self._found.get(unit.track.kind) is not unit.track:
            return
        self._kept_bytes += sum(map(len, unit.payload))
        if self._kept_bytes > MAX_KEPT_BYTES:
            self.dropped("flv-start-overflow")
        else:
            self._kept.append(unit)

    # -- runs --------------------------------------------------------------------------------

    def _run(self) -> None:
        """Publish what has been found."""
        self._deadline = None
        found = [self._found[kind] for kind in Kind if kind in self._found]
        descriptions = [each.description for each in found]
        known = [each for each in descriptions if each is not None]
        before, self._publisher = self._publisher, None
        if before is not None:
            before.on_ended = None
            before.finish(TRACKS_CHANGED, self._now)
        try:
            publisher = self._router.publish(self._name, known, now=self._now, origin=self._origin)
        except PeerError as error:
            self._end(error.reason)
            return
        self._publisher = publisher
        self._run_at = self._now
        publisher.on_ended = self._end
        for reason, count in self._untold.items():
            publisher.dropped(reason, None, count)
        self._untold.clear()
        self._carried = dict(zip(found, publisher.tracks, strict=True))
        kept, self._kept, self._kept_bytes = self._kept, [], 0
        if kept:
            first = min(kept, key=lambda unit: unit.dts / unit.track.clock_rate)
            base = rescale(first.dts, first.track.clock_rate, ANCHOR_HZ)
            publisher.anchor(
                {
                    track: rescale(base, ANCHOR_HZ, track.clock_rate)
                    for track in self._carried.values()
                }
            )
        if self._on_playing is not None:
            self._on_playing()
        for unit in kept:
            self._handle(unit)

    def _close(self, reason: str, now: float) -> None:
        self.closed = True
        self._deadline = None
        self._kept, self._kept_bytes = [], 0
        self._demuxer.close()
        self._on_playing = None
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.on_ended = None
            publisher.finish(reason, now)

    def _end(self, reason: str) -> None:
        """Nothing more can be published."""
        if self.closed:
            return
        self._close(reason, self._now)
        on_ended, self._on_ended = self._on_ended, _nobody
        on_ended(reason)


def _nobody(reason: str) -> None:
    """The end has been told, or nobody asked."""
