"""The handle that a source writes through, for one run from its first track to its end."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from media.frame import NO_TIME
from media.link import LinkFigures
from media.standby import Standby
from media.stream import Stream
from media.track import Track, TrackDescription


class Publisher:
    """One run of one source. Writing after `close` is counted and does nothing.

    It is on air, or it stands by until its turn comes; those who write need not know.
    """

    def __init__(
        self,
        stream: Stream,
        tracks: tuple[Track, ...],
        origin: str,
        session: str,
        on_close: Callable[["Publisher", str, float], None],
        seat: int | None = None,
    ) -> None:
        self.stream = stream
        self.tracks = tracks
        self.origin = origin  # protocol or maker
        self.session = session
        self.seat = seat  # which of the stream's sources it is of; None: there is only one
        self.since = 0.0  # Unix seconds
        self.address = ""  # of a peer that publishes by itself, without the port
        self.user_agent = ""
        self.link: Callable[[], LinkFigures] | None = None
        self.closed = False
        self.standby: Standby | None = None  # while it is not on air
        self.on_ended: Callable[[str], None] | None = None  # its owner: somebody else ended it
        self.is_unseen = False  # nobody has wanted its media for a while: `count` will do
        self.on_wanted: Callable[[], None] | None = None  # its owner: write what was only counted
        self._on_close = on_close
        self._publish = stream.publish
        self._own: dict[Track, Track] | None = None  # its tracks -> the stream's, if not the same

    def write(
        self,
        track: Track,
        timestamp: int,
        payload: tuple[bytes, ...],
        arrived: float,
        dts: int = NO_TIME,
    ) -> None:
        """One unit: `timestamp` is its presentation time in unwrapped ticks of the source's clock.

        `payload` is NAL units without start codes, or one audio packet; `arrived` is monotonic
        seconds; `dts` is the source's decode time where it has one.
        """
        if self.closed:
            self.stream.drops["publisher-closed"] += 1
            return
        self._publish(track, timestamp, payload, arrived, dts)

    def count(self, track: Track, units: int, size_bytes: int, start: int, now: float) -> None:
        """Units that came and are not written, as nobody wants them; negative: they are after all.

        `start`: the time of one that a decoder can start with, in the source's 90 kHz, or NO_TIME.
        """
        if self.closed:
            return
        stream = self.stream
        state = stream.inputs.get(track if self._own is None else self._own[track])
        if state is None:
            return
        state.count(units, size_bytes, start)
        stream.received_bytes += size_bytes
        if units > 0:
            stream.gop.clear()  # of no use any more
            if start != NO_TIME:
                stream.key_at = now

    def see(self) -> None:
        """Somebody wants its media."""
        self.is_unseen = False
        on_wanted, self.on_wanted = self.on_wanted, None
        if on_wanted is not None:
            on_wanted()

    def anchor(self, timestamps: Mapping[Track, int]) -> None:
        """These source timestamps are the same instant (RTP-Info, RFC 2326 section 12.33)."""
        if self.closed:
            return
        if self.standby is not None:
            self.standby.anchor(timestamps)
            return
        own = self._own
        if own is not None:
            timestamps = {own[track]: value for track, value in timestamps.items()}
        self.stream.timeline.anchor(timestamps)

    def sender_report(self, track: Track, ntp: int, timestamp: int, now: float) -> None:
        """The source's 64-bit NTP at `timestamp` (RFC 3550 section 6.4.1)."""
        del now
        if self.closed:
            return
        if self.standby is not None:
            self.standby.sender_report(track, ntp, timestamp)
            return
        own = track if self._own is None else self._own[track]
        self.stream.timeline.sender_report(own, ntp, timestamp)

    def dropped(self, reason: str, track: Track | None = None, count: int = 1) -> None:
        """The source lost or refused something; counted under the stream and the reason."""
        del track
        self.stream.drops[reason] += count

    def close(self, reason: str, now: float) -> None:
        """The run is over: it was kicked, replaced, or its source has stopped."""
        if not self.closed:
            self.closed = True
            self.standby = self.on_wanted = None
            self._publish = self.stream.publish  # nothing of it holds itself
            self._on_close(self, reason, now)
            if self.on_ended is not None:
                self.on_ended(reason)

    def finish(self, reason: str, now: float) -> None:
        """As `close`, by the owner itself, who needs not be told."""
        self.on_ended = None
        self.close(reason, now)

    # -- for who decides what is on air --------------------------------------------------------

    def wait(self, standby: Standby) -> None:
        """Write no further into the stream until `go_on_air`."""
        self.see()
        self.standby = standby
        self._publish = self._stand_by

    def go_on_air(self, tracks: tuple[Track, ...]) -> None:
        """Write into the stream, whose tracks for this run are these, in the order of its own."""
        standby, self.standby = self.standby, None
        is_same = all(own is other for own, other in zip(self.tracks, tracks, strict=True))
        self._own = None if is_same else dict(zip(self.tracks, tracks, strict=True))
        self._publish = self.stream.publish if is_same else self._publish_as
        if standby is not None:
            if standby.anchors:
                self.anchor(standby.anchors)
            for track, (ntp, timestamp) in standby.reports.items():
                self.sender_report(track, ntp, timestamp, 0.0)

    def _publish_as(
        self, track: Track, timestamp: int, payload: tuple[bytes, ...], arrived: float, dts: int
    ) -> None:
        """On air with tracks that are others than those it was given at first."""
        if self._own is not None and track in self._own:
            self.stream.publish(self._own[track], timestamp, payload, arrived, dts)

    def _stand_by(
        self, track: Track, timestamp: int, payload: tuple[bytes, ...], arrived: float, dts: int
    ) -> None:
        """Not on air; with this very unit it may be."""
        if self.standby is not None:
            for unit in self.standby.write(track, timestamp, payload, arrived, dts):
                self.write(*unit)


class Publishing(Protocol):
    """What a source needs of the router."""

    def publish(
        self, name: str, descriptions: Sequence[TrackDescription], *, now: float, origin: str
    ) -> Publisher:
        """Begin a run; raises `PeerError` where the name cannot be published."""
