"""A stream's life: states, readiness, parameters, loss and return of its source."""

import pytest

from flux.base.errors import StateError
from media.codecs.aac import AacParameters
from media.codecs.g711 import G711Parameters
from media.codecs.h264 import H264Parameters
from media.events import KeyFramesMissing, OutputFailed, StreamStateChanged
from media.frame import NO_TIME, Frame
from media.output import LEISURE
from media.publisher import Publisher
from media.stream import State, Stream, StreamOptions
from media.track import AAC, H264, PCMA, Kind, Track, TrackDescription
from tests.support.h264_sets import PPS, SPS, SPS_OTHER

IDR = b"\x65\x88\x84\x00"
SLICE = b"\x41\x9a\x00\x00"
ASC = bytes.fromhex("1190")  # AAC-LC 48 kHz stereo


def h264() -> TrackDescription:
    return TrackDescription(Kind.VIDEO, H264, 90_000, H264Parameters.build((SPS,), (PPS,)))


def aac() -> TrackDescription:
    return TrackDescription(Kind.AUDIO, AAC, 48_000, AacParameters.build(ASC))


class Sink:
    """An output that remembers."""

    name = "memory"
    size_bytes = 0
    leisure = LEISURE

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.track_changes: list[tuple[Track, ...]] = []
        self.closed = ""

    def frame(self, frame: Frame) -> None:
        self.frames.append(frame)

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        self.track_changes.append(tracks)

    def close(self, reason: str) -> None:
        self.closed = reason


class Rig:
    def __init__(self) -> None:
        self.events: list[object] = []
        self.stream = Stream("cam", StreamOptions(), self.events.append)
        self.now = 100.0

    def events_of(self, kind: type) -> list[object]:
        return [event for event in self.events if isinstance(event, kind)]

    def state(self) -> State:
        return self.stream.state

    def is_keyless(self) -> bool:
        return self.stream.keyless

    def begin(self, *descriptions: TrackDescription) -> Publisher:
        tracks = self.stream.begin(descriptions, self.now)
        return Publisher(self.stream, tracks, "config", "config-1", lambda p, reason, now: None)

    def pictures(self, publisher: Publisher, count: int, *, key_every: int = 10) -> None:
        for number in range(count):
            payload = (IDR if key_every and number % key_every == 0 else SLICE,)
            publisher.write(publisher.tracks[0], number * 3600, payload, self.now)
            self.now += 0.04


def test_ready_when_every_track_has_spoken() -> None:
    rig = Rig()
    publisher = rig.begin(h264(), aac())
    assert rig.state() is State.WAITING
    rig.pictures(publisher, 1)
    assert rig.state() is State.WAITING
    publisher.write(publisher.tracks[1], 0, (b"aac",), rig.now)
    assert rig.state() is State.READY
    assert rig.stream.tracks == publisher.tracks


def test_a_silent_track_delays_the_start_by_two_seconds_only() -> None:
    rig = Rig()
    publisher = rig.begin(h264(), aac())
    rig.pictures(publisher, 49)
    assert rig.state() is State.WAITING
    rig.pictures(publisher, 3)
    assert rig.state() is State.READY
    assert rig.stream.tracks == publisher.tracks[:1]
    sink = Sink()
    rig.stream.outputs["memory"] = sink
    publisher.write(publisher.tracks[1], 0, (b"aac",), rig.now)
    assert sink.track_changes == [publisher.tracks]


def test_video_waits_for_its_parameters_and_takes_them_in_band() -> None:
    rig = Rig()
    publisher = rig.begin(TrackDescription(Kind.VIDEO, H264, 90_000))
    video = publisher.tracks[0]
    publisher.write(video, 0, (SLICE,), rig.now)
    assert rig.state() is State.WAITING
    assert rig.stream.drops["no-parameters"] == 1
    publisher.write(video, 3600, (SPS, PPS, IDR), rig.now)
    assert rig.state() is State.READY
    assert isinstance(video.parameters, H264Parameters)
    assert [f.payload for f in rig.stream.gop.frames()] == [(IDR,)]


def test_a_change_of_parameters_marks_the_frame() -> None:
    rig = Rig()
    publisher = rig.begin(h264())
    sink = Sink()
    rig.stream.outputs["memory"] = sink
    rig.pictures(publisher, 10)
    before = publisher.tracks[0].parameters
    publisher.write(publisher.tracks[0], 36_000, (SPS_OTHER, PPS, IDR), rig.now)
    frame = sink.frames[-1]
    assert frame.discontinuity
    assert frame.key
    assert frame.parameters is not before
    assert frame.parameters is not None
    assert frame.parameters.version == 1


def test_the_source_returns_within_the_grace_period() -> None:
    rig = Rig()
    publisher = rig.begin(h264())
    rig.pictures(publisher, 25)
    sink = Sink()
    rig.stream.outputs["memory"] = sink
    rig.stream.readers["r"] = object()  # type: ignore[assignment]  # only counted here
    rig.stream.lose("peer-closed", rig.now, hold=True)
    assert rig.state() is State.LOST
    rig.now += 3.0
    again = rig.begin(h264())
    assert again.tracks == publisher.tracks
    assert rig.state() is State.READY
    last = 24 * 3600
    rig.pictures(again, 2)
    assert [f.discontinuity for f in sink.frames] == [True, False]
    assert abs(sink.frames[0].dts - last - 3.04 * 90_000) < 90
    assert not sink.closed


def test_a_source_may_return_with_its_tracks_in_another_order() -> None:
    rig = Rig()
    publisher = rig.begin(h264(), aac())
    publisher.write(publisher.tracks[1], 0, (b"sound",), rig.now)
    rig.pictures(publisher, 5)
    sink = Sink()
    rig.stream.outputs["memory"] = sink
    rig.stream.readers["r"] = object()  # type: ignore[assignment]  # only counted here
    rig.stream.lose("peer-closed", rig.now, hold=True)
    again = rig.begin(aac(), h264())
    assert again.tracks == publisher.tracks[::-1]
    assert rig.state() is State.READY
    again.write(again.tracks[0], 0, (b"sound",), rig.now)
    again.write(again.tracks[1], 0, (IDR,), rig.now)
    assert [frame.track for frame in sink.frames] == list(again.tracks)
    assert sink.track_changes == []


def test_other_tracks_after_the_return_are_told_to_outputs() -> None:
    rig = Rig()
    publisher = rig.begin(h264())
    rig.pictures(publisher, 25)
    sink = Sink()
    rig.stream.outputs["memory"] = sink
    rig.stream.readers["r"] = object()  # type: ignore[assignment]  # only counted here
    rig.stream.lose("peer-closed", rig.now, hold=True)
    again = rig.begin(
        TrackDescription(Kind.AUDIO, PCMA, 8000, G711Parameters(sample_rate=8000, channels=1))
    )
    assert rig.state() is State.WAITING
    again.write(again.tracks[0], 0, (bytes(160),), rig.now)
    assert rig.state() is State.READY
    assert sink.track_changes == [again.tracks]


def test_nobody_reading_nothing_is_held() -> None:
    rig = Rig()
    publisher = rig.begin(h264())
    rig.pictures(publisher, 25)
    rig.stream.lose("peer-closed", rig.now, hold=True)
    assert rig.state() is State.STARTING
    assert len(rig.stream.gop) == 0


def test_without_key_frames_readers_start_after_ten_seconds() -> None:
    rig = Rig()
    publisher = rig.begin(h264())
    rig.pictures(publisher, 249, key_every=0)
    assert not rig.events_of(KeyFramesMissing)
    rig.pictures(publisher, 5, key_every=0)
    assert rig.stream.keyless
    assert rig.events_of(KeyFramesMissing) == [KeyFramesMissing("cam")]
    rig.pictures(publisher, 1)
    assert rig.stream.key_at == pytest.approx(rig.now, abs=0.05)


def test_writes_after_the_end_are_counted() -> None:
    rig = Rig()
    publisher = rig.begin(h264())
    publisher.close("source-stopped", rig.now)
    publisher.write(publisher.tracks[0], 0, (IDR,), rig.now, NO_TIME)
    assert rig.stream.drops == {"publisher-closed": 1}


def test_forbidden_transitions_raise_and_allowed_ones_are_told() -> None:
    rig = Rig()
    with pytest.raises(StateError):
        rig.stream.enter(State.READY, 1.0)
    rig.stream.enter(State.STARTING, 1.0, "demand")
    assert rig.events == [StreamStateChanged("cam", "idle", "starting", "demand")]


def test_rates_are_measured() -> None:
    rig = Rig()
    publisher = rig.begin(h264())
    rig.stream.tick(rig.now, 0.0)
    rig.pictures(publisher, 50)
    rig.stream.tick(rig.now, 0.0)
    state = rig.stream.inputs[publisher.tracks[0]]
    assert state.frames_per_second == pytest.approx(25, abs=0.5)
    assert state.bitrate_bps == pytest.approx(25 * 4 * 8, rel=0.05)
    assert state.key_interval == pytest.approx(0.4)


class FaultySink(Sink):
    """An output with a fault in it."""

    name = "faulty"

    def frame(self, frame: Frame) -> None:
        raise ValueError("a fault")

    def close(self, reason: str) -> None:
        super().close(reason)
        raise ValueError("another fault")


def data() -> TrackDescription:
    return TrackDescription(Kind.DATA, "rtp/vnd.onvif.metadata", 90_000)


def test_a_fault_in_one_output_hurts_neither_the_others_nor_the_source() -> None:
    rig = Rig()
    publisher = rig.begin(h264())
    rig.pictures(publisher, 1)
    bad, good = FaultySink(), Sink()
    rig.stream.outputs |= {"faulty": bad, "memory": good}
    rig.pictures(publisher, 10)
    assert len(good.frames) == 10
    assert bad.closed == "output-fault"
    assert list(rig.stream.outputs) == ["memory"]
    assert rig.stream.drops["output-fault"] == 1
    told = [event.error for event in rig.events if isinstance(event, OutputFailed)]
    assert [error.partition(" at ")[0] for error in told] == [
        "ValueError('a fault')",
        "ValueError('another fault')",
    ]
    assert all("test_stream.py:" in error for error in told)


def test_a_fault_at_the_end_of_one_output_does_not_keep_the_others_open() -> None:
    rig = Rig()
    publisher = rig.begin(h264())
    rig.pictures(publisher, 1)
    good = Sink()
    rig.stream.outputs |= {"faulty": FaultySink(), "memory": good}
    rig.stream.release("source-lost", rig.now)
    assert good.closed == "source-lost"
    assert rig.state() is State.STARTING


def test_a_data_track_neither_delays_the_start_nor_changes_the_tracks_later() -> None:
    rig = Rig()
    publisher = rig.begin(h264(), data())
    rig.pictures(publisher, 1)
    assert rig.state() is State.READY
    sink = Sink()
    rig.stream.outputs["memory"] = sink
    rig.pictures(publisher, 100)
    publisher.write(publisher.tracks[1], 0, (b"<motion/>",), rig.now)
    assert sink.track_changes == []
    assert sink.frames[-1].payload == (b"<motion/>",)


def test_data_alone_starts_nothing_where_there_is_video() -> None:
    rig = Rig()
    publisher = rig.begin(TrackDescription(Kind.VIDEO, H264, 90_000), data())
    publisher.write(publisher.tracks[1], 0, (b"<motion/>",), rig.now)
    rig.stream.tick(rig.now + 3.0, 0.0)
    assert rig.state() is State.WAITING


def test_an_endless_gop_lets_readers_start_when_the_cache_gave_up() -> None:
    rig = Rig()
    publisher = rig.begin(h264())
    rig.pictures(publisher, 499, key_every=1000)  # one key frame at the very start
    assert not rig.is_keyless()
    rig.pictures(publisher, 10, key_every=0)
    assert len(rig.stream.gop) == 0  # longer than it may be
    assert rig.is_keyless()
    assert rig.events_of(KeyFramesMissing) == [KeyFramesMissing("cam")]
    rig.pictures(publisher, 1)
    assert not rig.is_keyless()


def test_nothing_from_before_the_return_is_kept_for_joiners() -> None:
    rig = Rig()
    publisher = rig.begin(h264())
    rig.pictures(publisher, 25)
    rig.stream.readers["r"] = object()  # type: ignore[assignment]  # only counted here
    rig.stream.lose("peer-closed", rig.now, hold=True)
    rig.now += 5.0
    again = rig.begin(h264())
    rig.pictures(again, 5, key_every=0)  # it returns in the middle of a GOP
    assert rig.stream.gop.frames() == ()
    rig.pictures(again, 2)
    assert [frame.key for frame in rig.stream.gop.frames()] == [True, False]


def test_an_output_that_outlives_a_change_of_tracks_gets_the_frames_from_the_first_on() -> None:
    rig = Rig()
    publisher = rig.begin(h264())
    rig.pictures(publisher, 25)
    sink = Sink()
    rig.stream.outputs["memory"] = sink
    rig.stream.readers["r"] = object()  # type: ignore[assignment]  # only counted here
    rig.stream.lose("peer-closed", rig.now, hold=True)
    sink.frames.clear()
    again = rig.begin(h264(), aac())
    rig.pictures(again, 3)
    assert sink.frames == []  # the sound has not spoken yet
    again.write(again.tracks[1], 0, (b"aac",), rig.now)
    assert sink.track_changes == [again.tracks]
    assert [frame.payload for frame in sink.frames] == [(IDR,), (SLICE,), (SLICE,), (b"aac",)]


def test_a_publisher_that_has_ended_moves_no_clocks() -> None:
    rig = Rig()
    publisher = rig.begin(h264(), aac())
    publisher.close("source-stopped", rig.now)
    publisher.anchor({publisher.tracks[0]: 0, publisher.tracks[1]: 48_000})
    publisher.sender_report(publisher.tracks[0], 1 << 32, 0, rig.now)
    again = rig.begin(h264(), aac())
    publisher.anchor({again.tracks[0]: 0, again.tracks[1]: 48_000})
    again.write(again.tracks[0], 0, (IDR,), rig.now)
    again.write(again.tracks[1], 0, (b"aac",), rig.now)
    assert [frame.pts for frame in rig.stream.gop.frames()] == [0, 0]
