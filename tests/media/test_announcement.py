"""Announcements of tracks: parameters there and back, and configurations that no codec can read."""

import pytest

from flux.base.errors import WireError
from media.announcement import announce, describe
from media.codecs.opus import multistream
from media.track import AAC, AV1, EAC3, G722, G726, H264, H265, L16, MP3, OPUS, PCMA, VP9, Kind
from media.wire import Announcement

# 640x360, High profile, from libx264; an AudioSpecificConfig of AAC-LC, 48 kHz, stereo.
SPS = bytes.fromhex("6764001eacd940a02ff970110000030001000003003c0f162d96")
PPS = bytes.fromhex("68ebe3cb22c0")
ASC = bytes.fromhex("1190")
SURROUND = multistream(6, 4, 2, bytes((0, 4, 1, 2, 3, 5))).id_header()
SEQUENCE = bytes.fromhex("080000002d4c37b3dfff9804")  # AV1, 1080x720


@pytest.mark.parametrize(
    "announcement",
    [
        Announcement(0, Kind.VIDEO, H264, 90_000, configuration=(SPS, PPS), version=3),
        Announcement(1, Kind.AUDIO, AAC, 48_000, channels=2, configuration=(ASC,)),
        Announcement(2, Kind.AUDIO, OPUS, 48_000, channels=2),
        Announcement(3, Kind.AUDIO, PCMA, 8_000, channels=1),
        Announcement(4, Kind.VIDEO, H265, 90_000),
        Announcement(6, Kind.AUDIO, OPUS, 48_000, channels=6, configuration=(SURROUND,), version=2),
        Announcement(7, Kind.AUDIO, L16, 44_100, channels=2),
        Announcement(8, Kind.AUDIO, G722, 8_000, channels=1, version=1),
        Announcement(9, Kind.AUDIO, G726, 8_000, channels=1, configuration=(b"\3\1",)),
        Announcement(10, Kind.AUDIO, MP3, 90_000),
        Announcement(11, Kind.AUDIO, EAC3, 48_000),
        Announcement(5, Kind.VIDEO, "rtp/vp8", 90_000),
        Announcement(6, Kind.AUDIO, "rtp/speex", 16_000, channels=2, version=1),
        Announcement(
            7,
            Kind.AUDIO,
            "rtp/x-y",
            8_000,
            channels=1,
            configuration=("mode=\u00fc; a,b".encode(),),
        ),
        Announcement(6, Kind.VIDEO, AV1, 90_000, configuration=(SEQUENCE,), version=2),
        Announcement(7, Kind.VIDEO, VP9, 90_000),
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


@pytest.mark.parametrize("codec", [H264, H265, AV1, AAC])
def test_a_configuration_that_cannot_be_read(codec: str) -> None:
    kind = Kind.VIDEO if codec in (H264, H265) else Kind.AUDIO
    with pytest.raises(WireError):
        describe(Announcement(0, kind, codec, 48_000, configuration=(b"\xff",)))
