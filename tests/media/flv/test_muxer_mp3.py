"""MP3 in FLV, as ffmpeg reads it."""

from dataclasses import replace

import pytest

from media.codecs.mp3 import Mp3Parameters
from media.flv.forms import carries, carries_track
from media.flv.muxer import FlvMuxer
from media.track import MP3, Kind, Track
from tests.support import flv_check, frames
from tests.support.sound_frames import track_of
from tests.support.sounds import sound

pytestmark = pytest.mark.interop  # the sound is made by ffmpeg


@pytest.mark.parametrize(
    ("name", "first"),
    [("mp3", 0x2F), ("mp3-vbr", 0x2F), ("mp3-22k", 0x2A), ("mp3-8k", 0x26)],
)
def test_sound_comes_back_whole(name: str, first: int) -> None:
    track, sent = track_of(name, MP3)
    muxer = FlvMuxer([track])
    tags = [muxer.encode(frame) for frame in sent]
    assert tags[0][11] == first
    data = muxer.header() + b"".join(tags)
    report = flv_check.check(data)
    assert report.problems == []
    assert report.metadata["audiocodecid"] == 2
    read = frames.read(data, "flv")["audio"]
    assert read.codec == "mp3float"  # its decoder
    assert b"".join(b"".join(unit.pieces) for unit in read.units) == sound(name)


@pytest.mark.parametrize(
    ("rate", "channels", "first"), [(32_000, 1, 0x2E), (12_000, 2, 0x27), (16_000, 1, 0x2A)]
)
def test_rates_of_a_family(rate: int, channels: int, first: int) -> None:
    _, (frame, *_) = track_of("mp3", MP3)
    parameters = Mp3Parameters(sample_rate=rate, channels=channels)
    track = Track(0, Kind.AUDIO, MP3, 90_000, parameters)
    tag = FlvMuxer([track]).encode(replace(frame, track=track, parameters=parameters))
    assert tag[11] == first


def test_other_layers_have_no_place() -> None:
    assert carries(MP3)
    track, sent = track_of("mp2", MP3)
    assert not carries_track(track)
    assert FlvMuxer([track]).tracks == ()
    third, frames_of_third = track_of("mp3", MP3)
    assert carries_track(third)
    assert carries_track(Track(0, Kind.AUDIO, MP3, 90_000))
    muxer = FlvMuxer([third])
    assert muxer.encode(frames_of_third[0])
    changed = replace(sent[0], track=third, pts=9000, dts=9000)
    assert muxer.encode(changed) == b""
    assert muxer.encode(frames_of_third[5])
