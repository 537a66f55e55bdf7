"""AMF0 against the bytes of the specification's own examples and a small reader."""

from struct import unpack

from hypothesis import given
from hypothesis import strategies as st

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
