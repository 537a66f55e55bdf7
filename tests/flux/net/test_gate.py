"""A gate: a socket is heard while it is open, and not otherwise, in both kinds of loops."""

import asyncio
import select
import socket
from collections.abc import Callable, Iterator

import pytest
import uvloop

from flux.net.gate import Gate

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
TURNS = 5  # of a loop, in which what is ready is served
HOST = "127.83.19.7"  # whose ports nobody else is dealt, when one of ours is closed


@pytest.fixture(params=list(LOOPS))
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    loop = LOOPS[request.param]()
    yield loop
    loop.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two UDP sockets; what the second sends comes to the first."""
    with (
        socket.socket(type=socket.SOCK_DGRAM) as ours,
        socket.socket(type=socket.SOCK_DGRAM) as theirs,
    ):
        for each in (ours, theirs):
            each.setblocking(False)
            each.bind((HOST, 0))
        theirs.connect(ours.getsockname())
        yield ours, theirs


@pytest.fixture(params=[True, False], ids=["epoll", "none"])
def has_epoll(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has epoll, and where not."""
    if not request.param:
        monkeypatch.delattr(select, "epoll")


def turn(loop: asyncio.AbstractEventLoop) -> None:
    async def wait() -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)

    loop.run_until_complete(wait())


@pytest.mark.usefixtures("has_epoll")
def test_only_an_open_gate_is_heard(
    loop: asyncio.AbstractEventLoop,
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    heard: list[bytes] = []

    def read() -> None:
        heard.append(ours.recv(100))

    gate = Gate(loop, ours.fileno(), read)
    theirs.send(b"one")
    turn(loop)
    assert heard == [] and not gate.is_open
    gate.open()
    gate.open()
    turn(loop)
    assert heard == [b"one"]
    theirs.send(b"two")
    theirs.send(b"three")
    turn(loop)
    assert heard == [b"one", b"two", b"three"]
    gate.shut()
    gate.shut()
    theirs.send(b"four")
    turn(loop)
    assert len(heard) == 3
    gate.open()
    turn(loop)
    assert heard[3:] == [b"four"]
    gate.close()
    gate.close()
    theirs.send(b"five")
    turn(loop)
    assert len(heard) == 4


def test_what_was_not_read_is_told_again(
    loop: asyncio.AbstractEventLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    calls: list[int] = []
    gate = Gate(loop, ours.fileno(), lambda: calls.append(1))
    gate.open()
    theirs.send(b"stays")
    turn(loop)
    seen = len(calls)
    turn(loop)
    assert len(calls) > seen > 0
    gate.shut()
    seen = len(calls)
    turn(loop)
    assert len(calls) == seen
    gate.close()


def test_an_error_of_the_socket_is_heard_and_ends_nothing(
    loop: asyncio.AbstractEventLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    """Loops that watch the socket itself may forget it then."""
    ours, theirs = pair
    failures: list[OSError] = []
    heard: list[bytes] = []

    def read() -> None:
        try:
            heard.append(theirs.recv(100))
        except OSError as error:
            failures.append(error)

    peer = ours.getsockname()
    ours.close()
    gate = Gate(loop, theirs.fileno(), read)
    gate.open()
    theirs.send(b"to nobody")
    turn(loop)
    assert [type(failure) for failure in failures] == [ConnectionRefusedError]
    with socket.socket(type=socket.SOCK_DGRAM) as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(peer)
        again.sendto(b"back", theirs.getsockname())
        turn(loop)
    assert heard == [b"back"]
    gate.close()


@pytest.mark.usefixtures("has_epoll")
def test_two_gates_with_one_callback(
    loop: asyncio.AbstractEventLoop,
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """Each is open or shut by itself; they are one set to the loop."""
    ours, theirs = pair
    ours.connect(theirs.getsockname())
    heard: list[bytes] = []

    def read() -> None:
        for each in pair:
            try:
                heard.append(each.recv(100))
            except BlockingIOError:
                continue

    first = Gate(loop, ours.fileno(), read)
    second = first.beside(theirs.fileno())
    for opened, shut, sender in ((first, second, theirs), (second, first, ours)):
        opened.open()
        shut.shut()
        before = len(heard)
        (ours if sender is theirs else theirs).send(b"to the one that is shut")
        turn(loop)
        assert len(heard) == before
        sender.send(b"to the open one")
        turn(loop)
        assert sorted(heard[before:]) == [b"to the one that is shut", b"to the open one"]
    second.close()
    first.open()
    theirs.send(b"to the first")
    turn(loop)
    assert heard[-1] == b"to the first"
    first.close()
    first.close()
