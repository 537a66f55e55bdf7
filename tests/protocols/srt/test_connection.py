"""A connection on paths of every kind: what could arrive in time arrives; life and end of it."""

import random
from dataclasses import dataclass

import pytest
from pytest import approx

from protocols.srt.control import serialize_empty
from protocols.srt.options import Options
from protocols.srt.packet import SEQUENCE_MASK, ControlPacket, ControlType
from protocols.srt.playout import TICK
from tests.support.simnet import Link
from tests.support.srt_pair import CALLER, Pair

FIRST = 1000


@dataclass(frozen=True)
class Path:
    """Milliseconds, shares of one; `delivered` is the least."""

    rtt_ms: int
    latency_ms: int
    loss: float
    delivered: float
    burst: float = 0.0
    jitter_ms: int = 0
    reorder: float = 0.0
    duplicate: float = 0.0
    is_both_ways: bool = False
    coalesce_ms: int = 0

    @property
    def name(self) -> str:
        """What differs from nothing at all."""
        words = [f"{self.rtt_ms}ms", f"{self.latency_ms}ms", f"{self.loss:.0%}"]
        words += [f"burst{self.burst:g}"] * bool(self.burst)
        words += [f"jitter{self.jitter_ms}"] * bool(self.jitter_ms)
        words += ["reorder"] * bool(self.reorder) + ["duplicate"] * bool(self.duplicate)
        words += ["both-ways"] * self.is_both_ways
        words += [f"turns{self.coalesce_ms}"] * bool(self.coalesce_ms)
        return "-".join(words)

    def pair(self, seed: int, **more: object) -> Pair:
        """Two ends of it; the handshake has measured the round trip."""
        more.setdefault("rtt", self.rtt_ms / 1000)
        delay = self.rtt_ms / 2000
        link = Link(
            delay=delay,
            jitter=self.jitter_ms / 1000,
            loss=self.loss,
            burst=self.burst,
            reorder=self.reorder,
            duplicate=self.duplicate,
        )
        back = link if self.is_both_ways else Link(delay=delay, jitter=self.jitter_ms / 1000)
        options = Options(receive_latency_ms=self.latency_ms)
        coalesce = self.coalesce_ms / 1000
        return Pair(link, back, seed=seed, options=options, coalesce=coalesce, **more)  # type: ignore[arg-type]


# With a latency of four round trips, as is recommended, or what is usual on such a path.
PATHS = [
    Path(5, 20, 0.00, 1.0),
    Path(5, 20, 0.30, 0.95),
    Path(5, 120, 0.30, 0.9999),
    Path(20, 120, 0.01, 0.9999),
    Path(20, 120, 0.30, 0.996),
    Path(20, 120, 0.10, 0.998, burst=5),
    Path(50, 250, 0.30, 0.99),
    Path(100, 500, 0.10, 0.9995),
    Path(100, 500, 0.10, 0.998, burst=10),
    Path(200, 1000, 0.30, 0.99),
    Path(600, 2500, 0.05, 0.999),
    Path(600, 3000, 0.30, 0.98),
    Path(20, 120, 0.00, 1.0, jitter_ms=40),
    Path(20, 200, 0.05, 0.999, jitter_ms=30),
    Path(20, 120, 0.05, 0.999, reorder=0.1),
    Path(50, 250, 0.05, 0.999, duplicate=0.2),
    Path(50, 300, 0.10, 0.995, burst=3, jitter_ms=10, reorder=0.05, duplicate=0.05),
    Path(50, 250, 0.20, 0.99, is_both_ways=True),
    Path(100, 500, 0.30, 0.97, is_both_ways=True),
    Path(20, 120, 0.10, 0.999, coalesce_ms=5),
    Path(50, 250, 0.10, 0.999, coalesce_ms=10),
]


def check(path: Path, packets: int, seed: int, **agreed: object) -> float:
    """The share that is delivered, of a stream in which everything else is right."""
    pair = path.pair(seed, **agreed)
    pair.transfer(packets)
    numbers = pair.received.numbers
    assert numbers == sorted(set(numbers)), "in order, none twice"
    assert len(numbers) + pair.received.lost + (packets - 1 - numbers[-1]) == packets
    # What came in time was played, and at its time: the latency behind the first, as agreed.
    transit, latency = path.rtt_ms / 2000, path.latency_ms / 1000
    first = int(str(agreed.get("first", FIRST)))
    played = set(numbers)
    for number, sent_at in enumerate(pair.sent_at):
        opened = pair.door.opened.get(first + number & SEQUENCE_MASK)
        if opened is not None and opened < sent_at + transit + latency - 1e-4:
            assert number in played, f"{number} came in time"
    slack = TICK + path.coalesce_ms / 1000 + 0.003
    assert transit + latency - 0.003 <= min(pair.delays)
    # The very last ones come late rather than never: nothing is held up by them.
    assert max(pair.delays[:-5]) <= transit + latency + slack
    return pair.delivered


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_what_could_arrive_in_time_arrives(path: Path) -> None:
    assert check(path, 1000, 1) >= path.delivered - 0.003


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_what_could_arrive_in_time_arrives_at_full_scale(path: Path) -> None:
    shares = [check(path, 30_000, seed) for seed in range(5)]
    assert sum(shares) / len(shares) >= path.delivered


@pytest.mark.long
@pytest.mark.timeout(900)
def test_paths_drawn_by_chance() -> None:
    """Whatever the path, numbers and times: nothing that came in time is lost."""
    dice = random.Random(2026)
    for seed in range(200):
        rtt = dice.choice([5, 10, 30, 80, 200, 600])
        path = Path(
            rtt,
            dice.choice([max(rtt, 20), 2 * rtt + 20, 4 * rtt + 20]),
            dice.choice([0, 0.01, 0.1, 0.3]),
            0.0,
            burst=dice.choice([0, 0, 4, 20]),
            reorder=dice.choice([0, 0, 0.1]),
            duplicate=dice.choice([0, 0, 0.2]),
            is_both_ways=dice.random() < 0.5,
            coalesce_ms=dice.choice([0, 1, 5]),
        )
        first = dice.choice([FIRST, (1 << 31) - 500])
        check(path, 2000, seed, first=first, started_at=1000.0 - dice.choice([0, 4294, 9000]))


@pytest.mark.parametrize("rate", [50.0, 3000.0])
def test_both_sides_may_send(rate: float) -> None:
    pair = Path(40, 200, 0.02, 0.999, is_both_ways=True).pair(3)
    count = int(rate)
    pair.stream(count, rate=rate)

    def answer(now: float) -> None:
        if len(pair.received.numbers) < count:
            pair.listener.send([b"back"], now)

    pair.net.every(0.05, answer)
    pair.run(2.0)
    assert pair.delivered >= 0.999
    assert pair.listener.rtt == approx(0.040, abs=0.002)
    assert pair.caller.rtt == approx(0.040, abs=0.002)


def controls(pair: Pair, kind: ControlType) -> list[float]:
    """When the caller sends such packets."""
    seen: list[float] = []

    def tap(datagram: bytes, now: float) -> bool:
        if datagram[0] & 0x80 and ControlPacket.parse(datagram).kind == kind:
            seen.append(now - 1000.0)
        return True

    pair.there.tap = tap
    return seen


def test_keepalive_each_second_of_silence() -> None:
    pair = Pair(Link(delay=0.02))
    seen = controls(pair, ControlType.KEEPALIVE)
    pair.run(10.5)
    assert seen == [approx(second, abs=0.002) for second in range(1, 11)]
    seen.clear()
    pair.stream(500, rate=50.0)
    pair.run(9.9)
    assert seen == [], "packets say as much"
    assert pair.sent.closed is None and pair.received.closed is None


def test_without_keepalives_it_ends() -> None:
    """The peer is thought to be gone after five seconds without a word, and no sooner."""
    pair = Pair(Link(delay=0.02))
    pair.transfer(950)
    heard = pair.listener.state.heard_at
    pair.there.tap = lambda datagram, now: False
    pair.run(20.0)
    assert pair.received.closed is not None
    assert pair.received.closed.reason == "srt-peer-idle" and pair.received.closed.is_remote
    assert pair.received.closed_at == approx(heard + 5.0, abs=0.01)
    assert pair.received.numbers == list(range(950)), "what came before was played"


def test_shutdown_lets_what_came_be_played() -> None:
    pair = Pair(Link(delay=0.02))
    pair.stream(950)
    pair.run(1.03)
    pair.caller.close(pair.net.now)
    pair.run(1.0)
    assert pair.sent.closed is not None and not pair.sent.closed.is_remote
    assert pair.received.closed is not None and pair.received.closed.is_remote
    assert pair.received.closed.reason == "srt-peer-closed"
    assert pair.received.numbers == list(range(950))
    assert pair.received.closed_at == approx(pair.received.arrivals[-1].at, abs=0.05)


def test_an_end_does_not_wait_for_what_is_deferred() -> None:
    """Off, the name of a publisher whom nobody watches is taken for half a second more."""
    pair = Pair(Link(delay=0.02))
    assert pair.listener.inbox is not None
    pair.listener.inbox.deferred = 5.0
    pair.stream(100)
    pair.run(0.2)
    assert not pair.received.numbers
    pair.caller.close(pair.net.now)
    pair.run(0.5)
    assert len(pair.received.numbers) == 100
    assert pair.received.closed is not None


def test_a_lost_shutdown_is_sent_twice() -> None:
    pair = Pair(Link(delay=0.02))
    lost: list[bytes] = []

    def tap(datagram: bytes, now: float) -> bool:
        if datagram[:2] == b"\x80\x05" and not lost:
            lost.append(datagram)
            return False
        return True

    pair.there.tap = tap
    pair.run(0.5)
    pair.caller.close(pair.net.now)
    pair.run(0.3)
    assert lost and pair.received.closed is not None


def test_a_forged_shutdown_is_taken_back_by_what_comes_after_it() -> None:
    pair = Pair(Link(delay=0.02))
    pair.stream(1900)
    pair.run(0.5)
    forged = serialize_empty(ControlType.SHUTDOWN, 0, pair.listener.socket_id)
    pair.listener.receive_datagrams([forged], CALLER, pair.net.now)
    pair.run(3.0)
    assert pair.received.closed is None
    assert pair.received.numbers == list(range(1900))
    reasons = pair.listener.statistics(pair.net.now).reasons
    assert reasons["shutdown-contradicted"] == 1


def test_a_stranger_is_not_heard() -> None:
    pair = Pair(Link(delay=0.02))
    pair.run(1.0)
    forged = serialize_empty(ControlType.SHUTDOWN, 0, pair.listener.socket_id)
    pair.listener.receive_datagrams([forged], ("203.0.113.9", 1), pair.net.now)
    other = serialize_empty(ControlType.SHUTDOWN, 0, 4711)
    pair.listener.receive_datagrams([other], CALLER, pair.net.now)
    pair.run(2.0)
    assert pair.received.closed is None
    reasons = pair.listener.statistics(pair.net.now).reasons
    assert reasons == {"foreign-address": 1, "foreign-socket-id": 1}


def test_an_outage_is_survived() -> None:
    """Three seconds of nothing either way: what is after it is played at its own time."""
    pair = Pair(Link(delay=0.02))
    pair.stream(4750)
    pair.run(1.0)
    pair.there.is_cut = pair.here.is_cut = True
    pair.run(3.0)
    pair.there.is_cut = pair.here.is_cut = False
    pair.run(3.0)
    numbers = pair.received.numbers
    assert numbers[-1] == 4749
    assert pair.received.lost == 4750 - len(numbers) == approx(3.0 * 950, abs=100)
    assert max(pair.delays) <= 0.14 + TICK + 0.001


def test_drop_requests_are_heard() -> None:
    """What the sender has given up is not asked for again and again."""
    options = Options(receive_latency_ms=3000)
    pair = Pair(Link(delay=0.02), options=options)
    asked: list[float] = []

    def tap(datagram: bytes, now: float) -> bool:
        if ControlPacket.parse(datagram).kind == ControlType.NAK:
            asked.append(now)
        return True

    pair.here.tap = tap
    pair.stream(100)
    pair.run(0.5)
    # The peer's numbers go on further ahead than anything it can still send.
    pair.caller.jump(FIRST + 150, 1)
    pair.stream(100)
    pair.run(0.5)
    assert 1 <= len(asked) <= 3
    assert pair.caller.statistics(pair.net.now).values["pktRecvNAKTotal"] == len(asked)
    pair.run(4.0)
    assert len(pair.received.numbers) == 200
