"""URLs of FLV over HTTP and WebSocket as sources."""

import pytest

from config.schema import Config
from config.urls import ForwardUrl, SourceUrl


@pytest.mark.parametrize("scheme", ["http", "https", "ws", "wss"])
def test_urls_are_taken_and_shown_without_their_credentials(scheme: str) -> None:
    url = SourceUrl.parse(f"{scheme}://ann:secret@media.example:8443/live/cam.flv?token=abc")
    assert url.scheme == scheme
    assert str(url) == f"{scheme}://***@media.example:8443/live/cam.flv?token=***"
    assert "secret" in url.reveal()


@pytest.mark.parametrize(
    "text", ["http://", "http:///x.flv", "http://h:0/x", "http://h:70000/x", "ws://a b/x"]
)
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        SourceUrl.parse(text)


def test_they_are_no_targets() -> None:
    with pytest.raises(ValueError, match="http is not supported yet"):
        ForwardUrl.parse("http://media.example/live/cam.flv")


def test_a_pattern_may_fill_them_in() -> None:
    source = "https://media.example/live/$1.flv"
    config = Config.model_validate(
        {"streams": {"branch/*": {"source": SourceUrl.parse(source)}}, "flv": {"format": "legacy"}}
    )
    assert str(config.streams["branch/*"].source) == source
    assert config.flv.format == "legacy"
