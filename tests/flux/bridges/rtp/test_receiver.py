"""A whole session in: packets to units, reports, anchors, restarts and goodbyes."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.units import NTP_SECOND
from flux.bridges.rtp import RtpSessionReceiver, SourceEnded, SourceRestarted, tracks_from_sdp
from media.track import Track
from protocols.rtcp import (
    Goodbye,
    ReceiverReport,
    RtcpPacket,
    SenderReport,
    SourceDescription,
    parse_compound,
    serialize_compound,
)
from protocols.rtp import RtpPacket
from protocols.sdp import SessionDescription
from tests.support.pcap import read_datagrams

SDP = b"""v=0
m=video 0 RTP/AVP 96
a=rtpmap:96 H264/90000
m=audio 0 RTP/AVP 0
"""
VIDEO, AUDIO = 0, 1
SSRC = {VIDEO: 0x11, AUDIO: 0x22}
NTP = 3_900_000_000 * NTP_SECOND


@dataclass
class RecordingPublisher:
    """Keeps what it is told, in the place of `media.publisher.Publisher`."""

    tracks: tuple[Track, ...]
    units: list[tuple[int, int, tuple[bytes, ...], float]] = field(default_factory=list)
    reports: list[tuple[int, int, int]] = field(default_factory=list)
    anchors: list[dict[int, int]] = field(default_factory=list)
    drops: Counter[str] = field(default_factory=Counter)

    def write(
        self, track: Track, timestamp: int, payload: tuple[bytes, ...], arrived: float
    ) -> None:
        self.units.append((track.id, timestamp, payload, arrived))

    def sender_report(self, track: Track, ntp: int, timestamp: int, now: float) -> None:
        self.reports.append((track.id, ntp, timestamp))

    def anchor(self, timestamps: Mapping[Track, int]) -> None:
        self.anchors.append({track.id: stamp for track, stamp in timestamps.items()})

    def dropped(self, reason: str, track: Track | None = None, count: int = 1) -> None:
        self.drops[reason] += count


class Rig:
    """A session of H.264 (payload type 96) and G.711 with a recording publisher."""

    def __init__(self, *, reliable: bool = True, sdp: bytes = SDP) -> None:
        tracks = tracks_from_sdp(SessionDescription.parse(sdp)).tracks
        descriptions = [track.description for track in tracks]
        self.publisher = RecordingPublisher(
            tuple(
                Track(index, d.kind, d.codec, d.clock_rate, d.parameters)
                for index, d in enumerate(descriptions)
            )
        )
        self.session = RtpSessionReceiver(
            self.publisher,
            tracks,
            reliable=reliable,
            ssrc=0xF1,
            cname="flux",
            random=lambda: 0.5,
            now=0.0,
        )

    def rtcp(self, index: int, *packets: RtcpPacket, now: float = 1.0) -> None:
        self.session.receive_rtcp(index, [serialize_compound(packets)], now)

    def reports(self) -> list[tuple[int, tuple[RtcpPacket, ...]]]:
        return [(index, parse_compound(data)) for index, data in self.session.reports_to_send()]


def video(sequence: int, timestamp: int, *, marker: bool = True, ssrc: int = 0x11) -> bytes:
    nal = b"\x41\x9a" + b"%d" % sequence
    return RtpPacket(96, sequence, timestamp, ssrc, nal, marker).serialize()


def audio(sequence: int, timestamp: int, *, ssrc: int = 0x22) -> bytes:
    return RtpPacket(0, sequence, timestamp, ssrc, bytes(160)).serialize()


def sender_report(index: int, ntp: int, timestamp: int, *, ssrc: int | None = None) -> SenderReport:
    return SenderReport(SSRC[index] if ssrc is None else ssrc, ntp, timestamp, 1, 2)


def test_interleaved_packets_become_units() -> None:
    rig = Rig()
    rig.session.receive_interleaved(
        [(0, video(1, 3000)), (2, audio(1, 160)), (0, video(2, 6000)), (9, b"?"), (1, b"?")], 5.0
    )
    assert rig.publisher.units == [
        (VIDEO, 3000, (b"\x41\x9a1",), 5.0),
        (VIDEO, 6000, (b"\x41\x9a2",), 5.0),
        (AUDIO, 160, (bytes(160),), 5.0),
    ]
    assert rig.publisher.drops == {"rtp-unknown-channel": 1, "rtcp-truncated": 1}
    rig.session.receive_interleaved([(2, audio(2, 320))], 5.1)
    assert len(rig.publisher.units) == 4


def test_arrival() -> None:
    """quirk: a camera that sets no marker; a unit ends when the next one begins."""
    rig = Rig()
    for index, now in ((1, 1.0), (2, 1.04), (3, 1.08)):
        rig.session.receive_rtp(VIDEO, [video(index, 3600 * index, marker=False)], now)
    assert [(unit[1], unit[3]) for unit in rig.publisher.units] == [(3600, 1.0), (7200, 1.04)]


def test_loss_is_counted_and_the_session_goes_on() -> None:
    rig = Rig(reliable=False)
    rig.session.receive_rtp(VIDEO, [video(1, 3000), video(3, 9000)], 1.0)
    assert len(rig.publisher.units) == 1
    due = rig.session.get_timer()
    assert due is not None
    rig.session.handle_timer(due)
    assert [unit[1] for unit in rig.publisher.units] == [3000, 9000]
    assert rig.publisher.drops["rtp-packet-lost"] == 1
    reception = rig.session.tracks[VIDEO].reception
    assert (reception.packets, reception.lost) == (2, 1)


def test_rtp_info_fixes_the_scale_before_the_first_packet() -> None:
    rig = Rig()
    rig.session.anchor({VIDEO: 0xFFFF_FF00, AUDIO: 160})
    assert rig.publisher.anchors == [{VIDEO: 0xFFFF_FF00, AUDIO: 160}]
    rig.session.receive_rtp(VIDEO, [video(1, 0x100)], 1.0)  # wrapped since
    rig.session.receive_rtp(AUDIO, [audio(1, 0)], 1.0)
    assert [unit[1] for unit in rig.publisher.units] == [0x1_0000_0100, 0]


def test_rtp_info_after_the_first_packets_is_on_their_scale() -> None:
    rig = Rig()
    rig.session.receive_rtp(VIDEO, [video(1, 0x100)], 1.0)
    rig.session.anchor({VIDEO: 0xFFFF_FF00})
    assert rig.publisher.anchors == [{VIDEO: -0x100}]
    rig.session.anchor({})
    assert len(rig.publisher.anchors) == 1


# Sender reports.


def test_sender_reports_are_unwrapped_and_passed_on() -> None:
    rig = Rig()
    rig.session.receive_rtp(VIDEO, [video(1, 0xFFFF_FFFF), video(2, 2999)], 1.0)
    rig.rtcp(VIDEO, sender_report(VIDEO, NTP, 3000))
    assert rig.publisher.reports == [(VIDEO, NTP, 0x1_0000_0BB8)]


def test_a_report_before_the_first_packet_waits_for_it() -> None:
    rig = Rig()
    rig.rtcp(VIDEO, sender_report(VIDEO, NTP, 3000))
    rig.rtcp(AUDIO, sender_report(AUDIO, NTP, 3000, ssrc=0x99))
    assert rig.publisher.reports == []
    rig.session.receive_rtp(VIDEO, [video(1, 3100)], 1.0)
    rig.session.receive_rtp(AUDIO, [audio(1, 3100)], 1.0)
    assert rig.publisher.reports == [(VIDEO, NTP, 3000)]
    assert rig.publisher.drops == {"rtcp-sr-other-source": 1}


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (sender_report(VIDEO, 0, 3000), "rtcp-sr-no-clock"),
        (sender_report(VIDEO, NTP, 0x8000_0000), "rtcp-sr-far-timestamp"),
        (sender_report(VIDEO, NTP, 3000, ssrc=7), "rtcp-sr-other-source"),
    ],
)
def test_reports_that_cannot_be_used_are_named(report: SenderReport, reason: str) -> None:
    rig = Rig()
    rig.session.receive_rtp(VIDEO, [video(1, 3000)], 1.0)
    rig.rtcp(VIDEO, report)
    assert rig.publisher.reports == []
    assert rig.publisher.drops == {reason: 1}


def test_a_clock_that_is_set_is_believed_from_its_second_report_on() -> None:
    rig = Rig()
    rig.session.receive_rtp(VIDEO, [video(1, 0)], 1.0)
    hour = 3600 * NTP_SECOND
    for seconds, ntp in ((0, NTP), (5, NTP + 5 * NTP_SECOND), (10, NTP + hour)):
        rig.rtcp(VIDEO, sender_report(VIDEO, ntp, 90_000 * seconds))
    assert len(rig.publisher.reports) == 2
    assert rig.publisher.drops == {"rtcp-sr-clock-stepped": 1}
    rig.rtcp(VIDEO, sender_report(VIDEO, NTP + hour + 5 * NTP_SECOND, 90_000 * 15))
    assert len(rig.publisher.reports) == 3


# Restarts and goodbyes.


def test_a_restart_is_told_and_forgets_the_old_reports() -> None:
    rig = Rig()
    rig.session.receive_rtp(VIDEO, [video(1, 0)], 1.0)
    rig.rtcp(VIDEO, sender_report(VIDEO, NTP, 0))
    rig.session.receive_rtp(VIDEO, [video(9, 50, ssrc=0x33)], 2.0)
    rig.rtcp(VIDEO, sender_report(VIDEO, NTP // 2, 50, ssrc=0x33))
    assert rig.session.next_event() == SourceRestarted(VIDEO, "ssrc-changed")
    assert rig.session.next_event() is None
    assert rig.publisher.reports == [(VIDEO, NTP, 0), (VIDEO, NTP // 2, 50)]
    assert [unit[1] for unit in rig.publisher.units] == [0, 50]


def test_goodbye() -> None:
    rig = Rig()
    rig.session.receive_rtp(AUDIO, [audio(1, 0)], 1.0)
    rig.rtcp(AUDIO, Goodbye((0x99,)))
    rig.rtcp(AUDIO, Goodbye(()))
    assert rig.session.next_event() is None
    rig.rtcp(AUDIO, Goodbye((0x22,), "shutdown"), Goodbye((0x22,), "again"))
    assert rig.session.next_event() == SourceEnded(AUDIO, "shutdown")
    assert rig.session.next_event() is None


def test_events_are_bounded() -> None:
    rig = Rig()
    for index in range(1000):
        rig.session.receive_rtp(VIDEO, [video(1, 0, ssrc=index)], 10.0 * index)
    events = []
    while (event := rig.session.next_event()) is not None:
        events.append(event)
    assert 0 < len(events) < 1000


# Our reports.


def test_receiver_reports() -> None:
    rig = Rig(reliable=False)
    rig.session.receive_rtp(VIDEO, [video(1, 0), video(2, 0)], 1.0)
    rig.rtcp(VIDEO, sender_report(VIDEO, NTP + 7, 0), now=1.5)
    assert rig.session.get_timer() == 2.5
    rig.session.handle_timer(2.4)
    assert rig.reports() == []
    rig.session.handle_timer(2.5)
    (index, compound), (other, empty) = rig.reports()
    assert (index, other) == (VIDEO, AUDIO)
    report, description = compound
    assert isinstance(report, ReceiverReport)
    assert (report.ssrc, report.blocks[0].ssrc) == (0xF1, 0x11)
    assert report.blocks[0].last_sr == (NTP >> 16) & 0xFFFF_FFFF
    assert report.blocks[0].delay_since_last_sr == 65_536
    assert description == SourceDescription.cname(0xF1, "flux")
    assert empty[0] == ReceiverReport(0xF1)
    assert rig.session.get_timer() == 7.5


def test_reports_at_once_and_at_the_end() -> None:
    rig = Rig()
    rig.session.make_reports(0.1)
    assert [index for index, _ in rig.reports()] == [VIDEO, AUDIO]
    rig.session.close(0.2)
    assert [compound[-1] for _, compound in rig.reports()] == [Goodbye((0xF1,))] * 2


def test_a_captured_call() -> None:
    rig = Rig(reliable=False, sdp=b"m=audio 0 RTP/AVP 0\r\n")
    for datagram in read_datagrams("rtp-pcmu-with-rtcp.pcap"):
        if datagram.destination[1] % 2:
            rig.session.receive_rtcp(0, [datagram.payload], datagram.time)
        else:
            rig.session.receive_rtp(0, [datagram.payload], datagram.time)
    rig.session.handle_timer(7.5)
    (_, (report, _)) = rig.reports()[-1]
    assert isinstance(report, ReceiverReport)
    (block,) = report.blocks
    assert (block.ssrc, block.highest_sequence, block.cumulative_lost) == (0x6A1B26D7, 274, 0)
    assert block.jitter == 2  # 0.327 ms at 8 kHz
    assert len(rig.publisher.units) == 274
    # The second report was sent after the media; its clock and media time agree with the first's.
    assert [stamp for _, _, stamp in rig.publisher.reports] == [19_992, 60_000]
    assert not rig.publisher.drops


@given(st.lists(st.tuples(st.integers(0, 4), st.binary(max_size=40)), max_size=20))
def test_any_bytes_are_taken(frames: list[tuple[int, bytes]]) -> None:
    for reliable in (False, True):
        rig = Rig(reliable=reliable)
        rig.session.receive_interleaved([*frames, (0, video(1, 0)), *frames], 1.0)
        rig.session.handle_timer(100.0)
        assert len(rig.reports()) == 2


def test_a_report_that_came_first_is_used_before_the_first_unit() -> None:
    """Else sound that a sender holds back for long would be placed by when it came."""
    rig = Rig(reliable=False)
    rig.rtcp(AUDIO, sender_report(AUDIO, NTP, 1600))
    assert rig.publisher.reports == []  # it cannot be placed yet
    seen: list[int] = []
    write = rig.publisher.write

    def writing(track: Track, timestamp: int, payload: tuple[bytes, ...], arrived: float) -> None:
        seen.append(len(rig.publisher.reports))
        write(track, timestamp, payload, arrived)

    rig.publisher.write = writing  # type: ignore[method-assign]
    rig.session.receive_rtp(AUDIO, [audio(1, 160), audio(2, 320)], 2.0)
    assert rig.publisher.reports == [(AUDIO, NTP, 1600)]
    assert seen == [1, 1]


@pytest.mark.parametrize("first", [b"", b"\x80\x00", audio(1, 160, ssrc=0x99)])
def test_a_report_of_another_source_is_not_used_for_the_first_unit(first: bytes) -> None:
    rig = Rig(reliable=False)
    rig.rtcp(AUDIO, sender_report(AUDIO, NTP, 1600))
    rig.session.receive_rtp(AUDIO, [first] if first else [], 2.0)
    assert rig.publisher.reports == []


def test_a_report_in_the_same_read_as_the_first_packet_is_used_before_it() -> None:
    """FFmpeg's publisher: over TCP both come at once; the report's channel is the higher one."""
    rig = Rig()
    seen: list[int] = []
    write = rig.publisher.write

    def writing(track: Track, timestamp: int, payload: tuple[bytes, ...], arrived: float) -> None:
        seen.append(len(rig.publisher.reports))
        write(track, timestamp, payload, arrived)

    rig.publisher.write = writing  # type: ignore[method-assign]
    report = serialize_compound((sender_report(AUDIO, NTP, 1600),))
    rig.session.receive_interleaved([(3, report), (2, audio(1, 160)), (2, audio(2, 320))], 2.0)
    assert seen == [1, 1]
