"""Callers and listeners over a line with delay and faults, in virtual time."""

import statistics
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from protocols.srt.caller import Caller
from protocols.srt.events import ConnectionRequested, Established, HandshakeFailed, KeyNeeded
from protocols.srt.handshake_wire import Handshake, HsFlag
from protocols.srt.keys import KmState
from protocols.srt.listener import Listener
from protocols.srt.options import (
    CipherMode,
    GroupOffer,
    GroupType,
    ListenerOptions,
    Mode,
    Options,
    SecurityOptions,
)
from protocols.srt.packet import ControlType, DataPacket, is_control
from protocols.srt.reject import SLUGS, Reject, slug_of
from protocols.srt.result import HandshakeResult, Role
from tests.support.srt_handshake import (
    CALLER,
    LISTENER,
    Fault,
    Line,
    Side,
    acceptor,
    no_fault,
    seeded,
)

A, B = "flux-reference-key", "flux-another-key"
OWN_ID = 0x12345


def line_of(
    caller: Options,
    listener: Options | None,
    *,
    port: ListenerOptions | None = None,
    delay: float = 0.02,
    to_listener: Fault = no_fault,
    to_caller: Fault = no_fault,
    key_delay: float = 0.002,
    group_id: int = 0,
    seed: int = 1,
) -> Line:
    """A caller and a listener; `listener` None: nobody answers its questions."""
    now = 100.0
    server = Listener(port or ListenerOptions(is_group_allowed=True), seeded(seed + 1000), now)
    decide = None if listener is None else acceptor(server, listener, group_id)
    client = Caller(caller, LISTENER, OWN_ID, seeded(seed), now)
    first = Side(client, CALLER, key_delay=key_delay)
    second = Side(server, LISTENER, decide, key_delay)
    return Line(first, second, delay, to_listener, to_caller, now)


def results(line: Line) -> tuple[HandshakeResult, HandshakeResult]:
    """The one result of each side."""
    (first,), (second,) = line.first.results, line.second.results
    return first, second


def test_two_round_trips_and_both_know_the_same() -> None:
    line = line_of(Options(stream_id="read:cam", receive_latency_ms=200), Options())
    line.run(1.0)
    caller, listener = results(line)
    assert caller.established_at - 100.0 == pytest.approx(0.08, abs=0.001)
    assert (caller.role, listener.role) == (Role.CALLER, Role.LISTENER)
    assert caller.socket_id == listener.peer_socket_id == OWN_ID
    assert listener.socket_id == caller.peer_socket_id
    assert len({caller.send_sequence, caller.receive_sequence, listener.send_sequence}) == 1
    assert caller.receive_latency_ms == listener.send_latency_ms == 200
    assert caller.send_latency_ms == listener.receive_latency_ms == 120
    assert caller.rtt == pytest.approx(0.04)
    assert listener.rtt is None
    assert listener.stream_id == "read:cam"
    assert caller.mtu == listener.mtu == 1500
    assert caller.peer_window == listener.peer_window == 8192
    assert listener.peer_flags == 0xBF
    # Half a round trip is the peer's clock behind, as nobody knows the way alone.
    assert listener.peer_started_at == pytest.approx(100.0 + 0.02, abs=1e-5)
    assert caller.peer_started_at == pytest.approx(listener.started_at + 0.02, abs=1e-5)
    assert len(line.sent) == 4


def test_a_long_way_takes_two_round_trips_too() -> None:
    line = line_of(Options(), Options(), delay=0.3)
    line.run(5.0)
    caller, _ = results(line)
    assert caller.established_at - 100.0 == pytest.approx(1.2, abs=0.02)
    assert caller.rtt == pytest.approx(0.6)
    conclusions = [one for _, is_caller, one in line.sent if is_caller and len(one) > 64]
    assert len(conclusions) == 3  # 250 ms apart: a copy too many costs less than a lost one


@pytest.mark.parametrize("key_bytes", [16, 24, 32])
@pytest.mark.parametrize("cipher", CipherMode)
def test_keys_are_agreed_on(key_bytes: int, cipher: CipherMode) -> None:
    security = SecurityOptions(A, key_bytes=key_bytes, cipher=cipher)
    line = line_of(Options(security=security), Options(security=SecurityOptions(A)))
    line.run(1.0)
    caller, listener = results(line)
    assert caller.secrets == listener.secrets
    assert caller.secrets.send_state == KmState.SECURED
    assert caller.secrets.ring is not None
    assert len(caller.secrets.ring.even) == key_bytes
    assert caller.established_at - 100.0 == pytest.approx(0.082, abs=0.001)


def test_a_caller_without_wish_takes_the_length_of_the_listener() -> None:
    secure = Options(security=SecurityOptions(A))
    line = line_of(secure, secure, port=ListenerOptions(key_bytes=32))
    line.run(1.0)
    caller, _ = results(line)
    assert caller.secrets.ring is not None
    assert caller.secrets.ring.key_bytes == 32


OFF = "a passphrase of nobody"
CELLS = [
    # caller's secret, listener's, states of the caller, code if anybody insists
    (A, A, (KmState.SECURED, KmState.SECURED), None),
    (A, B, (KmState.BAD_SECRET, KmState.BAD_SECRET), Reject.BAD_SECRET),
    (A, "", (KmState.NO_SECRET, KmState.UNSECURED), Reject.UNSECURE),
    ("", A, (KmState.UNSECURED, KmState.NO_SECRET), Reject.UNSECURE),
    ("", "", (KmState.UNSECURED, KmState.UNSECURED), None),
]


@pytest.mark.parametrize("listener_insists", [True, False])
@pytest.mark.parametrize("caller_insists", [True, False])
@pytest.mark.parametrize(("own", "peers", "states", "code"), CELLS)
def test_enforced_encryption(
    own: str,
    peers: str,
    states: tuple[KmState, KmState],
    code: Reject | None,
    caller_insists: bool,
    listener_insists: bool,
) -> None:
    line = line_of(
        Options(security=SecurityOptions(own, is_enforced=caller_insists)),
        Options(security=SecurityOptions(peers, is_enforced=listener_insists)),
    )
    line.run(4.0)
    if code is None or not (caller_insists or listener_insists):
        caller, listener = results(line)
        assert (caller.secrets.send_state, caller.secrets.receive_state) == states
        # One side's sending is the other's receiving.
        assert (listener.secrets.receive_state, listener.secrets.send_state) == states
        return
    (failure,) = line.first.failures
    assert isinstance(failure, HandshakeFailed)
    assert (failure.code, failure.is_remote) == (code, listener_insists)
    assert failure.reason == slug_of(code)
    assert not line.first.results
    if listener_insists:
        (ended,) = line.second.failures
        assert ended.code == code
        assert not line.second.results
    else:
        # The listener took it: the caller says goodbye to the new connection.
        (listener,) = line.second.results
        last = line.sent[-1][2]
        assert (last[1], int.from_bytes(last[12:16], "big")) == (
            ControlType.SHUTDOWN,
            listener.socket_id,
        )


FILTER = "fec,cols:10,rows:5"
REFUSALS = [
    (Options(mode=Mode.STREAM), Options(), Reject.MESSAGE_API),
    (Options(), Options(mode=Mode.STREAM), Reject.MESSAGE_API),
    (Options(), Options(mode=Mode.MESSAGE), Reject.CONGESTION),
    (Options(congestion="bbr"), Options(), Reject.CONGESTION),
    (Options(filter=FILTER), Options(filter="fec,cols:8"), Reject.FILTER),
    (Options(filter="fec,cols:1"), Options(), Reject.FILTER),
    (Options(filter="xor,cols:4"), Options(), Reject.FILTER),
    (Options(group=GroupOffer(1 << 30 | 5, GroupType.BACKUP)), Options(), Reject.GROUP),
    (
        Options(security=SecurityOptions(A, cipher=CipherMode.CTR)),
        Options(security=SecurityOptions(A, cipher=CipherMode.GCM)),
        Reject.CRYPTO,
    ),
]


@pytest.mark.parametrize(("caller", "listener", "code"), REFUSALS)
def test_what_does_not_fit_is_refused(caller: Options, listener: Options, code: Reject) -> None:
    line = line_of(caller, listener)
    line.run(4.0)
    assert [failure.code for failure in line.first.failures] == [code]
    assert [failure.code for failure in line.second.failures] == [code]
    assert not line.first.results + line.second.results


@pytest.mark.parametrize("code", [*SLUGS, 2000, 123_456])
def test_every_code_of_the_application_arrives(code: int) -> None:
    line = line_of(Options(), None)
    server = line.second.machine
    assert isinstance(server, Listener)
    line.second.decide = lambda event, now: _reject(server, event, code, now)
    line.run(1.0)
    (failure,) = line.first.failures
    assert isinstance(failure, HandshakeFailed)
    assert (failure.code, failure.is_remote, failure.reason) == (code, True, slug_of(code))


def _reject(server: Listener, event: ConnectionRequested, code: int, now: float) -> None:
    server.reject(event.handle, code, now)


def test_the_application_is_asked_with_all_that_the_caller_wants() -> None:
    group = GroupOffer(1 << 30 | 77, GroupType.BACKUP, 10)
    caller = Options(
        stream_id="publish:cam",
        receive_latency_ms=300,
        peer_latency_ms=400,
        filter=FILTER,
        group=group,
        security=SecurityOptions(A, key_bytes=32),
    )
    line = line_of(caller, Options(security=SecurityOptions(A)), group_id=1 << 30 | 99)
    line.run(1.0)
    question = next(e for e in line.second.events if isinstance(e, ConnectionRequested))
    assert question.peer == CALLER
    assert question.stream_id == "publish:cam"
    assert question.filter == FILTER
    assert question.group == group
    assert question.key_bytes == 32
    assert (question.receive_latency_ms, question.send_latency_ms) == (300, 400)
    assert question.mode == Mode.LIVE
    caller_result, listener_result = results(line)
    assert caller_result.filter == listener_result.filter
    assert caller_result.filter == "fec,arq:onreq,cols:10,layout:staircase,rows:5"
    assert caller_result.peer_group == replace(group, group_id=1 << 30 | 99)
    assert listener_result.peer_group == group
    assert listener_result.group_id == 1 << 30 | 99


@pytest.mark.parametrize("mode", [Mode.MESSAGE, Mode.STREAM])
def test_file_modes(mode: Mode) -> None:
    line = line_of(Options(mode=mode), Options(mode=mode))
    line.run(1.0)
    caller, listener = results(line)
    assert caller.congestion == listener.congestion == "file"
    assert caller.receive_latency_ms == listener.receive_latency_ms == 0
    assert bool(listener.peer_flags & HsFlag.STREAM) == (mode == Mode.STREAM)
    assert not listener.peer_flags & HsFlag.TSBPD_SEND


def lose(*indexes: int) -> Fault:
    return lambda index, _: [] if index in indexes else [0.0]


def twice(*indexes: int) -> Fault:
    return lambda index, _: [0.0, 0.013] if index in indexes else [0.0]


@pytest.mark.parametrize("make", [lose, twice])
@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("is_to_listener", [True, False])
@pytest.mark.parametrize("passphrase", ["", A])
@pytest.mark.parametrize("delay", [0.001, 0.02, 0.3])
def test_any_datagram_may_be_lost_or_come_twice(
    make: Callable[..., Fault], index: int, is_to_listener: bool, passphrase: str, delay: float
) -> None:
    fault = make(index)
    options = Options(security=SecurityOptions(passphrase))
    line = line_of(
        options,
        options,
        delay=delay,
        to_listener=fault if is_to_listener else no_fault,
        to_caller=no_fault if is_to_listener else fault,
    )
    line.run(3.5)
    caller, listener = results(line)
    assert caller.secrets == listener.secrets
    assert caller.established_at - 100.0 <= 4 * delay + max(0.06, 2.6 * delay) + 0.01


def test_one_loss_after_the_other() -> None:
    line = line_of(Options(), Options(), to_listener=lose(0, 2, 3), to_caller=lose(1, 2))
    line.run(3.5)
    results(line)


def test_the_median_under_loss() -> None:
    times = []
    for seed in range(100):
        random = Random(seed)

        def drop(_index: int, _datagram: bytes, random: Random = random) -> list[float]:
            return [] if random.random() < 0.1 else [0.0]

        line = line_of(Options(), Options(), to_listener=drop, to_caller=drop, seed=seed)
        line.run(3.5)
        caller, _ = results(line)
        times.append(caller.established_at - 100.0)
    assert statistics.median(times) < 0.08 + 0.02
    assert max(times) < 1.0


@pytest.mark.long
@pytest.mark.parametrize("delay", [0.0025, 0.025, 0.1, 0.3])
@pytest.mark.parametrize("loss", [0.02, 0.1, 0.3])
def test_hundreds_of_seeds(delay: float, loss: float) -> None:
    times = []
    for seed in range(500):
        random = Random(seed)

        def spoil(_index: int, _datagram: bytes, random: Random = random) -> list[float]:
            copies = 0 if random.random() < loss else 1 + (random.random() < 0.05)
            return [random.random() * delay for _ in range(copies)]

        line = line_of(Options(), Options(), delay=delay, to_listener=spoil, to_caller=spoil)
        line.run(3.5)
        if line.first.results:
            times.append(line.first.results[0].established_at - 100.0)
            assert len(line.second.results) == 1
    assert len(times) >= 500 * (0.98 if loss <= 0.1 else 0.8)
    assert statistics.median(times) < 6 * delay + (0.2 if loss <= 0.1 else 0.5)


def test_nobody_there() -> None:
    line = line_of(Options(connect_timeout=2.0), Options(), to_listener=lambda *_: [])
    line.run(10.0)
    (failure,) = line.first.failures
    assert (failure.code, failure.reason) == (Reject.TIMEOUT, "srt-timeout")
    gaps = [b[0] - a[0] for a, b in zip(line.sent, line.sent[1:], strict=False)]
    assert gaps[0] == pytest.approx(0.05)
    assert max(gaps) == pytest.approx(0.25)
    assert line.sent[-1][0] <= 102.0
    assert line.first.machine.get_timer() is None


def test_a_slow_application_is_waited_for() -> None:
    line = line_of(Options(), None)
    line.run(1.0)
    (question,) = line.second.events
    assert isinstance(question, ConnectionRequested)
    replies = [one for one in line.sent if not one[1]]
    assert len(replies) == 1  # the induction's alone, however often the caller asks
    server = line.second.machine
    assert isinstance(server, Listener)
    assert server.accept(question.handle, Options(), 99, line.now)
    line.run(0.5)
    results(line)
    assert not server.accept(question.handle, Options(), 100, line.now)
    assert not server.reject(question.handle, Reject.FORBIDDEN, line.now)


def test_an_application_that_never_answers() -> None:
    line = line_of(Options(connect_timeout=9.0), None)
    line.run(4.0)
    assert [failure.code for failure in line.second.failures] == [Reject.TIMEOUT]
    (failure,) = line.first.failures
    assert isinstance(failure, HandshakeFailed)
    assert (failure.code, failure.is_remote) == (Reject.TIMEOUT, True)


def test_a_key_that_never_comes() -> None:
    secure = Options(security=SecurityOptions(A))
    line = line_of(secure, secure, key_delay=1e6)
    line.run(4.0)
    assert [failure.code for failure in line.first.failures] == [Reject.TIMEOUT]
    line.first.machine.provide_key(1, bytes(16), line.now)
    assert line.first.machine.datagrams_to_send(line.now) == []


def test_a_slow_key_delays_and_does_no_harm() -> None:
    secure = Options(security=SecurityOptions(A))
    line = line_of(secure, secure, key_delay=0.5)
    line.run(3.0)
    caller, listener = results(line)
    assert caller.secrets == listener.secrets
    questions = [e for e in line.first.events + line.second.events if isinstance(e, KeyNeeded)]
    assert len(questions) == 2


def test_data_before_the_response_is_kept() -> None:
    line = line_of(Options(), Options(), to_caller=lose(1))
    line.run(0.05)
    data = [DataPacket(n, n, 0, OWN_ID, bytes(10)).serialize() for n in range(1000)]
    caller = line.first.machine
    caller.receive_datagrams(data, LISTENER, line.now)
    line.run(2.0)
    result, _ = results(line)
    assert len(result.early) == 256  # bounded; the youngest are kept
    assert result.early[-1][1] == data[-1]
    assert not any(is_control(datagram) for _, datagram in result.early)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda handshake: replace(handshake, version=4), Reject.VERSION),
        (lambda handshake: replace(handshake, extension_field=0), Reject.ROGUE),
    ],
)
def test_a_listener_that_is_no_srt(change: Callable[[Handshake], Handshake], code: Reject) -> None:
    line = line_of(Options(), Options())
    line.run(0.03)
    _answer_with(line, line.sent[-1][2], change)
    (failure,) = line.first.failures
    assert isinstance(failure, HandshakeFailed)
    assert (failure.code, failure.is_remote) == (code, False)


def _answer_with(line: Line, datagram: bytes, change: Callable[[Handshake], Handshake]) -> None:
    changed = change(Handshake.parse(datagram[16:])).to_datagram(0, OWN_ID)
    line.first.machine.receive_datagrams([changed], LISTENER, line.now)
    line.first.take_events(line.now)


def test_events_of_a_caller_that_gave_up() -> None:
    line = line_of(Options(), Options())
    line.run(0.03)
    caller = line.first.machine
    assert isinstance(caller, Caller)
    caller.close()
    line.run(2.0)
    assert not [e for e in line.first.events if isinstance(e, Established | HandshakeFailed)]
    assert caller.get_timer() is None
