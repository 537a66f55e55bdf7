"""RTP in: datagrams or interleaved frames of a session become units written to a publisher."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from flux.bridges.rtp.events import SessionEvent
from flux.bridges.rtp.track import RtpTrackReceiver, UnitPublisher
from flux.bridges.rtp.tracks import RtpTrack
from media.track import Track
from protocols.rtcp import ReceiverReporter

MAX_EVENTS = 256  # the oldest go when the owner does not ask for them


class SessionPublisher(UnitPublisher, Protocol):
    """What is used of `media.publisher.Publisher` by a session."""

    def anchor(self, timestamps: Mapping[Track, int]) -> None:
        """Take source timestamps that are the same instant."""


class RtpSessionReceiver:
    """All tracks of one pulled or announced session. Sans-IO: `now` in, reports and events out.

    `publisher` is what `Router.publish` gave for the descriptions of `tracks`, in the same order; a
    track's index is its place there.
    """

    def __init__(
        self,
        publisher: SessionPublisher,
        tracks: Sequence[RtpTrack],
        *,
        reliable: bool,
        ssrc: int,
        cname: str,
        random: Callable[[], float],
        now: float,
        channels: Mapping[int, tuple[int, bool]] | None = None,
    ) -> None:
        """Begin to receive.

        `reliable`: RTP over TCP, nothing is reordered and gaps pass at once. `ssrc` and `cname` are
        ours, for the reports. `random` answers numbers from 0 to 1 (RTCP interval). `channels` is
        interleaved channel -> (track index, whether it is RTCP); by default track i has the
        channels 2i and 2i + 1.
        """
        self._publisher = publisher
        self._events: deque[SessionEvent] = deque(maxlen=MAX_EVENTS)
        self._reports: list[tuple[int, bytes]] = []
        self.tracks = tuple(
            RtpTrackReceiver(
                index,
                publisher,
                track,
                ReceiverReporter(ssrc, cname, random, now),
                self._events.append,
                reliable=reliable,
            )
            for index, track in enumerate(tracks)
        )
        if channels is None:
            channels = {
                2 * i + rtcp: (i, bool(rtcp)) for i in range(len(tracks)) for rtcp in (0, 1)
            }
        self._channels = dict(channels)
        # RTP of each track, until RTCP comes between: a report stands in front of the packets that
        # it helps to place, a goodbye behind the last one.
        self._batches: dict[int, list[bytes]] = {
            channel: [] for channel, (_, is_rtcp) in self._channels.items() if not is_rtcp
        }

    def receive_interleaved(self, frames: Sequence[tuple[int, bytes]], now: float) -> None:
        """Take (channel, bytes) in the order they came; other channels' are counted and dropped."""
        batches = self._batches
        for channel, data in frames:
            try:
                batches[channel].append(data)
            except KeyError:
                if channel in self._channels:
                    self._hand_on(now)
                    self.receive_rtcp(self._channels[channel][0], (data,), now)
                else:
                    self._publisher.dropped("rtp-unknown-channel")
        self._hand_on(now)

    def _hand_on(self, now: float) -> None:
        for channel, batch in self._batches.items():
            if batch:
                self.tracks[self._channels[channel][0]].receive(batch, now)
                batch.clear()

    def receive_rtp(self, track_index: int, datagrams: Sequence[bytes], now: float) -> None:
        """Take RTP datagrams of one track that arrived at `now`."""
        self.tracks[track_index].receive(datagrams, now)

    def receive_rtcp(self, track_index: int, datagrams: Sequence[bytes], now: float) -> None:
        """Take RTCP compounds of one track."""
        track = self.tracks[track_index]
        for data in datagrams:
            track.receive_rtcp(data, now)

    def anchor(self, rtptimes: Mapping[int, int]) -> None:
        """RTP-Info of the PLAY reply (RFC 2326 section 12.33): 32-bit rtptime by track index.

        Entries without rtptime are left out. The unwrapped scale of each track is fixed here, so
        that it fits packets yet to come.
        """
        timestamps = {
            self.tracks[index].track: self.tracks[index].seed(rtptime)
            for index, rtptime in rtptimes.items()
        }
        if timestamps:
            self._publisher.anchor(timestamps)

    def get_timer(self) -> float | None:
        """When to call handle_timer next."""
        return min((track.get_timer() for track in self.tracks), default=None)

    def handle_timer(self, now: float) -> None:
        """Release what waited too long; make the reports that are due."""
        for index, track in enumerate(self.tracks):
            report = track.handle_timer(now)
            if report is not None:
                self._reports.append((index, report))

    def make_reports(self, now: float) -> None:
        """Make a report for every track now: opens holes in a NAT after SETUP."""
        self._reports += [(i, track.make_report(now)) for i, track in enumerate(self.tracks)]

    def close(self, now: float) -> None:
        """Make a BYE for every track (RFC 3550 section 6.6), for a last `reports_to_send`."""
        self._reports += [(i, track.make_goodbye(now)) for i, track in enumerate(self.tracks)]

    def reports_to_send(self) -> list[tuple[int, bytes]]:
        """(track index, RTCP compound) for that track's RTCP channel; the list is the caller's."""
        reports = self._reports
        self._reports = []
        return reports

    def next_event(self) -> SessionEvent | None:
        """SourceRestarted, SourceEnded, or None."""
        return self._events.popleft() if self._events else None
