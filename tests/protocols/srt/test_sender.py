"""The sending half: windows and pace, what the peer may say, what is given up, the tail."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from protocols.srt.cipher import PacketCipher
from protocols.srt.congestion.live import LiveControl
from protocols.srt.control import Ack
from protocols.srt.options import MIN_DROP_AGE, Options, RateOptions, RepairOptions
from protocols.srt.packet import DataPacket
from protocols.srt.rtt import RttEstimator
from protocols.srt.runs import RunBuilder
from protocols.srt.sender import Sender
from tests.support.simnet import Link
from tests.support.srt_pair import Pair

LATENCY = 0.120
RTT = 0.050
FIRST = 1000
NEVER = float("inf")


class NoKeys:
    """Nothing is encrypted."""

    def sending(self) -> tuple[int, PacketCipher | None]:
        return 0, None

    def count_sent(self, packets: int) -> None:
        raise AssertionError("nothing is sealed")


@dataclass
class Bench:
    """A sender by itself; `sent` is all that it put out."""

    first: int = FIRST
    window: int = 8192
    latency: float = LATENCY
    rate: RateOptions = field(default_factory=RateOptions)
    repair: RepairOptions = field(default_factory=RepairOptions)
    capacity: int = 8192
    sent: list[DataPacket] = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.rtt = RttEstimator()
        for tick in range(100):
            self.rtt.add(RTT, tick * 0.01 - 1.0)
        self.sender = Sender(
            self.first,
            77,
            0.0,
            self.window,
            self.rtt,
            LiveControl(self.rate),
            NoKeys(),
            0.0,
            latency=self.latency,
            repair=self.repair,
            capacity=self.capacity,
        )

    def give(self, count: int = 1, size: int = 1316) -> int:
        """The application has packets."""
        return self.sender.send([bytes(size)] * count, self.now, self.now)

    def fill(self) -> list[DataPacket]:
        """What goes out now."""
        builder = RunBuilder(("198.18.0.2", 4000))
        self.sender.fill(self.now, builder)
        found = [
            DataPacket.parse(data[at : at + segment])
            for _, segment, data in builder.take()
            for at in range(0, len(data), segment)
        ]
        self.sent += found
        return found

    def numbers(self) -> list[int]:
        """The same, as sequence numbers; a packet sent again as a negative one."""
        return [-each.sequence if each.is_retransmitted else each.sequence for each in self.fill()]

    def ack(self, sequence: int, room: int = 8192) -> bool:
        """A full ACK of the peer."""
        micro = int(RTT * 1e6)
        return self.sender.receive_ack(Ack(1, sequence, micro, 0, room, 0, 0, 0), self.now, False)

    def nak(self, *losses: tuple[int, int]) -> None:
        """A NAK of the peer."""
        self.sender.receive_nak(losses, self.now)

    def timer(self) -> float:
        """When something is due."""
        return self.sender.get_timer(self.now)


def test_packets_are_numbered_and_stamped() -> None:
    bench = Bench(first=(1 << 31) - 2)
    bench.now = 1.5
    assert bench.give(4) == 4
    found = bench.fill()
    assert [each.sequence for each in found] == [(1 << 31) - 2, (1 << 31) - 1, 0, 1]
    assert [each.message for each in found] == [1, 2, 3, 4]
    assert {each.timestamp for each in found} == {1_500_000}
    assert {each.destination for each in found} == {77}
    assert not any(each.is_retransmitted for each in found)
    assert bench.fill() == []


def test_no_more_in_flight_than_the_peer_has_room_for() -> None:
    bench = Bench(window=10)
    bench.give(30)
    assert len(bench.fill()) == 10
    assert bench.timer() > 0.05, "it waits for the peer, not for the clock"
    assert bench.ack(FIRST + 4, room=10)
    assert len(bench.fill()) == 4
    assert bench.sender.receive_ack(Ack(0, FIRST + 9), 0.0, False)
    assert bench.fill() == [], "a light one says how much of the room is used"
    bench.now = 0.01
    assert bench.ack(FIRST + 14, room=100)
    assert len(bench.fill()) == 16


def test_no_faster_than_the_pacer() -> None:
    """100 kB/s: a second of it in a second, however the turns fall; without a limit all at once."""
    waits = RepairOptions(drops_late=False, has_tail_probe=False)
    bench = Bench(rate=RateOptions(max_rate=100_000), repair=waits, capacity=1000)
    bench.give(1000)
    while bench.now < 2.0:
        bench.fill()
        assert bench.now < bench.timer() < bench.now + 0.1
        bench.now = bench.timer()
    burst = 64 * 1500
    assert 200_000 <= len(bench.sent) * 1360 <= 200_000 + burst + 1360
    free = Bench(capacity=1000)
    free.give(1000)
    while len(free.sent) < 1000:
        free.fill()
        free.now = free.timer()
    assert free.now < 0.1


def test_new_packets_before_repairs() -> None:
    bench = Bench()
    bench.give(10)
    bench.fill()
    bench.now = 0.05
    bench.give(2)
    bench.nak((FIRST + 3, FIRST + 4))
    assert bench.numbers() == [1010, 1011, -1003, -1004]


def test_a_repair_is_the_same_packet() -> None:
    bench = Bench()
    bench.give(10)
    before = bench.fill()[3]
    bench.now = 0.05
    bench.nak((FIRST + 3, FIRST + 3))
    (again,) = bench.fill()
    assert again.is_retransmitted
    again.is_retransmitted = False
    assert again == before, "its timestamp too"


def test_an_ack_of_what_was_never_sent_is_refused() -> None:
    bench = Bench()
    bench.give(10)
    bench.fill()
    assert not bench.ack(FIRST + 11)
    assert bench.sender.acknowledged == FIRST
    assert bench.ack(FIRST + 10)
    assert bench.ack(FIRST + 4), "an old one is nothing bad"
    assert bench.sender.acknowledged == FIRST + 10
    assert bench.sender.count.reasons == {"ack-beyond-sent": 1}


def test_a_forged_ack_destroys_nothing() -> None:
    """What it claims to be there can still be asked for, for a latency."""
    bench = Bench()
    bench.give(10)
    bench.fill()
    assert bench.ack(FIRST + 10)
    bench.now = 0.06
    bench.nak((FIRST + 3, FIRST + 3))
    assert bench.numbers() == [-1003]
    bench.now = LATENCY + 0.2
    bench.fill()
    assert bench.sender.buffer.is_empty


def test_a_nak_of_what_was_never_sent_is_refused() -> None:
    bench = Bench()
    bench.give(10)
    bench.fill()
    bench.now = 0.05
    bench.nak((FIRST + 5, FIRST + 10), (FIRST + 2, FIRST + 2), (FIRST + 50, FIRST + 60))
    assert bench.numbers() == [-1002]
    assert bench.sender.count.reasons == {"nak-out-of-range": 2}


def test_a_nak_of_what_is_gone_is_answered_with_a_drop_request() -> None:
    bench = Bench()
    bench.give(10)
    bench.fill()
    bench.ack(FIRST + 10)
    bench.now = 2.0
    bench.fill()
    bench.give(5)
    bench.fill()
    bench.nak((FIRST + 7, FIRST + 11))
    assert bench.sender.drops.take() == [(0, FIRST + 7, FIRST + 9)]
    assert bench.numbers() == [-1010, -1011]


def test_drop_requests_are_bounded() -> None:
    bench = Bench()
    bench.give(100)
    bench.fill()
    bench.ack(FIRST + 100)
    bench.now = 2.0
    bench.fill()
    bench.give(1)
    for number in range(100):
        bench.nak((FIRST + number, FIRST + number))
    assert len(bench.sender.drops) <= 16


def test_what_is_not_acknowledged_in_time_is_given_up() -> None:
    bench = Bench()
    bench.give(10)
    bench.fill()
    bench.now = 0.5
    bench.give(10)
    bench.fill()
    assert bench.timer() <= MIN_DROP_AGE + 0.05
    bench.now = MIN_DROP_AGE + 0.03
    bench.fill()
    count = bench.sender.count
    assert (count.dropped, count.dropped_bytes) == (10, 13_160)
    assert bench.sender.acknowledged == FIRST + 10
    kept = Bench(repair=RepairOptions(drops_late=False))
    kept.give(10)
    kept.fill()
    kept.now = 60.0
    kept.fill()
    assert kept.sender.count.dropped == 0 and len(kept.sender.buffer) == 10


def test_a_longer_latency_keeps_them_longer() -> None:
    bench = Bench(latency=3.0, repair=RepairOptions(send_drop_delay=0.5))
    bench.give(1)
    bench.fill()
    bench.now = 3.5
    bench.fill()
    assert bench.sender.count.dropped == 0
    bench.now = 3.53
    bench.fill()
    assert bench.sender.count.dropped == 1


def test_a_full_buffer_refuses() -> None:
    bench = Bench(capacity=10, window=4)
    assert bench.give(4) == 4
    assert bench.give(4) == 4
    assert bench.give(8) == 2
    assert bench.sender.count.reasons == {"send-buffer-full": 6}
    assert bench.sender.room() == 0
    bench.fill()
    bench.ack(FIRST + 4)
    assert bench.sender.room() == 4, "what is acknowledged goes before its time"
    assert bench.give(5) == 4


def test_the_last_packet_is_sent_again_when_nothing_is_heard() -> None:
    bench = Bench()
    bench.give(10)
    bench.fill()
    assert bench.timer() == approx(RTT + 0.005 + 0.020, abs=0.001)
    times: list[float] = []
    while bench.timer() < 0.9:
        bench.now = bench.timer()
        if bench.numbers() == [-1009]:
            times.append(bench.now)
    assert times == [approx(0.075, abs=0.001)], "later ones would come too late"
    assert bench.sender.count.probes == 3


def test_no_probe_where_acknowledgements_are_read_late() -> None:
    """Whoever rests reads what answers its packets after the next ones are sent."""
    bench = Bench()
    for turn in range(1, 20):
        bench.give(10)
        assert min(bench.numbers()) > 0, "new packets show what is missing as well"
        sent_at, bench.now = bench.now, bench.now + 0.2
        bench.give(10)
        assert min(bench.numbers()) > 0
        came = sent_at + RTT  # that of the first ten, as the kernel stamped it
        now, bench.now = bench.now, came
        bench.ack(FIRST + 20 * turn - 10)
        bench.now = now
        assert bench.numbers() == []
        bench.now += RTT
        bench.ack(FIRST + 20 * turn)
    assert bench.sender.count.probes == 0


def test_no_probe_without_the_option_or_after_an_ack() -> None:
    bench = Bench(repair=RepairOptions(has_tail_probe=False))
    bench.give(10)
    bench.fill()
    assert bench.timer() > 1.0
    heard = Bench()
    heard.give(10)
    heard.fill()
    heard.now = 0.055
    heard.ack(FIRST + 10)
    assert heard.timer() == NEVER


def test_a_peer_that_asks_only_once_is_sent_everything_again() -> None:
    """Without periodic NAK nothing else mends a lost repair: libsrt's fast retransmission."""
    bench = Bench(repair=RepairOptions(has_periodic_nak=False))
    bench.give(4)
    bench.fill()
    bench.now = bench.timer()
    assert bench.now == approx(RTT + 0.020, abs=0.001)
    assert bench.numbers() == [-1000, -1001, -1002, -1003]
    assert bench.sender.count.timeouts == 1


def tail(pair: Pair, lost: int) -> Pair:
    """A second of packets whose last `lost` ones are lost when they are sent first."""

    def tap(datagram: bytes, now: float) -> bool:
        if datagram[0] & 0x80:
            return True
        packet = DataPacket.parse(datagram)
        return packet.is_retransmitted or packet.sequence < FIRST + 950 - lost

    pair.there.tap = tap
    pair.transfer(950)
    return pair


def test_the_tail_is_mended_on_a_path() -> None:
    link = Link(delay=0.010)
    assert tail(Pair(link), 1).received.numbers == list(range(950))
    assert tail(Pair(link), 5).received.numbers == list(range(950))
    options = Options(repair=RepairOptions(has_tail_probe=False))
    assert tail(Pair(link, options=options), 1).received.numbers == list(range(949))


@pytest.mark.parametrize("rate", [1.0, 20.0, 300.0])
def test_no_probe_where_nothing_is_lost(rate: float) -> None:
    """Each packet is the last one for a while; the peer is heard in time."""
    pair = Pair(Link(delay=0.025, jitter=0.01), Link(delay=0.025, jitter=0.01))
    pair.transfer(int(rate * 10), rate=rate)
    values = pair.caller.statistics(pair.net.now).values
    assert values["pktRetransTotal"] == 0


WORD = st.integers(0, (1 << 31) - 1)
STEP = st.one_of(
    st.tuples(st.just("give"), st.integers(1, 40)),
    st.tuples(st.just("ack"), WORD),
    st.tuples(st.just("near-ack"), st.integers(-20, 60)),
    st.tuples(st.just("nak"), st.tuples(WORD, WORD)),
    st.tuples(st.just("near-nak"), st.tuples(st.integers(-20, 60), st.integers(0, 40))),
    st.tuples(st.just("wait"), st.floats(0, 1.5)),
)


@given(st.lists(STEP, max_size=40))
def test_whatever_the_peer_says_it_stays_sane(steps: Sequence[tuple[str, object]]) -> None:
    bench = Bench(capacity=200)
    sender = bench.sender
    given_count = 0
    for step, value in steps:
        if step == "give":
            assert isinstance(value, int)
            given_count += bench.give(value)
        elif step == "ack":
            assert isinstance(value, int)
            bench.ack(value)
        elif step == "near-ack":
            assert isinstance(value, int)
            bench.ack(sender.acknowledged + value & 0x7FFFFFFF)
        elif step == "wait":
            assert isinstance(value, float)
            bench.now += value
        else:
            assert isinstance(value, tuple)
            first, last = value
            if step == "near-nak":
                first += sender.acknowledged
                last += first
            bench.nak((first & 0x7FFFFFFF, last & 0x7FFFFFFF))
        bench.fill()
        buffer = sender.buffer
        assert buffer.first <= buffer.unsent <= buffer.end == FIRST + given_count
        assert sender.acknowledged <= buffer.unsent
        assert len(buffer) <= 200 and len(sender.drops) <= 16
        sender.drops.take()
        assert bench.timer() >= 0
    assert {each.sequence for each in bench.sent} <= set(range(FIRST, FIRST + given_count))
