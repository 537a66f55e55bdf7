"""The replayed recording is GStreamer's stream, packet for packet and round after round."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from benchmarks import native, recording
from tests.support import clip, frames
from tests.support.program import Program
from tests.support.rtsp_probe import Packet, Probe, units_of

pytestmark = pytest.mark.interop

NAME = "fragmented"


def test_a_replay_is_the_clip_in_a_loop(tmp_path: Path) -> None:
    file = tmp_path / "clip.rtp"
    file.write_bytes(recording.record(clip.path_of(NAME)))
    with Program([native.program("rtspreplay"), file]) as replay:
        with Probe(f"rtsp://127.0.0.1:{replay.wait_for_json()['port']}/any") as probe:
            heard: list[Packet] = []
            for packet in probe.play():
                heard.append(packet)
                if packet.at > 2.5:
                    break
        assert replay.stop() == 0
    got = {
        media.kind: units_of(media, [packet for packet in heard if packet.channel == 2 * number])
        for number, media in enumerate(probe.media)
    }
    expected = replace(
        frames.HLS,
        tolerance=Fraction(0),
        offset_tolerance=Fraction(1, 44_100),
        period=Fraction(107, 100),
        check_dts=False,
    )
    assert frames.compare(clip.units_of(NAME), got, expected) == []
    assert len(got["video"].units) > 2 * 30
