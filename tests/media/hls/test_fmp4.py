"""Segments of fragmented MP4: clips come back whole, and every change has its own EXT-X-MAP."""

import io
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import av
import pytest

from media.codecs.h264 import H264Parameters
from media.frame import Frame
from media.hls.container import FMP4, MPEGTS, Fmp4Container, TsContainer, container_for
from media.hls.options import HlsOptions
from media.hls.segment import Initialization, Segment
from media.hls.segmenter import Segmenter
from media.track import AAC, AV1, H264, H265, OPUS, PCMA, Kind, Track
from tests.support import clips, frames, hls_check

CLIPS = [clips.BUNNY, clips.PYRAMID, clips.HDR]


class Run:
    """A segmenter of MP4 with all it makes, each segment behind its initialization."""

    def __init__(self, tracks: tuple[Track, ...], **options: float) -> None:
        self.texts: list[str] = []
        self.done: list[Segment] = []
        self.segmenter = Segmenter(
            tracks,
            HlsOptions(window_segments=30, **options),  # type: ignore[arg-type]  # by test
            "run",
            container=Fmp4Container,
            on_change=self._changed,
        )

    def _changed(self, segment: Segment | None) -> None:
        if segment is not None:
            self.done.append(segment)

    def play(self, clip: list[Frame]) -> None:
        for frame in clip:
            self.segmenter.frame(frame, frame.arrived)

    @property
    def playlist(self) -> str:
        return self.segmenter.media_playlist().decode()

    def data(self) -> bytes:
        """All of it as one file, each initialization once."""
        pieces, last = [], None
        for segment in self.done:
            if segment.initialization is not last:
                last = segment.initialization
                assert last is not None
                pieces.append(last.data)
            pieces.append(segment.data)
        return b"".join(pieces)


@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.stem[:5])
def test_a_clip_comes_back_whole(path: Path) -> None:
    clip = clips.read(path)
    run = Run(clips.tracks_of(clip), segment_duration=1.0)
    run.play(clip)
    run.segmenter.end()
    assert len(run.done) > 2 or path == clips.HDR  # which is one GOP
    assert frames.compare(frames.read(path), frames.read(run.data(), "mp4"), frames.HLS) == []
    assert hls_check.check_media([run.playlist]) == []
    assert re.findall(r'#EXT-X-MAP:URI="(.*)"', run.playlist) == ["run-1.mp4"]
    assert "#EXT-X-VERSION:7" in run.playlist


def test_each_segment_stands_alone_behind_its_map(tmp_path: Path) -> None:
    clip = clips.read(clips.PYRAMID)
    run = Run(clips.tracks_of(clip), segment_duration=1.0)
    run.play(clip)
    run.segmenter.end()
    for segment in run.done:
        assert segment.initialization is not None
        file = tmp_path / segment.name
        file.write_bytes(segment.initialization.data + segment.data)
        command = ["ffmpeg", "-v", "error", "-i", str(file), "-f", "null", "-"]
        said = subprocess.run(command, capture_output=True, check=True)
        assert said.stderr == b""
    (held,) = {segment.initialization for segment in run.done}
    assert held is not None and run.segmenter.segment(held.name) is held


def test_other_parameters_are_another_map() -> None:
    first, second = clips.read(clips.BUNNY), clips.read(clips.PYRAMID)
    pictures = clips.only(first, Kind.VIDEO)
    track = pictures[0].track
    run = Run((track,), segment_duration=1.0)
    run.play(pictures)
    later = [
        replace(
            frame,
            track=track,
            pts=frame.pts + pictures[-1].dts + 3000,
            dts=frame.dts + pictures[-1].dts + 3000,
            arrived=frame.arrived + 60,
        )
        for frame in clips.only(second, Kind.VIDEO)
    ]
    run.play(later)
    run.segmenter.end()
    lines = run.playlist.splitlines()
    maps = [number for number, line in enumerate(lines) if line.startswith("#EXT-X-MAP")]
    assert len(maps) == 2
    assert lines[maps[1] - 1] == "#EXT-X-DISCONTINUITY"
    sizes = []
    for initialization in dict.fromkeys(segment.initialization for segment in run.done):
        assert initialization is not None
        with av.open(io.BytesIO(initialization.data), "r") as file:
            sizes.append(file.streams.video[0].width)
    assert sizes == [480, 800]


def test_an_initialization_goes_with_the_last_segment_that_names_it() -> None:
    clip = clips.only(clips.read(clips.PYRAMID), Kind.VIDEO)
    track = clip[0].track
    run = Run((track,), segment_duration=0.5)
    run.segmenter = Segmenter(
        (track,),
        HlsOptions(segment_duration=0.5, window_segments=3),
        "run",
        container=Fmp4Container,
        on_change=run._changed,  # noqa: SLF001 - our own
    )
    old = track.parameters
    assert isinstance(old, H264Parameters)
    period = clip[-1].dts + 3000
    for lap in range(12):
        parameters = old if lap == 0 else replace(old, version=1, level_idc=52)
        run.play(
            [
                replace(
                    frame,
                    pts=frame.pts + lap * period,
                    dts=frame.dts + lap * period,
                    arrived=frame.arrived + lap * 10,
                    parameters=parameters,
                )
                for frame in clip
            ]
        )
    first, last = run.done[0].initialization, run.done[-1].initialization
    assert first is not None and last is not None and first is not last
    assert run.segmenter.segment(first.name) is None
    assert isinstance(run.segmenter.segment(last.name), Initialization)


def test_a_track_without_parameters_waits_for_them() -> None:
    """Sound that has not said what it is comes with the segment after that."""
    clip = clips.read(clips.BUNNY)
    sound = next(frame.track for frame in clip if frame.track.kind is Kind.AUDIO)
    known, sound.parameters = sound.parameters, None
    late = [
        replace(frame, parameters=known if frame.arrived > 1.2 else None)
        if frame.track is sound
        else frame
        for frame in clip
    ]
    run = Run(clips.tracks_of(clip), segment_duration=1.0)
    run.play(late)
    run.segmenter.end()
    counts = []
    for initialization in dict.fromkeys(segment.initialization for segment in run.done):
        assert initialization is not None
        with av.open(io.BytesIO(initialization.data), "r") as file:
            counts.append(len(file.streams))
    assert counts == [1, 2]


@pytest.mark.parametrize(
    ("codecs", "container"),
    [
        ((H264, AAC), TsContainer),
        ((H264,), TsContainer),
        ((H264, PCMA), TsContainer),
        ((H265, AAC), Fmp4Container),
        ((H264, OPUS), Fmp4Container),
        ((AV1, AAC), Fmp4Container),
    ],
)
def test_what_auto_means(codecs: tuple[str, ...], container: type) -> None:
    tracks = [Track(n, Kind.VIDEO, codec, 90_000) for n, codec in enumerate(codecs)]
    assert container_for(tracks) is container
    assert container_for(tracks, MPEGTS) is TsContainer
    assert container_for(tracks, FMP4) is Fmp4Container
