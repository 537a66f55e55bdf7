"""Names and addresses of datagrams."""

import socket

import pytest

from flux.base.errors import PeerError
from flux.net.resolve import host_of, is_address, resolve


async def test_addresses_and_names() -> None:
    assert await resolve("127.0.0.1", 9, timeout=5.0) == (socket.AF_INET, ("127.0.0.1", 9))
    family, address = await resolve("localhost", 9, timeout=5.0)
    assert family in (socket.AF_INET, socket.AF_INET6)
    assert address[1] == 9


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 300, "\udcff"])
async def test_names_that_are_none(host: str) -> None:
    with pytest.raises(PeerError) as failed:
        await resolve(host, 9, timeout=10.0)
    assert failed.value.reason in ("dns-failure", "dns-timeout")


def test_hosts_are_compared_without_zone_and_mapping() -> None:
    assert host_of(("fe80::1%eth0", 9, 0, 2)) == "fe80::1"
    assert host_of(("::ffff:10.0.0.1", 9, 0, 0)) == "10.0.0.1"
    assert is_address("fe80::1%eth0")
    assert not is_address("host")
