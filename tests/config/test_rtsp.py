"""The RTSP server's keys, and the range of a recording."""

import pytest
from pydantic import ValidationError

from config.rtsp import RtspSection, check_range


@pytest.mark.parametrize(
    "text",
    [
        "",
        "npt=now-",
        "npt=10-",
        "npt=0-60.5",
        "clock=20261121T080000Z-",
        "clock=20240229T080000Z-20240331T235959Z",
        "smpte=0:10:00-0:10:30:12",
    ],
)
def test_ranges_of_rfc_2326(text: str) -> None:
    assert check_range(text) == text


@pytest.mark.parametrize(
    "text",
    ["10-20", "npt=-", "npt=a-", "clock=20260231T080000Z-", "clock=2026-", "smpte=1-2", "npt=1-\n"],
)
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        check_range(text)


@pytest.mark.parametrize("groups", ["239.255.64.0/20", "232.1.1.0/24"])
def test_groups(groups: str) -> None:
    assert RtspSection(multicast_groups=groups).multicast_groups == groups


@pytest.mark.parametrize("groups", ["192.168.0.0/24", "239.255.64.1/20", "ff02::/16", "x"])
def test_what_are_no_groups(groups: str) -> None:
    with pytest.raises(ValidationError, match="expected a range"):
        RtspSection(multicast_groups=groups)
