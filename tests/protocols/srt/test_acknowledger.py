"""When the receiver acknowledges: each 10 ms, light ones each 64 packets, again until confirmed."""

from dataclasses import dataclass, field
from itertools import pairwise

from pytest import approx

from protocols.srt.acknowledger import FULL_INTERVAL, LIGHT_PACKETS, MAX_REPEATS, Acknowledger
from protocols.srt.control import Ack
from protocols.srt.events import DataReceived
from protocols.srt.inbox import Entry
from protocols.srt.options import Options
from protocols.srt.packet import ControlPacket, ControlType
from protocols.srt.playout import Playout
from protocols.srt.rtt import RttEstimator
from protocols.srt.tsbpd import PlayClock
from tests.support.simnet import Link
from tests.support.srt_pair import Pair

FIRST = 1000
NEVER = float("inf")


@dataclass
class Desk:
    """An acknowledger whose position is set by hand."""

    rtt: RttEstimator = field(default_factory=RttEstimator)
    inbox: Playout = field(default_factory=lambda: Playout(FIRST, PlayClock(0.0, 0.1), 100))
    position: int = FIRST
    now: float = 0.0

    def __post_init__(self) -> None:
        self.acks = Acknowledger(self.position, self.rtt, self.now)

    def ask(self) -> Ack | None:
        """What is sent now."""
        data = self.acks.acknowledge(self.position, self.inbox, self.now, 77, 5)
        if data is None:
            return None
        packet = ControlPacket.parse(data)
        assert (packet.kind, packet.timestamp, packet.destination) == (ControlType.ACK, 77, 5)
        return Ack.parse(packet)

    def timer(self) -> float:
        """When something is due."""
        return self.acks.get_timer(self.position, self.inbox)


def test_nothing_new_is_not_acknowledged() -> None:
    desk = Desk()
    assert desk.timer() == NEVER
    for desk.now in (0.0, 0.1, 1.0, 10.0):
        assert desk.ask() is None


def test_a_full_one_each_ten_milliseconds_while_something_comes() -> None:
    desk = Desk()
    told: list[tuple[float, int]] = []
    for tick in range(1, 1001):
        desk.now = tick * 0.001
        desk.position = FIRST + tick
        found = desk.ask()
        if found is not None:
            assert found.number == len(told) + 1
            assert found.rtt_us is not None and found.rtt_variance_us is not None
            assert found.buffer_packets == 100
            assert found.receive_bytes is not None
            told.append((desk.now, found.sequence))
            desk.acks.confirm(found.number, desk.now + 0.02)
    assert desk.rtt.rtt == approx(0.02)
    assert 95 <= len(told) <= 101
    assert all(sequence == FIRST + round(at * 1000) for at, sequence in told)
    assert desk.acks.light == 0


def test_light_ones_between_when_packets_come_fast() -> None:
    desk = Desk()
    desk.position += 1
    assert desk.ask() is not None
    lights: list[int] = []
    for count in range(1, 300):
        desk.now = count * 1e-5
        desk.position = FIRST + 1 + count
        found = desk.ask()
        if found is not None:
            assert (found.number, found.rtt_us) == (0, None)
            lights.append(found.sequence - FIRST)  # one packet is left to the full ACK
    assert lights == [LIGHT_PACKETS, 2 * LIGHT_PACKETS, 3 * LIGHT_PACKETS, 4 * LIGHT_PACKETS]


def test_a_position_is_told_again_until_it_is_confirmed() -> None:
    desk = Desk()
    desk.rtt.add(0.050, 0.0)
    desk.position += 10
    found = desk.ask()
    assert found is not None
    times: list[float] = []
    while desk.timer() < NEVER:
        desk.now = desk.timer()
        again = desk.ask()
        assert again is not None and again.sequence == FIRST + 10
        times.append(desk.now)
    assert times[0] == approx(desk.rtt.timeout), "not sooner than an answer may come"
    gaps = [b - a for a, b in pairwise(times)]
    assert all(b >= a * 0.99 for a, b in pairwise(gaps)), "ever more rarely"
    assert len(times) == MAX_REPEATS


def test_a_confirmed_position_is_not_told_again() -> None:
    desk = Desk()
    desk.position += 10
    found = desk.ask()
    assert found is not None
    assert desk.acks.confirm(found.number, 0.030)
    assert desk.rtt.rtt == approx(0.030), "the answer is a sample"
    assert desk.timer() == NEVER
    desk.now = 99.0
    assert desk.ask() is None
    assert not desk.acks.confirm(found.number, 99.0)


def test_room_in_a_buffer_that_was_full_is_told() -> None:
    desk = Desk()
    entries: list[Entry] = [(0.001 * n, b"x", 0) for n in range(100)]
    desk.inbox.append_run(FIRST, entries)
    desk.position += 100
    found = desk.ask()
    assert found is not None and found.buffer_packets == 0
    desk.acks.confirm(found.number, 0.01)
    assert desk.timer() == NEVER
    released = desk.inbox.release(9.0)
    assert isinstance(released[0], DataReceived)
    assert desk.timer() == FULL_INTERVAL
    desk.now = FULL_INTERVAL
    again = desk.ask()
    assert again is not None and again.buffer_packets == 100


def test_positions_wrap() -> None:
    desk = Desk(position=(1 << 31) + 5, inbox=Playout((1 << 31) + 5, PlayClock(0.0, 0.1), 100))
    desk.position += 1
    found = desk.ask()
    assert found is not None and found.sequence == 6


def acks_of(pair: Pair) -> list[tuple[float, Ack]]:
    """Every ACK that the listener sends, with its time."""
    seen: list[tuple[float, Ack]] = []

    def tap(datagram: bytes, now: float) -> bool:
        packet = ControlPacket.parse(datagram)
        if packet.kind == ControlType.ACK:
            seen.append((now, Ack.parse(packet)))
        return True

    pair.here.tap = tap
    return seen


def test_the_cadence_on_a_path() -> None:
    """10 Mbit/s: a full ACK each 10 ms, none repeated, each answered; the round trip is known."""
    pair = Pair(Link(delay=0.02))
    seen = acks_of(pair)
    answers: list[float] = []

    def tap(datagram: bytes, now: float) -> bool:
        if datagram[0] & 0x80 and ControlPacket.parse(datagram).kind == ControlType.ACKACK:
            answers.append(now)
        return True

    pair.there.tap = tap
    pair.transfer(1900)
    full = [(at, ack) for at, ack in seen if ack.number]
    gaps = [b[0] - a[0] for a, b in pairwise(full)]
    assert all(0.0099 <= gap < 0.0125 for gap in gaps[:-1])
    assert 160 <= len(full) <= 202
    assert len({ack.sequence for _, ack in full}) >= len(full) - 1, "the last one, once more"
    assert full[-1][1].rtt_us == approx(40_000, rel=0.02)
    # Every one at first, then rarely: it is known by then.
    assert sum(at < full[0][0] + 0.5 for at in answers) > 40
    assert 0.019 < min(b - a for a, b in pairwise(answers[101:])) < 0.04


def test_without_acks_the_sender_stops() -> None:
    """The flow window is what an ACK moves."""
    pair = Pair(Link(delay=0.02))
    pair.here.tap = lambda datagram, now: False
    pair.stream(9500)
    pair.run(0.9)
    values = pair.caller.statistics(pair.net.now).values
    assert values["pktFlightSize"] == values["pktSentUniqueTotal"]
    paired = Pair(Link(delay=0.02))
    paired.stream(9500)
    paired.run(0.9)
    assert paired.caller.statistics(paired.net.now).values["pktFlightSize"] < 60


def test_without_answers_the_round_trip_is_never_known() -> None:
    pair = Pair(Link(delay=0.01))

    def tap(datagram: bytes, now: float) -> bool:
        return not (datagram[0] & 0x80 and datagram[1] == ControlType.ACKACK)

    pair.there.tap = tap
    pair.transfer(950)
    assert pair.listener.rtt == 0.100
    assert pair.received.numbers == list(range(950))


def test_light_ones_on_a_fast_path() -> None:
    """200 Mbit/s: news of 200 packets in each 10 ms does not wait for the full one."""
    options = Options(receive_buffer_packets=16_384, flow_window=16_384)
    pair = Pair(Link(delay=0.0005), options=options)
    seen = acks_of(pair)
    pair.transfer(20_000, rate=20_000.0, burst=20)
    lights = [ack.sequence for _, ack in seen if not ack.number]
    assert len(lights) >= 20_000 / LIGHT_PACKETS * 0.6
    positions = [ack.sequence for _, ack in seen]
    assert positions == sorted(positions)
    assert max(b - a for a, b in pairwise(positions)) <= LIGHT_PACKETS + 20
    assert pair.received.numbers == list(range(20_000))
