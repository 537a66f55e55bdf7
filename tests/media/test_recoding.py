"""Tracks that are made of others: which there are, who takes them, what becomes of their frames."""

import pytest

from media.codecs.aac import AacParameters, make_config
from media.codecs.g711 import G711Parameters
from media.codecs.mp3 import Mp3Parameters
from media.codecs.opus import OpusParameters
from media.frame import NO_TIME, Frame
from media.parameters import AudioParameters
from media.recoding import AudioPolicy, Recoding, Recodings, choose, recoded
from media.stream import State, Stream, StreamOptions
from media.track import AAC, G726, OPUS, PCMA, Kind, Track, TrackDescription

G711 = G711Parameters(sample_rate=8000, channels=1)


def audio(codec: str, rate: int, channels: int, clock: int = 0) -> Track:
    parameters: AudioParameters
    match codec:
        case "aac":
            parameters = AacParameters.build(make_config(rate, channels), rate)
        case "opus":
            parameters = OpusParameters(sample_rate=rate, channels=channels)
        case "mp3":
            parameters = Mp3Parameters(sample_rate=rate, channels=channels)
        case _:
            parameters = G711Parameters(sample_rate=rate, channels=channels)
    return Track(0, Kind.AUDIO, codec, clock or rate, parameters)


@pytest.mark.parametrize(
    ("codec", "rate", "channels", "policy", "made"),
    [
        ("pcma", 8000, 1, "aac", ("aac", 16000, 1)),
        ("g722", 16000, 1, "aac", ("aac", 16000, 1)),
        ("opus", 48000, 2, "aac", ("aac", 48000, 2)),
        ("mp3", 44100, 2, "aac", ("aac", 44100, 2)),
        ("l16", 96000, 2, "aac", ("aac", 48000, 2)),
        ("ac3", 48000, 6, "aac", ("aac", 48000, 2)),
        ("aac", 44100, 2, "opus", ("opus", 48000, 2)),
        ("pcmu", 8000, 1, "opus", ("opus", 48000, 1)),
        ("aac", 44100, 2, "aac", None),
        ("opus", 48000, 2, "opus", None),
        ("g726", 8000, 1, "aac", None),
        ("pcma", 8000, 1, "drop", None),
        ("pcma", 8000, 1, "keep", None),
    ],
)
def test_what_is_made_of_a_track(
    codec: str, rate: int, channels: int, policy: AudioPolicy, made: tuple[str, int, int] | None
) -> None:
    track = recoded(audio(codec, rate, channels), policy, 5)
    if made is None:
        assert track is None
        return
    assert track is not None
    assert isinstance(track.parameters, AudioParameters)
    assert (track.id, track.codec, track.clock_rate, track.parameters.channels) == (5, *made)


def test_nothing_is_made_of_sound_that_is_not_known_or_of_pictures() -> None:
    assert recoded(Track(0, Kind.AUDIO, PCMA, 8000), "aac", 1) is None
    assert recoded(Track(0, Kind.VIDEO, "h264", 90000), "aac", 1) is None
    assert recoded(Track(0, Kind.AUDIO, G726, 8000, G711), "aac", 1) is None


def test_recodings_come_behind_the_tracks_and_go_with_them() -> None:
    video, sound = Track(0, Kind.VIDEO, "h264", 90000), audio("pcma", 8000, 1)
    recodings = Recodings("aac")
    tracks = recodings.extend((video, sound), 2)
    assert [(track.id, track.codec) for track in tracks[2:]] == [(2, AAC)]
    assert recodings.extend((video, sound), 2) == tracks  # the very same ones
    recoding = recodings.of(tracks[2])
    assert recoding is not None
    ends: list[str] = []
    recoding.on_end = ends.append
    assert recodings.extend((video,), 2) == (video,)
    assert ends == ["tracks-changed"]
    assert recodings.of(tracks[2]) is None


def test_an_output_takes_the_source_s_own_where_it_can() -> None:
    sound = audio("opus", 48000, 2)
    made = recoded(sound, "aac", 1)
    assert made is not None
    tracks = (sound, made)
    assert choose(tracks, lambda track: True) == (sound,)
    assert choose(tracks, lambda track: track.codec == AAC) == (made,)
    assert choose(tracks, lambda track: False) == ()
    assert choose(tracks, lambda track: True, lambda track: track.codec != OPUS) == (made,)
    assert choose((sound,), lambda track: True, lambda track: track.codec != OPUS) == (sound,)


class Watcher:
    """An output that carries AAC only."""

    name = "watcher"
    size_bytes = 0

    def __init__(self, stream: Stream) -> None:
        self.frames: list[Frame] = []
        self.tracks = stream.choose(self.name, stream.tracks, lambda track: track.codec == AAC)
        stream.outputs[self.name] = self

    def frame(self, frame: Frame) -> None:
        if frame.track in self.tracks:
            self.frames.append(frame)

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        del tracks

    def close(self, reason: str) -> None:
        del reason


def stream_of(policy: AudioPolicy) -> tuple[Stream, Track, list[Recoding], list[object]]:
    events: list[object] = []
    stream = Stream("cam", StreamOptions(audio=policy), events.append)
    wanted: list[Recoding] = []
    stream.on_recoding = lambda _, recoding: wanted.append(recoding)
    (track,) = stream.begin([TrackDescription(Kind.AUDIO, PCMA, 8000, G711)], 0.0)
    for index in range(3):
        stream.publish(track, index * 160, (bytes(160),), index / 50, NO_TIME)
    return stream, track, wanted, events


def test_a_recoding_is_fed_while_it_is_made_and_its_frames_reach_outputs() -> None:
    stream, track, wanted, _ = stream_of("aac")
    assert stream.state is State.READY
    assert [each.codec for each in stream.tracks] == [PCMA, AAC]
    assert wanted == []  # nobody uses it
    watcher = Watcher(stream)
    (recoding,) = wanted
    assert recoding.users == {"watcher"}
    assert not stream.dropped_tracks
    taken: list[Frame] = []
    recoding.sink = taken.append
    stream.publish(track, 480, (bytes(160),), 0.06, NO_TIME)
    assert [frame.pts for frame in taken] == [480]
    for pts in (0, 1024, 1024):  # the last one is of the sound before a break
        stream.publish_recoded(recoding.track, pts, 7, b"unit", 0.1, is_broken=pts == 0)
    assert [(each.pts, each.dts, each.ntp, each.payload) for each in watcher.frames] == [
        (0, 0, 7, (b"unit",)),
        (1024, 1024, 7, (b"unit",)),
    ]
    assert stream.drops["recoding-overlap"] == 1
    assert recoding.track in {frame.track for frame in stream.gop.frames()}


def test_a_recoding_ends_with_the_stream_s_run() -> None:
    stream, _, wanted, _ = stream_of("aac")
    watcher = Watcher(stream)
    (recoding,) = wanted
    ends: list[str] = []
    recoding.on_end = ends.append
    stream.release("source-lost", 1.0)
    assert ends == ["source-lost"]
    stream.publish_recoded(recoding.track, 0, 0, b"late", 1.0, is_broken=False)
    assert watcher.frames == []


def test_without_a_recoding_the_track_is_named_as_dropped() -> None:
    stream, _, wanted, _ = stream_of("keep")
    assert Watcher(stream).tracks == ()
    assert wanted == []
    assert [event.codec for event in stream.dropped_tracks.values()] == [PCMA]


def test_sound_that_is_not_wanted_is_not_there() -> None:
    stream, track, _, _ = stream_of("drop")
    assert stream.state is State.WAITING
    assert stream.tracks == ()
    stream = Stream("cam", StreamOptions(audio="drop"), lambda _: None)
    sound, data = stream.begin(
        [
            TrackDescription(Kind.AUDIO, PCMA, 8000, G711),
            TrackDescription(Kind.VIDEO, "mjpeg", 90000),
        ],
        0.0,
    )
    stream.publish(sound, 0, (bytes(160),), 0.0, NO_TIME)
    assert len(stream.gop) == 0
    assert stream.inputs[sound].size_bytes == 160  # it is seen that it comes
    assert track is not sound
    assert data in stream.inputs
