"""The packet filter's configuration text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from protocols.srt.filter_string import FilterConfig, merge_texts


@pytest.mark.parametrize(
    ("own", "peer", "merged"),
    [
        # As captured from libsrt.
        ("fec", "fec,cols:5,rows:1,arq:onreq", "fec,arq:onreq,cols:5,layout:staircase,rows:1"),
        (
            "",
            "fec,cols:5,rows:5,layout:even,arq:onreq",
            "fec,arq:onreq,cols:5,layout:even,rows:5",
        ),
        ("fec,cols:5", "fec,rows:5", "fec,arq:onreq,cols:5,layout:staircase,rows:5"),
        ("fec,cols:5,rows:-4", "fec", "fec,arq:onreq,cols:5,layout:staircase,rows:-4"),
        ("fec,cols:5", "", ""),
        ("", "", ""),
    ],
)
def test_texts_are_merged(own: str, peer: str, merged: str) -> None:
    assert merge_texts(own, peer) == merged


@pytest.mark.parametrize(
    ("own", "peer", "reason"),
    [
        ("fec,cols:10,rows:5", "fec,cols:8,rows:5", "filter-conflict"),
        ("fec,arq:never", "fec,cols:8,arq:always", "filter-conflict"),
        ("fec", "fec", "filter-bad-value"),
        ("", "fec,cols:1", "filter-bad-value"),
        ("", "fec,cols:-5", "filter-bad-value"),
        ("", "fec,cols:99999", "filter-bad-value"),
        ("", "fec,cols:5,rows:0", "filter-bad-value"),
        ("", "fec,cols:5,rows:-1", "filter-bad-value"),
        ("", "fec,cols:5,layout:round", "filter-bad-value"),
        ("", "fec,cols:5,arq:maybe", "filter-bad-value"),
        ("", "fec,cols", "filter-malformed"),
        ("", "fec,cols:5,cols:5", "filter-malformed"),
        ("", "fec," + "x" * 600, "filter-malformed"),
        ("", "xor,cols:5", "filter-unknown"),
        ("", "fec,depth:5", "filter-unknown"),
    ],
)
def test_what_cannot_be(own: str, peer: str, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        merge_texts(own, peer)


def test_values_and_defaults() -> None:
    config = FilterConfig.parse("fec,cols:10,rows:-3")
    assert (config.columns, config.rows) == (10, -3)
    assert (config.get("arq"), config.get("layout")) == ("onreq", "staircase")
    assert FilterConfig.parse("fec").rows == 1
    assert FilterConfig.parse(config.serialize()) == config


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for candidate in (text, f"fec,{text}", f"fec,cols:{text}", f"fec,cols:5,rows:{text}"):
        try:
            config = FilterConfig.parse(candidate)
        except WireError:
            continue
        assert FilterConfig.parse(config.serialize()) == config
