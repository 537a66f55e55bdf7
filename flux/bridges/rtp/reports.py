"""RTCP of what we send: sender reports, and what receivers say of it (RFC 3550 section 6.4)."""

from collections.abc import Iterable, Mapping

from flux.base.errors import WireError
from flux.base.serial import distance
from flux.bridges.rtp.packer import MASK_32, RtpOutTrack
from protocols.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    SourceDescription,
    parse_compound,
    serialize_compound,
)

REPORT_INTERVAL = 5.0  # seconds, section 6.2
AHEAD = 0.4  # seconds behind a reader's first packet of which its first report tells
SOON = 0.2  # seconds that a new listener may need for its first packet


class ReaderReports:
    """The reports of one reader: counters from where it began, and what it answered."""

    __slots__ = (
        "_begun",
        "_cname",
        "_due",
        "_heard",
        "_rested",
        "_sent",
        "_starts",
        "broken",
        "received_at",
        "round_trip",
        "tracks",
    )

    def __init__(
        self, tracks: Iterable[RtpOutTrack], cname: str, ahead: Mapping[int, tuple[int, int]]
    ) -> None:
        """`ahead`: by track index, packets and octets made already that this reader gets first."""
        self.tracks = {track.index: track for track in tracks}
        self._cname = cname
        self._begun = {
            index: (
                track.packets - ahead.get(index, (0, 0))[0],
                track.octets - ahead.get(index, (0, 0))[1],
            )
            for index, track in self.tracks.items()
        }
        self._sent: dict[int, float] = {}  # by the middle 32 bits of its NTP: when it was sent
        self._heard: dict[int, tuple[int, float]] = {}  # by SSRC: packets lost, jitter in seconds
        self._due: dict[int, float] = {}  # when the next report is; the first at once
        self._rested: dict[int, tuple[int, int]] = {}  # packets and octets sent before
        self._starts: dict[int, int] = {}  # timestamps that the first reports are to tell of
        self.round_trip: float | None = None  # seconds
        self.received_at: float | None = None  # when it last reported
        self.broken = 0  # compounds that are none

    @property
    def lost(self) -> int:
        """Packets that never arrived, by what the reader says."""
        return sum(lost for lost, _ in self._heard.values())

    @property
    def jitter(self) -> float:
        """Seconds, of the worst track."""
        return max((jitter for _, jitter in self._heard.values()), default=0.0)

    def begin(self, track: RtpOutTrack, packets: int, octets: int) -> None:
        """Another track, or one that rested, of which so much is made already that goes first.

        What was counted before it rested counts on.
        """
        index = track.index
        before = self._rested.pop(index, (0, 0))
        self.tracks[index] = track
        self._begun[index] = track.packets - packets - before[0], track.octets - octets - before[1]
        self._due.pop(index, None)

    def start_at(self, index: int, timestamp: int) -> None:
        """Let the next report of a track tell of an instant soon after that of its first packet.

        Where a reader begins in the past, the present may be too far off for it: GStreamer's player
        ignores a report that is more than a second ahead of what came, and one that is behind it.
        """
        self._starts[index] = timestamp

    def hasten(self, now: float) -> None:
        """Somebody new listens: report soon."""
        for index, due_at in self._due.items():
            self._due[index] = min(due_at, now + SOON)

    def rest(self, index: int) -> None:
        """Nothing of a track is sent from now on."""
        track = self.tracks.pop(index, None)
        if track is not None:
            packets, octets = self._begun[index]
            self._rested[index] = track.packets - packets, track.octets - octets

    def due(self, now: float) -> list[tuple[int, bytes]]:
        """The reports that are due, by track index; a silent track is due with its first frame."""
        found: list[tuple[int, bytes]] = []
        for index in self.tracks:
            if now >= self._due.get(index, 0.0) and (compound := self.make(index, now)) is not None:
                self._due[index] = now + REPORT_INTERVAL
                found.append((index, compound))
        return found

    def make(self, index: int, now: float) -> bytes | None:
        """A compound of SR and SDES for one track; None before its first frame."""
        track = self.tracks[index]
        if not track.is_known:
            return None
        elapsed = max(0.0, now - track.last_arrived)
        timestamp = (track.last_timestamp + int(elapsed * track.clock_rate)) & MASK_32
        start = self._starts.pop(index, None)
        if start is not None:
            ahead = min(int(AHEAD * track.clock_rate), distance(timestamp, start, 32))
            timestamp = (start + max(0, ahead)) & MASK_32
        ntp = track.ntp_of(timestamp)
        packets, octets = self._begun[index]
        self._sent[ntp >> 16 & MASK_32] = now
        if len(self._sent) > 4 * len(self.tracks) + 4:
            del self._sent[next(iter(self._sent))]
        report = SenderReport(
            track.ssrc,
            ntp,
            timestamp,
            (track.packets - packets) & MASK_32,
            (track.octets - octets) & MASK_32,
        )
        return serialize_compound((report, SourceDescription.cname(track.ssrc, self._cname)))

    def goodbye(self, index: int, now: float) -> bytes | None:
        """The last compound of a track, section 6.6."""
        report = self.make(index, now)
        if report is None:
            return None
        return report + Goodbye((self.tracks[index].ssrc,)).serialize()

    def receive(self, data: bytes, now: float) -> None:
        """Take a compound of the reader; what is none is counted."""
        try:
            packets = parse_compound(data)
        except WireError:
            self.broken += 1
            return
        self.received_at = now
        for packet in packets:
            if isinstance(packet, ReceiverReport | SenderReport):
                for block in packet.blocks:
                    self._take(block, now)

    def _take(self, block: ReportBlock, now: float) -> None:
        track = next((t for t in self.tracks.values() if t.ssrc == block.ssrc), None)
        if track is None:
            return
        self._heard[block.ssrc] = max(0, block.cumulative_lost), block.jitter / track.clock_rate
        sent = self._sent.get(block.last_sr) if block.last_sr else None
        if sent is not None:
            self.round_trip = max(0.0, now - sent - block.delay_since_last_sr / 65_536)
