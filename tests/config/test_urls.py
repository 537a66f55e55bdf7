"""Source URLs, and that credentials are never shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.schema import StreamSection
from config.urls import ForwardUrl, SourceUrl, hide_credentials, hide_in_text, show_value

WORD = st.text("abcXYZ019-._~!$&'()*+,;=%/@:", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://host/path", "rtsp://host/path"),
        ("rtsp://u:p@host:554/path?x=1", "rtsp://***@host:554/path?x=1"),
        ("rtsp://u:p@ss@host/path", "rtsp://***@host/path"),
        ("rtsp://u:p/w@host/path", "rtsp://***@host/path"),
        ("rtsp://user@host/", "rtsp://***@host/"),
        ("rtsp://[::1]:554/a@b", "rtsp://[::1]:554/a@b"),
        ("http://h/x?token=abc&a=1&password=x", "http://h/x?token=***&a=1&password=***"),
        ("http://h/x/index.m3u8?s=abc", "http://h/x/index.m3u8?s=***"),
        ("testcard:", "testcard:"),
    ],
)
def test_credentials_are_hidden(url: str, shown: str) -> None:
    assert hide_credentials(url) == shown
    assert hide_in_text(f"cannot open {url} now") == f"cannot open {shown} now"


@given(WORD, WORD)
def test_a_password_is_never_shown(user: str, password: str) -> None:
    secret = f"{user}:Q{password}Q"
    for shown in (
        hide_credentials(f"rtsp://{secret}@host/path"),
        show_value(f"rtsp://{secret}@host/path"),
    ):
        assert secret not in shown
        assert f"Q{password}Q" not in shown
        assert "host/path" in shown


def test_a_source_url_shows_itself_without_credentials() -> None:
    stream = StreamSection(source=SourceUrl.parse("rtsp://admin:hunter2@cam/1"))
    assert stream.source is not None
    assert stream.source.reveal() == "rtsp://admin:hunter2@cam/1"
    for shown in (
        str(stream.source),
        repr(stream),
        str(stream.model_dump()),
        stream.model_dump_json(),
    ):
        assert "hunter2" not in shown
    assert stream == StreamSection(source=SourceUrl.parse("rtsp://admin:hunter2@cam/1"))
    assert stream != StreamSection(source=SourceUrl.parse("rtsp://admin:other@cam/1"))


@pytest.mark.parametrize("stream_id", ["publish:cam:admin:hunter2", "#!::r=cam,u=admin,s=hunter2"])
def test_secrets_of_srt_are_not_shown(stream_id: str) -> None:
    text = f"srt://host:9000?streamid={stream_id}&passphrase=hunter2-hunter2&latency=200"
    for url in (SourceUrl.parse(text), ForwardUrl.parse(text)):
        assert url.reveal() == text
        assert str(url) == "srt://host:9000?streamid=***&passphrase=***&latency=200"
        assert "hunter2" not in repr(url)
    assert "hunter2" not in hide_in_text(f"cannot call {text} now")


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("srt://user:password@h:9000", "streamid"),
        ("srt://h", "port"),
        ("srt://h:9000?latency=200ms", "milliseconds"),
        ("cam1", "expected a source URL"),
        ("rtmp://h/x", "not supported yet"),
        ("whip://h:1", "not supported yet"),
        ("gopher://h", "not a known scheme"),
        ("rtsp:/h/x", "no host"),
        ("rtsp://", "no host"),
        ("rtsp://:554/x", "no host"),
        ("rtsp://h:99999/x", "port"),
        ("rtsp://h:0/x", "port"),
        ("rtsp://h:x/x", "port"),
        ("rtsp://[::1/x", "port"),
        ("rtsp://h/a b", "without spaces"),
        ("rtsp://h/a\r\nX: y", "without spaces"),
        ("rtsp://u:p@w@h/x", "%40"),
        ("testcard:more", "testcard:?size="),
        ("rtsp://h/" + "x" * 5000, "4096"),
    ],
)
def test_source_urls_that_are_refused(url: str, word: str) -> None:
    with pytest.raises(ValueError) as refused:
        SourceUrl.parse(url)
    assert word in str(refused.value)


@given(st.text(max_size=80))
def test_any_text_is_a_source_or_a_value_error(text: str) -> None:
    for url in (text, f"rtsp://{text}"):
        try:
            assert SourceUrl.parse(url).reveal() == url
        except ValueError as error:
            assert "expected" in str(error)
