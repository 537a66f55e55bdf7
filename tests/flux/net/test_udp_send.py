"""Runs of datagrams: what arrives is what was put in, one by one and byte by byte."""

import errno
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.net.udp import SharedUdpSocket
from flux.net.udp_send import (
    MAX_RUN_BYTES,
    MAX_RUN_SEGMENTS,
    SEGMENT_SIZE,
    Run,
    RunSender,
    make_runs,
)

Ancillary = tuple[int, int, bytes]


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(2.0)
        yield sock


@pytest.fixture
def sender() -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def packet(number: int, size: int) -> bytes:
    return (number.to_bytes(4, "big") * (size // 4 + 1))[:size]


SIZES = [1400, 1400, 1400, 700, 40, 1200, 1200, 1201, 90, 90, 90, 8]


def test_unequal_packets_arrive_as_they_are(sender: socket.socket, receiver: socket.socket) -> None:
    packets = [packet(number, size) for number, size in enumerate(SIZES)]
    runs = make_runs(0, packets)
    assert [run.count for run in runs] == [4, 1, 2, 2, 3]
    out = RunSender(sender)
    assert all(out.send(run, receiver.getsockname()) for run in runs)
    assert [receiver.recv(65_536) for _ in packets] == packets


def test_a_wrong_group_is_cut_otherwise(sender: socket.socket, receiver: socket.socket) -> None:
    """The broken sample: a longer packet inside of a run is not what arrives."""
    packets = [packet(1, 100), packet(2, 300), packet(3, 100)]
    RunSender(sender).send(Run(0, b"".join(packets), 100, 3), receiver.getsockname())
    assert [receiver.recv(65_536) for _ in packets] != packets


@given(st.lists(st.integers(1, 1500), max_size=200))
def test_runs_are_legal_and_complete(sizes: list[int]) -> None:
    packets = [packet(number, size) for number, size in enumerate(sizes)]
    runs = make_runs(3, packets)
    assert [datagram for run in runs for datagram in run.datagrams()] == packets
    for run in runs:
        lengths = [len(datagram) for datagram in run.datagrams()]
        assert set(lengths[:-1]) <= {run.segment}
        assert lengths[-1] <= run.segment
        assert len(lengths) == run.count <= MAX_RUN_SEGMENTS
        assert len(run.data) <= MAX_RUN_BYTES
        assert run.track == 3


class NoSegmentation:
    """A socket of a system that cannot cut."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.refused = 0

    def sendmsg(self, buffers: list[bytes], ancillary: list[Ancillary], *more: Any) -> int:
        self.refused += 1
        raise OSError(errno.EIO, "no")

    def sendto(self, data: bytes, address: tuple[str, int]) -> int:
        return self.sock.sendto(data, address)


def test_without_segmentation_each_goes_by_itself(
    sender: socket.socket, receiver: socket.socket
) -> None:
    old = NoSegmentation(sender)
    out = RunSender(old)  # type: ignore[arg-type]  # what is used of a socket
    packets = [packet(number, 500) for number in range(5)]
    for _ in range(2):
        assert all(out.send(run, receiver.getsockname()) for run in make_runs(0, packets))
        assert [receiver.recv(65_536) for _ in packets] == packets
    assert old.refused == 1  # asked once


class ShortLink(NoSegmentation):
    """A link whose packets hold 1,500 bytes: longer segments are refused."""

    def sendmsg(self, buffers: list[bytes], ancillary: list[Ancillary], *more: Any) -> int:
        (size,) = SEGMENT_SIZE.unpack(ancillary[0][2])
        if size + 28 > 1500:
            self.refused += 1
            raise OSError(errno.EINVAL, "no")
        return self.sock.sendmsg(buffers, ancillary, *more)


def test_segments_longer_than_the_link_cost_the_others_nothing(
    sender: socket.socket, receiver: socket.socket
) -> None:
    link = ShortLink(sender)
    out = RunSender(link)  # type: ignore[arg-type]  # what is used of a socket
    for size in (3000, 1412, 3000):
        packets = [packet(number, size) for number in range(4)]
        assert all(out.send(run, receiver.getsockname()) for run in make_runs(0, packets))
        assert [receiver.recv(65_536) for _ in packets] == packets
    assert link.refused == 2  # the option goes on to be used for those in between


def test_what_the_system_refuses_is_counted(sender: socket.socket) -> None:
    out = RunSender(sender)
    assert not out.send(Run(0, b"x", 1, 1), ("127.0.0.1", 0))
    assert (out.errors, out.full) == (1, 0)


def test_what_came_back_from_one_peer_costs_no_other_a_run(receiver: socket.socket) -> None:
    """Off (a refusal is taken for this run's) the packet to the good one is lost."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        shared = SharedUdpSocket(sock, 1 << 20, hears_errors=True)
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as gone:
            gone.bind(("127.0.0.1", 0))
            nobody = gone.getsockname()
        out = RunSender(sock)
        packets = [packet(number, 100) for number in range(20)]
        for each in packets:
            out.send(Run(0, b"lost", 4, 1), nobody)
            assert out.send(Run(0, each, 100, 1), receiver.getsockname())
        assert [receiver.recv(65_536) for _ in packets] == packets
        assert (out.errors, out.full) == (0, 0)
        found = shared.unreachable()
        assert found and set(found) == {nobody}
        assert shared.unreachable() == []
