"""What takes a container's bytes for one name: its runs, one after the other, and its counts.

Base of the receivers of containers that do not say at once what is in them: units are kept until a
run can begin.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from flux.base.errors import PeerError
from flux.base.units import rescale
from media.frame import NO_TIME
from media.publisher import Publisher, Publishing
from media.track import Kind, Track, TrackDescription

RUN_PAUSE = 1.0  # seconds from one run's begin to the next
ANCHOR_HZ = 90_000
TRACKS_CHANGED = "tracks-changed"


class Unit(Protocol):
    """What a container holds of one track; times in ticks of the track's clock."""

    @property
    def pts(self) -> int:
        """When it is shown."""

    @property
    def dts(self) -> int:
        """When it is decoded."""

    @property
    def payload(self) -> tuple[bytes, ...]:
        """Its bytes."""


AnyUnit = TypeVar("AnyUnit", bound=Unit)


class Receiver(ABC, Generic[AnyUnit]):
    """One name's runs. Sans-IO: its children are given `now`.

    `on_ended(reason)` comes once, when nothing more can be published: the router refused, somebody
    else ended the run, or what comes is of no use. After `close` it does not come.
    """

    def __init__(
        self,
        name: str,
        router: Publishing,
        origin: str,
        on_ended: Callable[[str], None],
        on_playing: Callable[[], None] | None,
        most_kept_bytes: int,
    ) -> None:
        """`origin` is the protocol that it comes by; `on_playing()` is called when a run begins."""
        self._name = name
        self._router = router
        self._origin = origin
        self._on_ended = on_ended
        self._on_playing = on_playing
        self._publisher: Publisher | None = None
        self._run_at = float("-inf")  # when the run began
        self._deadline: float | None = None  # for a decision about a run
        self._now = 0.0
        self._kept: list[AnyUnit] = []  # units of what is in no run yet
        self._kept_bytes = 0
        self._most_kept_bytes = most_kept_bytes
        self.drops: Counter[str] = Counter()  # all of them; a publisher is told too
        self._untold: Counter[str] = Counter()  # drops from before there was a publisher
        self.closed = False

    @property
    def is_playing(self) -> bool:
        """Whether a run is under way."""
        return self._publisher is not None

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
        self._decide_late()

    def close(self, reason: str, now: float) -> None:
        """End the run; what is not whole is forgotten."""
        if self.closed:
            return
        self._close(reason, now)
        self._on_ended = _nobody  # whoever hears it may hold this

    # -- for its children --------------------------------------------------------------------

    @abstractmethod
    def _decide_late(self) -> None:
        """The deadline has passed."""

    @abstractmethod
    def _let_go(self) -> None:
        """The end: close what is below."""

    def _keep(self, unit: AnyUnit, overflow: str) -> None:
        """Keep a unit for the next run; `overflow` is the reason if there is no room."""
        self._kept_bytes += sum(map(len, unit.payload))
        if self._kept_bytes > self._most_kept_bytes:
            self.dropped(overflow)
        else:
            self._kept.append(unit)

    def _write(self, track: Track, unit: AnyUnit, arrived: float) -> None:
        """Publish a unit as one of a track of the run."""
        if self._publisher is not None:
            # Only pictures are decoded in another order than they are shown.
            dts = unit.dts if track.kind is Kind.VIDEO else NO_TIME
            self._publisher.write(track, unit.pts, unit.payload, arrived, dts)

    def _take_kept(self) -> list[AnyUnit]:
        """What was kept; nothing is from now on."""
        kept, self._kept, self._kept_bytes = self._kept, [], 0
        return kept

    def _leave(self) -> None:
        """End the run for another one."""
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.finish(TRACKS_CHANGED, self._now)

    def _publish(self, descriptions: Sequence[TrackDescription]) -> Publisher | None:
        """Begin a run; None where the router refuses, which is the end."""
        try:
            publisher = self._router.publish(
                self._name, descriptions, now=self._now, origin=self._origin
            )
        except PeerError as error:
            self._end(error.reason)
            return None
        self._publisher = publisher
        self._run_at = self._now
        publisher.on_ended = self._end
        for reason, count in self._untold.items():
            publisher.dropped(reason, None, count)
        self._untold.clear()
        return publisher

    def _play(self) -> None:
        """Tell that a run has begun."""
        if self._on_playing is not None:
            self._on_playing()

    def _close(self, reason: str, now: float) -> None:
        self.closed = True
        self._deadline = None
        self._take_kept()
        self._let_go()
        self._on_playing = None
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.finish(reason, now)

    def _end(self, reason: str) -> None:
        """Nothing more can be published."""
        if self.closed:
            return
        self._close(reason, self._now)
        on_ended, self._on_ended = self._on_ended, _nobody
        on_ended(reason)


def anchor(publisher: Publisher, ticks: int, tracks: Iterable[Track]) -> None:
    """Tell that all tracks are at this instant, in ticks of `ANCHOR_HZ`, by the same clock."""
    publisher.anchor({track: rescale(ticks, ANCHOR_HZ, track.clock_rate) for track in tracks})


def _nobody(reason: str) -> None:
    """The end has been told, or nobody asked."""
