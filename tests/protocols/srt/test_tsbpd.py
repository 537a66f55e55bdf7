"""Timed play-out on a path: the sender's pace, one latency later, and what is too late is skipped.

Each promise is shown twice: kept, and not kept where the feature is turned off.
"""

import pytest

from protocols.srt.options import Mode, Options, RepairOptions
from protocols.srt.packet import SEQUENCE_MASK
from protocols.srt.playout import TICK
from tests.support.simnet import Link
from tests.support.srt_pair import Pair

LAP_SECONDS = (1 << 32) / 1e6
WAITS = 0xBF & ~0x08  # flags of a peer that does not drop late packets
JITTERY = Link(delay=0.02, jitter=0.05)


def spread(pair: Pair) -> float:
    """The longest delay less the shortest."""
    return max(pair.delays) - min(pair.delays)


def test_jitter_of_the_path_is_not_seen() -> None:
    pair = Pair(JITTERY, Link(delay=0.02))
    pair.transfer(1900)
    assert pair.received.numbers == list(range(1900))
    assert min(pair.delays) >= 0.12 + 0.02 - 1e-6
    assert spread(pair) <= TICK + 1e-6


def test_without_timed_play_out_it_is() -> None:
    """Message mode hands out what comes when it comes."""
    pair = Pair(JITTERY, Link(delay=0.02), options=Options(mode=Mode.MESSAGE))
    pair.transfer(1900)
    assert pair.received.numbers == list(range(1900))
    assert spread(pair) > 0.03


def test_what_is_played_keeps_the_senders_pace() -> None:
    """A burst each 40 ms stays a burst each 40 ms."""
    pair = Pair(JITTERY, Link(delay=0.02))
    pair.transfer(2000, rate=1000.0, burst=40)
    for arrival in pair.received.arrivals:
        assert abs(arrival.at - pair.sent_at[arrival.number] - 0.14) <= TICK + 1e-6


@pytest.mark.parametrize("latency_ms", [0, 20, 500, 4000])
def test_the_latency_is_the_agreed_one(latency_ms: int) -> None:
    pair = Pair(Link(delay=0.03), options=Options(receive_latency_ms=latency_ms))
    pair.transfer(300, rate=100.0)
    assert pair.received.numbers == list(range(300))
    wanted = 0.03 + latency_ms / 1000
    assert all(wanted - 1e-6 <= delay <= wanted + TICK + 1e-6 for delay in pair.delays)


def cut_out(pair: Pair, numbers: range, first: int = 1000) -> None:
    """These never arrive, however often they are sent."""
    lost = {first + number & SEQUENCE_MASK for number in numbers}

    def tap(datagram: bytes, now: float) -> bool:
        return bool(datagram[0] & 0x80) or int.from_bytes(datagram[:4], "big") not in lost

    pair.there.tap = tap


def test_a_hole_is_skipped_when_what_is_behind_it_is_due() -> None:
    pair = Pair(Link(delay=0.02))
    cut_out(pair, range(100, 110))
    pair.transfer(950)
    assert pair.received.numbers == [n for n in range(950) if not 100 <= n < 110]
    assert [(a.number, a.lost) for a in pair.received.arrivals if a.lost] == [(110, 10)]
    (after,) = [a for a in pair.received.arrivals if a.number == 110]
    assert after.at == pytest.approx(pair.sent_at[110] + 0.14, abs=1e-4), "not a tick later"
    assert spread(pair) <= TICK + 1e-6, "nobody else was held up"
    values = pair.listener.statistics(pair.net.now).values
    assert values["pktRcvDropTotal"] == 10
    assert pair.caller.acknowledged_sequence == 1950, "it is acknowledged as if it had come"


def test_without_dropping_everything_waits() -> None:
    options = Options(repair=RepairOptions(drops_late=False))
    pair = Pair(Link(delay=0.02), peer_options=options, flags=WAITS)
    cut_out(pair, range(100, 110))
    pair.stream(950)
    pair.run(0.9)
    assert pair.received.numbers == list(range(100))
    pair.there.tap = None
    pair.run(2.0)
    assert pair.received.numbers[:110] == list(range(110)), "it came late, but it came"


def test_what_comes_too_late_is_belated_and_not_played() -> None:
    pair = Pair(Link(delay=0.02))
    held: list[bytes] = []

    def tap(datagram: bytes, now: float) -> bool:
        if int.from_bytes(datagram[:4], "big") == 1100:
            held.append(datagram)
            return False
        return True

    pair.there.tap = tap
    pair.stream(950)
    pair.run(1.0)
    pair.door.receive_datagrams(held[:1], pair.listener.peer, pair.net.now)
    pair.run(1.0)
    assert 100 not in pair.received.numbers
    values = pair.listener.statistics(pair.net.now).values
    assert values["pktRcvBelatedTotal"] == 1
    assert values["pktRcvAvgBelatedTime"] == pytest.approx((1.0 - 100 / 950 - 0.14) * 1000, abs=5)


def test_the_sender_gives_up_what_is_too_old() -> None:
    """Nothing is heard of the peer for some seconds; the buffer does not grow meanwhile."""
    pair = Pair(Link(delay=0.02))
    pair.stream(4750)
    pair.run(1.0)
    pair.there.is_cut = True
    pair.run(3.0)
    held = pair.caller.statistics(pair.net.now).values["pktSndBuf"]
    assert 950 <= held <= 1000, "a second of it, the least that is kept"
    assert pair.sent.dropped > 1800
    pair.there.is_cut = False
    pair.run(3.0)
    values = pair.listener.statistics(pair.net.now).values
    missed = 4750 - len(pair.received.numbers)
    assert missed == pair.received.lost == values["pktRcvDropTotal"]
    assert pair.received.numbers[-1] == 4749


def test_without_it_the_sender_keeps_everything() -> None:
    options = Options(repair=RepairOptions(send_drop_delay=-1))
    pair = Pair(Link(delay=0.02), options=options)
    pair.stream(4750)
    pair.run(1.0)
    pair.there.is_cut = True
    pair.run(3.0)
    assert pair.sent.dropped == 0
    assert pair.caller.statistics(pair.net.now).values["pktSndBuf"] > 2800


def test_a_peer_that_waits_for_late_packets_gets_them_all() -> None:
    """Its flags say so: then the sender does not give up either."""
    options = Options(repair=RepairOptions(drops_late=False))
    pair = Pair(Link(delay=0.02), peer_options=options, flags=WAITS)
    pair.stream(2850)
    pair.run(1.0)
    pair.there.is_cut = True
    pair.run(1.8)
    pair.there.is_cut = False
    pair.run(9.0)
    assert pair.sent.dropped == 0
    assert pair.received.numbers == list(range(2850))


@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_sequence_numbers_wrap(loss: float) -> None:
    pair = Pair(Link(delay=0.02, loss=loss), Link(delay=0.02), first=(1 << 31) - 500)
    pair.transfer(1900)
    assert pair.received.numbers == list(range(1900))
    assert pair.caller.next_sequence == 1400
    assert pair.caller.acknowledged_sequence == 1400
    assert spread(pair) <= TICK + 0.002


@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_timestamps_wrap(loss: float) -> None:
    """Ten seconds before the wrap, and beyond it."""
    link = Link(delay=0.02, loss=loss)
    pair = Pair(link, Link(delay=0.02), started_at=1000.0 - LAP_SECONDS + 10)
    pair.transfer(2000, rate=100.0)
    assert pair.received.numbers == list(range(2000))
    assert spread(pair) <= TICK + 0.011
    assert pair.caller.statistics(pair.net.now).reasons == {}
    assert pair.listener.statistics(pair.net.now).reasons == {}


def test_timestamps_wrap_in_a_pause() -> None:
    """An hour and a half of nothing but keepalives: no packet there to tell the lap."""
    pair = Pair(Link(delay=0.02), Link(delay=0.02))
    pair.transfer(100)
    pair.run(1.3 * LAP_SECONDS)
    pair.transfer(100)
    assert pair.received.numbers == list(range(200))
    assert spread(pair) <= TICK + 1e-6


def hours(pair: Pair, count: int) -> None:
    """Twenty packets a second, looked at each hour.

    A hole is seen 50 ms late at that rate, so there is time for one question: p * p is lost.
    """
    played, last = 0, -1
    for hour in range(count):
        pair.stream(72_000, rate=20.0, size=188)
        pair.run(3600.0)
        numbers = pair.received.numbers
        assert numbers == sorted(set(numbers)) and numbers[0] > last
        delays = pair.delays
        assert min(delays) >= 0.14 - 1e-4
        assert max(delays) <= 0.14 + TICK + 1e-4
        played, last = played + len(numbers), numbers[-1]
        assert last >= 72_000 * (hour + 1) - 5
        assert played >= (last + 1) * 0.9997
        pair.received.arrivals.clear()
        pair.door.opened.clear()
    statistics = pair.listener.statistics(pair.net.now)
    assert statistics.reasons == {}
    assert statistics.values["pktRcvDropTotal"] == last + 1 - played


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_day_of_twenty_packets_a_second() -> None:
    """Timestamps wrap twenty times."""
    pair = Pair(Link(delay=0.02, loss=0.01), Link(delay=0.02), first=(1 << 31) - 500)
    hours(pair, 24)
