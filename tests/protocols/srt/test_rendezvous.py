"""Two sides that call each other, with every kind of loss."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.srt.contest import draw_cookie, is_initiator
from protocols.srt.control import serialize_empty
from protocols.srt.events import HandshakeFailed
from protocols.srt.handshake_wire import Handshake, HandshakeType
from protocols.srt.keys import KmState
from protocols.srt.options import Mode, Options, SecurityOptions
from protocols.srt.packet import ControlType, DataPacket
from protocols.srt.reject import Reject
from protocols.srt.rendezvous import Rendezvous, State
from protocols.srt.result import HandshakeResult, Role
from tests.support.srt_handshake import Fault, Line, Side, no_fault, seeded

ONE, TWO = ("192.0.2.1", 5001), ("192.0.2.2", 5001)
SECURE = Options(security=SecurityOptions("flux-reference-key", key_bytes=16))
PLAIN = Options()


def line_of(
    first: Options,
    second: Options,
    *,
    delay: float = 0.02,
    to_second: Fault = no_fault,
    to_first: Fault = no_fault,
    seeds: tuple[int, int] = (1, 2),
    key_delay: float = 0.002,
) -> Line:
    now = 100.0
    one = Rendezvous(first, TWO, 0x111, seeded(seeds[0]), now)
    two = Rendezvous(second, ONE, 0x222, seeded(seeds[1]), now)
    sides = Side(one, ONE, key_delay=key_delay), Side(two, TWO, key_delay=key_delay)
    return Line(*sides, delay, to_second, to_first, now)


def results(line: Line) -> tuple[HandshakeResult, HandshakeResult]:
    """What each side has; a responder that heard no agreement hears the first data."""
    talk(line)
    (first,), (second,) = line.first.results, line.second.results
    return first, second


def talk(line: Line) -> None:
    """Whoever is connected sends a packet to who is not yet."""
    for side, other in ((line.first, line.second), (line.second, line.first)):
        if side.results and not other.results:
            result = side.results[0]
            data = DataPacket(result.send_sequence, 1, 0, result.peer_socket_id, b"x")
            other.machine.receive_datagrams([data.serialize()], side.address, line.now)
            other.take_events(line.now)
            assert other.results[0].early[-1][1] == data.serialize()


@pytest.mark.parametrize(
    ("own", "peer", "verdict"),
    [
        (100, 50, True),
        (50, 100, False),
        (-1, -1000, True),
        (10055, -10000, True),
        (-1480577720, 811599203, True),  # 2.29e9 apart: the wrapped difference is what counts
        (-(1 << 31), (1 << 31) - 1, True),
        (1, 0x80000001, True),
        (0x80000001, 1, False),
        (7, 7, None),
        (7, 7 + (1 << 32), None),
    ],
)
def test_the_contest(own: int, peer: int, verdict: bool | None) -> None:
    assert is_initiator(own, peer) is verdict


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF))
def test_the_contest_has_one_winner(own: int, peer: int) -> None:
    verdicts = {is_initiator(own, peer), is_initiator(peer, own)}
    assert verdicts == ({None} if own == peer else {True, False})


@given(st.integers(), st.integers(-(1 << 31) + 0x10000, (1 << 31) - 1))
def test_with_our_cookies_the_draft_and_libsrt_agree(seed: int, peer: int) -> None:
    own = draw_cookie(Random(seed).randbytes)
    assert 1 <= own <= 0xFFFF
    if own != peer:
        assert is_initiator(own, peer) == (own > peer)


@pytest.mark.parametrize("options", [PLAIN, SECURE], ids=["plain", "secure"])
@pytest.mark.parametrize("seeds", [(1, 2), (2, 1)])
@pytest.mark.parametrize("delay", [0.0, 0.02, 0.3])
def test_both_meet(options: Options, seeds: tuple[int, int], delay: float) -> None:
    line = line_of(options, replace(options, receive_latency_ms=300), delay=delay, seeds=seeds)
    line.run(5.0)
    first, second = results(line)
    assert first.role == second.role == Role.RENDEZVOUS
    assert first.peer_socket_id == 0x222
    assert second.peer_socket_id == 0x111
    assert first.send_sequence == second.receive_sequence
    assert first.receive_sequence == second.send_sequence
    assert first.send_sequence != first.receive_sequence
    assert first.send_latency_ms == second.receive_latency_ms == 300
    assert first.receive_latency_ms == second.send_latency_ms == 120
    assert first.secrets == second.secrets
    assert (first.secrets.send_state == KmState.SECURED) == (options is SECURE)
    late = max(first.established_at, second.established_at) - 100.0
    assert late <= 5 * delay + 0.01
    for result in (first, second):
        assert result.rtt == pytest.approx(2 * delay, abs=0.005)


@pytest.mark.parametrize("options", [PLAIN, SECURE], ids=["plain", "secure"])
@pytest.mark.parametrize("seeds", [(1, 2), (2, 1)])
@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("is_to_second", [True, False])
@pytest.mark.parametrize("copies", [0, 2])
def test_any_datagram_may_be_lost_or_come_twice(
    options: Options, seeds: tuple[int, int], index: int, is_to_second: bool, copies: int
) -> None:
    def fault(number: int, _: bytes) -> list[float]:
        return [0.0, 0.03][:copies] if number == index else [0.0]

    line = line_of(
        options,
        options,
        seeds=seeds,
        to_second=fault if is_to_second else no_fault,
        to_first=no_fault if is_to_second else fault,
    )
    line.run(2.0)
    first, second = results(line)
    assert first.secrets == second.secrets
    assert max(first.established_at, second.established_at) < 100.0 + 0.5


@pytest.mark.parametrize("seed", range(60))
def test_heavy_loss(seed: int) -> None:
    random = Random(seed)

    def spoil(_index: int, _datagram: bytes) -> list[float]:
        return [random.random() * 0.02 for _ in range(random.choice((0, 1, 1, 1, 2)))]

    options = SECURE if seed % 2 else PLAIN
    line = line_of(options, options, to_second=spoil, to_first=spoil, seeds=(seed, seed + 500))
    line.run(20.0)
    first, second = results(line)
    assert first.secrets == second.secrets
    assert len(line.sent) < 60


def test_the_other_comes_late() -> None:
    line = line_of(PLAIN, PLAIN)
    late = Rendezvous(PLAIN, ONE, 0x222, seeded(2), 120.0)
    line.second.machine = Rendezvous(PLAIN, ("192.0.2.9", 1), 0x333, seeded(9), 100.0)
    line.run(20.0)
    assert line.first.machine.get_timer() is not None
    line.second.machine = late
    line.run(0.5)
    results(line)


def test_nobody_comes() -> None:
    line = line_of(PLAIN, PLAIN, to_second=lambda *_: [], to_first=lambda *_: [])
    line.run(60.0)
    for side in (line.first, line.second):
        (failure,) = side.failures
        assert failure.code == Reject.TIMEOUT
    assert line.sent[-1][0] < 130.0
    assert 2 * 115 <= len(line.sent) <= 2 * 125


@pytest.mark.parametrize("seeds", [(1, 2), (2, 1)])
@pytest.mark.parametrize(
    ("second", "code"),
    [
        (replace(SECURE, security=SecurityOptions("flux-another-key")), Reject.BAD_SECRET),
        (PLAIN, Reject.UNSECURE),
        (replace(SECURE, mode=Mode.STREAM), None),
    ],
)
def test_they_do_not_fit(seeds: tuple[int, int], second: Options, code: Reject | None) -> None:
    line = line_of(SECURE, second, seeds=seeds)
    line.run(3.0)
    for side in (line.first, line.second):
        (failure,) = side.failures
        if code is None:
            assert failure.code in (Reject.MESSAGE_API, Reject.CONGESTION)
        else:
            assert failure.code == code
    remote = [
        failure.is_remote
        for side in (line.first, line.second)
        for failure in side.failures
        if isinstance(failure, HandshakeFailed)
    ]
    assert sorted(remote) == [False, True]


def test_equal_cookies_are_a_draw() -> None:
    line = line_of(PLAIN, PLAIN, seeds=(4, 4))
    line.run(1.0)
    codes = [failure.code for side in (line.first, line.second) for failure in side.failures]
    assert codes == [Reject.RENDEZVOUS_COOKIE] * 2


def test_a_peer_that_starts_anew() -> None:
    """The peer dies in the middle of it, and comes back with other numbers."""
    line = line_of(PLAIN, PLAIN, to_first=lambda index, _: [0.0] if index == 0 else [])
    line.run(0.1)
    assert not line.first.results
    line.faults[False] = no_fault
    line.second.machine = Rendezvous(PLAIN, ONE, 0x444, seeded(77), line.now)
    line.second.events.clear()
    line.run(2.0)
    first, second = results(line)
    assert first.peer_socket_id == 0x444
    assert first.receive_sequence == second.send_sequence


def test_a_lost_agreement_is_said_again() -> None:
    def lose_agreements(_index: int, datagram: bytes) -> list[float]:
        is_agreement = Handshake.parse(datagram[16:]).kind == HandshakeType.AGREEMENT
        return [] if is_agreement and line.now < 101.0 else [0.0]

    line = line_of(PLAIN, PLAIN, to_second=lose_agreements, to_first=lose_agreements)
    line.run(0.9)
    sides = sorted((line.first, line.second), key=lambda side: len(side.results))
    assert [len(side.results) for side in sides] == [0, 1]
    line.run(1.0)
    assert [len(side.results) for side in sides] == [1, 1]


def test_an_agreement_that_libsrt_says_again() -> None:
    """Its first one is lost; the others come with the cookie 0."""

    def lose_agreements(_index: int, datagram: bytes) -> list[float]:
        return [] if Handshake.parse(datagram[16:]).kind == HandshakeType.AGREEMENT else [0.0]

    line = line_of(PLAIN, PLAIN, to_second=lose_agreements, to_first=lose_agreements)
    line.run(0.4)
    responder, initiator = sorted((line.first, line.second), key=lambda side: len(side.results))
    own_id, peer_id = (0x222, 0x111) if initiator is line.first else (0x111, 0x222)
    again = Handshake(5, 0, 0, 1, 1500, 8192, HandshakeType.AGREEMENT, peer_id, 0)
    stranger = replace(again, socket_id=peer_id ^ 1)
    for word, count in ((stranger, 0), (replace(again, cookie=7), 0), (again, 1)):
        datagram = word.to_datagram(0, own_id)
        responder.machine.receive_datagrams([datagram], initiator.address, line.now)
        responder.take_events(line.now)
        assert len(responder.results) == count
    assert responder.results[0].peer_socket_id == peer_id
    assert not responder.failures


def test_a_goodbye_before_the_agreement() -> None:
    def lose_agreements(_index: int, datagram: bytes) -> list[float]:
        is_agreement = Handshake.parse(datagram[16:]).kind == HandshakeType.AGREEMENT
        return [] if is_agreement else [0.0]

    line = line_of(PLAIN, PLAIN, to_second=lose_agreements, to_first=lose_agreements)
    line.run(0.2)
    responder, initiator = sorted((line.first, line.second), key=lambda side: len(side.results))
    own_id = initiator.results[0].peer_socket_id
    goodbye = serialize_empty(ControlType.SHUTDOWN, 0, own_id)
    responder.machine.receive_datagrams([goodbye], initiator.address, line.now)
    responder.take_events(line.now)
    (failure,) = responder.failures
    assert failure.code == Reject.CLOSED


def test_two_that_both_wait_do_not_run_hot() -> None:
    """Both believe that the other initiates, as rules that differ can make them."""
    line = line_of(PLAIN, PLAIN, delay=0.0)
    for side, cookie in ((line.first, 0x7FFFFFF0), (line.second, 0x7FFFFFF0)):
        wave = Handshake(5, 0, 0, 1, 1500, 8192, HandshakeType.WAVEAHAND, 0x999, cookie)
        for number in range(1000):
            now = 100.0 + number * 1e-4
            word = wave if number == 0 else replace(wave, kind=HandshakeType.CONCLUSION)
            peer = TWO if side is line.first else ONE
            side.machine.receive_datagrams([word.to_datagram(0, 0)], peer, now)
            line.sent += [(now, True, run[2]) for run in side.machine.datagrams_to_send(now)]
    assert len(line.sent) <= 2 * 12


def test_strangers_and_junk() -> None:
    machine = Rendezvous(PLAIN, TWO, 0x111, seeded(1), 100.0)
    wave = Handshake(5, 0, 0, 1, 1500, 8192, HandshakeType.WAVEAHAND, 0x222, 0x12345678)
    machine.receive_datagrams([wave.to_datagram(0, 0)], ("192.0.2.3", 5001), 100.0)
    machine.receive_datagrams([b"", bytes(15), wave.to_datagram(0, 5)], TWO, 100.0)
    machine.receive_datagrams([wave.to_datagram(0, 0)[:40]], TWO, 100.0)
    hello = replace(wave, version=4, kind=HandshakeType.INDUCTION)
    machine.receive_datagrams([hello.to_datagram(0, 0)], TWO, 100.0)
    assert machine.counters == {
        "handshake-stranger": 1,
        "srt-truncated": 2,
        "handshake-not-for-us": 1,
        "handshake-truncated": 1,
        "handshake-out-of-turn": 1,
    }
    assert machine.state == State.WAVING
    assert machine.next_event() is None
