"""The KeyMgmt header and the a=key-mgmt attribute."""

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from protocols.mikey import KeyManagement, Message, attribute_value, parse_attribute

VECTORS = dict(
    line.split()
    for line in (Path(__file__).parents[2] / "data/mikey/gstreamer-1.22.txt")
    .read_text()
    .splitlines()
)
DATA = bytes.fromhex(VECTORS["setup-rtspsrc"])
TEXT = base64.b64encode(DATA).decode()
MESSAGE = Message.parse(DATA)
URI = "rtsp://127.0.0.1:8322/cam?a=1,2;b/stream=0"


def test_round_trip() -> None:
    spec = KeyManagement(MESSAGE, URI)
    assert KeyManagement.parse_header(spec.serialize()) == (spec,)
    assert parse_attribute(attribute_value(MESSAGE)) == MESSAGE


def test_as_gstreamer_writes_it() -> None:
    value = f'prot=mikey;uri="{URI}";data="{TEXT}"'
    assert KeyManagement(MESSAGE, URI).serialize() == value
    assert KeyManagement.parse_header(value) == (KeyManagement(MESSAGE, URI),)


@pytest.mark.parametrize(
    "value",
    [
        f"prot=mikey;data={TEXT}",
        f'prot=MIKEY; data="{TEXT}"',
        f'  Prot = "mikey" ; DATA = "{TEXT}" ',
        f'prot=mikey; data="{TEXT.rstrip("=")}";',
    ],
)
def test_other_ways_to_write_it(value: str) -> None:
    assert KeyManagement.parse_header(value) == (KeyManagement(MESSAGE),)


def test_several_specifications() -> None:
    one = KeyManagement(MESSAGE, "rtsp://a/1").serialize()
    other = 'prot=other;uri="x,y";data="AAAA"'
    two = KeyManagement(MESSAGE, "rtsp://a/2").serialize()
    found = KeyManagement.parse_header(f"{one}, {other},{two}")
    assert [spec.uri for spec in found] == ["rtsp://a/1", "rtsp://a/2"]
    assert KeyManagement.parse_header(other) == ()
    assert KeyManagement.parse_header("") == ()
    assert parse_attribute("other AAAA") is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("mikey", "key-mgmt-malformed"),
        ('prot=mikey;data="AA', "key-mgmt-malformed"),
        ("prot=mikey;data=!!!!", "key-mgmt-malformed"),
        ("prot=mikey", "mikey-truncated"),
        ("prot=mikey;data=" + "A" * 40_000, "key-mgmt-too-long"),
        ("a=b," * 100 + "a=b", "key-mgmt-too-long"),
        ("x" * 3_000_000, "key-mgmt-too-long"),
        ('prot="' + " " * 60_000, "key-mgmt-malformed"),
        (" " * 60_000 + "!", "key-mgmt-malformed"),
        ("prot=" + " " * 60_000 + '"', "key-mgmt-malformed"),
    ],
)
def test_what_is_refused(value: str, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        KeyManagement.parse_header(value)
    assert caught.value.reason == reason


def test_cut_anywhere() -> None:
    value = f'prot=mikey;uri="{URI}";data="{TEXT}"'
    for size in range(len(value)):
        try:
            found = KeyManagement.parse_header(value[:size])
        except WireError:
            continue
        assert size < len("prot=mikey") and not found


@given(st.text(alphabet='prot=mikeydata;,"uri \tAQAF/+é', max_size=80), st.text(max_size=30))
def test_any_text(value: str, other: str) -> None:
    for text in (value, other, f"prot=mikey;data={value}", f'prot=mikey;uri="{other}";data=AQ=='):
        for parse in (KeyManagement.parse_header, parse_attribute):
            try:
                parse(text)
            except WireError:
                continue
