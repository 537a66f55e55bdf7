"""One clip for each codec of the interop matrix: the file, what is in it, and its loop.

They are the clips of `tests/data/media`, remuxed so that FFmpeg and GStreamer read the same times;
sound for G.711 is made of one of them.
"""

import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import imageio_ffmpeg

from tests.support import clip, frames
from tests.support.aligned import Loop

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
ROUNDS_SECONDS = 24  # length of the files that publishers send once
FEED_SECONDS = 60  # of the one that is sent in a loop
G711 = "aresample=8000,aformat=channel_layouts=mono,asetnsamples=160:p=0"


@dataclass(frozen=True, slots=True)
class Source:
    """How a clip is made: from what, with which options, and how GStreamer takes it apart."""

    codec: str  # as people call it
    source: Path
    suffix: str
    options: tuple[str, ...] = ("-c", "copy")


SOURCES = {
    "h264": Source("H.264", clip.path_of("pyramid"), "mp4"),
    "h265": Source("H.265", clip.path_of("h265ts"), "mp4"),
    "aac": Source("H.264+AAC", clip.path_of("fragmented"), "mp4"),
    "opus": Source(
        "Opus", clip.MEDIA / clip.OPUS, "webm", ("-c", "copy", "-output_ts_offset", "0.1")
    ),
    "g711": Source(
        "G.711",
        clip.path_of("bunny"),
        "mkv",
        ("-vn", "-t", "3", "-af", G711, "-c:a", "pcm_alaw"),
    ),
    "av1": Source("AV1", clip.MEDIA / "sample_av1.mp4", "mp4", ("-an", "-c", "copy")),
}


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip. `once` is sent in a loop by a server, `rounds` once by a publisher."""

    name: str
    once: Path
    rounds: Path
    tracks: Mapping[str, frames.TrackUnits]  # of `once`
    lap: Fraction  # seconds of one round in `rounds`

    def loop(self, period: Fraction | None = None) -> Loop:
        """What is due from a sender that begins anew after so long."""
        return Loop(dict(self.tracks), period or self.lap)


def make(folder: Path) -> dict[str, Clip]:
    """All clips, by codec."""
    with ThreadPoolExecutor(2) as pool:
        made = pool.map(lambda name: _make(folder, name), SOURCES)
        return dict(zip(SOURCES, made, strict=True))


def _make(folder: Path, name: str) -> Clip:
    source = SOURCES[name]
    once = folder / f"{name}.{source.suffix}"
    _ffmpeg("-i", source.source, *source.options, once)
    tracks = frames.read(once)
    seconds = float(max(_span(track) for track in tracks.values()))
    more = str(int((FEED_SECONDS if name == "av1" else ROUNDS_SECONDS) / seconds))
    rounds = folder / f"{name}-rounds.{source.suffix}"
    _ffmpeg("-stream_loop", more, "-i", once, "-map", "0", "-c", "copy", rounds)
    return Clip(name, once, rounds, tracks, _lap(tracks, frames.read(rounds)))


def _lap(
    once: Mapping[str, frames.TrackUnits], rounds: Mapping[str, frames.TrackUnits]
) -> Fraction:
    """Seconds from one round to the next one, the same for all rounds and tracks."""
    laps = []
    for kind, track in rounds.items():
        size = len(once[kind].units)
        starts = [track.seconds(unit.pts) for unit in track.units[::size]]
        laps += [after - before for before, after in pairwise(starts)]
    assert max(laps) - min(laps) < Fraction(1, 10_000), laps
    return sum(laps, Fraction(0)) / len(laps)


def _span(track: frames.TrackUnits) -> Fraction:
    times = [unit.pts for unit in track.units]
    return track.seconds(max(times) - min(times))


def _ffmpeg(*words: str | Path) -> None:
    command = [FFMPEG, "-v", "error", "-nostdin", "-y", *map(str, words)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
