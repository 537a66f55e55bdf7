"""Many datagrams a call: what comes is what one `recvmsg` each would have brought."""

import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from flux.net import udp_many
from flux.net.multicast import bind_receiver
from flux.net.udp import SharedUdpSocket, batches_of
from flux.net.udp_hearing import GRO_SIZE, OLDEST, UDP_GRO, Clock, Heard, Hearing, Joined
from flux.net.udp_many import SLOT_BYTES, SLOTS, address_of, ancillary_of, reader_of_thread
from tests.support.twins import KINDS, choose

UDP_SEGMENT = 103
Found = dict[tuple[str, int], list[bytes]]


pytestmark = pytest.mark.skipif(reader_of_thread() is None, reason="64-bit Linux alone has it")


@pytest.fixture(params=KINDS, autouse=True)
def twin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = choose(udp_many.ManyReader, request.param)()
    monkeypatch.setattr("flux.net.udp.reader_of_thread", lambda: reader)


@pytest.fixture(params=["", "0.0.0.0", "127.0.0.1"])
def shared(request: pytest.FixtureRequest) -> Iterator[SharedUdpSocket]:
    sock, _ = bind_receiver(request.param, 0)
    shared = SharedUdpSocket(sock, 4 << 20, keeps_homes=True)
    yield shared
    shared.close()


def heard(shared: SharedUdpSocket) -> Found:
    """All that comes until nothing does."""
    found: Found = {}
    while select.select([shared.fileno()], [], [], 0.05)[0]:
        now = time.monotonic()
        for each in shared.hear(now):
            moments = [each.at(index) for index in range(len(each.datagrams))]
            assert moments == sorted(moments)
            assert now - OLDEST <= moments[0] <= moments[-1] <= now
            host, port = each.address[:2]
            found.setdefault((host.rpartition(":")[2], port), []).extend(each.datagrams)
    return found


def both(shared: SharedUdpSocket, send: "list[tuple[int, bytes]]") -> tuple[Found, Found]:
    """What many senders' datagrams are read as: many a call, and one a call."""
    results: list[Found] = []
    with ExitStack() as stack:
        senders = [
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(3)
        ]
        for is_plain in (False, True):
            for number, data in send:
                senders[number].sendto(data, ("127.0.0.1", shared.port))
            with pytest.MonkeyPatch.context() as patch:
                if is_plain:
                    patch.setattr("flux.net.udp.reader_of_thread", lambda: None)
                results.append(heard(shared))
    return results[0], results[1]


@pytest.mark.parametrize(
    "sizes",
    [
        [1332] * 10,
        [1332] * (2 * SLOTS),
        [1332] * (SLOTS + 1),
        [0],
        [1, 0, 1332, 0, 17],
        [SLOT_BYTES - 1, SLOT_BYTES, SLOT_BYTES + 1, 9000, 65_000, 3, SLOT_BYTES],
    ],
    ids=lambda sizes: f"{len(sizes)} of {max(sizes)}",
)
@pytest.mark.parametrize("senders", [1, 3])
def test_as_one_by_one(shared: SharedUdpSocket, sizes: list[int], senders: int) -> None:
    sent = [(number % senders, bytes([number % 251]) * size) for number, size in enumerate(sizes)]
    many, single = both(shared, sent)
    assert many == single
    assert sum(map(len, many.values())) == len(sizes)
    assert shared.errors == 0


@pytest.mark.parametrize(
    "sizes", [[1316] * 10, [1316] * (2 * SLOTS), [0, 1, 0], [9000, 3, 188, SLOT_BYTES + 1]]
)
@pytest.mark.parametrize("turns", [[0], [0, 1, 2], [*[0] * SLOTS, 1, 0]], ids=len)
def test_joined_it_is_the_same(shared: SharedUdpSocket, sizes: list[int], turns: list[int]) -> None:
    """Of one sender in one piece, where nobody sent in between."""
    with ExitStack() as stack:
        senders = [
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(3)
        ]
        sent: Found = {}
        before = time.monotonic()
        for number, size in enumerate(sizes):
            data = bytes([number % 251]) * size
            sender = senders[turns[number % len(turns)]]
            sender.sendto(data, ("127.0.0.1", shared.port))
            sent.setdefault(("127.0.0.1", sender.getsockname()[1]), []).append(data)
    found: Found = {}
    while sum(map(len, found.values())) < len(sizes):
        assert select.select([shared.fileno()], [], [], 5)[0]
        now = time.monotonic()
        for moment, address, datagrams in shared.receive_joined(now):
            assert before - 0.001 <= moment <= now
            assert isinstance(datagrams, Joined) or len(sent) > 1
            key = address[0].rpartition(":")[2], address[1]
            found.setdefault(key, []).extend(datagrams)
    assert found == sent


def test_what_is_joined_can_be_asked_for() -> None:
    parts = [b"ab", b"", b"cde", b"f"]
    joined = Joined(b"".join(parts), [len(part) for part in parts])
    assert list(joined) == parts
    assert [joined[index] for index in range(-4, 4)] == [*parts, *parts]
    assert joined[1:3] == parts[1:3]
    with pytest.raises(IndexError):
        joined[4]


def test_what_is_joined_is_in_order_and_of_one_sender_each() -> None:
    """Messages of several senders, then some of one that the kernel joined, an empty one too."""
    hearing = Hearing(7.0, None, joins=True)
    hearing.take(b"x", [], ("::1", 1))
    hearing.take(b"y", [], ("::1", 2))
    hearing.take(b"z", [], ("::1", 1))
    gro = [(socket.IPPROTO_UDP, UDP_GRO, GRO_SIZE.pack(2))]
    hearing.take_joined(b"abcde", [0, 5], gro, ("::1", 1), (-1, 0))
    hearing.take(b"w", [], ("::1", 1))
    batches = [(at, address[1], list(datagrams)) for at, address, datagrams in hearing.batches()]
    assert batches == [
        (7.0, 1, [b"x", b"z"]),
        (7.0, 2, [b"y"]),
        (7.0, 1, [b"", b"ab", b"cd", b"e"]),
        (7.0, 1, [b"w"]),
    ]


def test_what_the_kernel_joined_is_cut_and_the_rest_is_not(shared: SharedUdpSocket) -> None:
    data = b"".join(bytes([number]) * 700 for number in range(9)) + b"short"
    segment = (700).to_bytes(2, "little")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(3):
            sender.sendto(b"alone", ("127.0.0.1", shared.port))
            try:
                control = [(socket.IPPROTO_UDP, UDP_SEGMENT, segment)]
                sender.sendmsg([data], control, 0, ("127.0.0.1", shared.port))
            except OSError:
                pytest.skip("no UDP_SEGMENT here")
        (found,) = heard(shared).values()
        cut = [*(bytes([number]) * 700 for number in range(9)), b"short"]
        assert found == 3 * [b"alone", *cut]
        for _ in range(3):
            sender.sendmsg([data], control, 0, ("127.0.0.1", shared.port))
        assert select.select([shared.fileno()], [], [], 5)[0]
        ((_, _, joined),) = shared.receive_joined(time.monotonic())
    assert isinstance(joined, Joined)
    assert list(joined) == 3 * cut


def test_nobody_reads_what_another_socket_left_in_the_slots(shared: SharedUdpSocket) -> None:
    """Slots are shared: long names and long messages before, short ones behind."""
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender,
    ):
        other.bind(("::1", 0))
        beside = SharedUdpSocket(other, 1 << 20)
        for _ in range(5):
            sender.sendto(b"x" * 5000, other.getsockname())
            assert list(heard(beside)) == [("1", sender.getsockname()[1])]
            many, single = both(shared, [(0, b"a"), (0, b"bb"), (1, b"")])
            assert many == single


def test_errors_of_the_system_are_counted() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        shared = SharedUdpSocket(sock, 65_536)
        assert shared.hear(time.monotonic()) == []
        assert shared.errors == 0
        sock.connect(("127.0.0.1", 9))  # nobody is there: ICMP says so
        sock.send(b"hello?")
        assert select.select([sock], [], [], 5)[0]
        assert shared.hear(time.monotonic()) == []
        assert shared.errors == 1


def test_a_clock_that_was_set_makes_no_history() -> None:
    clock = Clock(1000.0)
    wall = int(time.time())
    assert clock.at(wall - 3600, 0) == 999.0
    assert clock.at(wall + 3600, 0) == 1000.0
    assert clock.at(-1, 0) == 1000.0


def test_batches_are_of_one_moment() -> None:
    heard = Heard(("::1", 5), Clock(1000.0))
    base = time.time_ns() - 500_000_000
    for number, after in enumerate((0, 2, 6, 7, 30)):
        seconds, nanoseconds = divmod(base + after * 1_000_000, 1_000_000_000)
        heard.add([b"%d" % number], [seconds], [nanoseconds])
    batches = [datagrams for _, _, datagrams in batches_of(heard)]
    assert batches == [[b"0", b"1"], [b"2", b"3"], [b"4"]]
    assert batches_of(heard)[1][0] == heard.at(2)


def test_structures_are_read_as_far_as_they_go() -> None:
    assert address_of(bytes(32)) == ()
    whole = udp_many.CMSG.pack(20, 1, 2) + b"four" + bytes(4) + udp_many.CMSG.pack(16, 3, 4)
    assert ancillary_of(whole + bytes(40)) == [(1, 2, b"four"), (3, 4, b"")]
    for size in range(len(whole)):
        assert len(ancillary_of(whole[:size])) <= 2
