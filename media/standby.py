"""The place of a publisher that is not on air: a slate or another source is, or it was silent.

What it writes is looked at, not passed on: parameters are learned, sound of the last second is
held, and with each picture that a decoder can start at the owner is asked whether it is this one's
turn. If so it goes on air with that very picture, and the sound that belongs behind it follows, so
what viewers had before stays until there is something better.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from media.codecs.tracker import ParameterTracker, tracker_for
from media.parameters import Parameters
from media.stream import KEY_FRAME_PATIENCE, SILENCE
from media.track import OPAQUE_RTP, Kind, Track, TrackDescription

MAX_HELD = 256  # units of sound and data
HELD_SECONDS = 1.0  # sound that is older belongs before the picture

Unit = tuple[Track, int, tuple[bytes, ...], float, int]  # as `Stream.publish` takes it
Ask = Callable[["Standby", float], bool]  # whether it goes on air now


class Standby:
    """One waiting publisher's units. `ask(standby, now)` is asked at each place to start."""

    def __init__(self, tracks: Sequence[Track], now: float, patience: float, ask: Ask) -> None:
        """`patience`: seconds without a unit, after which it is not healthy."""
        self._began_at = now
        self._patience = patience
        self._ask = ask
        self._seen = {track: _Seen(track) for track in tracks}
        self._lead = next((track for track in tracks if track.kind is Kind.VIDEO), None)
        self._held: deque[Unit] = deque(maxlen=MAX_HELD)
        self._anchors: dict[Track, int] = {}
        self._reports: dict[Track, tuple[int, int]] = {}
        self.heard_at: float | None = None
        self.healthy_since: float | None = None

    def healthy_for(self, now: float) -> float:
        """Seconds for which it has sent without a break; 0 while it is silent."""
        if self.healthy_since is None or self.heard_at is None:
            return 0.0
        if now - self.heard_at > self._patience:
            return 0.0
        return now - self.healthy_since

    def is_alive(self, now: float) -> bool:
        """Whether it has sent something lately, or is new."""
        heard_at = self._began_at if self.heard_at is None else self.heard_at
        return now - heard_at <= self._patience

    def is_complete(self, now: float) -> bool:
        """Whether every track is known, or was silent for as long as a start may be delayed."""
        return now - self._began_at >= SILENCE or all(
            each.has_spoken and each.is_known for each in self._seen.values()
        )

    def descriptions(self) -> tuple[TrackDescription, ...]:
        """Its tracks with the parameters as they are now."""
        return tuple(
            TrackDescription(track.kind, track.codec, track.clock_rate, each.parameters)
            for track, each in self._seen.items()
        )

    def write(
        self, track: Track, timestamp: int, payload: tuple[bytes, ...], arrived: float, dts: int
    ) -> tuple[Unit, ...]:
        """Take a unit as `Stream.publish` does; the answer is what to publish first, once on air.

        An empty answer says that it still waits.
        """
        seen = self._seen.get(track)
        if seen is None:
            return ()
        if self.heard_at is None or arrived - self.heard_at > self._patience:
            self.healthy_since = arrived
        self.heard_at = arrived
        inspected = seen.tracker.inspect(payload)
        seen.has_spoken = True
        if not inspected.payload:
            return ()
        unit = (track, timestamp, payload, arrived, dts)
        if track is not self._lead and self._lead is not None:
            self._held.append(unit)
            return ()
        if not seen.is_known or not self._is_start(inspected.key, arrived):
            return ()
        if not self._ask(self, arrived):
            return ()
        held = [each for each in self._held if arrived - each[3] <= HELD_SECONDS]
        self._held.clear()
        return (unit, *held)

    def _is_start(self, key: bool, now: float) -> bool:
        """Whether a viewer may begin here; after a while that is anywhere."""
        return key or now - self._began_at > KEY_FRAME_PATIENCE

    # -- what the source says of its clocks, for later -----------------------------------------

    def anchor(self, timestamps: Mapping[Track, int]) -> None:
        """See `Publisher.anchor`."""
        self._anchors = dict(timestamps)

    def sender_report(self, track: Track, ntp: int, timestamp: int) -> None:
        """See `Publisher.sender_report`."""
        self._reports[track] = (ntp, timestamp)

    @property
    def anchors(self) -> Mapping[Track, int]:
        """The last ones that were said."""
        return self._anchors

    @property
    def reports(self) -> Mapping[Track, tuple[int, int]]:
        """The last one of each track: NTP and timestamp."""
        return self._reports


class _Seen:
    """What is known of one track."""

    __slots__ = ("has_spoken", "needs_parameters", "tracker")

    def __init__(self, track: Track) -> None:
        # Trackers begin with a track's parameters, and those of a track on air are the slate's.
        self.tracker: ParameterTracker = tracker_for(
            Track(track.id, track.kind, track.codec, track.clock_rate, track.parameters)
        )
        self.has_spoken = False
        is_opaque = track.codec.startswith(OPAQUE_RTP)
        self.needs_parameters = track.kind is not Kind.DATA and not is_opaque

    @property
    def parameters(self) -> Parameters | None:
        return self.tracker.parameters

    @property
    def is_known(self) -> bool:
        return self.tracker.parameters is not None or not self.needs_parameters
