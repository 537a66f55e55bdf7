"""HLS segments taken apart: what FFmpeg's own tools would say of them."""

from pathlib import Path

import pytest

from flux.base.errors import WireError
from flux.cli.probe.segment import demux
from media.mpegts.muxer import TsMuxer
from media.track import Kind
from tests.support import clips


@pytest.mark.parametrize("path", [clips.BUNNY, clips.PYRAMID, clips.HDR], ids=["avc", "b", "hevc"])
def test_a_segment_of_flux(path: Path) -> None:
    frames = clips.read(path)
    tracks = clips.tracks_of(frames)
    muxer = TsMuxer(tracks)
    data = muxer.tables() + b"".join(muxer.encode(frame) for frame in frames)
    found, units = demux(data)
    assert {track.codec for track in found} == {track.codec for track in tracks}
    for track in found:
        mine = [frame for frame in frames if frame.track.codec == track.codec]
        theirs = [unit for unit in units if unit.track == track.id]
        assert len(theirs) == len(mine)
        if track.kind is Kind.VIDEO:
            assert sum(unit.key for unit in theirs) == sum(frame.key for frame in mine)
            assert (track.width, track.height) == (
                mine[0].parameters.width,  # type: ignore[union-attr]
                mine[0].parameters.height,  # type: ignore[union-attr]
            )


def test_fragmented_mp4() -> None:
    tracks, units = demux((clips.FOLDER / "sample_fragmented.mp4").read_bytes())
    assert {track.kind for track in tracks} == {Kind.VIDEO, Kind.AUDIO}
    assert all(unit.size_bytes > 0 for unit in units)


@pytest.mark.parametrize("data", [b"", b"<html>no</html>" * 50, bytes(188 * 5)])
def test_what_is_no_segment(data: bytes) -> None:
    with pytest.raises(WireError, match="hls-segment"):
        demux(data)
