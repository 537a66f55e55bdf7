"""The RTP output: one set of packets for TCP and datagram readers."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from flux.base.errors import PeerError
from flux.bridges.rtp.output import RtpOutput, rtp_output_of
from flux.net.udp_send import Run
from media.causes import Cause
from media.codecs.g711 import G711Parameters
from media.codecs.h264 import H264Parameters
from media.events import WriteFailed, WriteResumed
from media.publisher import Publisher
from media.router import Router
from media.stream import Stream, StreamOptions
from media.track import H264, PCMU, Kind, TrackDescription
from protocols.rtp import RtpPacket
from tests.support.h264_sets import PPS, SPS
from tests.support.virtual import MemorySink, VirtualScheduler

SETS = H264Parameters.build([SPS], [PPS])
VIDEO = TrackDescription(Kind.VIDEO, H264, 90_000, SETS)
SOUND = G711Parameters(sample_rate=8_000, channels=1)
AUDIO = TrackDescription(Kind.AUDIO, PCMU, 8_000, SOUND)
IDR, SLICE = b"\x65\x88", b"\x41\x9a"


class Datagrams:
    """A target that keeps what is sent to it."""

    def __init__(self) -> None:
        self.packets: list[tuple[int, RtpPacket]] = []
        self.runs: list[Run] = []
        self.at: list[float] = []
        self.is_full = False
        self.now: Callable[[], float] = float

    def send(self, run: Run) -> bool:
        if self.is_full:
            return False
        self.runs.append(run)
        self.at.append(self.now())
        self.packets += [(run.track, RtpPacket.parse(data)) for data in run.datagrams()]
        return True

    def send_rtcp(self, track_index: int, data: bytes) -> None:
        raise AssertionError


class Rig:
    """A stream of video and audio whose frames are sent by hand."""

    def __init__(self, *descriptions: TrackDescription) -> None:
        self.scheduler = VirtualScheduler()
        self.events: list[object] = []
        self.router = Router(self.events.append)
        self.stream: Stream = self.router.declare("cam", StreamOptions()).stream
        self.descriptions = descriptions or (VIDEO, AUDIO)
        self.publisher: Publisher = self.publish()
        self.count = 0

    def publish(self) -> Publisher:
        now = self.scheduler.now()
        return self.router.publish("cam", self.descriptions, now=now, origin="test")

    def video(self, *, key: bool = False, size: int = 1000) -> None:
        payload = ((IDR if key else SLICE) + bytes(size),)
        track = self.publisher.tracks[0]
        self.publisher.write(track, 3600 * self.count, payload, self.scheduler.now())
        self.count += 1
        self.scheduler.run(0.04)

    def audio(self) -> None:
        now = self.scheduler.now()
        self.publisher.write(self.publisher.tracks[1], 320 * self.count, (bytes(320),), now)

    def start(self) -> None:
        self.audio()
        self.video(key=True)
        self.audio()
        self.video()

    def output(self) -> RtpOutput:
        return rtp_output_of(self.stream, self.events.append, self.scheduler)


def frames(data: bytes) -> list[tuple[int, RtpPacket]]:
    """Interleaved frames, read without the code under test."""
    found: list[tuple[int, RtpPacket]] = []
    while data:
        assert data[0] == 0x24
        size = int.from_bytes(data[2:4], "big")
        found.append((data[1], RtpPacket.parse(data[4 : 4 + size])))
        data = data[4 + size :]
    return found


def is_unbroken(packets: list[RtpPacket]) -> bool:
    numbers = [packet.sequence for packet in packets]
    return all((b - a) & 0xFFFF == 1 for a, b in pairwise(numbers))


def test_a_joiner_gets_the_group_of_pictures_with_its_parameter_sets() -> None:
    rig = Rig()
    rig.start()
    sink = MemorySink()
    rig.output().attach_stream(sink, {0: 0, 1: 2})
    got = frames(sink.data)
    assert {channel for channel, _ in got} == {0, 2}
    first = next(packet for channel, packet in got if channel == 0)
    assert first.payload[0] & 31 == 24  # STAP-A of SPS, PPS
    assert SPS in first.payload
    assert PPS in first.payload
    rig.video()
    video = [packet for channel, packet in frames(sink.data) if channel == 0]
    assert is_unbroken(video)
    assert video[-1].marker
    assert video[-1].payload == SLICE + bytes(1000)


def test_start_points_are_what_is_sent_first() -> None:
    rig = Rig()
    rig.start()
    points = rig.output().start_points()
    sink = MemorySink()
    rig.output().attach_stream(sink, {0: 0, 1: 2})
    for index, channel in ((0, 0), (1, 2)):
        mine = [packet for number, packet in frames(sink.data) if number == channel]
        assert points[index].sequence == mine[0].sequence
        assert points[index].timestamp == mine[0].timestamp  # both begin at the same instant
        assert points[index].packets == len(mine)
        assert points[index].octets == sum(len(packet.payload) for packet in mine)


def test_start_points_are_one_instant() -> None:
    """RTP-Info where sound begins 120 ms after the picture: RFC 2326 section 12.33."""
    rig = Rig()
    for is_key in (True, False, False):
        rig.video(key=is_key)
    rig.audio()
    points = rig.output().start_points()
    sink = MemorySink()
    rig.output().attach_stream(sink, {0: 0, 1: 2})
    got = frames(sink.data)
    video, audio = (next(p for channel, p in got if channel == n) for n in (0, 2))
    assert points[0].timestamp == video.timestamp
    late = (audio.timestamp - points[1].timestamp) & 0xFFFF_FFFF
    assert late == pytest.approx(0.12 * 8_000, abs=2)


def test_other_channels_and_fewer_tracks() -> None:
    rig = Rig()
    rig.start()
    plain, moved, video, sound = (MemorySink() for _ in range(4))
    output = rig.output()
    output.attach_stream(plain, {0: 0, 1: 2})
    output.attach_stream(moved, {0: 8, 1: 4})
    output.attach_stream(video, {0: 0})
    output.attach_stream(sound, {1: 6})
    for _ in range(5):
        rig.video()
        rig.audio()
    rig.scheduler.run(0.5)
    all_of_it = frames(plain.data)
    assert len(all_of_it) > 12
    names = {0: 8, 2: 4}
    assert frames(moved.data) == [(names[channel], packet) for channel, packet in all_of_it]
    assert frames(video.data) == [each for each in all_of_it if each[0] == 0]
    assert frames(sound.data) == [(6, packet) for channel, packet in all_of_it if channel == 2]


def test_datagram_and_stream_readers_get_the_same_packets() -> None:
    rig = Rig()
    rig.start()
    output, sink, target = rig.output(), MemorySink(), Datagrams()
    output.attach_stream(sink, {0: 0, 1: 2})
    output.attach_datagrams(target, frozenset({0, 1}), lambda _reason: None)
    rig.scheduler.run(0.1)
    for number in range(40):
        rig.video(key=number == 20, size=40_000 if number == 20 else 3000)
        rig.audio()
    rig.scheduler.run(1.0)
    for index in (0, 1):
        by_tcp = [packet for channel, packet in frames(sink.data) if channel == 2 * index]
        by_udp = [packet for track, packet in target.packets if track == index]
        assert by_udp == by_tcp
        assert is_unbroken(by_udp)


def test_runs_are_of_equal_size_and_a_key_frame_is_spread() -> None:
    rig = Rig()
    rig.start()
    output, target = rig.output(), Datagrams()
    target.now = rig.scheduler.now
    output.attach_datagrams(target, frozenset({0}), lambda _reason: None)
    rig.scheduler.run(1.0)
    target.runs.clear()
    target.at.clear()
    rig.video(key=True, size=200_000)
    rig.scheduler.run(0.5)
    for run in target.runs:
        sizes = [len(datagram) for datagram in run.datagrams()]
        assert set(sizes[:-1]) <= {run.segment}
        assert sizes[-1] <= run.segment
        assert len(sizes) == run.count <= 32
    assert sum(run.count for run in target.runs) > 140
    for at in target.at:  # in no 5 ms more than a receive buffer of the usual size holds
        burst = [
            r.count for r, t in zip(target.runs, target.at, strict=True) if at <= t < at + 0.005
        ]
        assert sum(burst) <= 4 * 32
    assert target.at[-1] - target.at[0] > 0.004


def test_a_joiner_by_datagrams_is_paced_and_misses_nothing() -> None:
    rig = Rig()
    rig.start()
    for _ in range(20):
        rig.video(size=20_000)
    output, target = rig.output(), Datagrams()
    target.now = rig.scheduler.now
    output.attach_datagrams(target, frozenset({0}), lambda _reason: None)
    for _ in range(10):
        rig.video(size=20_000)
    rig.scheduler.run(1.0)
    packets = [packet for _, packet in target.packets]
    assert is_unbroken(packets)
    assert sum(packet.marker for packet in packets) == 32
    assert target.at[-1] - target.at[0] > 0.03


def test_numbers_go_on_when_the_source_returns() -> None:
    rig = Rig()
    rig.start()
    sink = MemorySink()
    reader = rig.output().attach_stream(sink, {0: 0, 1: 2})
    rig.stream.readers["r"] = reader  # type: ignore[assignment]  # any: it holds the stream
    rig.publisher.close("source-ended", rig.scheduler.now())
    rig.scheduler.run(2.0)
    rig.publisher = rig.publish()
    for number in range(5):
        rig.video(key=number == 0)
        rig.audio()
    rig.scheduler.run(1.0)
    video = [packet for channel, packet in frames(sink.data) if channel == 0]
    assert is_unbroken(video)
    assert len({packet.ssrc for packet in video}) == 1
    steps = [(b.timestamp - a.timestamp) & 0xFFFF_FFFF for a, b in pairwise(video)]
    assert max(steps) < 90_000 * 3
    assert any(step > 90_000 for step in steps)  # the time that it was away


def test_changed_tracks_end_every_reader() -> None:
    rig = Rig()
    rig.start()
    output, sink, target = rig.output(), MemorySink(), Datagrams()
    ended: list[str] = []
    output.attach_stream(sink, {0: 0, 1: 2})
    output.attach_datagrams(target, frozenset({0}), ended.append)
    output.tracks_changed(rig.stream.tracks[:1])
    rig.scheduler.run(0.1)
    assert sink.ended == "tracks-changed"
    assert ended == ["tracks-changed"]
    assert rig.stream.outputs == {}


def test_a_socket_that_is_full_costs_its_reader_alone() -> None:
    rig = Rig()
    rig.start()
    output, good, full = rig.output(), Datagrams(), Datagrams()
    full.is_full = True
    first = output.attach_datagrams(full, frozenset({0}), lambda _reason: None)
    output.attach_datagrams(good, frozenset({0}), lambda _reason: None)
    for _ in range(5):
        rig.video()
    rig.scheduler.run(0.5)
    assert first.dropped >= 5
    assert is_unbroken([packet for _, packet in good.packets])


def test_the_output_ends_after_its_last_reader() -> None:
    rig = Rig()
    rig.start()
    output = rig.output()
    one = output.attach_stream(MemorySink(), {0: 0})
    two = output.attach_datagrams(Datagrams(), frozenset({0}), lambda _reason: None)
    output.detach(one)
    assert rig.stream.outputs == {"rtp": output}
    output.detach(two)
    assert rig.stream.outputs == {}


def test_a_stream_that_rtp_cannot_carry() -> None:
    rig = Rig(TrackDescription(Kind.DATA, "ts/99", 90_000, None))
    rig.publisher.write(rig.publisher.tracks[0], 0, (b"x",), rig.scheduler.now())
    with pytest.raises(PeerError, match="no-playable-track"):
        rig.output()


def test_a_socket_that_refuses_is_told_once_and_again_when_it_takes() -> None:
    rig = Rig()
    rig.start()
    output, target = rig.output(), Datagrams()
    output.attach_datagrams(target, frozenset({0}), lambda _: None, owner=("rtsp", "rtsp-7"))
    rig.scheduler.run(0.5)
    target.is_full = True
    for _ in range(5):
        rig.video()
    target.is_full = False
    for _ in range(40):
        rig.video()
    told = [event for event in rig.events if isinstance(event, WriteFailed | WriteResumed)]
    assert told == [
        WriteFailed("cam", "rtsp", "rtsp-7", "datagram-not-sent"),
        WriteResumed("cam", "rtsp", "rtsp-7", 5),
    ]
    tallies = rig.stream.readers.interruptions.total()
    assert {cause: tally.count for cause, tally in tallies.items()} == {
        Cause.NETWORK: 1,
        Cause.SERVER: 0,
        Cause.SOURCE: 0,
    }
