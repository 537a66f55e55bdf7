"""What FLUX makes of tortured sources, before FFmpeg of two versions: demuxed without a word."""

import subprocess
from pathlib import Path

import imageio_ffmpeg
import pytest

from tests.support.torture.camera import whole_units
from tests.support.torture.scenarios import BY_NAME
from tests.support.torture.stage import Body, Stage

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

FFMPEGS = {"old": "ffmpeg", "new": imageio_ffmpeg.get_ffmpeg_exe()}
NAMES = [
    "calm",
    "jump hours on",
    "jump 10 s back",
    "times begin at 0 again",
    "file of 1 s loops",
    "epochs hours apart, reports",
    "sound 1.5 s late",
    "picture 1.5 s late",
    "33 and 32 bits wrap",
    "stall of 8 s",
    "sound rests for 5 s",
    "sound starts 6 s late",
    "source returns after 3 s",
]
# A second EXT-X-MAP with more tracks than the first: its demuxer keeps to those of the first.
BEYOND_FFMPEG = {("sound starts 6 s late", "hls-fmp4")}
OUTPUTS = ("flv", "ts", "hls-ts", "hls-fmp4")


def written(folder: Path, output: str, number: int, body: Body) -> Path:
    """A body as a file that a program can open."""
    if not body.looks:
        target = folder / f"{number}.{output}"
        target.write_bytes(body.data)
        return target
    place = folder / f"{output}-{number}"
    place.mkdir()
    for name, data in body.resources.items():
        (place / name).write_bytes(data)
    target = place / "media.m3u8"
    target.write_bytes(body.looks[-1].playlist)
    return target


def said(program: str, path: Path, *more: str) -> str:
    """What FFmpeg says of a file."""
    command = [program, "-v", "error", "-i", str(path), *more, "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_ffmpeg_is_content(name: str, tmp_path: Path) -> None:
    scenario = BY_NAME[name]
    with whole_units():
        stage = Stage(OUTPUTS, scenario.options, rtp_wraps_at=scenario.rtp_wraps_at)
        stage.play(list(scenario.make()))
    for output, player in stage.players.items():
        if (name, output) in BEYOND_FFMPEG:
            continue
        for number, body in enumerate(player.bodies):
            path = written(tmp_path, output, number, body)
            for version, program in FFMPEGS.items():
                assert said(program, path, "-map", "0", "-c", "copy") == "", (output, version)
            if name == "calm":
                assert said(FFMPEGS["new"], path, "-xerror") == "", output
