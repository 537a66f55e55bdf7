"""Sender reports of one reader, and what its receiver reports tell."""

import pytest

from flux.base.units import NTP_SECOND
from flux.bridges.rtp.packer import RtpOutTrack
from flux.bridges.rtp.reports import ReaderReports
from media.payloads.encodings import Encoding
from media.track import H264, Kind, Track
from protocols.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    SourceDescription,
    parse_compound,
)

NTP = 3_900_000_000 * NTP_SECOND


def track(index: int = 0, ssrc: int = 7) -> RtpOutTrack:
    video = Track(index, Kind.VIDEO, H264, 90_000)
    dropped: list[str] = []
    encoding = Encoding("H264", 90_000)
    made = RtpOutTrack(index, video, encoding, lambda bits: ssrc, dropped.append)
    made.is_known = True
    made.last_ntp, made.last_timestamp, made.last_arrived = NTP, 90_000, 10.0
    made.packets, made.octets = 100, 50_000
    return made


def sender_report(data: bytes | None) -> SenderReport:
    assert data is not None
    report = parse_compound(data)[0]
    assert isinstance(report, SenderReport)
    return report


def test_ntp_and_rtp_are_one_instant() -> None:
    reports = ReaderReports([track()], "us", {})
    report = sender_report(reports.make(0, 10.5))
    assert report.ntp - NTP == NTP_SECOND // 2
    assert report.rtp_timestamp == 90_000 + 45_000
    assert report.ssrc == 7


def test_the_first_report_tells_of_the_first_packet() -> None:
    """A reader that begins three seconds back is told of that instant, then of the present."""
    reports = ReaderReports([track()], "us", {})
    reports.start_at(0, (90_000 - 3 * 90_000) & 0xFFFF_FFFF)
    first = sender_report(reports.make(0, 10.5))
    assert first.rtp_timestamp == (90_000 - 3 * 90_000 + 36_000) & 0xFFFF_FFFF
    assert (NTP - first.ntp) / NTP_SECOND == pytest.approx(2.6)
    assert sender_report(reports.make(0, 10.5)).rtp_timestamp == 90_000 + 45_000
    reports.start_at(0, 90_000)
    assert sender_report(reports.make(0, 10.125)).rtp_timestamp == 90_000 + 11_250  # the present


def test_a_new_listener_hastens_the_next_report() -> None:
    reports = ReaderReports([track()], "us", {})
    assert len(reports.due(10.0)) == 1
    reports.hasten(11.0)
    assert reports.due(11.0) == []
    assert len(reports.due(11.5)) == 1
    assert reports.due(12.0) == []


def test_counters_begin_with_the_reader() -> None:
    out = track()
    reports = ReaderReports([out], "us", {0: (30, 9_000)})
    assert sender_report(reports.make(0, 10.0)).packet_count == 30
    out.packets += 5
    out.octets += 100
    report = sender_report(reports.make(0, 11.0))
    assert (report.packet_count, report.octet_count) == (35, 9_100)


def test_a_compound_names_its_source() -> None:
    compound = parse_compound(ReaderReports([track()], "us", {}).make(0, 10.0) or b"")
    assert compound[1] == SourceDescription.cname(7, "us")
    last = parse_compound(ReaderReports([track()], "us", {}).goodbye(0, 10.0) or b"")
    assert last[-1] == Goodbye((7,))


def test_nothing_before_the_first_frame() -> None:
    out = track()
    out.is_known = False
    assert ReaderReports([out], "us", {}).make(0, 10.0) is None


def test_loss_jitter_and_round_trip() -> None:
    reports = ReaderReports([track()], "us", {})
    sent = sender_report(reports.make(0, 20.0))
    block = ReportBlock(7, 10, 4, 500, 900, sent.ntp >> 16 & 0xFFFF_FFFF, 65_536 // 4)
    reports.receive(ReceiverReport(99, (block,)).serialize(), 20.29)
    assert reports.lost == 4
    assert reports.jitter == pytest.approx(0.01)
    assert reports.round_trip == pytest.approx(0.04)
    assert reports.received_at == 20.29


def test_what_is_not_ours_or_broken_changes_nothing() -> None:
    reports = ReaderReports([track()], "us", {})
    reports.receive(ReceiverReport(1, (ReportBlock(8, 1, 1, 1, 1, 1, 1),)).serialize(), 1.0)
    reports.receive(b"\x00", 1.0)
    assert (reports.lost, reports.round_trip, reports.broken) == (0, None, 1)
    reports.receive(ReceiverReport(1, (ReportBlock(7, 0, -3, 0, 0, 5, 1),)).serialize(), 1.0)
    assert reports.lost == 0  # duplicates made it negative
    assert reports.round_trip is None  # a report that we did not send


def test_reports_are_due_at_once_and_then_each_five_seconds() -> None:
    reports = ReaderReports([track()], "us", {})
    times = [now for now in range(10, 21) if reports.due(float(now))]
    assert times == [10, 15, 20]


def test_a_silent_track_is_due_with_its_first_frame() -> None:
    silent = track(1, 8)
    silent.is_known = False
    reports = ReaderReports([track(), silent], "us", {})
    assert [index for index, _ in reports.due(10.0)] == [0]
    assert reports.due(11.0) == []
    silent.is_known = True
    assert [index for index, _ in reports.due(12.0)] == [1]
    assert [index for index, _ in reports.due(15.0)] == [0]


def test_a_track_that_rested_counts_on() -> None:
    out = track()
    reports = ReaderReports([out], "us", {})
    out.packets, out.octets = 110, 51_000
    reports.rest(0)
    assert reports.due(11.0) == []
    out.packets, out.octets = 200, 90_000  # nobody got these
    reports.begin(out, 5, 400)
    out.packets, out.octets = 203, 90_300
    ((_, compound),) = reports.due(12.0)
    report = sender_report(compound)
    assert (report.packet_count, report.octet_count) == (10 + 5 + 3, 1_000 + 400 + 300)


def test_jitter_is_that_of_the_worst_track() -> None:
    reports = ReaderReports([track(), track(1, 8)], "us", {})
    blocks = (ReportBlock(7, 0, 0, 1, 9_000, 0, 0), ReportBlock(8, 0, 2, 1, 90, 0, 0))
    reports.receive(ReceiverReport(99, blocks).serialize(), 20.0)
    assert (reports.jitter, reports.lost) == (0.1, 2)
