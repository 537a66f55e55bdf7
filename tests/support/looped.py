"""A clip again and again, as a transport stream of ours: each round begins with a key frame."""

from dataclasses import replace
from functools import cache
from math import ceil
from pathlib import Path

from media.frame import Frame
from media.mpegts.muxer import TsMuxer
from tests.support import clips


def rounds(path: Path) -> float:
    """Seconds of one round."""
    frames = clips.read(path)
    return ceil(10 * max(frame.dts / frame.track.clock_rate for frame in frames) + 1) / 10


@cache
def looped(path: Path, times: int, *, shift: int = 0) -> bytes:
    """So many rounds; `shift`: seconds that all times are later."""
    frames: list[Frame] = clips.read(path)
    span = rounds(path)
    data = bytearray()
    muxer = TsMuxer(clips.tracks_of(frames))
    for number in range(times):
        for frame in frames:
            ticks = round((shift + number * span) * frame.track.clock_rate)
            data += muxer.encode(replace(frame, pts=frame.pts + ticks, dts=frame.dts + ticks))
    return bytes(data)
