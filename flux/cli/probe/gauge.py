"""What the probes of live protocols have in place of a publisher."""

from collections.abc import Sequence

from flux.cli.probe.figures import Board, TrackMeter
from media.codecs.tracker import ParameterTracker, tracker_for
from media.frame import NO_TIME
from media.publisher import Publisher
from media.stream import Stream, StreamOptions
from media.track import Track, TrackDescription


class Gauge(Publisher):
    """Takes the units that a source writes, and measures them instead of publishing them."""

    def __init__(self, board: Board, descriptions: Sequence[TrackDescription]) -> None:
        tracks = tuple(
            Track(index, each.kind, each.codec, each.clock_rate, each.parameters)
            for index, each in enumerate(descriptions)
        )
        stream = Stream("probe", StreamOptions(), lambda event: None)
        super().__init__(stream, tracks, "probe", "probe", lambda publisher, reason, now: None)
        self._board = board
        self._trackers: list[ParameterTracker] = [tracker_for(track) for track in tracks]
        board.tracks = [TrackMeter(track.kind, track.codec) for track in tracks]
        for meter, track in zip(board.tracks, tracks, strict=True):
            meter.describe(track.parameters)

    def write(
        self,
        track: Track,
        timestamp: int,
        payload: tuple[bytes, ...],
        arrived: float,
        dts: int = NO_TIME,
    ) -> None:
        """Measure one unit."""
        inspected = self._trackers[track.id].inspect(payload)
        meter = self._board.tracks[track.id]
        if inspected.changed:
            meter.describe(self._trackers[track.id].parameters)
        if not inspected.payload:
            return
        self._board.media(arrived)
        size = sum(map(len, payload))
        meter.add(timestamp / track.clock_rate, size, key=inspected.key)

    def dropped(self, reason: str, track: Track | None = None, count: int = 1) -> None:
        """Note what was lost or refused."""
        self._board.notes[reason] += count
