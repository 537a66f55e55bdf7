"""The stream that benchmarks move: 60 s of 1280x720 at 25 fps, made once by FFmpeg.

H.264 at a constant 4 Mbit/s with a key frame each 2 s and no B-frames, AAC at 128 kbit/s: with
FLV's own bytes 4.15 Mbit/s. A frame is about 20 kB; 25 frames and 43 audio units come a second.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.native import CACHE

SECONDS = 60
STREAM_MBIT = 4.15
ENCODE = (
    f"-f lavfi -i testsrc2=size=1280x720:rate=25 "
    f"-f lavfi -i sine=frequency=440:sample_rate=44100 -t {SECONDS} "
    "-vf noise=alls=20:allf=t,format=yuv420p -c:v libx264 -preset veryfast -profile:v main -bf 0 "
    "-g 50 -keyint_min 50 -sc_threshold 0 -b:v 4M -minrate 4M -maxrate 4M -bufsize 2M "
    "-x264-params nal-hrd=cbr -c:a aac -b:a 128k -ac 2"
).split()
FFMPEG = ("ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y")


@dataclass(frozen=True, slots=True)
class Clip:
    """The same packets in two containers."""

    mp4: Path
    flv: Path


def clip() -> Clip:
    """The benchmark's clip; the first call takes half a minute."""
    folder = CACHE / "media"
    folder.mkdir(parents=True, exist_ok=True)
    result = Clip(folder / "input.mp4", folder / "input.flv")
    if not result.mp4.exists():
        print(f"encoding {SECONDS} s of video into {result.mp4}", flush=True)
        make(ENCODE, result.mp4)
    if not result.flv.exists():
        make(("-i", str(result.mp4), "-c", "copy"), result.flv)
    return result


def make(options: tuple[str, ...] | list[str], target: Path) -> None:
    """Run FFmpeg; the target appears only when it is whole."""
    made = target.with_name(f"{os.getpid()}-{target.name}")
    subprocess.run([*FFMPEG, *options, made], check=True)
    made.rename(target)
