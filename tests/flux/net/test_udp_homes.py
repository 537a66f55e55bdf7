"""Answers come from the address that was called, to peers of both families, singly or in runs."""

import select
import socket
from contextlib import closing

import pytest

from flux.net.multicast import bind_receiver
from flux.net.udp import SharedUdpSocket
from flux.net.udp_homes import IP_PKTINFO, MAX_KNOWN, Homes
from flux.net.udp_send import Run, RunSender

SINGLE, RUN = Run(0, b"answer", 6, 1), Run(0, b"answerANSWERans", 6, 3)


def answered(bound: str, called: str, run: Run, *, keeps_homes: bool) -> set[str]:
    """From where answers come to somebody who sent to `called`."""
    sock, _ = bind_receiver(bound, 0)
    family = socket.AF_INET6 if ":" in called else socket.AF_INET
    with closing(SharedUdpSocket(sock, 65536, keeps_homes=keeps_homes)) as shared:
        out = RunSender(sock, shared.homes)
        with socket.socket(family, socket.SOCK_DGRAM) as peer:
            peer.settimeout(5)
            for _ in range(2):
                peer.sendto(b"question", (called, shared.port))
                select.select([sock], [], [], 5)
                ((_, address, batch),) = shared.receive(0.0)
                assert batch == [b"question"]
                assert out.send(run, address)
                came = [peer.recvfrom(100) for _ in range(run.count)]
            assert b"".join(data for data, _ in came) == run.data
            return {address[0] for _, address in came}


@pytest.mark.parametrize("run", [SINGLE, RUN], ids=["single", "run"])
@pytest.mark.parametrize(
    ("bound", "called"),
    [
        ("", "127.0.0.1"),
        ("", "127.0.0.2"),
        ("", "::1"),
        ("0.0.0.0", "127.0.0.3"),
        ("::", "::1"),
        ("127.0.0.2", "127.0.0.2"),
    ],
)
def test_the_source_is_what_was_called(bound: str, called: str, run: Run) -> None:
    assert answered(bound, called, run, keeps_homes=True) == {called}


def test_without_it_the_route_decides() -> None:
    assert answered("", "127.0.0.2", SINGLE, keeps_homes=False) == {"127.0.0.1"}


def test_a_socket_with_one_address_needs_nothing() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        assert Homes.of(sock) is None


def test_what_is_known_is_bounded_and_garbage_ignored() -> None:
    homes = Homes(socket.AF_INET)
    peer = ("127.0.0.1", 9)
    homes.note(peer, IP_PKTINFO, b"short")
    homes.note(peer, 99, bytes(12))
    assert homes.control(peer) is None
    elsewhere = b"\1\0\0\0" + bytes((127, 0, 0, 7)) * 2
    homes.note(peer, IP_PKTINFO, elsewhere)
    assert homes.control(peer) is not None
    for port in range(1, MAX_KNOWN + 1):
        homes.note(("127.0.0.9", port), IP_PKTINFO, elsewhere)
    assert homes.control(peer) is None  # until it sends again
    homes.note(peer, IP_PKTINFO, elsewhere)
    assert homes.control(peer) is not None
