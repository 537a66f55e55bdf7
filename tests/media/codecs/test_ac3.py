"""AC-3 and E-AC-3 frame headers."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from media.codecs import ac3, eac3
from media.codecs.ac3 import Ac3Parameters
from media.codecs.eac3 import Eac3Parameters, access_units
from tests.support.dolby import ac3_frame, eac3_frame


@pytest.mark.parametrize(
    ("fields", "size", "rate", "channels"),
    [
        ({"rate": 0, "code": 36, "acmod": 2}, 2560, 48000, 2),  # 640 kbit/s
        ({"rate": 0, "code": 0, "acmod": 1}, 128, 48000, 1),
        ({"rate": 1, "code": 16, "acmod": 2}, 2 * 278, 44100, 2),  # 128 kbit/s
        ({"rate": 1, "code": 17, "acmod": 2}, 2 * 279, 44100, 2),
        ({"rate": 2, "code": 20, "acmod": 7, "lfe": True}, 1152, 32000, 6),
        ({"rate": 0, "code": 20, "acmod": 0}, 768, 48000, 2),
        ({"rate": 0, "code": 20, "acmod": 6, "bsid": 10}, 768, 12000, 4),
    ],
)
def test_headers(fields: dict[str, Any], size: int, rate: int, channels: int) -> None:
    frame = ac3_frame(**fields)
    found = ac3.parse_header(b"xy" + frame, 2)
    assert (found.size_bytes, found.samples) == (len(frame), 1536)
    assert (found.size_bytes, found.sample_rate, found.channels) == (size, rate, channels)


def test_parameters() -> None:
    made = Ac3Parameters.from_frame(ac3_frame(code=28, acmod=7, lfe=True), 90000, 2)
    assert (made.version, made.sample_rate, made.channels) == (2, 48000, 6)
    assert (made.acmod, made.has_lfe, made.bsid, made.frame_samples) == (7, True, 8, 2880)
    assert made.codec_string() == "ac-3"


def test_truncation() -> None:
    for size in range(ac3.HEADER_BYTES):
        with pytest.raises(WireError) as caught:
            ac3.parse_header(ac3_frame()[:size])
        assert caught.value.reason == "ac3-malformed"
        with pytest.raises(WireError) as caught:
            eac3.parse_header(eac3_frame()[:size])
        assert caught.value.reason == "eac3-malformed"


@pytest.mark.parametrize("broken", [{"rate": 3}, {"code": 38}, {"bsid": 16}])
def test_what_is_no_ac3(broken: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        ac3.parse_header(ac3_frame(**broken))
    with pytest.raises(WireError):
        ac3.parse_header(b"\x77\x0b" + ac3_frame()[2:])


@pytest.mark.parametrize(
    ("fields", "rate", "samples", "channels"),
    [
        ({}, 48000, 1536, 2),
        ({"rate": 1, "blocks": 0}, 44100, 256, 2),
        ({"rate": 3, "blocks": 2, "acmod": 7, "lfe": True}, 16000, 1536, 6),
    ],
)
def test_eac3_headers(fields: dict[str, Any], rate: int, samples: int, channels: int) -> None:
    found = eac3.parse_header(eac3_frame(size=600, **fields))
    assert (found.size_bytes, found.is_primary) == (600, True)
    assert (found.sample_rate, found.samples, found.channels) == (rate, samples, channels)


@pytest.mark.parametrize("broken", [{"rate": 3, "blocks": 3}, {"kind": 3}, {"bsid": 8}])
def test_what_is_no_eac3(broken: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        eac3.parse_header(eac3_frame(**broken))


MAIN = eac3_frame(acmod=7, lfe=True)
# Back surrounds (a pair) that replace nothing: 7.1. Its own acmod says two channels.
REAR = eac3_frame(kind=1, acmod=2, channel_map=0x0200)
NO_MAP = eac3_frame(kind=1, acmod=2)
SECOND = eac3_frame(substream=1, acmod=1)


@pytest.mark.parametrize(
    ("unit", "channels", "substreams"),
    [
        (MAIN, 6, 1),
        (MAIN + REAR, 8, 2),
        (MAIN + NO_MAP, 6, 2),
        (MAIN + SECOND, 6, 2),
        (MAIN + REAR + SECOND + REAR, 8, 4),
    ],
)
def test_dependent_substreams_add_channels(unit: bytes, channels: int, substreams: int) -> None:
    made = Eac3Parameters.from_frame(unit, 48000)
    assert (made.channels, made.substreams) == (channels, substreams)
    assert (made.codec_string(), made.frame_samples) == ("ec-3", 1536)


def test_access_units_begin_with_the_first_substream() -> None:
    data = MAIN + REAR + SECOND + MAIN + MAIN + REAR
    ends = [end for end, _ in access_units(data)]
    assert ends == [len(MAIN + REAR + SECOND), len(data) - len(MAIN + REAR), len(data)]
    with pytest.raises(WireError, match="eac3-substreams-apart-unsupported"):
        access_units(REAR + MAIN)
    with pytest.raises(WireError, match="eac3-malformed"):
        access_units(MAIN[:-1])
    assert access_units(b"") == []


@given(st.binary(max_size=40))
def test_any_bytes_parse_or_raise(data: bytes) -> None:
    for reader in (Ac3Parameters.from_frame, Eac3Parameters.from_frame):
        for frame in (data, b"\x0b\x77" + data):
            with contextlib.suppress(WireError):
                assert reader(frame, 90000).channels
    with contextlib.suppress(WireError):
        access_units(b"\x0b\x77" + data)
