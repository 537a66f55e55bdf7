"""MPEG-TS in datagrams in virtual time: made once, whole packets, tables first."""

from dataclasses import replace
from pathlib import Path

import pytest

from flux.base.errors import PeerError
from flux.bridges.udp.ts_output import OUTPUT, TsDatagramOutput, ts_datagrams_of
from flux.net.udp_send import Run
from media.frame import Frame
from media.stream import State, Stream, StreamOptions
from media.track import Kind, Track
from tests.support import clips, frames, ts_check
from tests.support.virtual import VirtualScheduler

PACKET, SEVEN = 188, 1316


class Receiver:
    """A target that keeps its datagrams; satisfies `flux.bridges.rtp.datagrams.DatagramTarget`."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.datagrams: list[bytes] = []
        self.ended = ""

    def send(self, run: Run) -> bool:
        self.runs.append(run)
        self.datagrams += run.datagrams()
        return True

    def send_rtcp(self, track_index: int, data: bytes) -> None:
        raise AssertionError((track_index, data))

    def end(self, reason: str) -> None:
        self.ended = reason

    @property
    def data(self) -> bytes:
        return b"".join(self.datagrams)


class Rig:
    """A stream that is ready, with the frames of a clip to come."""

    def __init__(self, clip: list[Frame]) -> None:
        self.clip = clip
        self.scheduler = VirtualScheduler()
        self.stream = Stream("cam", StreamOptions(), lambda _event: None)
        self.stream.tracks = clips.tracks_of(clip)
        self.stream.state = State.READY

    def attach(self, size: int = SEVEN) -> tuple[TsDatagramOutput, Receiver]:
        output = ts_datagrams_of(self.stream, self.scheduler)
        receiver = Receiver()
        output.attach(receiver, size, receiver.end)
        self.scheduler.run(0.01)
        return output, receiver

    def play(self, output: TsDatagramOutput, frames_: list[Frame]) -> None:
        for frame in frames_:
            output.frame(frame)
            self.scheduler.run(0.05)


@pytest.mark.parametrize("path", [clips.BUNNY, clips.HDR], ids=["h264", "h265"])
def test_every_frame_arrives_in_whole_packets(path: Path) -> None:
    clip = clips.read(path)
    rig = Rig(clip)
    output, receiver = rig.attach()
    rig.play(output, clip)
    assert {len(datagram) % PACKET for datagram in receiver.datagrams} == {0}
    assert max(map(len, receiver.datagrams)) == SEVEN
    assert all(
        datagram[::PACKET] == b"G" * (len(datagram) // PACKET) for datagram in receiver.datagrams
    )
    report = ts_check.check(receiver.data)
    assert report.problems == []
    assert frames.compare(frames.read(path), frames.read(receiver.data, "mpegts"), frames.HLS) == []


def test_packets_are_made_once_for_all_targets() -> None:
    rig = Rig(clips.read(clips.BUNNY)[:60])
    output, first = rig.attach()
    same, second = rig.attach()
    assert same is output
    rig.play(output, rig.clip)
    assert first.datagrams == second.datagrams
    assert all(one is other for one, other in zip(first.runs, second.runs, strict=True))


def test_targets_with_other_sizes_get_the_same_packets() -> None:
    rig = Rig(clips.read(clips.BUNNY)[:60])
    output, seven = rig.attach()
    _, one = rig.attach(PACKET)
    rig.play(output, rig.clip)
    assert set(map(len, one.datagrams)) == {PACKET}
    assert one.data == seven.data


def test_a_joiner_begins_with_tables_and_a_key_frame() -> None:
    clip = clips.only(clips.read(clips.BUNNY), Kind.VIDEO)
    keys = [index for index, frame in enumerate(clip) if frame.key]
    assert keys[0] == 0
    rig = Rig(clip)
    output, first = rig.attach()
    rig.play(output, clip[:20])
    _, second = rig.attach()  # near the key frame: that is what it begins with
    assert second.data == first.data
    # Long after the key frame: with the next one.
    late = [replace_time(frame, 20) for frame in clip[20:40]]
    rig.play(output, late)
    _, third = rig.attach()
    assert third.datagrams == []
    rig.play(output, [replace_time(clip[0], 30)])
    assert third.data[:4] == b"\x47\x40\x00" + third.data[3:4]  # PAT
    report = ts_check.check(third.data)
    assert report.tables >= 1
    assert report.units[0x100][0].is_random_access


def replace_time(frame: Frame, seconds: int) -> Frame:
    ticks = seconds * frame.track.clock_rate
    return replace(frame, pts=frame.pts + ticks, dts=frame.dts + ticks)


def test_a_target_of_a_stream_that_runs_gets_the_cached_frames() -> None:
    clip = clips.read(clips.BUNNY)[:40]
    rig = Rig(clip)
    rig.stream.gop = type(rig.stream.gop)(rig.stream.options.gop, has_video=True)
    for frame in clip:
        rig.stream.gop.add(frame)
    output, receiver = rig.attach()
    assert receiver.datagrams != []
    assert output.size_bytes == len(receiver.data)
    assert ts_check.check(receiver.data).problems == []


def test_sound_alone_begins_at_once() -> None:
    clip = clips.only(clips.read(clips.BUNNY), Kind.AUDIO)[:50]
    rig = Rig(clip)
    output, receiver = rig.attach()
    rig.play(output, clip)
    assert ts_check.check(receiver.data).problems == []
    assert ts_check.check(receiver.data).streams == {0x100: ts_check.AAC}


def test_a_large_key_frame_is_spread_over_time() -> None:
    clip = clips.only(clips.read(clips.BUNNY), Kind.VIDEO)
    nal = clip[0].payload[-1] + bytes(range(1, 255)) * 800
    rig = Rig([replace(clip[0], payload=(*clip[0].payload[:-1], nal))])
    output, receiver = rig.attach()
    output.frame(rig.clip[0])
    rig.scheduler.run(0.0)
    first = len(receiver.datagrams)
    assert 0 < first <= 32
    rig.scheduler.run(0.05)
    assert len(receiver.datagrams) > 150


def test_a_stream_without_anything_for_a_transport_stream() -> None:
    rig = Rig(clips.read(clips.BUNNY)[:1])
    rig.stream.tracks = (Track(0, Kind.DATA, "rtp/x", 90_000, None),)
    with pytest.raises(PeerError, match="no-playable-track"):
        ts_datagrams_of(rig.stream, rig.scheduler)
    assert OUTPUT not in rig.stream.outputs
    assert ("udp-ts", 0) in rig.stream.dropped_tracks


def test_other_tracks_are_a_new_version_of_the_program() -> None:
    clip = clips.read(clips.BUNNY)[:80]
    video = clips.only(clip, Kind.VIDEO)
    rig = Rig(clip)
    output, receiver = rig.attach()
    rig.play(output, clip[:40])
    output.tracks_changed(tuple({frame.track for frame in video}))
    rig.play(output, clip[40:])
    assert receiver.ended == ""
    assert ts_check.check(receiver.data).versions[-1] == 1
    output.tracks_changed((Track(0, Kind.DATA, "rtp/x", 90_000, None),))
    assert receiver.ended == "no-playable-track"


def test_the_output_ends_with_its_last_target_and_with_its_stream() -> None:
    rig = Rig(clips.read(clips.BUNNY)[:40])
    output = ts_datagrams_of(rig.stream, rig.scheduler)
    ends: list[str] = []
    reader = output.attach(Receiver(), SEVEN, ends.append)
    output.detach(reader)
    output.detach(reader)
    assert OUTPUT not in rig.stream.outputs
    assert ends == []
    output, receiver = rig.attach()
    rig.stream.outputs[OUTPUT].close("source-lost")
    assert receiver.ended == "source-lost"
    assert OUTPUT not in rig.stream.outputs
    output.frame(rig.clip[0])
    assert receiver.datagrams == []
