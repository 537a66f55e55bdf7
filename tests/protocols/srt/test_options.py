"""Options that can be, and that cannot."""

import pytest

from flux.base.errors import ConfigError
from protocols.srt.options import CipherMode, Mode, Options, SecurityOptions, check


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (Options(security=SecurityOptions("nine byte")), "passphrase"),
        (Options(security=SecurityOptions("x" * 81)), "passphrase"),
        (Options(security=SecurityOptions("x" * 10, key_bytes=20)), "key_bytes"),
        (
            Options(mode=Mode.STREAM, security=SecurityOptions("x" * 10, 16, CipherMode.GCM)),
            "cipher",
        ),
        (Options(stream_id="x" * 513), "stream_id"),
        (Options(stream_id="a\0b"), "stream_id"),
        (Options(mtu=75), "mtu"),
        (Options(flow_window=31), "flow_window"),
        (Options(receive_latency_ms=70_000), "receive_latency_ms"),
        (Options(peer_latency_ms=-1), "peer_latency_ms"),
    ],
)
def test_what_no_handshake_carries(options: Options, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(options)
    assert caught.value.path == name


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(mode=Mode.STREAM),
        Options(stream_id="x" * 512, security=SecurityOptions("x" * 80, 32, CipherMode.GCM)),
        Options(security=SecurityOptions("ümlaute sind zwei")),
    ],
)
def test_what_can_be(options: Options) -> None:
    check(options)


def test_names_of_the_congestion_control() -> None:
    assert Options().congestion_name == "live"
    assert Options(mode=Mode.MESSAGE).congestion_name == "file"
    assert Options(congestion="bbr").congestion_name == "bbr"
    assert Options().window_packets == 8192


def test_secrets_are_not_shown() -> None:
    assert "hunter2hunter2" not in repr(Options(security=SecurityOptions("hunter2hunter2")))
