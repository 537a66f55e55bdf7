"""Acknowledgements: most leave nothing to do but an answer, some leave more."""

import os
from collections.abc import Callable, Iterable

import pytest

from protocols.srt.connection import Connection
from protocols.srt.control import (
    serialize_empty,
    serialize_full_ack,
    serialize_light_ack,
    serialize_losses,
)
from protocols.srt.events import KeyNeeded
from protocols.srt.link import Link, LinkHandler
from protocols.srt.options import Options
from protocols.srt.packet import Address, ControlPacket, ControlType, DataPacket, Run
from protocols.srt.timed import Timed
from tests.support.simnet import SimNet
from tests.support.srt_pair import CALLER, LISTENER, results

FIRST, OURS, THEIRS = 1000, 101, 202
BEGIN = 1000.0


def ack(
    sequence: int, number: int = 1, *, destination: int = OURS, room: int = 8192, rtt_us: int = 5000
) -> bytes:
    return serialize_full_ack(
        number, 0, destination, sequence, rtt_us, 1000, room, 1000, 10_000, 1_316_000
    )


def sending(count: int = 3, options: Options | None = None) -> Connection:
    """A connection that has just sent so many packets."""
    options = options or Options()
    ours, _ = results(SimNet(), options, first=FIRST)
    connection = Connection(ours, options, os.urandom, BEGIN)
    connection.send([bytes(1316)] * count, BEGIN)
    connection.datagrams_to_send(BEGIN)
    connection.get_timer()
    return connection


def answers(runs: Iterable[Run]) -> list[int]:
    """Numbers that are answered by what is nothing but answers."""
    packets = [ControlPacket.parse(data) for _, _, data in runs]
    assert {packet.kind for packet in packets} <= {ControlType.ACKACK}
    assert {packet.destination for packet in packets} <= {THEIRS}
    return [packet.specific for packet in packets]


def test_an_acknowledgement_is_answered_and_that_is_all() -> None:
    connection = sending()
    at = BEGIN + 0.01
    assert not connection.receive_datagrams([ack(FIRST + 3, 7)], LISTENER, at, False)
    assert connection.acknowledged_sequence == FIRST + 3
    assert answers(connection.feedback.take_answer(at)) == [7]
    assert connection.feedback.take_answer(at) == []
    assert connection.next_event() is None
    assert connection.datagrams_to_send(at) == []


def test_many_are_answered_once_and_light_ones_never() -> None:
    connection = sending()
    at = BEGIN + 0.01
    many = [ack(FIRST + each, each) for each in (1, 2, 3)]
    assert not connection.receive_datagrams(many, LISTENER, at, False)
    assert answers(connection.feedback.take_answer(at)) == [3]
    assert connection.acknowledged_sequence == FIRST + 3
    connection.send([bytes(1316)], at)
    connection.datagrams_to_send(at)
    connection.get_timer()
    assert not connection.receive_datagrams(
        [serialize_light_ack(FIRST + 4, 0, OURS)], LISTENER, at, False
    )
    assert connection.acknowledged_sequence == FIRST + 4
    assert connection.feedback.take_answer(at) == []


def nak(connection: Connection) -> None:
    body = serialize_losses([(FIRST, FIRST)], 100)
    packet = ControlPacket(ControlType.NAK, 0, OURS, body).serialize()
    connection.receive_datagrams([packet], LISTENER, BEGIN + 0.005, False)


def shutdown(connection: Connection) -> None:
    packet = serialize_empty(ControlType.SHUTDOWN, 0, OURS)
    connection.receive_datagrams([packet], LISTENER, BEGIN + 0.005, False)


def more(connection: Connection) -> None:
    connection.send([bytes(1316)], BEGIN + 0.005)


@pytest.mark.parametrize("before", [nak, shutdown, more])
def test_with_more_to_do_a_turn_follows(before: Callable[[Connection], None]) -> None:
    connection = sending()
    before(connection)
    assert connection.receive_datagrams([ack(FIRST)], LISTENER, BEGIN + 0.01, False)


def test_when_something_is_due_a_turn_follows() -> None:
    connection = sending()
    due = connection.get_timer()
    assert due is not None
    assert not connection.receive_datagrams([ack(FIRST + 2)], LISTENER, due - 0.001, False)
    assert connection.receive_datagrams([ack(FIRST + 2)], LISTENER, due, False)


def test_room_in_a_window_that_was_full_brings_packets() -> None:
    connection = sending()
    connection.receive_datagrams([ack(FIRST + 3, room=1)], LISTENER, BEGIN + 0.01, False)
    connection.send([bytes(1316)] * 4, BEGIN + 0.01)
    (run,) = connection.datagrams_to_send(BEGIN + 0.01)
    assert DataPacket.parse(run[2][: run[1]]).sequence == FIRST + 3
    assert connection.receive_datagrams([ack(FIRST + 4, 2)], LISTENER, BEGIN + 0.02, False)
    assert sum(len(data) // size for _, size, data in connection.datagrams_to_send(BEGIN + 0.02))


@pytest.mark.parametrize(
    ("datagram", "address", "reason"),
    [
        (ack(FIRST + 3), CALLER, "foreign-address"),
        (ack(FIRST + 3, destination=9), LISTENER, "foreign-socket-id"),
        (ack(FIRST + 3)[:17], LISTENER, "ack-bad"),
        (ack(1 << 31), LISTENER, "ack-bad"),
    ],
)
def test_what_makes_no_sense_is_counted(datagram: bytes, address: Address, reason: str) -> None:
    connection = sending()
    connection.receive_datagrams([datagram], address, BEGIN + 0.01, False)
    assert connection.reasons == {reason: 1}
    assert connection.acknowledged_sequence == FIRST


def test_both_ways_of_reading_one_come_to_the_same() -> None:
    found: list[tuple[bool, int, list[int], float]] = []
    for is_short in (False, True):
        connection = sending(12)
        at = BEGIN
        for number in range(1, 13):
            at += 0.01
            datagrams = [ack(FIRST + number, number, rtt_us=3000 + 100 * number)]
            if is_short:
                connection.receive_datagrams(datagrams, LISTENER, at, False)
                answered = answers(connection.feedback.take_answer(at))
            else:
                connection.receive_datagrams(datagrams, LISTENER, at)
                answered = answers(connection.datagrams_to_send(at))
            found.append((is_short, number, answered, connection.rtt))
        assert connection.acknowledged_sequence == FIRST + 12
    half = len(found) // 2
    assert [each[1:] for each in found[:half]] == [each[1:] for each in found[half:]]


class _Pump:
    """An endpoint that keeps what is sent."""

    hears_questions = False

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.timers = 0

    def transmit(self, runs: Iterable[Run]) -> None:
        self.runs += runs

    def derive(self, question: KeyNeeded, answer: Callable[[bytes, float], None]) -> None:
        raise AssertionError(question)

    def rearm(self, part: Timed, at: float) -> None:
        self.timers += 1

    def release(self, link: Link) -> None:
        raise AssertionError("it is over")

    def failed(self, link: Link, error: Exception) -> None:
        raise error


def test_a_link_needs_no_turn_for_an_acknowledgement() -> None:
    """Off, each of some thousands in a second would cost a look at all machines of its link."""
    options = Options()
    ours, _ = results(SimNet(), options, first=FIRST)
    pump = _Pump()
    link = Link(pump, OURS, LISTENER, options, LinkHandler(), None, os.urandom)
    link.establish(ours, BEGIN)
    assert link.send([bytes(1316)] * 3, BEGIN) == 3
    pump.runs.clear()
    timers = pump.timers
    assert not link.receive([ack(FIRST + 3)], LISTENER, BEGIN + 0.01)
    assert pump.runs == []
    link.answer(BEGIN + 0.01)
    assert answers(pump.runs) == [1] and pump.timers == timers
    body = serialize_losses([(FIRST + 1, FIRST + 1)], 100)
    packet = ControlPacket(ControlType.NAK, 0, OURS, body).serialize()
    assert link.receive([packet], LISTENER, BEGIN + 0.02)
    assert link.receive([ack(FIRST + 3, 2)], LISTENER, BEGIN + 0.02), "the turn is still to come"
