"""What sections of the configuration become."""

from config.schema import Config
from flux.app.options import srt_options
from flux.bridges.srt.server import Passphrases


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
