"""Parameters of codecs without headers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from media.codecs.adpcm import G722Parameters, G726Parameters, parse_g726
from media.codecs.pcm import L16Parameters


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
@pytest.mark.parametrize("is_aal2", [False, True])
def test_g726_comes_back(bits: int, is_aal2: bool) -> None:
    made = G726Parameters(sample_rate=8000, channels=1, bits=bits, is_aal2=is_aal2)
    assert parse_g726(made.serialize()) == (bits, is_aal2)
    assert made.bit_rate == 8000 * bits


@given(st.binary(max_size=4))
def test_any_bytes_parse_or_raise(data: bytes) -> None:
    try:
        bits, is_aal2 = parse_g726(data)
    except WireError as error:
        assert error.reason == "g726-malformed"
    else:
        assert bytes((bits, is_aal2)) == data


def test_none_has_a_codec_string() -> None:
    for made in (G722Parameters(), G726Parameters(), L16Parameters()):
        assert made.codec_string() == ""
