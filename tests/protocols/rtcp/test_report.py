"""Receiver reports: interval and contents, RFC 3550 sections 6.2, 6.4.1 and A.3."""

from collections.abc import Iterator

from protocols.rtcp import (
    Goodbye,
    ReceiverReport,
    ReceiverReporter,
    ReportBlock,
    SenderReport,
    SourceDescription,
    parse_compound,
)
from protocols.rtp import ReceptionState


def state(
    expected: int, received: int, *, ssrc: int = 9, restarts: int = 0, jitter: int = 3
) -> ReceptionState:
    return ReceptionState(ssrc, 1000 + expected, expected, received, jitter, restarts)


def reporter(random: float = 0.5, now: float = 100.0) -> ReceiverReporter:
    return ReceiverReporter(0xF1, "flux-1", lambda: random, now)


def block_of(report: bytes | None) -> ReportBlock:
    assert report is not None
    packet = parse_compound(report)[0]
    assert isinstance(packet, ReceiverReport)
    return packet.blocks[0]


def test_the_interval() -> None:
    assert reporter(0.0).get_timer() == 101.25
    assert reporter(1.0).get_timer() == 103.75
    numbers: Iterator[float] = iter((0.5, 0.0, 1.0))
    machine = ReceiverReporter(1, "x", lambda: next(numbers), 0.0)
    assert machine.get_timer() == 2.5  # the first one comes early
    assert machine.handle_timer(None, 2.4) is None
    assert machine.handle_timer(None, 2.5) is not None
    assert machine.get_timer() == 5.0
    assert machine.handle_timer(None, 5.0) is not None
    assert machine.get_timer() == 12.5


def test_a_report_without_a_source_has_no_block() -> None:
    compound = parse_compound(reporter().make_report(None, 101.0))
    assert compound == (ReceiverReport(0xF1), SourceDescription.cname(0xF1, "flux-1"))


def test_loss_as_the_rfc_computes_it() -> None:
    machine = reporter()
    first = block_of(machine.make_report(state(100, 90), 101.0))
    assert (first.ssrc, first.highest_sequence, first.jitter) == (9, 1100, 3)
    assert (first.fraction_lost, first.cumulative_lost) == (10 * 256 // 100, 10)
    second = block_of(machine.make_report(state(200, 190), 102.0))
    assert (second.fraction_lost, second.cumulative_lost) == (0, 10)
    third = block_of(machine.make_report(state(300, 320), 103.0))  # duplicates
    assert (third.fraction_lost, third.cumulative_lost) == (0, -20)
    fourth = block_of(machine.make_report(state(400, 320), 104.0))  # everything lost
    assert (fourth.fraction_lost, fourth.cumulative_lost) == (255, 80)
    fifth = block_of(machine.make_report(state(400, 320), 105.0))  # nothing happened
    assert (fifth.fraction_lost, fifth.cumulative_lost) == (0, 80)


def test_a_restart_begins_anew() -> None:
    machine = reporter()
    machine.make_report(state(1000, 500), 101.0)
    block = block_of(machine.make_report(state(10, 5, ssrc=8, restarts=1), 102.0))
    assert (block.ssrc, block.fraction_lost, block.cumulative_lost) == (8, 128, 5)


def test_the_last_sender_report_is_named() -> None:
    machine = reporter()
    assert block_of(machine.make_report(state(1, 1), 100.5)).last_sr == 0
    machine.sender_report(SenderReport(9, 0x1111_2222_3333_4444, 0, 0, 0), 101.0)
    block = block_of(machine.make_report(state(1, 1), 103.5))
    assert (block.last_sr, block.delay_since_last_sr) == (0x2222_3333, int(2.5 * 65536))
    block = block_of(machine.make_report(state(1, 1, ssrc=5, restarts=1), 104.0))
    assert (block.last_sr, block.delay_since_last_sr) == (0, 0)  # that was another source's


def test_goodbye() -> None:
    compound = parse_compound(reporter().make_goodbye(state(1, 1), 101.0))
    assert isinstance(compound[0], ReceiverReport)
    assert compound[-1] == Goodbye((0xF1,))
