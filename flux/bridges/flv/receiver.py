"""FLV to the router: tags become units, and a run begins once it is known what is in them.

FLV does not say which tracks there are: the flags of the file and onMetaData say what to expect,
where they tell the truth. A run begins when all that is expected has been described, or
START_TIMEOUT after the first. What shows up later, or as another codec, begins another run.
"""

from collections.abc import Callable

import structlog

from flux.base.errors import WireError
from flux.base.units import rescale
from media.flv.amf import Read
from media.flv.demuxer import FlvDemuxer, FlvEvent, FlvTrack, FlvUnit, MetaData, TrackDescribed
from media.flv.reader import HAS_AUDIO, HAS_VIDEO, FlvReader
from media.publisher import Publishing
from media.receiver import ANCHOR_HZ, RUN_PAUSE, Receiver, anchor
from media.track import Kind, Track

START_TIMEOUT = 2.0  # seconds for the tracks that are still missing
MEDIA_TIMEOUT = 10.0  # seconds for the first one
MAX_KEPT_BYTES = 32 << 20  # of units that wait for a run
NO_MEDIA = "no-media"

logger = structlog.get_logger()


class FlvReceiver(Receiver[FlvUnit]):
    """One FLV stream in: bytes or messages and `now` in; units go to the publisher."""

    def __init__(
        self,
        name: str,
        router: Publishing,
        origin: str,
        on_ended: Callable[[str], None],
        *,
        on_playing: Callable[[], None] | None = None,
    ) -> None:
        """See `Receiver`."""
        super().__init__(name, router, origin, on_ended, on_playing, MAX_KEPT_BYTES)
        self._reader = FlvReader()
        self._demuxer = FlvDemuxer(self.dropped)
        self._found: dict[Kind, FlvTrack] = {}  # those that were described
        self._expected: set[Kind] = set()
        self._carried: dict[FlvTrack, Track] = {}  # those of the run
        self.tags = 0  # that came

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

    def _decide_late(self) -> None:
        if self._found:
            self._run()
        else:
            self._end(NO_MEDIA)

    def _let_go(self) -> None:
        self._demuxer.close()

    # -- what came ---------------------------------------------------------------------------

    def _handle(self, event: FlvEvent) -> None:
        if self.closed:
            return
        if isinstance(event, FlvUnit):
            track = self._carried.get(event.track)
            if track is not None and self._publisher is not None:
                self._write(track, event, self._now)
            elif self._found.get(event.track.kind) is event.track:
                self._keep(event, "flv-start-overflow")
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
        elif self._now >= self._run_at + RUN_PAUSE:
            self._run()
        else:
            self._deadline = self._run_at + RUN_PAUSE

    # -- runs --------------------------------------------------------------------------------

    def _run(self) -> None:
        """Publish what has been found."""
        self._deadline = None
        found = [self._found[kind] for kind in Kind if kind in self._found]
        descriptions = [each.description for each in found]
        known = [each for each in descriptions if each is not None]
        self._leave()
        publisher = self._publish(known)
        if publisher is None:
            return
        self._carried = dict(zip(found, publisher.tracks, strict=True))
        kept = self._take_kept()
        if kept:
            first = min(kept, key=lambda unit: unit.dts / unit.track.clock_rate)
            base = rescale(first.dts, first.track.clock_rate, ANCHOR_HZ)
            anchor(publisher, base, publisher.tracks)
        self._play()
        for unit in kept:
            self._handle(unit)
