"""The receiving half: order, holes and what is asked for, strangers, what nobody can read."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from protocols.srt.cipher import PacketCipher, make_cipher
from protocols.srt.control import Range, parse_losses
from protocols.srt.filter import Arq
from protocols.srt.keys import CipherKind, KeyRing
from protocols.srt.options import Options, RepairOptions
from protocols.srt.packet import ControlType, DataPacket, pack_header
from protocols.srt.playout import Playout
from protocols.srt.receive_keys import ReceiveKeys
from protocols.srt.receiver import MAX_STEP, Receiver
from protocols.srt.rtt import RttEstimator
from protocols.srt.tsbpd import PlayClock
from tests.support.simnet import Link
from tests.support.srt_pair import Pair

FIRST = 1000
ID = 77
RTT = 0.040
LATENCY = 0.120
NEVER = float("inf")


@dataclass
class Bench:
    """A receiver by itself; the peer sends packet n at n milliseconds, and it comes at once."""

    first: int = FIRST
    arq: Arq = Arq.ALWAYS
    repair: RepairOptions = field(default_factory=RepairOptions)
    ring: KeyRing | None = None
    capacity: int = 8192
    now: float = 0.0
    told: list[tuple[int, bool]] = field(default_factory=list)  # attempts, whether sent again

    def __post_init__(self) -> None:
        self.rtt = RttEstimator()
        for tick in range(200):
            self.rtt.add(RTT, tick * 0.01 - 2.0)
        self.inbox = Playout(self.first, PlayClock(0.0, LATENCY), self.capacity)
        self.receiver = Receiver(
            self.first,
            ID,
            self.inbox,
            self.rtt,
            ReceiveKeys(self.ring),
            arq=self.arq,
            capacity=self.capacity,
            on_arrival=lambda missing, is_again, now: self.told.append((missing.asked, is_again)),
            repair=self.repair,
        )

    def packet(self, number: int, *, again: bool = False, destination: int = ID) -> bytes:
        """Packet `number` counted from the first."""
        sequence = self.first + number & 0x7FFFFFFF
        payload = b"%d" % number
        stamp = number * 1000 & 0xFFFFFFFF
        return DataPacket(
            sequence, 1, stamp, destination, payload, is_retransmitted=again
        ).serialize()

    def come(self, *numbers: int, again: bool = False) -> None:
        """These come in one batch."""
        self.receiver.receive([self.packet(each, again=again) for each in numbers], self.now)

    def asked(self) -> list[Range]:
        """What the NAKs of now ask for, counted from the first."""
        found: list[Range] = []
        for body in self.receiver.naks(self.now):
            losses, bad = parse_losses(body)
            assert not bad
            base = self.first & 0x7FFFFFFF
            found += [(a - base & 0x7FFFFFFF, b - base & 0x7FFFFFFF) for a, b in losses]
        return found

    def played(self, now: float) -> list[int]:
        """What is handed out by then."""
        found = [int(each) for event in self.inbox.release(now) for each in event.payloads]
        self.receiver.losses.forget_below(self.inbox.expected)
        return found

    @property
    def reasons(self) -> dict[str, int]:
        """What was refused."""
        return self.receiver.count.reasons


def test_packets_in_a_row() -> None:
    bench = Bench(first=(1 << 31) - 3)
    bench.come(0, 1, 2, 3)
    bench.come(4, 5)
    count = bench.receiver.count
    assert (count.packets, count.unique, count.bytes, count.lost) == (6, 6, 6, 0)
    assert bench.receiver.position == (1 << 31) + 3, "unwrapped"
    assert bench.receiver.get_timer() == NEVER
    assert bench.asked() == []
    assert bench.played(9.0) == list(range(6))


def test_a_hole_is_asked_for_after_the_tolerance_and_again_when_overdue() -> None:
    bench = Bench()
    bench.come(0, 1, 5, 6)
    assert bench.receiver.count.lost == 3
    assert bench.receiver.position == FIRST + 2
    tolerance = bench.receiver.tolerance.seconds
    assert bench.receiver.get_timer() == approx(tolerance)
    assert bench.asked() == []
    times: list[float] = []
    while bench.receiver.get_timer() < NEVER:
        bench.now = bench.receiver.get_timer()
        if asked := bench.asked():
            assert asked == [(2, 4)]
            times.append(bench.now)
    again = bench.rtt.overdue
    assert times == [approx(tolerance), approx(tolerance + again)]
    assert times[-1] + again + RTT > LATENCY + 0.005, "a third answer would come too late"


def test_it_asks_once_where_asking_again_is_off() -> None:
    bench = Bench(repair=RepairOptions(has_periodic_nak=False))
    bench.come(0, 2)
    bench.now = bench.receiver.get_timer()
    assert bench.asked() == [(1, 1)]
    bench.now = bench.receiver.get_timer()
    assert bench.asked() == []


def test_it_asks_on_and_on_where_nothing_is_ever_too_late() -> None:
    bench = Bench(repair=RepairOptions(drops_late=False))
    bench.come(0, 2)
    times = 0
    while bench.now < 10.0:
        bench.now = bench.receiver.get_timer()
        times += len(bench.asked())
    once = 10.0 / bench.rtt.overdue
    assert once * 0.95 < times < 2 * once, "some twice: nobody seems to hear them"


def test_what_comes_after_all_is_taken_and_told() -> None:
    bench = Bench()
    bench.come(0, 3)
    bench.now = 0.002
    bench.come(2)
    bench.now = 0.020
    assert bench.asked() == [(1, 1)]
    bench.now = 0.060
    bench.come(1, again=True)
    count = bench.receiver.count
    assert (count.recovered, count.reordered, count.reorder_distance) == (1, 1, 1)
    assert count.retransmitted == 1
    assert bench.told == [(0, False), (1, True)]
    assert bench.receiver.position == FIRST + 4
    assert bench.receiver.get_timer() == NEVER
    assert bench.played(9.0) == [0, 1, 2, 3]


def test_duplicates_and_belated_ones_are_told_apart() -> None:
    bench = Bench()
    bench.come(0, 1, 3)
    bench.come(1, again=True)
    bench.now = 1.0
    assert bench.played(1.0) == [0, 1, 3]
    bench.come(2, again=True)
    bench.come(3)
    count = bench.receiver.count
    assert (count.duplicates, count.belated) == (2, 1)
    assert count.belated_mean_ms == approx((1.0 - 0.122) * 1000, abs=0.1)
    assert bench.played(9.0) == []


def test_what_was_skipped_is_not_asked_for() -> None:
    bench = Bench()
    bench.come(0, 1, 3)
    bench.played(1.0)
    bench.now = 1.0
    assert bench.asked() == []
    assert bench.receiver.position == FIRST + 4


def test_a_jump_needs_a_witness() -> None:
    """One forged number from far ahead must not make everything up to it missing."""
    bench = Bench()
    bench.now = 6.0
    bench.come(0, 1)
    bench.come(5000)
    assert bench.receiver.next == FIRST + 2
    assert bench.reasons == {"sequence-jump": 1}
    bench.come(2)
    assert bench.played(9.0) == [0, 1, 2]
    bench.come(6000)
    bench.come(6001)
    assert bench.receiver.next == FIRST + 6002, "two make an outage"
    assert bench.played(9.0) == [6000, 6001]


def test_a_hole_that_needs_none() -> None:
    bench = Bench()
    bench.come(0, MAX_STEP, MAX_STEP + 1)
    assert bench.receiver.next == FIRST + MAX_STEP + 2
    assert bench.receiver.count.lost == MAX_STEP - 1
    bench.now = 0.020
    assert bench.asked() == [(1, MAX_STEP - 1)]


def test_packets_for_somebody_else_are_refused() -> None:
    bench = Bench()
    bench.receiver.receive([bench.packet(0), bench.packet(1, destination=78)], 0.0)
    bench.come(1)
    assert bench.reasons == {"foreign-socket-id": 1}
    assert bench.played(9.0) == [0, 1]


def test_a_timestamp_from_the_future_does_not_stop_the_stream() -> None:
    bench = Bench()
    forged = DataPacket(FIRST + 1, 1, 1_000_000_000, ID, b"1")
    bench.receiver.receive([bench.packet(0), forged.serialize(), bench.packet(2)], 0.0)
    assert bench.reasons == {"timestamp-ahead": 1}
    assert bench.played(LATENCY + 1.01) == [0, 1, 2], "a second late at most"


def test_a_drop_request_ends_the_asking() -> None:
    bench = Bench()
    bench.come(0, 4)
    bench.receiver.drop(FIRST + 1, FIRST + 2, 0)
    bench.now = 0.020
    assert bench.asked() == [(1, 3)], "anybody may have said that"
    bench.receiver.drop(FIRST + 1, FIRST + 2, 0)
    bench.now = 0.080
    assert bench.asked() == [(3, 3)]
    assert bench.played(0.123) == [0], "its place is skipped when its time has come"
    assert bench.played(0.124) == [4]


@pytest.mark.parametrize(
    ("first", "last"), [(FIRST + 5000, FIRST + 5001), (FIRST - 10, FIRST - 5), (5, 1 << 30)]
)
def test_a_drop_request_from_elsewhere_is_refused(first: int, last: int) -> None:
    bench = Bench()
    bench.come(0, 4)
    bench.receiver.drop(first, last, 0)
    assert bench.reasons == {"drop-request-out-of-window": 1}
    bench.now = 0.020
    assert bench.asked() == [(1, 3)]


def test_many_holes_are_asked_for_in_several_packets() -> None:
    bench = Bench()
    bench.come(*range(0, 2000, 2))
    bench.now = 0.020
    bodies = bench.receiver.naks(bench.now)
    assert len(bodies) > 1 and max(map(len, bodies)) <= 1440
    found = [loss for body in bodies for loss in parse_losses(body)[0]]
    assert [a - FIRST for a, b in found if a == b] == list(range(1, 1998, 2))


def test_with_a_filter_only_what_it_cannot_mend_is_asked_for() -> None:
    bench = Bench(arq=Arq.ON_REQUEST)
    bench.come(0, 5)
    assert bench.receiver.get_timer() == NEVER
    bench.receiver.report([(FIRST + 2, FIRST + 3)], 0.01)
    bench.now = 0.01
    assert bench.asked() == [(2, 3)]
    never = Bench(arq=Arq.NEVER)
    never.come(0, 5)
    never.receiver.report([(FIRST + 2, FIRST + 3)], 0.01)
    assert never.receiver.get_timer() == NEVER


EVEN, ODD, SALT = bytes([1]) * 16, bytes([2]) * 16, bytes(range(14)) + b"\0\0"


def cipher(kind: CipherKind, key: bytes = EVEN) -> PacketCipher:
    return make_cipher(kind, key, SALT)


def ring(kind: CipherKind, odd: bytes = b"") -> KeyRing:
    return KeyRing(kind, SALT, bytes(16), EVEN, odd)


def sealed(number: int, by: PacketCipher, key: int = 1) -> bytes:
    """A packet under a key."""
    header = pack_header(FIRST + number, 3 << 30 | key << 27 | 1, number * 1000, ID)
    return header + by.seal(FIRST + number, header, b"%d" % number)


@pytest.mark.parametrize("kind", [CipherKind.CTR, CipherKind.GCM])
def test_sealed_packets_are_opened(kind: CipherKind) -> None:
    even, odd = cipher(kind), cipher(kind, ODD)
    bench = Bench(ring=ring(kind, ODD))
    packets = [sealed(each, even) for each in range(3)] + [sealed(each, odd, 2) for each in (3, 4)]
    bench.receiver.receive(packets, 0.0)
    assert bench.played(9.0) == [0, 1, 2, 3, 4]


def test_a_packet_that_was_tampered_with_is_as_one_that_never_came() -> None:
    bench = Bench(ring=ring(CipherKind.GCM))
    good = [sealed(each, cipher(CipherKind.GCM)) for each in range(4)]
    bad = good[1][:-1] + bytes([good[1][-1] ^ 1])
    bench.receiver.receive([good[0], bad, good[2], good[3]], 0.0)
    assert bench.reasons == {"not-authentic": 1}
    bench.now = 0.020
    assert bench.asked() == [(1, 1)]
    bench.receiver.receive([good[1]], 0.05)
    assert bench.played(9.0) == [0, 1, 2, 3]


def test_what_no_key_opens_takes_its_place_and_is_not_played() -> None:
    bench = Bench()
    bench.receiver.receive([sealed(0, cipher(CipherKind.CTR)), bench.packet(1)], 0.0)
    count = bench.receiver.count
    assert (count.undecryptable, count.undecryptable_bytes) == (1, 1)
    assert bench.receiver.get_timer() == NEVER, "asking would bring the same"
    assert bench.played(9.0) == [1]


def test_clear_packets_on_a_secured_connection_are_refused() -> None:
    bench = Bench(ring=ring(CipherKind.CTR))
    bench.receiver.is_secured = True
    bench.receiver.receive([bench.packet(0), sealed(0, cipher(CipherKind.CTR))], 0.0)
    assert bench.reasons == {"clear-on-secured": 1}
    assert bench.played(9.0) == [0]


@given(st.integers(0, 2**32), st.floats(0, 0.4), st.integers(1, 9), st.booleans())
def test_any_order_and_any_loss(seed: int, loss: float, batch: int, wraps: bool) -> None:
    """What comes is played once, in order, whatever is missing, doubled or overtaken."""
    dice = random.Random(seed)
    bench = Bench(first=(1 << 31) - 60 if wraps else FIRST)
    order = [each for each in range(120) if dice.random() >= loss]
    order += dice.choices(order, k=10) if order else []
    order.sort(key=lambda each: each + dice.random() * 12)
    for at in range(0, len(order), batch):
        bench.now += 0.0001
        bench.come(*order[at : at + batch], again=dice.random() < 0.3)
    assert bench.played(9.0) == sorted(set(order))
    count = bench.receiver.count
    assert count.unique == len(set(order))
    assert count.packets == len(order)
    assert count.duplicates + count.belated == len(order) - len(set(order))


def test_asking_again_is_what_mends() -> None:
    """10 % lost at 50 ms: with one question each, a lost repair is a lost packet."""

    def lost(options: Options, has_naks: bool = True) -> float:
        link = Link(delay=0.025, loss=0.10)
        pair = Pair(link, Link(delay=0.025), seed=6, peer_options=options)
        pair.here.tap = lambda datagram, now: has_naks or datagram[1] != ControlType.NAK
        pair.transfer(3000)
        return 1 - pair.delivered

    once = Options(repair=RepairOptions(has_periodic_nak=False))
    assert lost(Options()) < 0.0025
    assert 0.007 < lost(once) < 0.014
    assert 0.08 < lost(Options(), has_naks=False) < 0.12, "nobody is asked"


def test_where_questions_get_lost_they_are_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 % lost both ways: a question in five is never heard, but of two only one in 25."""

    def lost() -> float:
        link = Link(delay=0.025, loss=0.20)
        pair = Pair(link, link, seed=7)
        pair.transfer(4000)
        return 1 - pair.delivered

    twice = lost()
    monkeypatch.setattr("protocols.srt.losses.ECHO_SHARE", 2.0)  # never
    assert twice < 0.7 * lost()


def test_batches_do_not_matter() -> None:
    """The same packets in other batches are the same stream."""

    def played(size: int) -> Sequence[int]:
        dice = random.Random(8)
        bench = Bench()
        order = [each for each in range(1000) if dice.random() > 0.1]
        for at in range(0, len(order), size):
            bench.come(*order[at : at + size])
        return [*bench.played(9.0), bench.receiver.count.lost]

    assert played(1) == played(7) == played(64) == played(1000)
