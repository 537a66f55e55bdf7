"""Listening addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.addresses import ListenAddress


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback", "wildcard"),
    [
        (":8888", "", 8888, False, True),
        ("0.0.0.0:80", "0.0.0.0", 80, False, True),
        ("[::]:80", "::", 80, False, True),
        ("127.0.0.1:9997", "127.0.0.1", 9997, True, False),
        ("[::1]:0", "::1", 0, True, False),
        ("[::ffff:127.0.0.1]:1", "::ffff:127.0.0.1", 1, True, False),
        ("localhost:9997", "localhost", 9997, True, False),
        ("media.example.org:9997", "media.example.org", 9997, False, False),
    ],
)
def test_addresses_round_trip(
    text: str, host: str, port: int, loopback: bool, wildcard: bool
) -> None:
    address = ListenAddress.parse(text)
    assert (address.host, address.port) == (host, port)
    assert (address.is_loopback, address.is_wildcard) == (loopback, wildcard)
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", "8888", ":", ":70000", ":-1", "::1:80", "[127.0.0.1]:80", "1.2.3:80", "a b:80", ":\uff18"],
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        ListenAddress.parse(text)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        assert str(ListenAddress.parse(text)).rpartition(":")[2].isdigit()
    except ValueError as error:
        assert "expected" in str(error)
