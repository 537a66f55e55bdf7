"""AMF0 against the bytes of the specification's own examples and a small reader."""

import contextlib
from struct import unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from media.flv import amf


def test_values_have_the_markers_of_the_specification() -> None:
    assert amf.number(1.0) == b"\x00\x3f\xf0\x00\x00\x00\x00\x00\x00"
    assert amf.boolean(True) == b"\x01\x01"
    assert amf.boolean(False) == b"\x01\x00"
    assert amf.string("onMetaData") == b"\x02\x00\x0aonMetaData"


def test_array_counts_its_entries_and_ends() -> None:
    data = amf.ecma_array({"width": 640.0, "stereo": True, "name": "x"})
    assert data == (
        b"\x08\x00\x00\x00\x03"
        b"\x00\x05width" + amf.number(640.0) + b"\x00\x06stereo\x01\x01"
        b"\x00\x04name\x02\x00\x01x"
        b"\x00\x00\x09"
    )


@given(st.text(max_size=70_000))
def test_any_text_is_a_string(text: str) -> None:
    data = amf.string(text)
    assert data[0] == 2
    (size,) = unpack(">H", data[1:3])
    assert size == len(data) - 3
    assert text.encode().startswith(data[3:])


VALUES: dict[str, amf.Value] = {"width": 640.0, "stereo": True, "name": "x"}
OBJECT = b"\x03\x00\x01a\x05\x00\x01b\x03\x00\x01c\x06\x00\x00\x09\x00\x00\x09"


def test_what_is_written_is_read() -> None:
    data = amf.string("onMetaData") + amf.ecma_array(VALUES) + amf.number(-1.5)
    assert amf.read_values(data) == ["onMetaData", VALUES, -1.5]


def test_every_type_is_read() -> None:
    data = (
        OBJECT
        + b"\x0a\x00\x00\x00\x02\x01\x01\x05"
        + b"\x0b"
        + bytes.fromhex("3ff0000000000000")
        + b"\x00\x00"
        + b"\x0c\x00\x00\x00\x02hi"
        + b"\x10\x00\x01T\x00\x01a\x01\x00\x00\x00\x09"
        + b"\x0d"
    )
    assert amf.read_values(data) == [
        {"a": None, "b": {"c": None}},
        [True, None],
        1.0,
        "hi",
        {"a": False},
        None,
    ]


def test_an_object_may_end_with_the_data() -> None:
    assert amf.read_values(OBJECT[:-3]) == [{"a": None, "b": {"c": None}}]


def test_truncation_at_every_length() -> None:
    data = amf.string("onMetaData") + amf.ecma_array(VALUES)
    for size in range(len(data)):
        with contextlib.suppress(WireError):
            amf.read_values(data[:size])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x00\x00", "amf-malformed"),
        (b"\x07\x00\x00", "amf-malformed"),  # a reference
        (b"\x11", "amf-malformed"),  # AMF3
        (b"\x0a\xff\xff\xff\xff", "amf-too-large"),
        (b"\x03\x00\x01a" * 40, "amf-too-large"),
        (b"\x05" * 5000, "amf-too-large"),
    ],
)
def test_what_cannot_be_read_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(WireError) as refused:
        amf.read_values(data)
    assert refused.value.reason == reason


@given(st.binary(max_size=200))
def test_any_bytes_are_values_or_an_error(data: bytes) -> None:
    with contextlib.suppress(WireError):
        amf.read_values(data)
