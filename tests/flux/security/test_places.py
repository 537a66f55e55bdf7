"""Addresses: what is counted under which key, and what lies in which range."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.security.places import MAX_TEXT, place_of

TEN = (ip_network("10.0.0.0/8"),)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("unix", "unix"),
        ("", ""),
    ],
)
def test_keys(text: str, key: str) -> None:
    assert place_of(text).key == key


def test_ranges() -> None:
    assert place_of("10.1.2.3").is_in(TEN)
    assert place_of("::ffff:10.1.2.3").is_in(TEN)
    assert not place_of("11.1.2.3").is_in(TEN)
    assert not place_of("fd00::1").is_in(TEN)
    assert not place_of("unix").is_in((ip_network("0.0.0.0/0"), ip_network("::/0")))
    assert place_of("fd00::1").is_in((ip_network("fd00::/8"),))


@given(st.text(max_size=200))
def test_any_text_is_a_place(text: str) -> None:
    place = place_of(text)
    assert len(place.key) <= MAX_TEXT
    assert place.address is not None or not place.is_in((ip_network("::/0"),))
