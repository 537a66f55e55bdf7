"""What SRT readers get, in virtual time: made once, whole packets, tables first, few sends."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.base.errors import PeerError
from flux.bridges.srt.output import (
    OUTPUT,
    RUN_PACKETS,
    WINDOW_SLACK,
    SrtOutput,
    runs_of,
    srt_output_of,
)
from flux.net.udp_send import Run
from media.feed_reader import START_GOP, START_KEY, START_LIVE
from media.frame import Frame
from media.gop import GopLimits
from media.output import LEISURE
from media.stream import State, Stream, StreamOptions
from media.track import Kind
from tests.support import clips, frames, ts_check
from tests.support.virtual import VirtualScheduler

PACKET, SEVEN = 188, 1316
WINDOW = LEISURE + WINDOW_SLACK  # seconds that sound waits for a picture


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


class Stage:
    """A stream that is ready, with the frames of a clip to come."""

    def __init__(self) -> None:
        self.clip = clips.read(clips.BUNNY)
        self.scheduler = VirtualScheduler()
        self.stream = Stream("cam", StreamOptions(), lambda _event: None)
        self.stream.tracks = clips.tracks_of(self.clip)
        self.stream.state = State.READY

    def attach(self, start: str = START_GOP) -> tuple[SrtOutput, Receiver]:
        output = srt_output_of(self.stream, self.scheduler)
        receiver = Receiver()
        output.attach(receiver, start, receiver.end)
        self.scheduler.run(0.01)
        return output, receiver

    def play(self, output: SrtOutput, frames_: list[Frame]) -> None:
        for frame in frames_:
            output.frame(frame)
            self.scheduler.run(0.01)
        self.scheduler.run(WINDOW * 2)


def first_key(clip: list[Frame]) -> int:
    return next(i for i, f in enumerate(clip) if f.key and f.track.kind is Kind.VIDEO)


def test_every_frame_arrives_in_whole_packets() -> None:
    stage = Stage()
    output, receiver = stage.attach(START_LIVE)
    stage.play(output, stage.clip)
    assert {len(datagram) % PACKET for datagram in receiver.datagrams} == {0}
    assert max(map(len, receiver.datagrams)) == SEVEN
    report = ts_check.check(receiver.data)
    assert report.problems == []
    sent = frames.read(receiver.data, "mpegts")
    assert frames.compare(frames.read(clips.BUNNY), sent, frames.HLS) == []


def test_pictures_leave_together_in_the_turn_that_brings_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Off, they would wait for a turn of the loop, with a gate that opens and shuts for it."""
    stage = Stage()
    output, receiver = stage.attach(START_LIVE)
    stage.play(output, stage.clip[: first_key(stage.clip) + 5])
    before, behind = len(receiver.runs), list[Callable[[], None]]()
    monkeypatch.setattr(stage.scheduler, "call_next", behind.append)
    pictures = [frame for frame in stage.clip if frame.track.kind is Kind.VIDEO and not frame.key]
    for picture in pictures[5:8]:
        output.frame(picture)
    assert len(behind) == 1 and len(receiver.runs) == before
    behind.pop()()
    assert len(receiver.runs) > before
    output.frame(pictures[8])
    assert len(behind) == 1  # and so on


def test_tables_come_first_whatever_the_start() -> None:
    for start in (START_GOP, START_KEY, START_LIVE):
        stage = Stage()
        output, receiver = stage.attach(start)
        stage.play(output, stage.clip)
        assert receiver.data[:1] == b"G"
        assert int.from_bytes(receiver.data[1:3], "big") & 0x1FFF == 0  # PAT
        assert ts_check.check(receiver.data).problems == []


def test_who_waits_for_a_key_frame_gets_nothing_before_it() -> None:
    stage = Stage()
    at = first_key(stage.clip)
    pictures = [i for i, f in enumerate(stage.clip) if f.track.kind is Kind.VIDEO]
    output, receiver = stage.attach(START_KEY)
    stage.play(output, stage.clip[at + 1 : pictures[4]])
    assert receiver.datagrams == []
    live = stage.attach(START_LIVE)[1]
    stage.play(output, stage.clip[pictures[4] : pictures[8]])
    assert receiver.datagrams == [] and live.datagrams


def test_a_joiner_begins_at_the_newest_key_frame() -> None:
    stage = Stage()
    output, first = stage.attach()
    at = first_key(stage.clip)
    stage.play(output, stage.clip[: at + 20])
    _, second = stage.attach()
    stage.scheduler.run(0.5)
    stage.play(output, stage.clip[at + 20 :])
    assert first.data.endswith(second.data)
    assert ts_check.check(second.data).problems == []


def test_sound_leaves_with_the_next_picture() -> None:
    """Off (each frame for itself) there would be a send for each frame of sound."""
    stage = Stage()
    output, receiver = stage.attach(START_LIVE)
    begun = len(receiver.runs)
    pictures = 0
    for frame in stage.clip:  # all at once: the window never ends
        output.frame(frame)
        if frame.track.kind is Kind.VIDEO:
            pictures += 1
    sounds = len(stage.clip) - pictures
    assert sounds > pictures / 2
    stage.scheduler.run(1.0)
    big = sum(run.count >= 32 for run in receiver.runs)
    assert len(receiver.runs) - begun <= pictures + big + 3


def test_sound_without_picture_leaves_after_the_window() -> None:
    stage = Stage()
    output, receiver = stage.attach(START_LIVE)
    begun = len(receiver.data)
    sound = next(frame for frame in stage.clip if frame.track.kind is Kind.AUDIO)
    output.frame(sound)
    stage.scheduler.run(WINDOW * 0.9)
    assert len(receiver.data) == begun
    stage.scheduler.run(WINDOW * 0.2)
    assert len(receiver.data) > begun


def test_pictures_of_one_turn_of_the_source_leave_together() -> None:
    """Off, each costs every reader a call of the system."""
    stage = Stage()
    output, receiver = stage.attach(START_LIVE)
    pictures = [f for f in stage.clip if f.track.kind is Kind.VIDEO and not f.key][:3]
    begun = len(receiver.runs)
    for frame in pictures:
        output.frame(frame)
    assert len(receiver.runs) == begun
    stage.scheduler.run()
    size = sum(len(piece) for frame in pictures for piece in frame.payload)
    assert len(receiver.runs) - begun == -(-size // (RUN_PACKETS * SEVEN))


def test_the_least_patient_reader_says_how_long_frames_may_lie() -> None:
    stage = Stage()
    output = srt_output_of(stage.stream, stage.scheduler)
    assert output.leisure == LEISURE
    hasty, patient = (
        output.attach(Receiver(), START_LIVE, lambda _: None, leisure) for leisure in (0.02, 0.06)
    )
    assert output.leisure == 0.02
    output.detach(hasty)
    assert output.leisure == 0.06
    output.detach(patient)


def test_sound_waits_for_the_next_turn_of_a_source_that_may_rest() -> None:
    """It may bring the picture. Off, each turn is followed by one for the sound alone."""
    stage = Stage()
    output, receiver = srt_output_of(stage.stream, stage.scheduler), Receiver()
    output.attach(receiver, START_LIVE, receiver.end, 0.06)
    stage.scheduler.run(0.01)
    begun = len(receiver.runs)
    output.frame(next(frame for frame in stage.clip if frame.track.kind is Kind.AUDIO))
    stage.scheduler.run(0.06)
    assert len(receiver.runs) == begun
    stage.scheduler.run(0.03)
    assert len(receiver.runs) > begun


def test_payloads_are_shared_by_all_readers() -> None:
    stage = Stage()
    output, first = stage.attach(START_LIVE)
    _, second = stage.attach(START_LIVE)
    begun = len(first.datagrams), len(second.datagrams)
    stage.play(output, stage.clip)
    ours, theirs = first.datagrams[begun[0] :], second.datagrams[begun[1] :]
    assert ours and all(a is b for a, b in zip(ours, theirs, strict=True))


def test_a_joiner_gets_the_very_payloads_that_the_others_got() -> None:
    """Off, the output would keep a second copy, and cut it for each joiner."""
    stage = Stage()
    output, first = stage.attach(START_LIVE)
    at = first_key(stage.clip)
    stage.play(output, stage.clip[: at + 20])
    _, second = stage.attach()
    stage.scheduler.run(0.5)
    assert len(second.datagrams) > 20
    known = set(map(id, first.datagrams))
    assert all(id(datagram) in known for datagram in second.datagrams)
    assert output.size_bytes == len(second.data)


@given(st.lists(st.integers(1, 20).map(lambda n: n * PACKET), max_size=3), st.integers(1, 1500))
def test_runs_hold_what_they_are_made_of(before: list[int], packets: int) -> None:
    chunks = [bytes([number]) * size for number, size in enumerate([*before, packets * PACKET])]
    runs = runs_of(chunks)
    datagrams = [datagram for run in runs for datagram in run.datagrams()]
    assert b"".join(datagrams) == b"".join(run.data for run in runs) == b"".join(chunks)
    assert {len(datagram) for datagram in datagrams[:-1]} <= {SEVEN}
    assert 0 < len(datagrams[-1]) <= SEVEN
    assert all(0 < run.count == len(run.datagrams()) <= RUN_PACKETS for run in runs)
    assert [run.size_bytes for run in runs] == [len(run.data) for run in runs]
    assert len(runs) == -(-len(datagrams) // RUN_PACKETS)


def test_the_output_ends_with_its_last_reader_and_tells_its_readers() -> None:
    stage = Stage()
    output = srt_output_of(stage.stream, stage.scheduler)
    receiver = Receiver()
    reader = output.attach(receiver, START_GOP, receiver.end)
    output.detach(reader)
    output.detach(reader)
    assert OUTPUT not in stage.stream.outputs and not receiver.ended
    output, receiver = stage.attach()
    stage.stream.end_outputs("gone")
    assert receiver.ended == "gone" and OUTPUT not in stage.stream.outputs


def test_a_stream_without_anything_for_ts_is_refused() -> None:
    stage = Stage()
    stage.stream.tracks = ()
    with pytest.raises(PeerError, match="no-playable-track"):
        srt_output_of(stage.stream, stage.scheduler)


def slow_gop(seconds: float) -> list[Frame]:
    """Thirty pictures over so many seconds, of which the first is a key frame."""
    clip = clips.read(clips.PYRAMID)[:30]
    factor = round(seconds)
    return [replace(each, dts=each.dts * factor, pts=each.pts * factor) for each in clip]


def test_a_joiner_begins_at_a_key_frame_that_is_long_past() -> None:
    """Off (only near key frames) it would wait for the next one."""
    stage = Stage()
    stage.clip = slow_gop(10.0)
    stage.stream.tracks = clips.tracks_of(stage.clip)
    output, first = stage.attach()
    stage.play(output, stage.clip)
    assert output.size_bytes == len(first.data)
    _, second = stage.attach()
    stage.scheduler.run(0.5)
    assert second.data == first.data
    span = (stage.clip[-1].dts - stage.clip[0].dts) / stage.clip[0].track.clock_rate
    assert output.packet_rate == pytest.approx(len(first.data) / SEVEN / span, rel=0.01)


def test_what_is_kept_for_joiners_has_the_limits_of_the_gop() -> None:
    for limits in (GopLimits(seconds=5.0), GopLimits(size_bytes=20_000)):
        stage = Stage()
        stage.clip = slow_gop(10.0)
        stage.stream.options = StreamOptions(gop=limits)
        stage.stream.tracks = clips.tracks_of(stage.clip)
        output, _ = stage.attach()
        stage.play(output, stage.clip)
        assert output.size_bytes == 0 and output.packet_rate == 0.0
        _, second = stage.attach()
        assert second.datagrams == []
