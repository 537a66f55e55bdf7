"""What sections of the configuration become."""

from config.audio import AudioOutputs
from config.schema import Config, StreamSection
from flux.app.options import srt_options, stream_options
from flux.bridges.hls import output as hls
from flux.bridges.httpflv import KINDS
from flux.bridges.httpmp4 import HTTP_MP4
from flux.bridges.httpts import HTTP_TS
from flux.bridges.rtp import output as rtp
from flux.bridges.srt import output as srt
from flux.bridges.srt.server import Passphrases
from flux.bridges.udp import ts_output as udp
from media.recoding import family_of


def test_srt_is_as_the_stream_has_it_or_else_as_the_server_has_it() -> None:
    config = Config.model_validate(
        {
            "srt": {"publish_passphrase": "of-the-server", "read_passphrase": "for-the-readers"},
            "streams": {
                "own": {"srt": {"publish_passphrase": "of-the-stream", "congestion": "aimd"}},
                "clear": {"srt": {"publish_passphrase": "", "read_passphrase": ""}},
            },
        }
    )
    options = srt_options(config, config.streams.get)
    assert options.passphrases_of("own") == Passphrases("of-the-stream", "for-the-readers")
    assert options.passphrases_of("clear") == Passphrases("", "")
    assert options.passphrases_of("other") == Passphrases("of-the-server", "for-the-readers")
    assert [options.is_adaptive(name) for name in ("own", "clear", "other")] == [True, False, False]


def test_sound_by_output_is_under_the_names_that_outputs_have() -> None:
    audio = {"hls": "aac", "mp4": "opus", "rtsp": "keep", "others": "drop"}
    config = Config.model_validate({"streams": {"own": {"audio": audio}, "plain": {}}})
    options = stream_options(config, config.streams["own"])
    assert options.audio == "drop"
    assert options.audio_by_output == {"hls": "aac", "fmp4": "opus", "rtp": "keep"}
    families = {family_of(kind.name) for kind in (*KINDS.values(), HTTP_TS, HTTP_MP4)}
    outputs = {family_of(name) for name in (rtp.OUTPUT, srt.OUTPUT, udp.OUTPUT, hls.OUTPUT_NAME)}
    every = dict.fromkeys(set(AudioOutputs.model_fields) - {"others"}, "aac")
    config = Config.model_validate({"streams": {"own": {"audio": every}}})
    known = stream_options(config, config.streams["own"]).audio_by_output
    assert set(known) == families | outputs
    options = stream_options(config, StreamSection())
    assert (options.audio, options.audio_by_output) == ("keep", {})
