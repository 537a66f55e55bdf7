"""`srt://` URLs: what is taken, and what is refused with a reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from config.srt import SrtSection, SrtStreamSection
from config.srt_url import SrtUrl


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("srt://host:8890", SrtUrl("caller", "host", 8890)),
        ("SRT://10.0.0.1:8890/", SrtUrl("caller", "10.0.0.1", 8890)),
        ("srt://[2001:db8::1]:8890", SrtUrl("caller", "2001:db8::1", 8890)),
        ("srt://:9000", SrtUrl("listener", "", 9000)),
        ("srt://*:9000?mode=listener", SrtUrl("listener", "", 9000)),
        ("srt://10.0.0.1:9000?mode=listener", SrtUrl("listener", "10.0.0.1", 9000)),
        (
            "srt://host:9000?mode=rendezvous",
            SrtUrl("rendezvous", "host", 9000, local_port=9000),
        ),
        (
            "srt://host:9000?mode=rendezvous&adapter=10.0.0.2&port=9001",
            SrtUrl("rendezvous", "host", 9000, "10.0.0.2", 9001, numbers={"localport": 9001}),
        ),
        (
            "srt://h:1?streamid=#!::r=live/cam,m=publish&latency=200",
            SrtUrl(
                "caller",
                "h",
                1,
                stream_id="#!::r=live/cam,m=publish",
                numbers={"latency": 200},
            ),
        ),
        (
            "srt://h:1?streamid=a%26b%25c",
            SrtUrl("caller", "h", 1, stream_id="a&b%c"),
        ),
        (
            "srt://h:1?passphrase=0123456789&pbkeylen=32&packetfilter=fec,cols:10,rows:-5",
            SrtUrl(
                "caller",
                "h",
                1,
                passphrase="0123456789",
                filter="fec,cols:10,rows:-5",
                numbers={"pbkeylen": 32},
            ),
        ),
        (
            "srt://a:1?type=backup&nodes=b:2,[::1]:3",
            SrtUrl("caller", "a", 1, group="backup", nodes=(("b", 2), ("::1", 3))),
        ),
    ],
)
def test_urls(text: str, expected: SrtUrl) -> None:
    assert SrtUrl.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http://host:1", "srt://HOST:PORT"),
        ("srt:host:1", "srt://HOST:PORT"),
        ("srt://", "srt://HOST:PORT"),
        ("srt://host", "with a port"),
        ("srt://host:0", "with a port"),
        ("srt://host:65536", "with a port"),
        ("srt://user:word@host:1", "no user"),
        ("srt://ho st:1", "a name or an address"),
        ("srt://host:1/path", "with a port"),
        ("srt://:1?mode=caller", "needs a host"),
        ("srt://:1?mode=rendezvous", "needs a host"),
        ("srt://host:1?mode=server", "expected mode="),
        ("srt://host:1?speed=1", "expected the options"),
        ("srt://host:1?latency=1&latency=2", "latency once"),
        ("srt://host:1?latency=200000", "in milliseconds"),
        ("srt://host:1?latency=x", "in milliseconds"),
        ("srt://host:1?pbkeylen=17&passphrase=0123456789", "16, 24 or 32"),
        ("srt://host:1?pbkeylen=16", "a passphrase with pbkeylen"),
        ("srt://host:1?passphrase=short", "10 to 80 bytes"),
        ("srt://host:1?packetfilter=none", "packet filter"),
        ("srt://host:1?packetfilter=fec,cols:x", "packet filter"),
        ("srt://host:1?streamid=" + "x" * 513, "512 bytes"),
        ("srt://host:1?group=broadcast", "nodes="),
        ("srt://host:1?nodes=b:2", "nodes="),
        ("srt://:1?group=broadcast&nodes=b:2", "mode=caller"),
    ],
)
def test_urls_that_are_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="expected") as error:
        SrtUrl.parse(text)
    assert why in str(error.value)
    assert "word" not in str(error.value)


@given(st.text(max_size=100))
def test_any_text_is_read_or_refused(text: str) -> None:
    for prefix in ("", "srt://", "srt://h:1?", "srt://h:1?streamid="):
        try:
            SrtUrl.parse(prefix + text)
        except ValueError:
            continue


def test_secrets_are_not_shown() -> None:
    assert "0123456789" not in repr(SrtUrl.parse("srt://h:1?passphrase=0123456789"))


def test_sections() -> None:
    assert SrtSection().latency == 0.12
    assert SrtStreamSection().read_passphrase is None
    secret = SrtStreamSection(publish_passphrase=SecretStr("0123456789"))
    assert "0123456789" not in repr(secret)
    for section in (SrtSection, SrtStreamSection):
        with pytest.raises(ValidationError, match="10 to 80 bytes"):
            section(read_passphrase=SecretStr("short"))
