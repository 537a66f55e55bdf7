"""Addresses that are written in many ways."""

import socket

import pytest

from flux.base.addresses import plain_address
from flux.net.resolve import host_of


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::FFFF:0A00:0001", "10.0.0.1"),
        ("FE80:0:0:0::1%eth0", "fe80::1"),
        ("fd77:0:0:5::2", "fd77:0:0:5::2"),
        ("camera.example", "camera.example"),
        ("10.1", "10.1"),  # no address but in C
        ("*", "*"),
        ("", ""),
        ("\0", "\0"),
        ("\udcff:", "\udcff:"),
    ],
)
def test_addresses_have_one_way_to_be_written(written: str, meant: str) -> None:
    assert plain_address(written) == meant


def test_a_sender_is_written_the_canonical_way() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("0:0:0:0:0:0:0:1", 0))
        assert host_of(sock.getsockname()) == plain_address("0:0:0:0:0:0:0:1") == "::1"
