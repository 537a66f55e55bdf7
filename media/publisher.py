"""The handle that a source writes through, for one run from its first track to its end."""

from collections.abc import Callable, Mapping

from media.frame import NO_TIME
from media.link import LinkFigures
from media.stream import Stream
from media.track import Track


class Publisher:
    """One run of one source. Writing after `close` is counted and does nothing."""

    def __init__(
        self,
        stream: Stream,
        tracks: tuple[Track, ...],
        origin: str,
        session: str,
        on_close: Callable[["Publisher", str, float], None],
    ) -> None:
        self.stream = stream
        self.tracks = tracks
        self.origin = origin  # protocol or maker
        self.session = session
        self.since = 0.0  # Unix seconds
        self.address = ""  # of a peer that publishes by itself, without the port
        self.user_agent = ""
        self.link: Callable[[], LinkFigures] | None = None
        self.closed = False
        self.on_ended: Callable[[str], None] | None = None  # its owner: somebody else ended it
        self._on_close = on_close

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
        self.stream.publish(track, timestamp, payload, arrived, dts)

    def anchor(self, timestamps: Mapping[Track, int]) -> None:
        """These source timestamps are the same instant (RTP-Info, RFC 2326 section 12.33)."""
        if not self.closed:
            self.stream.timeline.anchor(timestamps)

    def sender_report(self, track: Track, ntp: int, timestamp: int, now: float) -> None:
        """The source's 64-bit NTP at `timestamp` (RFC 3550 section 6.4.1)."""
        del now
        if not self.closed:
            self.stream.timeline.sender_report(track, ntp, timestamp)

    def dropped(self, reason: str, track: Track | None = None, count: int = 1) -> None:
        """The source lost or refused something; counted under the stream and the reason."""
        del track
        self.stream.drops[reason] += count

    def close(self, reason: str, now: float) -> None:
        """The run is over: it was kicked, replaced, or its source has stopped."""
        if not self.closed:
            self.closed = True
            self._on_close(self, reason, now)
            if self.on_ended is not None:
                self.on_ended(reason)

    def finish(self, reason: str, now: float) -> None:
        """As `close`, by the owner itself, who needs not be told."""
        self.on_ended = None
        self.close(reason, now)
