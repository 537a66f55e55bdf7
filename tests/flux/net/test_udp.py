"""UDP sockets on loopback: pairs, batches, senders."""

import select
import socket
from collections.abc import Iterator

import pytest

from flux.net.udp import SharedUdpSocket, bind_ports

UDP_SEGMENT = 103
Pair = tuple[SharedUdpSocket, SharedUdpSocket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    rtp, rtcp = bind_ports(socket.AF_INET, ("127.0.0.1", 0))
    sockets = SharedUdpSocket(rtp, 65536), SharedUdpSocket(rtcp, 65536)
    yield sockets
    for each in sockets:
        each.close()


@pytest.fixture
def sender() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        yield sock


def wait(receiver: SharedUdpSocket) -> None:
    assert select.select([receiver.fileno()], [], [], 5.0)[0]


def test_a_pair_is_even_and_odd(pair: Pair) -> None:
    rtp, rtcp = pair
    assert rtp.port % 2 == 0
    assert rtcp.port == rtp.port + 1
    assert not rtp.is_clamped


def test_datagrams_come_in_order_in_one_batch(pair: Pair, sender: socket.socket) -> None:
    sent = [bytes([number]) * (number + 1) for number in range(40)]
    for data in sent:
        sender.sendto(data, ("127.0.0.1", pair[0].port))
    wait(pair[0])
    received: list[bytes] = []
    for arrived, _, datagrams in pair[0].receive(1000.0):
        assert 999.0 <= arrived <= 1000.0
        received += datagrams
    assert received == sent
    assert pair[0].receive(1000.0) == []


def test_joined_datagrams_are_cut_again(pair: Pair, sender: socket.socket) -> None:
    data = bytes(range(250)) * 4 + b"short"
    segment = (250).to_bytes(2, "little")
    try:
        sender.sendmsg(
            [data],
            [(socket.IPPROTO_UDP, UDP_SEGMENT, segment)],
            0,
            ("127.0.0.1", pair[0].port),
        )
    except OSError:
        pytest.skip("no UDP_SEGMENT here")
    wait(pair[0])
    batches = pair[0].receive(0.0)
    assert [len(packet) for _, _, packets in batches for packet in packets] == [250] * 4 + [5]


def test_a_shared_socket_tells_senders_apart() -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    shared = SharedUdpSocket(sock, 65536)
    senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    try:
        for sender in senders:
            sender.bind(("127.0.0.1", 0))
            sender.settimeout(5.0)
        for number, place in enumerate((0, 0, 1, 0)):
            senders[place].sendto(b"%d from %d" % (number, place), ("127.0.0.1", shared.port))
        assert select.select([shared.fileno()], [], [], 5.0)[0]
        batches = shared.receive(1000.0)
        heard: dict[int, list[bytes]] = {}
        for _, address, datagrams in batches:
            heard.setdefault(address[1], []).extend(datagrams)
        first, second = (sender.getsockname()[1] for sender in senders)
        assert heard == {
            first: [b"0 from 0", b"1 from 0", b"3 from 0"],
            second: [b"2 from 1"],
        }
        assert all(999.0 <= arrived <= 1000.0 for arrived, _, _ in batches)
        assert not shared.is_clamped
        shared.send(b"answer", batches[0][1])
        assert senders[0].recvfrom(100) == (b"answer", ("127.0.0.1", shared.port))
        shared.send(bytes(70_000), batches[0][1])
        assert shared.errors == 1
    finally:
        shared.close()
        for sender in senders:
            sender.close()
