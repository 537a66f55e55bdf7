"""One RTP stream in: order, loss, wrap-around, restarts and statistics; RFC 3550 A.1, A.3, A.8."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.rtp import Extension, RtpPacket, RtpReceiver
from protocols.rtp.reorder import REORDER_PACKETS, REORDER_WAIT
from tests.support.pcap import read_datagrams

ONCE_FAILING_SEEDS = ()
NOTHING: tuple[bytes, ...] = ()


@dataclass
class Pushed:
    payload: bytes
    marker: bool
    sequence: int
    timestamp: int


@dataclass
class Recorder:
    """Stands for a depacketizer (a marker ends a unit) and for what takes its units."""

    packets: list[Pushed] = field(default_factory=list)
    units: list[tuple[bytes, int, float, float]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    restarts: list[str] = field(default_factory=list)

    def push(self, payload: bytes, marker: bool, sequence: int, timestamp: int) -> Sequence[bytes]:
        self.packets.append(Pushed(payload, marker, sequence, timestamp))
        return (payload,) if marker else NOTHING

    def deliver(
        self, units: Sequence[bytes], timestamp: int, arrived: float, arrived_before: float
    ) -> None:
        self.units += [(unit, timestamp, arrived, arrived_before) for unit in units]

    def refused(self, reason: str, count: int) -> None:
        self.reasons[reason] += count

    def restarted(self, reason: str) -> None:
        self.restarts.append(reason)

    @property
    def sequences(self) -> list[int]:
        return [packet.sequence for packet in self.packets]


class Rig:
    """A receiver of payload type 96 at 90 kHz and a way to make its packets."""

    def __init__(self, *, reliable: bool = False, clock_rate: int = 90_000) -> None:
        self.out = Recorder()
        self.receiver: RtpReceiver[bytes] = RtpReceiver(
            96, clock_rate, self.out.push, self.out, reliable=reliable
        )
        self.reception = self.receiver.reception

    def receive(self, *packets: bytes, now: float = 1.0) -> None:
        self.receiver.receive(packets, now)


def packet(
    sequence: int, timestamp: int = 0, *, ssrc: int = 1, marker: bool = False, kind: int = 96
) -> bytes:
    payload = b"%d" % sequence
    return RtpPacket(
        kind, sequence & 0xFFFF, timestamp & 0xFFFF_FFFF, ssrc, payload, marker
    ).serialize()


def test_packets_in_order_go_straight_through() -> None:
    rig = Rig()
    rig.receive(packet(7, 100), packet(8, 100, marker=True), now=1.0)
    rig.receive(packet(9, 3100, marker=True), now=1.04)
    assert rig.out.packets == [
        Pushed(b"7", False, 7, 100),
        Pushed(b"8", True, 8, 100),
        Pushed(b"9", True, 9, 3100),
    ]
    assert rig.out.units == [(b"8", 100, 1.0, 1.0), (b"9", 3100, 1.04, 1.0)]
    assert (rig.reception.packets, rig.reception.octets) == (3, 39)
    assert rig.receiver.ssrc == 1
    assert rig.receiver.timestamp == 3100


def test_arrival_is_that_of_the_first_packet_of_a_timestamp() -> None:
    rig = Rig(reliable=True)
    rig.receive(packet(1, 0), now=1.0)
    rig.receive(packet(2, 0), now=1.1)
    rig.receive(packet(3, 0, marker=True), packet(4, 3000), now=1.2)
    rig.receive(packet(5, 3000, marker=True), now=1.3)
    assert rig.out.units == [(b"3", 0, 1.0, 1.0), (b"5", 3000, 1.2, 1.0)]


@pytest.mark.parametrize("reliable", [False, True])
def test_wrap_around(*, reliable: bool) -> None:
    rig = Rig(reliable=reliable)
    first = 65_530
    stamp = 0xFFFF_FFFF - 9000
    for index in range(70_000):
        rig.receiver.receive((packet(first + index, stamp + 3000 * index),), index * 0.001)
    assert rig.out.sequences == list(range(first, first + 70_000))
    assert [p.timestamp for p in rig.out.packets] == [stamp + 3000 * i for i in range(70_000)]
    state = rig.receiver.state()
    assert state is not None
    assert (state.expected, state.received) == (70_000, 70_000)
    assert state.highest_sequence == first + 69_999


def test_every_kind_of_header_is_understood() -> None:
    rig = Rig()
    plain = RtpPacket(96, 1, 0, 1, b"media")
    rig.receive(plain.serialize())
    for sequence, packet_ in enumerate(
        (
            RtpPacket(96, 2, 0, 1, b"media", csrc=(1, 2)),
            RtpPacket(96, 3, 0, 1, b"media", extension=Extension(0xABAC, bytes(12))),
            RtpPacket(96, 4, 0, 1, b"media", padding_bytes=7, marker=True),
            RtpPacket(96, 5, 0, 1, b"media"),
        ),
        2,
    ):
        rig.receive(packet_.serialize())
        assert rig.out.packets[-1] == Pushed(b"media", packet_.marker, sequence, 0)
    assert rig.reception.packets == 5


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "rtp-truncated"),
        (bytes(11), "rtp-truncated"),
        (bytes(12), "rtp-version"),
        (b"\xa0\x60" + bytes(10), "rtp-padding"),
        (packet(2, kind=97), "rtp-payload-type"),
    ],
)
def test_what_is_none_of_ours_is_counted_by_name(data: bytes, reason: str) -> None:
    rig = Rig()
    rig.receive(data, packet(1), data, packet(2), data)
    assert rig.out.sequences == [1, 2]
    assert rig.out.reasons == {reason: 3}
    assert (rig.reception.refused, rig.reception.packets) == (3, 2)


@given(st.lists(st.binary(max_size=40) | st.binary(max_size=30).map(lambda b: b"\x80\x60" + b)))
def test_any_bytes_are_taken(packets: list[bytes]) -> None:
    for reliable in (False, True):
        rig = Rig(reliable=reliable)
        rig.receiver.receive(packets, 1.0)
        rig.receiver.handle_timer(10.0)
        assert rig.out.sequences == sorted(set(rig.out.sequences))
        assert rig.reception.packets + rig.reception.refused <= len(packets)


# Loss and order.


def test_a_gap_is_waited_for() -> None:
    rig = Rig()
    rig.receive(packet(1), packet(3), packet(4), now=1.0)
    assert rig.out.sequences == [1]
    assert rig.receiver.get_timer() == 1.0 + REORDER_WAIT
    rig.receive(packet(2), now=1.05)
    assert rig.out.sequences == [1, 2, 3, 4]
    assert rig.receiver.get_timer() is None
    assert (rig.reception.reordered, rig.reception.lost) == (1, 0)
    assert not rig.out.reasons


def test_a_gap_is_given_up_in_time() -> None:
    rig = Rig()
    rig.receive(packet(1), packet(4), now=1.0)
    rig.receive(packet(6), now=1.05)
    rig.receiver.handle_timer(1.09)
    assert rig.out.sequences == [1]
    rig.receiver.handle_timer(1.0 + REORDER_WAIT)
    assert rig.out.sequences == [1, 4]
    assert rig.receiver.get_timer() == 1.05 + REORDER_WAIT
    rig.receiver.handle_timer(1.05 + REORDER_WAIT)
    assert rig.out.sequences == [1, 4, 6]
    assert rig.out.reasons == {"rtp-packet-lost": 3}
    assert rig.reception.lost == 3


def test_a_late_timer_does_not_hold_packets_back() -> None:
    rig = Rig()
    rig.receive(packet(1), packet(3), now=1.0)
    rig.receive(packet(4), now=2.0)
    assert rig.out.sequences == [1, 3, 4]


def test_a_gap_is_given_up_when_too_many_wait() -> None:
    rig = Rig()
    rig.receive(packet(0))
    rig.receive(*(packet(2 + i) for i in range(REORDER_PACKETS - 1)))
    assert rig.out.sequences == [0]
    rig.receive(packet(2 + REORDER_PACKETS))
    assert rig.out.sequences == [0, *range(2, 2 + REORDER_PACKETS - 1)]
    rig.receive(packet(2900))
    assert rig.out.sequences[-2:] == [2 + REORDER_PACKETS, 2900]
    assert rig.receiver.get_timer() is None


def test_a_reliable_transport_waits_for_nothing() -> None:
    rig = Rig(reliable=True)
    rig.receive(packet(1), packet(5), packet(6))
    assert rig.out.sequences == [1, 5, 6]
    assert rig.receiver.get_timer() is None
    assert rig.out.reasons == {"rtp-packet-lost": 3}


def test_duplicates_are_dropped() -> None:
    rig = Rig()
    rig.receive(packet(1), packet(1), packet(2), packet(4), packet(4), packet(1), packet(3))
    assert rig.out.sequences == [1, 2, 3, 4]
    assert rig.reception.duplicates == 3
    state = rig.receiver.state()
    assert state is not None
    assert (state.expected, state.received) == (4, 7)  # A.3 counts duplicates as received


def test_a_packet_that_comes_too_late_is_no_loss() -> None:
    rig = Rig()
    rig.receive(packet(10), packet(12), now=1.0)
    rig.receiver.handle_timer(2.0)
    rig.receive(packet(11), now=2.1)
    assert rig.out.sequences == [10, 12]
    assert (rig.reception.late, rig.reception.reordered, rig.reception.lost) == (1, 1, 0)
    rig.receive(packet(11), packet(9), now=2.2)
    assert (rig.reception.late, rig.reception.duplicates) == (2, 1)


# Restarts.


@pytest.mark.parametrize("reliable", [False, True])
def test_a_camera_that_reboots_loses_nothing(*, reliable: bool) -> None:
    rig = Rig(reliable=reliable)
    rig.receive(packet(100, 9_000_000), packet(101, 9_003_000), now=1.0)
    rig.receive(packet(60_000, 77, ssrc=2), now=5.0)
    rig.receive(packet(60_001, 77, ssrc=2), packet(60_002, 3077, ssrc=2), now=5.1)
    assert [p.payload for p in rig.out.packets] == [b"100", b"101", b"60000", b"60001", b"60002"]
    assert rig.out.sequences[2] > 102 + 65_536
    assert rig.out.sequences[2:] == list(range(rig.out.sequences[2], rig.out.sequences[2] + 3))
    assert rig.out.restarts == ["ssrc-changed"]
    assert (rig.receiver.ssrc, rig.reception.restarts, rig.reception.lost) == (2, 1, 0)
    state = rig.receiver.state()
    assert state is not None
    assert (state.ssrc, state.expected, state.received, state.highest_sequence) == (2, 3, 3, 60_002)


@pytest.mark.parametrize("reliable", [False, True])
@pytest.mark.parametrize("jump", [-102, 3000, 30_000, -30_000])
def test_a_sequence_jump_is_followed(jump: int, *, reliable: bool) -> None:
    rig = Rig(reliable=reliable)
    rig.receive(packet(1000, 100), now=1.0)
    rig.receive(packet(1001 + jump, 3100), packet(1002 + jump, 6100), now=1.1)
    assert [p.timestamp for p in rig.out.packets] == [100, 3100, 6100]
    assert rig.out.sequences == sorted(rig.out.sequences)
    assert rig.out.restarts == ["sequence-jumped"]
    assert rig.reception.lost == 0


def test_held_packets_go_on_before_a_restart() -> None:
    rig = Rig()
    rig.receive(packet(1), packet(3), now=1.0)
    rig.receive(packet(9, ssrc=2), packet(10, ssrc=2), now=1.01)
    assert [p.payload for p in rig.out.packets] == [b"1", b"3", b"9", b"10"]


def test_one_stray_packet_moves_nothing() -> None:
    rig = Rig()
    rig.receive(packet(1), packet(40_000), packet(2), packet(7, ssrc=9), packet(3), packet(50_000))
    assert rig.out.sequences == [1, 2, 3]
    assert not rig.out.restarts
    assert rig.out.reasons == {"rtp-probation": 2}


@pytest.mark.parametrize("reliable", [False, True])
def test_two_sources_on_one_channel_do_not_fight(*, reliable: bool) -> None:
    rig = Rig(reliable=reliable)
    for index in range(100):
        now = index * 0.01
        rig.receive(packet(index, ssrc=1), packet(index + 1, ssrc=1), now=now)
        rig.receive(packet(500 + index, ssrc=2), packet(501 + index, ssrc=2), now=now)
    assert rig.out.restarts == ["ssrc-changed"]
    assert rig.receiver.ssrc == 2
    assert rig.out.reasons["rtp-old-source"] == 198
    rig.receive(packet(7000, ssrc=1), packet(7001, ssrc=1), now=9.0)  # the other fell silent
    assert rig.receiver.ssrc == 1


# Timestamps.


def test_a_seeded_timestamp_is_the_scale_of_what_follows() -> None:
    rig = Rig()
    assert rig.receiver.seed_timestamp(0xFFFF_FFF0) == 0xFFFF_FFF0
    rig.receive(packet(1, 0x10))
    assert rig.out.packets[0].timestamp == 0x1_0000_0010
    assert rig.receiver.unwrap_timestamp(0xFFFF_FFF0) == 0xFFFF_FFF0
    assert rig.receiver.seed_timestamp(0xFFFF_FFF1) == 0xFFFF_FFF1  # no longer moves anything
    assert rig.receiver.timestamp == 0x1_0000_0010


def test_timestamps_that_go_back_and_forth() -> None:
    """Pictures are sent in decode order: their timestamps are those of presentation."""
    rig = Rig()
    stamps = [0, 9000, 3000, 6000, 18_000, 12_000]
    base = 0xFFFF_FFFF - 10_000
    rig.receive(*(packet(i, base + stamp) for i, stamp in enumerate(stamps)))
    assert [p.timestamp - base for p in rig.out.packets] == stamps


# Statistics.


@pytest.mark.parametrize(
    ("name", "kind", "clock_rate", "packets", "lost", "jitter_ms"),
    [
        ("rtp-pcmu-with-loss.pcap", 0, 8000, 800, 14, (0.009, 0.037, 0.067)),
        ("rtp-pcmu-with-rtcp.pcap", 0, 8000, 274, 0, (0.006, 0.077, 0.327)),
        ("rtp-opus-fec-dropped-1pct.pcapng", 107, 48_000, 2971, 29, None),
    ],
)
@pytest.mark.parametrize("reliable", [False, True])
def test_captures_give_the_figures_of_tshark(
    name: str,
    kind: int,
    clock_rate: int,
    packets: int,
    lost: int,
    jitter_ms: tuple[float, float, float] | None,
    *,
    reliable: bool,
) -> None:
    out = Recorder()
    receiver = RtpReceiver(kind, clock_rate, out.push, out, reliable=reliable)
    jitters: list[float] = []
    for datagram in read_datagrams(name):
        if datagram.destination[1] % 2 == 0:
            receiver.receive((datagram.payload,), datagram.time)
            jitters.append(receiver.reception.jitter * 1000)
    receiver.handle_timer(1e9)
    state = receiver.state()
    assert state is not None
    assert (receiver.reception.packets, receiver.reception.lost) == (packets, lost)
    assert (state.received, state.expected - state.received) == (packets, lost)
    assert out.reasons == ({"rtp-packet-lost": lost} if lost else {})
    assert len(out.packets) == packets
    if jitter_ms is not None:
        assert min(jitters[1:]) == pytest.approx(jitter_ms[0], abs=0.0005)
        assert sum(jitters) / len(jitters) == pytest.approx(jitter_ms[1], abs=0.0005)
        assert max(jitters) == pytest.approx(jitter_ms[2], abs=0.0005)


def test_jitter_is_the_same_in_batches_and_one_by_one() -> None:
    chance = random.Random(5)
    batches: list[tuple[list[bytes], float]] = []
    sequence = 0
    for frame in range(200):
        for part in range(3):
            packets = [packet(sequence + i, 3000 * frame) for i in range(4)]
            sequence += 4
            batches.append((packets, frame / 30 + part * 0.003 + chance.random() * 0.002))
    together, apart = Rig(), Rig()
    for packets, now in batches:
        together.receiver.receive(packets, now)
        for data in packets:
            apart.receiver.receive((data,), now)
    assert together.reception == apart.reception
    assert together.reception.jitter > 0.0001


@pytest.mark.parametrize("seed", [*ONCE_FAILING_SEEDS, *range(8)])
def test_a_bad_network(seed: int) -> None:
    """1 % lost, 2 % doubled, all delayed by up to 60 ms: only what was lost is missing."""
    chance = random.Random(seed)
    rig = Rig()
    first = chance.randrange(65_536)
    arrivals: list[tuple[float, int]] = [(0.0, 0)]
    lost: set[int] = set()
    for index in range(1, 5000):
        sent = 0.1 + index * 0.005
        if chance.random() < 0.01:
            lost.add(index)
            continue
        copies = 2 if chance.random() < 0.02 else 1
        arrivals += [(sent + chance.random() * 0.06, index) for _ in range(copies)]
    for now, index in sorted(arrivals):
        while (due := rig.receiver.get_timer()) is not None and due <= now:
            rig.receiver.handle_timer(due)
        rig.receiver.receive((packet(first + index, 450 * index),), now)
    rig.receiver.handle_timer(1000.0)
    last = max(index for _, index in arrivals)
    lost = {index for index in lost if index < last}
    expected = [first + index for index in range(5000) if index not in lost]
    last = max(rig.out.sequences)
    assert rig.out.sequences == [n for n in expected if n <= last], f"{seed=}"
    assert rig.reception.lost == len(lost)
    assert rig.reception.duplicates == len(arrivals) - len(rig.out.packets)
    assert not rig.out.restarts
