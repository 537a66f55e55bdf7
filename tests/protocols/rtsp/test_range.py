"""The Range header: positions, durations, what is left of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import WireError
from protocols.rtsp.range import PlayRange


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("npt=0-", None),
        ("npt=now-", None),
        ("npt=10.5-20", 9.5),
        ("npt=-5", 5.0),
        ("npt=0:01:00-0:01:30.5", 30.5),
        ("npt=20-10", -10.0),
        ("clock=20261121T080000Z-", None),
        ("clock=20261121T080000.250Z-20261121T080010Z", 9.75),
        ("smpte=0:10:00-0:10:30:15", 30.5),
        ("smpte-25=0:10:00:05-0:10:01:10", 1.2),
        ("smpte-30-drop=0:00:01-", None),
    ],
)
def test_round_trip_and_duration(text: str, duration: float | None) -> None:
    found = PlayRange.parse(text)
    assert found.serialize() == text
    assert found.duration == (duration if duration is None else pytest.approx(duration))


NO_RANGES = [
    *("", "npt=", "npt=-", "npt=a-b", "npt=1", "npt=0:10-", "npt=0-" + "1" * 200),
    *("bytes=0-1", "smpte=now-", "npt=0-10\r\nX: y"),
    *("clock=now-", "clock=20261321T080000Z-", "clock=20261121T080000-"),
]


@pytest.mark.parametrize("text", NO_RANGES)
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(WireError) as caught:
        PlayRange.parse(text)
    assert caught.value.reason == "rtsp-range"


def test_a_time_behind_it_is_left_out() -> None:
    assert PlayRange.parse("npt=1-2;time=19970123T143720Z") == PlayRange("npt", "1", "2")


@pytest.mark.parametrize(
    ("text", "seconds", "left"),
    [
        ("npt=10-20", 4.25, "npt=14.250-20"),
        ("npt=-20", 4, "npt=4.000-20"),
        ("npt=now-", 4, "npt=now-"),
        ("npt=10-20", 99, "npt=19.999-20"),
        ("npt=20-10", 4, "npt=20-10"),
        ("npt=5-", 0, "npt=5-"),
        ("clock=20261121T235959Z-", 1.5, "clock=20261122T000000.500Z-"),
        ("clock=99991231T235959Z-", 1e9, "clock=99991231T000000.000Z-"),
        ("smpte=0:59:59:15-", 1, "smpte=1:00:00:15-"),
    ],
)
def test_what_is_left(text: str, seconds: float, left: str) -> None:
    assert PlayRange.parse(text).advanced(seconds).serialize() == left


def test_live_is_no_recording() -> None:
    assert PlayRange.parse("npt=now-").is_live
    assert not PlayRange.parse("npt=0-").is_live


WORDS = st.text("npt=clocksmpe-250drT:.Z19 now", max_size=60)


@given(st.text(max_size=60) | WORDS, st.floats(0, 1e12))
def test_any_text_parses_or_raises_wire_error(text: str, seconds: float) -> None:
    try:
        found = PlayRange.parse(text)
    except WireError:
        return
    assert PlayRange.parse(found.serialize()) == found
    left = found.advanced(seconds)
    assert left.unit == found.unit
    PlayRange.parse(left.serialize())
