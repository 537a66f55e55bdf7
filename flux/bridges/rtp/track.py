"""One RTP track in: its receiver, its depacketizer, its reports, joined to a publisher."""

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Protocol

from flux.base.errors import WireError
from flux.base.units import NTP_SECOND
from flux.bridges.rtp.events import SessionEvent, SourceEnded, SourceRestarted
from flux.bridges.rtp.tracks import RtpTrack
from media.payloads.base import Unit
from media.track import Track
from protocols.rtcp import Goodbye, ReceiverReporter, SenderReport, parse_compound
from protocols.rtp import Reception, RtpReceiver
from protocols.rtp.packet import HEADER_BYTES

FAR_REPORT = 60.0  # seconds: a sender report this far from the media is not about it
REPORT_STEP = 0.5  # seconds by which NTP and media time may disagree from report to report ...
REPORT_DRIFT = 0.05  # ... plus this part of the time between them
TIMESTAMP_SSRC = Struct("!II")  # at offset 4 of a packet, RFC 3550 section 5.1


class UnitPublisher(Protocol):
    """What is used of `media.publisher.Publisher`."""

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks of the run, in the order of their descriptions."""

    def write(
        self, track: Track, timestamp: int, payload: tuple[bytes, ...], arrived: float
    ) -> None:
        """Take one unit."""

    def sender_report(self, track: Track, ntp: int, timestamp: int, now: float) -> None:
        """Take the source's wall clock at one of its timestamps."""

    def dropped(self, reason: str, track: Track | None = None, count: int = 1) -> None:
        """Count what was lost or refused."""


class _Outlet:
    """What one track's receiver calls, and what its source has said so far.

    It does not know the receiver: nothing here refers back, and all of it goes with its session.
    """

    __slots__ = (
        "_index",
        "_on_event",
        "_publisher",
        "has_ended",
        "last_report",
        "pending_report",
        "track",
    )

    def __init__(
        self, index: int, publisher: UnitPublisher, on_event: Callable[[SessionEvent], None]
    ) -> None:
        self._index = index
        self._publisher = publisher
        self._on_event = on_event
        self.track = publisher.tracks[index]
        self.pending_report: SenderReport | None = None  # came before the first packet
        self.last_report: tuple[int, int] | None = None  # NTP, unwrapped timestamp
        self.has_ended = False

    def deliver(
        self, units: Sequence[Unit], timestamp: int, arrived: float, arrived_before: float
    ) -> None:
        """Hand units to the publisher."""
        write = self._publisher.write
        track = self.track
        for unit in units:
            stamp = unit.timestamp
            # quirk: a unit without marker ends when the next timestamp begins. test: test_arrival
            write(track, stamp, unit.payload, arrived if stamp >= timestamp else arrived_before)

    def refused(self, reason: str, count: int) -> None:
        """Count packets that are missing or not used."""
        self._publisher.dropped(reason, self.track, count)

    def dropped(self, reason: str) -> None:
        """Count one thing that is of no use."""
        self._publisher.dropped(reason, self.track)

    def restarted(self, reason: str) -> None:
        """The source began anew: what its reports said is void."""
        self.last_report = None
        self.pending_report = None
        self.has_ended = False
        self._on_event(SourceRestarted(self._index, reason))

    def ended(self, reason: str) -> None:
        """The source has said goodbye; told once."""
        if not self.has_ended:
            self.has_ended = True
            self._on_event(SourceEnded(self._index, reason))

    def reported(self, ntp: int, timestamp: int, now: float) -> None:
        """Pass the source's wall clock on."""
        self._publisher.sender_report(self.track, ntp, timestamp, now)


class RtpTrackReceiver:
    """Receives one track. `arrived` of a unit is that of the first packet with its timestamp.

    A unit of several timestamps (several AAC frames in one packet) has the arrival of its packet. A
    batch has one arrival time, so `arrived` is as fine as the batches are.
    """

    __slots__ = ("_outlet", "_receiver", "_reporter")

    def __init__(
        self,
        index: int,
        publisher: UnitPublisher,
        source: RtpTrack,
        reporter: ReceiverReporter,
        on_event: Callable[[SessionEvent], None],
        *,
        reliable: bool,
    ) -> None:
        self._reporter = reporter
        self._outlet = outlet = _Outlet(index, publisher, on_event)
        self._receiver: RtpReceiver[Unit] = RtpReceiver(
            source.payload_type,
            outlet.track.clock_rate,
            source.format.depacketizer(outlet.dropped).push,
            outlet,
            reliable=reliable,
        )

    @property
    def reception(self) -> Reception:
        """The counters of this track."""
        return self._receiver.reception

    @property
    def ssrc(self) -> int | None:
        """Under which its sender sends; None before the first packet."""
        return self._receiver.ssrc

    @property
    def track(self) -> Track:
        """The publisher's track."""
        return self._outlet.track

    def receive(self, packets: Sequence[bytes], now: float) -> None:
        """Take RTP packets in the order they came."""
        outlet = self._outlet
        if outlet.pending_report is not None and self._receiver.ssrc is None:
            self._announce(packets, now)
        self._receiver.receive(packets, now)
        if outlet.pending_report is not None:
            self._use_pending_report(now)

    def receive_rtcp(self, data: bytes, now: float) -> None:
        """Take one RTCP compound."""
        try:
            packets = parse_compound(data)
        except WireError as error:
            self._outlet.dropped(error.reason)
            return
        for packet in packets:
            if isinstance(packet, SenderReport):
                self._receive_report(packet, now)
            elif isinstance(packet, Goodbye):
                self._receive_goodbye(packet)

    def seed(self, rtptime: int) -> int:
        """Say near which timestamp the media starts (RTP-Info); answer it unwrapped."""
        return self._receiver.seed_timestamp(rtptime)

    def get_timer(self) -> float:
        """When to call handle_timer: a held packet or a report is due."""
        held = self._receiver.get_timer()
        report = self._reporter.get_timer()
        return report if held is None else min(held, report)

    def handle_timer(self, now: float) -> bytes | None:
        """Release what waited too long; answer a report if one is due."""
        self._receiver.handle_timer(now)
        return self._reporter.handle_timer(self._receiver.state(), now)

    def make_report(self, now: float) -> bytes:
        """A receiver report now."""
        return self._reporter.make_report(self._receiver.state(), now)

    def make_goodbye(self, now: float) -> bytes:
        """The last report, with BYE."""
        return self._reporter.make_goodbye(self._receiver.state(), now)

    # Sender reports and BYE.

    def _receive_report(self, report: SenderReport, now: float) -> None:
        ssrc = self._receiver.ssrc
        if ssrc is not None and report.ssrc != ssrc:
            self._outlet.dropped("rtcp-sr-other-source")
            return
        self._reporter.sender_report(report, now)
        if ssrc is None:
            self._outlet.pending_report = report
        else:
            self._use_report(report, now)

    def _announce(self, packets: Sequence[bytes], now: float) -> None:
        """Use the report that came before the first packet before its unit is placed in time."""
        report, first = self._outlet.pending_report, packets[0] if packets else b""
        if report is None or len(first) < HEADER_BYTES:
            return
        timestamp, ssrc = TIMESTAMP_SSRC.unpack_from(first, 4)
        if ssrc == report.ssrc:
            self._outlet.pending_report = None
            self._receiver.seed_timestamp(timestamp)
            self._use_report(report, now)

    def _use_pending_report(self, now: float) -> None:
        """The first packet is there: the report that came before it can be placed."""
        report = self._outlet.pending_report
        if report is None or self._receiver.ssrc is None:
            return
        self._outlet.pending_report = None
        if report.ssrc == self._receiver.ssrc:
            self._use_report(report, now)
        else:
            self._outlet.dropped("rtcp-sr-other-source")

    def _use_report(self, report: SenderReport, now: float) -> None:
        """Pass a report on if it can be about this media."""
        outlet = self._outlet
        if report.ntp == 0:
            outlet.dropped("rtcp-sr-no-clock")
            return
        hz = outlet.track.clock_rate
        timestamp = self._receiver.unwrap_timestamp(report.rtp_timestamp)
        if abs(timestamp - (self._receiver.timestamp or 0)) > FAR_REPORT * hz:
            outlet.dropped("rtcp-sr-far-timestamp")
            return
        last = outlet.last_report
        outlet.last_report = (report.ntp, timestamp)
        if last is not None:
            media = (timestamp - last[1]) / hz
            clock = (report.ntp - last[0]) / NTP_SECOND
            if abs(clock - media) > REPORT_STEP + REPORT_DRIFT * abs(media):
                # A clock that was set is believed from its second report on.
                outlet.dropped("rtcp-sr-clock-stepped")
                return
        outlet.reported(report.ntp, timestamp, now)

    def _receive_goodbye(self, packet: Goodbye) -> None:
        """Section 6.6; a BYE that names no source, or another's, ends nothing here."""
        if self._receiver.ssrc in packet.ssrcs:
            self._outlet.ended(packet.reason)
