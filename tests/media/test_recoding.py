"""Tracks that are made of others: which there are, who takes them, what becomes of their frames."""

from functools import partial

import pytest

from media.codecs.aac import AacParameters, make_config
from media.codecs.g711 import G711Parameters
from media.codecs.mp3 import Mp3Parameters
from media.codecs.opus import OpusParameters
from media.frame import NO_TIME, Frame
from media.output import LEISURE
from media.parameters import AudioParameters
from media.recoding import AudioPolicy, Recoding, Recodings, recoded
from media.stream import State, Stream, StreamOptions
from media.track import AAC, OPUS, PCMA, Kind, Track, TrackDescription

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
        ("g726", 8000, 1, "aac", (AAC, 16000, 1)),
        ("speex", 8000, 1, "aac", None),
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
    assert recoded(Track(0, Kind.AUDIO, "speex", 8000, G711), "aac", 1) is None


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
    choose = partial(Recodings("aac").choose, "ts")
    assert choose(tracks, lambda track: True) == (sound,)
    assert choose(tracks, lambda track: track.codec == AAC) == (made,)
    assert choose(tracks, lambda track: False) == ()
    assert choose(tracks, lambda track: True, lambda track: track.codec != OPUS) == (made,)
    assert choose((sound,), lambda track: True, lambda track: track.codec != OPUS) == (sound,)


class Watcher:
    """An output that carries AAC only, or these codecs."""

    size_bytes = 0
    leisure = LEISURE
    tracks: tuple[Track, ...] = ()

    def __init__(self, stream: Stream, name: str = "watcher", *codecs: str) -> None:
        self.name = name
        self.stream = stream
        self.frames: list[Frame] = []
        self.codecs = codecs or (AAC,)
        self.tracks_changed(stream.tracks)
        stream.outputs[self.name] = self

    def frame(self, frame: Frame) -> None:
        if frame.track in self.tracks:
            self.frames.append(frame)

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        self.tracks = self.stream.choose(self.name, tracks, lambda t: t.codec in self.codecs)

    def close(self, reason: str) -> None:
        del reason


def stream_of(
    policy: AudioPolicy, **by_output: AudioPolicy
) -> tuple[Stream, Track, list[Recoding], list[object]]:
    events: list[object] = []
    options = StreamOptions(audio=policy, audio_by_output=by_output)
    stream = Stream("cam", options, events.append)
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


def codecs(tracks: tuple[Track, ...]) -> list[str]:
    return [track.codec for track in tracks]


def test_an_output_that_is_asked_for_a_codec_has_it_though_it_could_carry_the_source_s() -> None:
    stream, _, wanted, _ = stream_of("keep", hls="aac", rtp="keep", ts="drop")
    assert codecs(stream.tracks) == [PCMA, AAC]
    every = (PCMA, AAC, OPUS)
    assert codecs(Watcher(stream, "hls", *every).tracks) == [AAC]
    assert codecs(Watcher(stream, "rtp", *every).tracks) == [PCMA]
    assert codecs(Watcher(stream, "fmp4", *every).tracks) == [PCMA], "what nobody asked for"
    assert codecs(Watcher(stream, "ts", *every).tracks) == []
    assert not stream.dropped_tracks, "who asks for no sound is not told of it"
    assert codecs(Watcher(stream, "srt", AAC).tracks) == [], "nor made for others"
    assert [event.output for event in stream.dropped_tracks.values()] == ["srt"]
    assert len(wanted) == 1


def test_what_cannot_be_made_or_carried_is_the_source_s_own_or_named() -> None:
    stream, _, wanted, _ = stream_of("keep", flv="opus", hls="opus")
    assert codecs(Watcher(stream, "flv-legacy", PCMA, AAC).tracks) == [PCMA]
    assert codecs(Watcher(stream, "hls", AAC).tracks) == []
    assert [event.output for event in stream.dropped_tracks.values()] == ["hls"]
    assert wanted == []


def test_outputs_that_want_the_same_share_one_recoding() -> None:
    stream, track, wanted, _ = stream_of("keep", hls="aac", flv="aac", rtp="opus", srt="opus")
    assert [(each.id, each.codec) for each in stream.tracks] == [(0, PCMA), (1, AAC), (2, OPUS)]
    every = (PCMA, AAC, OPUS)
    watchers = [Watcher(stream, name, *every) for name in ("hls", "flv", "flv-enhanced", "rtp")]
    assert [codecs(each.tracks) for each in watchers] == [[AAC], [AAC], [AAC], [OPUS]]
    aac, opus = dict.fromkeys(wanted)
    assert (aac.users, opus.users) == ({"hls", "flv", "flv-enhanced"}, {"rtp"})
    taken: list[str] = []
    aac.sink = lambda _: taken.append(AAC)
    opus.sink = lambda _: taken.append(OPUS)
    stream.publish(track, 480, (bytes(160),), 0.06, NO_TIME)
    assert taken == [AAC, OPUS]


def test_a_source_that_has_the_codec_is_taken_as_it_is() -> None:
    recodings = Recodings("keep", {"hls": "aac"})
    sound = audio("aac", 48000, 2)
    assert recodings.extend((sound,), 1) == (sound,)
    assert recodings.choose("hls", (sound,), lambda _: True) == (sound,)


def test_what_a_choice_of_formats_is_made_by() -> None:
    sound = audio("opus", 48000, 2)
    for asked, expected in (("aac", [AAC]), ("keep", [OPUS]), ("drop", [])):
        recodings = Recodings("opus", {"hls": asked})  # type: ignore[dict-item]  # one of them
        tracks = recodings.extend((sound,), 1)
        assert codecs(recodings.offer("hls", tracks)) == expected
        assert codecs(recodings.offer("hls-group:x", tracks)) == expected
        assert codecs(recodings.offer("ts", tracks)) == [OPUS]


def test_sound_that_only_some_outputs_want_is_there() -> None:
    stream, _, _, _ = stream_of("drop", hls="aac")
    assert stream.state is State.READY
    assert codecs(Watcher(stream, "hls", PCMA, AAC).tracks) == [AAC]
    assert codecs(Watcher(stream, "rtp", PCMA, AAC).tracks) == []


def test_other_words_for_the_same_tracks_reach_the_outputs() -> None:
    stream, _, wanted, _ = stream_of("keep")
    watcher = Watcher(stream, "rtp", PCMA, AAC)
    assert codecs(watcher.tracks) == [PCMA]
    stream.use_audio("keep", 1.0, {"rtp": "drop"})
    assert codecs(watcher.tracks) == []
    stream.use_audio("keep", 2.0, {"rtp": "aac"})
    assert codecs(watcher.tracks) == [AAC]
    ends: list[str] = []
    (recoding,) = wanted
    recoding.on_end = ends.append
    stream.use_audio("keep", 3.0)
    assert codecs(watcher.tracks) == [PCMA]
    assert ends == ["stream-changed"]
