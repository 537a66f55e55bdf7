"""RTSP targets: settings are taken out of the URL, everything else stays as it was written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.rtsp_target import RtspTarget
from config.tls import Fingerprint
from config.urls import ForwardUrl

HEX = "5f" * 32
COLONS = ":".join(["5F"] * 32)
PIN = Fingerprint(b"\x5f" * 32)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://h/x", RtspTarget("rtsp://h/x")),
        ("rtsp://h/x?", RtspTarget("rtsp://h/x?")),
        ("rtsp://h/x?a=1&&b", RtspTarget("rtsp://h/x?a=1&&b")),
        ("rtsp://h/x?flux-transport=udp", RtspTarget("rtsp://h/x", "udp")),
        (
            "rtsp://u:p@h/x?a=1&flux-transport=http&b=%20",
            RtspTarget("rtsp://u:p@h/x?a=1&b=%20", "http"),
        ),
        ("rtsps://h/x?flux-transport=tcp#there", RtspTarget("rtsps://h/x#there", "tcp")),
        ("rtsps://h/x?flux-transport=auto", RtspTarget("rtsps://h/x")),
        (f"rtsps://h/x?flux-fingerprint={HEX}", RtspTarget("rtsps://h/x", fingerprint=PIN)),
        (
            f"RTSPS://h/$name?flux-fingerprint={COLONS}&flux-transport=udp&room=2",
            RtspTarget("RTSPS://h/$name?room=2", "udp", PIN),
        ),
        (
            f"rtsps://h/x?flux-fingerprint={COLONS.replace(':', '%3A')}",
            RtspTarget("rtsps://h/x", fingerprint=PIN),
        ),
    ],
)  # fmt: skip
def test_targets(text: str, expected: RtspTarget) -> None:
    assert RtspTarget.parse(text) == expected
    assert ForwardUrl.parse(text).reveal() == text


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("rtsp://h/x?flux-transport=", "tcp, udp, http"),
        ("rtsp://h/x?flux-transport=multicast", "tcp, udp, http"),
        ("rtsp://h/x?flux-transport=UDP", "tcp, udp, http"),
        ("rtsp://h/x?flux-transport=udp&flux-transport=udp", "once"),
        ("rtsp://h/x?flux-transprot=udp", "flux-transport or flux-fingerprint"),
        ("rtsp://h/x?FLUX-transport=udp", "flux-transport or flux-fingerprint"),
        (f"rtsp://h/x?flux-fingerprint={HEX}", "rtsps://"),
        ("rtsps://h/x?flux-fingerprint=5f5f", "SHA-256"),
        ("rtsps://h/x?flux-fingerprint=", "SHA-256"),
        ("rtsp://h:0/x?flux-transport=udp", "1 to 65535"),
    ],
)
def test_refused(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word) as caught:
        ForwardUrl.parse(text)
    assert "5f5f" not in str(caught.value)


def test_a_password_beside_a_fingerprint_is_hidden() -> None:
    url = ForwardUrl.parse(f"rtsps://u:hunter2@h/x?flux-fingerprint={COLONS}&token=hunter3")
    assert str(url) == f"rtsps://***@h/x?flux-fingerprint={COLONS}&token=***"


@given(st.text(max_size=60))
def test_any_options_are_taken_or_refused(rest: str) -> None:
    try:
        target = RtspTarget.parse(f"rtsps://h/x?{rest}")
    except ValueError:
        return
    options = target.url.partition("?")[2].partition("#")[0].split("&")
    assert not any(option.lower().startswith("flux-") for option in options)
