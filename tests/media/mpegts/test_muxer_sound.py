"""MPEG audio, AC-3 and E-AC-3 in MPEG-TS, as ffmpeg and GStreamer read them."""

import subprocess
from dataclasses import replace
from pathlib import Path

import av
import pytest

from media.codecs.mp3 import Mp3Parameters
from media.frame import Frame
from media.mpegts import psi
from media.mpegts.muxer import TsMuxer, carries, carries_track
from media.track import AC3, EAC3, MP3, Kind, Track
from tests.support import frames, ts_check
from tests.support.sound_frames import track_of
from tests.support.sounds import sound

pytestmark = pytest.mark.interop  # the sound is made by ffmpeg

SOUNDS = [
    ("mp3", MP3, "mp3float", 0x03),
    ("mp3-22k", MP3, "mp3float", 0x04),
    ("mp2", MP3, "mp2", 0x03),
    ("ac3", AC3, "ac3", 0x81),
    ("ac3-51", AC3, "ac3", 0x81),
    ("eac3", EAC3, "eac3", 0x87),
    ("eac3-51", EAC3, "eac3", 0x87),
]


def mux(name: str, codec: str) -> bytes:
    track, sent = track_of(name, codec)
    return b"".join(map(TsMuxer([track]).encode, sent))


@pytest.mark.parametrize(("name", "codec", "expected", "stream_type"), SOUNDS)
def test_sound_comes_back_whole(
    name: str, codec: str, expected: str, stream_type: int, tmp_path: Path
) -> None:
    track, sent = track_of(name, codec)
    data = mux(name, codec)
    report = ts_check.check(data)
    assert report.problems == []
    assert report.streams == {0x100: stream_type}
    assert [unit.payload for unit in report.units[0x100]] == [frame.payload[0] for frame in sent]
    read = frames.read(data, "mpegts")["audio"]
    assert (read.codec, b"".join(b"".join(unit.pieces) for unit in read.units)) == (
        expected,
        sound(name),
    )
    file = tmp_path / "a.ts"
    file.write_bytes(data)
    with av.open(str(file)) as container:
        stream = container.streams.audio[0]
        parameters = track.parameters
        assert (stream.rate, stream.channels) == (
            parameters.sample_rate,  # type: ignore[union-attr]  # sound
            parameters.channels,  # type: ignore[union-attr]  # sound
        )


@pytest.mark.parametrize(
    ("name", "codec", "parser"),
    [
        ("mp3", MP3, "mpegaudioparse"),
        ("mp2", MP3, "mpegaudioparse"),
        ("ac3", AC3, "ac3parse"),
        ("eac3", EAC3, "ac3parse"),
    ],
)
def test_gstreamer_reads(name: str, codec: str, parser: str, tmp_path: Path) -> None:
    (tmp_path / "a.ts").write_bytes(mux(name, codec))
    pipeline = f"filesrc location={tmp_path}/a.ts ! tsdemux ! {parser} ! "
    pipeline += f"filesink location={tmp_path}/out"
    subprocess.run(
        ["gst-launch-1.0", "-q", *pipeline.split()], check=True, timeout=30, capture_output=True
    )
    assert (tmp_path / "out").read_bytes() == sound(name)


def test_what_is_carried() -> None:
    for codec in (MP3, AC3, EAC3):
        assert carries(codec)
        assert carries_track(Track(0, Kind.AUDIO, codec, 48_000))


def test_private_stream_types_are_registered() -> None:
    table = psi.pmt([psi.Stream(0x100, 0x81, psi.registration(b"AC-3"))], 0x100, 0)
    assert table[12:-4].hex() == "81e100f0060504" + b"AC-3".hex()


def test_a_frame_that_no_packet_can_hold() -> None:
    parameters = Mp3Parameters(sample_rate=48000, channels=2)
    track = Track(0, Kind.AUDIO, MP3, 90_000, parameters)
    muxer = TsMuxer([track])
    frame = Frame(track, 0, 0, 0, 0.0, True, False, parameters, (b"\xff" * 65_528,))
    assert muxer.encode(frame) == b""
    assert muxer.encode(replace(frame, payload=(b"\xff" * 65_527,)))
