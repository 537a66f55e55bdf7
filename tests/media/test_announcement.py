"""Announcements of tracks: parameters there and back, and configurations that no codec can read."""

import pytest

from flux.base.errors import WireError
from media.announcement import announce, describe
from media.track import AAC, H264, H265, OPUS, PCMA, Kind
from media.wire import Announcement

# 640x360, High profile, from libx264; an AudioSpecificConfig of AAC-LC, 48 kHz, stereo.
SPS = bytes.fromhex("6764001eacd940a02ff970110000030001000003003c0f162d96")
PPS = bytes.fromhex("68ebe3cb22c0")
ASC = bytes.fromhex("1190")


@pytest.mark.parametrize(
    "announcement",
    [
        Announcement(0, Kind.VIDEO, H264, 90_000, configuration=(SPS, PPS), version=3),
        Announcement(1, Kind.AUDIO, AAC, 48_000, channels=2, configuration=(ASC,)),
        Announcement(2, Kind.AUDIO, OPUS, 48_000, channels=2),
        Announcement(3, Kind.AUDIO, PCMA, 8_000, channels=1),
        Announcement(4, Kind.VIDEO, H265, 90_000),
        Announcement(5, Kind.VIDEO, "rtp/vp8", 90_000),
    ],
)
def test_round_trip(announcement: Announcement) -> None:
    assert announce(describe(announcement), announcement.id) == announcement


def test_video_parameters_are_read() -> None:
    description = describe(
        Announcement(0, Kind.VIDEO, H264, 90_000, configuration=(b"", PPS, SPS, b"\x09\xf0"))
    )
    assert description.parameters is not None
    assert description.parameters.codec_string() == "avc1.64001e"


@pytest.mark.parametrize("codec", [H264, H265, AAC])
def test_a_configuration_that_cannot_be_read(codec: str) -> None:
    kind = Kind.AUDIO if codec == AAC else Kind.VIDEO
    with pytest.raises(WireError):
        describe(Announcement(0, kind, codec, 48_000, configuration=(b"\xff",)))
