"""What becomes of sound: one word, or a section of outputs."""

from collections.abc import Mapping

import pytest

from config.audio import AudioOutputs, AudioWord, audio_words
from config.problems import ConfigProblems
from config.schema import Config
from config.sources.file import load_bytes


def load(own: str, common: str = "keep") -> Config:
    text = f"sources:\n  audio: {common}\nstreams:\n  cam:\n    audio: {own}\n"
    return load_bytes(text.encode(), "flux.yaml")


@pytest.mark.parametrize("word", ["keep", "aac", "opus", "drop"])
def test_one_word_is_for_all_outputs(word: str) -> None:
    assert load(word).streams["cam"].audio == word


def test_outputs_are_named_one_by_one() -> None:
    audio = load("{hls: aac, rtsp: keep, others: drop}").streams["cam"].audio
    assert audio == AudioOutputs(hls="aac", rtsp="keep", others="drop")
    assert isinstance(audio, AudioOutputs)
    assert audio.named() == {"hls": "aac", "rtsp": "keep"}


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        ("mp3", "streams.cam.audio", "expected 'keep', 'aac', 'opus' or 'drop', found 'mp3'"),
        ("[aac]", "streams.cam.audio", "expected 'keep', 'aac', 'opus' or 'drop', found a list"),
        ("{hls: 3}", "streams.cam.audio.hls", "expected 'keep', 'aac', 'opus' or 'drop', found 3"),
        ("{hsl: aac}", "streams.cam.audio.hsl", "unknown key, did you mean 'hls'?"),
        (
            "{webrtc: opus}",
            "streams.cam.audio.webrtc",
            "unknown key, expected one of others, hls, flv, ts, mp4, rtsp, srt, udp",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, path: str, reason: str) -> None:
    with pytest.raises(ConfigProblems) as caught:
        load(text)
    (problem,) = caught.value.problems
    assert (problem.path, problem.reason, problem.line) == (path, reason, 5)


@pytest.mark.parametrize(
    ("own", "common", "word", "named"),
    [
        ("null", "aac", "aac", {}),
        ("null", "{hls: aac}", "keep", {"hls": "aac"}),
        ("opus", "{hls: aac}", "opus", {}),
        ("{rtsp: drop}", "aac", "aac", {"rtsp": "drop"}),
        ("{rtsp: drop}", "{hls: aac, others: opus}", "opus", {"hls": "aac", "rtsp": "drop"}),
        ("{hls: keep}", "{hls: aac}", "keep", {"hls": "keep"}),
        ("{others: drop}", "{hls: aac}", "drop", {}),
        ("{}", "keep", "keep", {}),
    ],
)
def test_a_stream_s_own_words_come_before_the_common_ones(
    own: str, common: str, word: AudioWord, named: Mapping[str, AudioWord]
) -> None:
    config = load(own, common)
    assert audio_words(config.streams["cam"].audio, config.sources.audio) == (word, named)
