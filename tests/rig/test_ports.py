"""Ports for programs: each worker has its own, none that the system deals out or somebody has."""

import os
import socket
import subprocess
import sys
from contextlib import closing
from itertools import pairwise

import pytest

from tests.support import ports
from tests.support.ports import Dealer, free_port, is_free

ASK = "from tests.support.ports import free_port\nfor _ in range(20):\n    print(free_port())"


def numbers_of(worker: int, workers: int) -> list[int]:
    """What a worker of a run is given."""
    names = {"PYTEST_XDIST_WORKER": f"gw{worker}", "PYTEST_XDIST_WORKER_COUNT": f"{workers}"}
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env=os.environ | names,
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    return [int(line) for line in done.stdout.split()]


def test_workers_have_ports_of_their_own() -> None:
    low, high = map(int, ports.KERNEL.read_text().split())
    everything = ports.outside(low, high)
    for worker in (0, 2):
        found = numbers_of(worker, 3)
        assert set(found) <= set(ports.share(everything, worker, 3))
        assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ((32_768, 60_999), range(10_000, 32_000)),
        ((15_000, 60_999), range(10_000, 15_000)),
        ((10_500, 40_000), range(40_001, 65_536)),
        ((1_024, 65_535), range(10_000, 32_000)),  # none is left
    ],
)
def test_what_the_system_deals_out_is_left_to_it(kernel: tuple[int, int], expected: range) -> None:
    assert ports.outside(*kernel) == expected


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_shares_do_not_overlap(workers: int) -> None:
    everything = range(10_000, 32_000)
    shares = [ports.share(everything, worker, workers) for worker in range(workers)]
    assert all(before.stop == after.start for before, after in pairwise(shares))
    assert all(len(each) == 22_000 // workers for each in shares)
    assert shares[-1].stop <= everything.stop
    assert ports.share(everything, workers, workers) == shares[0]  # one that came for another


def test_a_port_does_not_come_again_soon() -> None:
    found = [free_port() for _ in range(500)]
    assert len(set(found)) == 500
    assert all(port % 2 == 0 for port in found)


def test_a_row_is_given_once() -> None:
    dealer = Dealer(range(20_001, 21_000), 20_001)
    rows = [(row, dealer.take(row)) for row in (2, 5, 1, 3)]
    taken = [port for row, first in rows for port in range(first, first + row)]
    assert len(set(taken)) == len(taken) == 11
    assert all(first % 2 == 0 for _, first in rows)


def test_after_the_last_one_comes_the_first() -> None:
    start = free_port(8)
    dealer = Dealer(range(start, start + 8), start + 5)
    assert [dealer.take() for _ in range(5)] == [start + each for each in (6, 0, 2, 4, 6)]


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
@pytest.mark.parametrize("number", [0, 1])
def test_a_port_that_somebody_has_is_passed_over(
    kind: socket.SocketKind, host: str, number: int
) -> None:
    start = free_port(4)
    assert is_free(start + number)
    with closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)) as sock:
        try:
            sock.bind((host, start + number))
        except OSError as error:
            pytest.skip(f"no {host} here: {error}")
        assert not is_free(start + number)
        assert Dealer(range(start, start + 4), start).take() == start + 2


def test_where_none_is_free_it_says_so() -> None:
    start = free_port()
    with socket.create_server(("127.0.0.1", start)), pytest.raises(OSError, match="no 2 free"):
        Dealer(range(start, start + 2), start).take()
