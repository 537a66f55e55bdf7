"""The clips of `tests/data/media`, and what is in them."""

from functools import cache
from pathlib import Path

from tests.support import frames

MEDIA = Path(__file__).parent.parent / "data" / "media"
CLIPS = {  # short names: they are stream names too
    "bunny": "video_big_buck_bunny.mp4",
    "pyramid": "bbb_800x640_768kbps_30fps_avc_pyramid_3b.mp4",
    "variable": "sample_with_increasing_timestamps_360p.mp4",
    "hdr": "hdr10-video-with-sdr-container.mp4",
    "h264ts": "sample_h264.ts",
    "h265ts": "sample_h265.ts",
    "flash": "sample.flv",
    "fragmented": "sample_fragmented.mp4",
}
OPUS = "bbb_1ch_48kHz_q10_opus.webm"


def path_of(name: str) -> Path:
    """The file of a clip by its short name."""
    return MEDIA / CLIPS[name]


@cache
def units_of(name: str) -> dict[str, frames.TrackUnits]:
    """The clip's tracks by kind."""
    return frames.read(path_of(name))
