"""One port, two sockets: what may wait comes to one, what may not to the other."""

import errno
import select
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from flux.net import udp_split
from flux.net.multicast import bind_receiver
from flux.net.udp import SharedUdpSocket
from flux.net.udp_send import Run, RunSender

FLAG, PATIENT = 0x8000, (0x8002, 0x8006, 0x8001)
BUFFER_BYTES = 1 << 20
WAITS = [b"", b"\x80", b"\0\0", b"\x7f\xff data", *(bytes((0x80, n, 9)) for n in (2, 6, 1))]
URGENT = [b"\x80\0", b"\x80\3 question", b"\x80\5", b"\xff\xff", b"\xc0\2", b"\x81\2"]

Pair = tuple[SharedUdpSocket, SharedUdpSocket]


def pair_of(bound: str) -> Pair:
    sock, _ = bind_receiver(bound, 0)
    shared = SharedUdpSocket(sock, BUFFER_BYTES, hears_errors=True, keeps_homes=True)
    urgent = shared.split(FLAG, PATIENT, BUFFER_BYTES)
    assert urgent is not None
    return shared, urgent


@pytest.fixture
def pair() -> Iterator[Pair]:
    patient, urgent = pair_of("127.0.0.1")
    with closing(patient), closing(urgent):
        yield patient, urgent


def came(shared: SharedUdpSocket) -> list[bytes]:
    """What is there, in order."""
    return [datagram for heard in shared.hear(0.0) for datagram in heard.datagrams]


@pytest.mark.parametrize(
    ("bound", "called"),
    [("127.0.0.1", "127.0.0.1"), ("", "127.0.0.1"), ("", "::1"), ("::1", "::1")],
)
def test_the_kernel_sorts(bound: str, called: str) -> None:
    patient, urgent = pair_of(bound)
    family = socket.AF_INET6 if ":" in called else socket.AF_INET
    with closing(patient), closing(urgent), socket.socket(family, socket.SOCK_DGRAM) as peer:
        for datagram in [each for row in zip(WAITS, URGENT, strict=False) for each in row]:
            peer.sendto(datagram, (called, patient.port))
        peer.sendto(WAITS[-1], (called, patient.port))
        assert came(patient) == WAITS
        assert came(urgent) == URGENT


def test_what_only_waits_wakes_nobody(pair: Pair) -> None:
    patient, urgent = pair
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.sendto(WAITS[3], ("127.0.0.1", patient.port))
        assert select.select([patient], [], [], 5)[0]
        assert not select.select([urgent], [], [], 0)[0]
        peer.sendto(URGENT[1], ("127.0.0.1", patient.port))
        assert select.select([urgent], [], [], 5)[0]


def test_the_port_is_nobody_elses(pair: Pair) -> None:
    """A second server is told so, although two sockets of ours share the port."""
    with pytest.raises(Exception, match="address-in-use"):
        bind_receiver("127.0.0.1", pair[0].port)


def test_a_port_that_somebody_shares_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        with pytest.raises(Exception, match="address-in-use"):
            bind_receiver("127.0.0.1", other.getsockname()[1])


def test_whoever_called_another_address_is_answered_from_there() -> None:
    patient, urgent = pair_of("")
    with (
        closing(patient),
        closing(urgent),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        peer.settimeout(5)
        peer.sendto(URGENT[0], ("127.0.0.2", patient.port))
        select.select([urgent], [], [], 5)
        ((_, address, _),) = urgent.receive(0.0)
        assert urgent.homes is patient.homes
        raw = socket.socket(fileno=socket.dup(patient.fileno()))
        with raw:
            assert RunSender(raw, patient.homes).send(Run(0, b"answer", 6, 1), address)
        assert peer.recvfrom(100)[1][0] == "127.0.0.2"


def test_errors_of_the_network_are_told_by_one_of_them(pair: Pair) -> None:
    patient, urgent = pair
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        place = gone.getsockname()
    patient.send(b"anybody?", place)
    select.select([], [], [patient, urgent], 1)
    assert patient.unreachable() + urgent.unreachable() == [place]


@pytest.mark.parametrize("refused", [socket.SO_REUSEPORT, udp_split.SO_ATTACH_REUSEPORT_CBPF])
def test_where_the_system_cannot_there_is_one_socket(
    refused: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Old(socket.socket):
        def setsockopt(self, level: int, option: int, *value: object) -> None:
            if level == socket.SOL_SOCKET and option == refused and value != (0,):
                raise OSError(errno.ENOPROTOOPT, "an old kernel")
            super().setsockopt(level, option, *value)  # type: ignore[call-overload]

    monkeypatch.setattr(socket, "socket", Old)
    sock = Old(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    with closing(SharedUdpSocket(sock, BUFFER_BYTES)) as shared:
        assert shared.split(FLAG, PATIENT, BUFFER_BYTES) is None
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
        with Old(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            for datagram in (WAITS[3], URGENT[1]):
                peer.sendto(datagram, ("127.0.0.1", shared.port))
        assert came(shared) == [WAITS[3], URGENT[1]]


def test_a_system_without_shared_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        assert udp_split.split(sock, FLAG, PATIENT) is None
