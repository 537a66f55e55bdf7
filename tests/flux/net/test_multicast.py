"""Multicast on the loopback interface: joins, sources, interfaces, and what fails by name."""

import select
import socket
from collections.abc import Iterator

import pytest

from flux.base.errors import PeerError
from flux.net import multicast
from flux.net.multicast import (
    Membership,
    bind_receiver,
    bind_sender_pair,
    configure_sender,
    interface_index,
    is_multicast,
    route_to,
)
from tests.support.ports import free_port

GROUP, OTHER = "239.255.7.1", "239.255.7.2"
GROUP_V6 = "ff15::7:1"


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def sender() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        configure_sender(sock, ttl=0, interface="lo")
        yield sock


def hears(sock: socket.socket, within: float = 2.0) -> bytes | None:
    """The next datagram, or None."""
    if not select.select([sock], [], [], within)[0]:
        return None
    return sock.recv(100)


def test_groups_are_told_from_hosts() -> None:
    assert is_multicast(GROUP)
    assert is_multicast("ff02::1%lo")
    assert not is_multicast("10.0.0.1")
    assert not is_multicast("host.example")
    assert not is_multicast("")


def test_a_group_is_joined_shared_and_left(port: int, sender: socket.socket) -> None:
    first, membership = bind_receiver(GROUP, port, interface="lo")
    second, _ = bind_receiver(GROUP, port, interface="127.0.0.1")
    with first, second:
        sender.sendto(b"one", (GROUP, port))
        assert hears(first) == hears(second) == b"one"
        assert membership is not None
        membership.leave()
        sender.sendto(b"two", (GROUP, port))
        assert hears(second) == b"two"
        assert hears(first, 0.0) is None
        membership.join()
        sender.sendto(b"three", (GROUP, port))
        assert hears(first) == b"three"


def test_another_group_on_the_same_port_is_not_heard(port: int, sender: socket.socket) -> None:
    first, _ = bind_receiver(GROUP, port, interface="lo")
    second, _ = bind_receiver(OTHER, port, interface="lo")
    with first, second:
        sender.sendto(b"other", (OTHER, port))
        assert hears(second) == b"other"
        assert hears(first, 0.0) is None


def test_source_specific_multicast(port: int) -> None:
    wanted, _ = bind_receiver("232.7.7.7", port, sources=("127.0.0.2",), interface="lo")
    with wanted:
        for host in ("127.0.0.3", "127.0.0.2"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind((host, 0))
                configure_sender(sock, interface="lo")
                sock.sendto(host.encode(), ("232.7.7.7", port))
        assert hears(wanted) == b"127.0.0.2"
        assert hears(wanted, 0.0) is None


def test_loopback_can_be_switched_off(port: int, sender: socket.socket) -> None:
    receiver, _ = bind_receiver(GROUP, port, interface="lo")
    with receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        configure_sender(silent, ttl=1, interface="lo", loopback=False)
        silent.sendto(b"not for us", (GROUP, port))
        sender.sendto(b"for us", (GROUP, port))
        heard = hears(receiver)
        # The loopback interface brings back what it sends, whatever the option says.
        assert heard in (b"for us", b"not for us")
        level = socket.IPPROTO_IP
        assert silent.getsockopt(level, socket.IP_MULTICAST_LOOP) == 0
        assert silent.getsockopt(level, socket.IP_MULTICAST_TTL) == 1
        assert silent.getsockopt(level, socket.IP_TTL) == 1


def interface_of_ipv6() -> str:
    """An interface that carries IPv6 groups; that of loopback mostly has no route for them."""
    for _, name in socket.if_nameindex():
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            try:
                configure_sender(probe, interface=name)
                probe.connect((GROUP_V6, 9))
            except (OSError, PeerError):
                continue
            return name
    pytest.skip("no interface carries IPv6 groups")


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_groups_of_ipv6(port: int) -> None:
    interface = interface_of_ipv6()
    receiver, _ = bind_receiver(GROUP_V6, port, interface=interface)
    with receiver, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        configure_sender(sender, ttl=1, interface=interface)
        assert sender.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS) == 1
        sender.sendto(b"six", (GROUP_V6, port))
        assert hears(receiver) == b"six"
        source = route_to(socket.AF_INET6, (GROUP_V6, port), interface)
    specific, _ = bind_receiver("ff35::7:1", port, sources=(source,), interface=interface)
    with specific, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        configure_sender(sender, ttl=1, interface=interface)
        sender.sendto(b"specific", ("ff35::7:1", port))
        assert hears(specific) == b"specific"


def test_an_address_of_ours_and_every_address(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for host in ("127.0.0.1", ""):
            receiver, membership = bind_receiver(host, port)
            with receiver:
                assert membership is None
                sender.sendto(b"plain", ("127.0.0.1", port))
                assert hears(receiver) == b"plain"


def test_interfaces_by_name_and_by_address() -> None:
    index = socket.if_nametoindex("lo")
    assert interface_index("") == 0
    assert interface_index("lo") == interface_index("127.0.0.1") == index


@pytest.mark.parametrize(
    ("host", "settings", "reason"),
    [
        (GROUP, {"interface": "nosuch0"}, "interface-not-found"),
        (GROUP, {"interface": "192.0.2.77"}, "interface-not-found"),
        (GROUP, {"sources": ("::1",), "interface": "lo"}, "multicast-group-invalid"),
        ("192.0.2.77", {}, "address-not-local"),
    ],
)
def test_failures_have_names(host: str, settings: dict[str, str], reason: str, port: int) -> None:
    with pytest.raises(PeerError) as failed:
        bind_receiver(host, port, **settings)
    assert failed.value.reason == reason


def test_a_port_that_is_taken(port: int) -> None:
    with bind_receiver("127.0.0.1", port)[0]:
        with pytest.raises(PeerError) as failed:
            bind_receiver("127.0.0.1", port)
        assert failed.value.reason == "address-in-use"


def test_a_host_is_no_group() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        with pytest.raises(PeerError) as failed:
            Membership(sock, "10.0.0.1")
        assert failed.value.reason == "multicast-group-invalid"


def test_too_many_groups() -> None:
    """net.ipv4.igmp_max_memberships is 20 by default; where it is more, the loop ends."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number in range(1, 255):
            try:
                Membership(sock, f"239.255.8.{number}", interface="lo").join()
            except PeerError as error:
                assert error.reason == "multicast-limit"
                break


def test_the_way_to_a_host() -> None:
    assert route_to(socket.AF_INET, ("127.0.0.1", 9)) == "127.0.0.1"
    with pytest.raises(PeerError) as failed:
        route_to(socket.AF_INET6, ("127.0.0.1", 9))
    assert failed.value.reason == "host-unreachable"


def test_a_pair_to_send_from() -> None:
    rtp, rtcp = bind_sender_pair(socket.AF_INET)
    with rtp, rtcp:
        port = rtp.getsockname()[1]
        assert port % 2 == 0
        assert rtcp.getsockname()[1] == port + 1


def test_options_of_the_kernel_are_those_of_its_headers() -> None:
    assert multicast.GROUP_REQUEST.size in (132, 136)
    assert multicast.SOURCE_REQUEST.size in (260, 264)
