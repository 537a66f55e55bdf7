"""MPEG-TS within RTP (RFC 2250): what an RTP session delivers goes on as a transport stream.

`TsRun` stands where a publisher stands else: the session's one track writes RTP payloads to it, and
the real run begins once the program in them is known.
"""

from collections.abc import Callable, Mapping, Sequence

from flux.bridges.mpegts import TsReceiver
from flux.bridges.rtp.tracks import RtpTrack
from media.frame import NO_TIME
from media.link import LinkFigures
from media.publisher import Publishing
from media.track import OPAQUE_RTP, Track

TS_CODEC = f"{OPAQUE_RTP}mp2t"
LOST = "rtp-packet-lost"


def transport_stream_of(tracks: Sequence[RtpTrack]) -> RtpTrack | None:
    """The section that carries a transport stream: it holds everything, so it is taken alone."""
    return next((track for track in tracks if track.description.codec == TS_CODEC), None)


class TsRun:
    """One run; satisfies `flux.bridges.rtp.receiver.SessionPublisher`."""

    def __init__(self, name: str, router: Publishing, source: RtpTrack) -> None:
        description = source.description
        self.tracks = (Track(0, description.kind, description.codec, description.clock_rate),)
        self.on_ended: Callable[[str], None] | None = None
        self.link: Callable[[], LinkFigures] | None = None
        self._receiver = TsReceiver(name, router, "rtsp", self._ended)
        self._now = 0.0

    def write(
        self,
        track: Track,
        timestamp: int,
        payload: tuple[bytes, ...],
        arrived: float,
        dts: int = NO_TIME,
    ) -> None:
        """Take one RTP payload: whole transport packets. RTP's clock says nothing about them."""
        del track, timestamp, dts
        self._now = arrived
        self._receiver.receive_datagrams(payload[:1], arrived)

    def anchor(self, timestamps: Mapping[Track, int]) -> None:
        """RTP-Info is about RTP's clock: the streams have their own."""

    def sender_report(self, track: Track, ntp: int, timestamp: int, now: float) -> None:
        """So are sender reports."""

    def dropped(self, reason: str, track: Track | None = None, count: int = 1) -> None:
        """Count what was lost or refused; a lost packet is a gap in the streams."""
        del track
        self._receiver.dropped(reason, count)
        if reason == LOST:
            self._receiver.gap(count, self._now)

    def close(self, reason: str, now: float) -> None:
        """End the run that was begun, if one was."""
        self._receiver.close(reason, now)

    def get_timer(self) -> float | None:
        """When to call handle_timer."""
        return self._receiver.get_timer()

    def handle_timer(self, now: float) -> None:
        """Begin with what has come, or give up."""
        self._receiver.handle_timer(now)

    def _ended(self, reason: str) -> None:
        if self.on_ended is not None:
            self.on_ended(reason)
