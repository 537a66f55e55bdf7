"""Hooks in the configuration."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from config import schema
from config.hooks import TIED, AuthorizeSection, HookList, HookSection, HttpUrl, WebhookSection
from config.problems import ConfigProblems
from config.quantities import FROM_FILE
from config.section import Section
from config.sources.file import load_bytes


class Document(BaseModel):
    hooks: HookList = ()
    authorize: AuthorizeSection = AuthorizeSection()


def read(value: dict[str, Any]) -> HookSection:
    return HookSection.model_validate(value, context=FROM_FILE)


WEBHOOK = {"url": "https://example.com/hook"}
COMMAND = {"argv": ["logger", "x"]}


def test_one_is_a_list_and_all_streams_are_meant() -> None:
    hook = read({"on": "ready", "webhook": WEBHOOK})
    assert list(hook.on) == ["ready"]
    assert hook.covers("cam")
    assert hook.covers("live/cam")
    assert hook.webhook is not None
    assert (hook.webhook.timeout, hook.webhook.retries, hook.webhook.queue) == (5.0, 3, 1000)


def test_streams_are_patterns() -> None:
    hook = read({"on": ["read", "unread"], "streams": ["cam", "live/*", "~9$"], "command": COMMAND})
    names = ["cam", "cam1", "cam9", "live", "live/a", "live/a/b", "xlive/a"]
    assert [name for name in names if hook.covers(name)] == ["cam", "cam9", "live/a", "live/a/b"]
    assert read({"on": "read", "streams": "live/*", "command": COMMAND}).covers("live/x")


def test_a_command_and_its_defaults() -> None:
    command = read({"on": "demand", "command": {**COMMAND, "close_after": "20s"}}).command
    assert command is not None
    assert list(command.argv) == ["logger", "x"]
    assert (command.close_after, command.timeout, command.restart) == (20.0, None, False)
    assert (command.concurrency, dict(command.env)) == (32, {})


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"on": "ready"}, "either webhook or command"),
    ({"on": "ready", "webhook": WEBHOOK, "command": COMMAND}, "either webhook or command"),
    ({"on": "redy", "webhook": WEBHOOK}, "'ready'"),
    ({"on": [], "webhook": WEBHOOK}, "at least one event"),
    ({"on": "ready", "streams": [], "webhook": WEBHOOK}, "at least one event"),
    ({"on": "ready", "streams": "~(", "webhook": WEBHOOK}, "regular expression"),
    ({"on": "ready", "streams": "a b", "webhook": WEBHOOK}, "without the character"),
    ({"on": "ready", "streams": 3, "webhook": WEBHOOK}, "list"),
    ({"on": "ready", "command": {"argv": []}}, "the program"),
    ({"on": "ready", "command": {"argv": [""]}}, "the program"),
    ({"on": "ready", "command": {"argv": "rm -r /"}}, "argv"),
    ({"on": "ready", "command": {"argv": ["a\0b"]}}, "the program"),
    ({"on": "ready", "command": {**COMMAND, "env": {"A=B": "x"}}}, "names of letters"),
    ({"on": "ready", "command": {**COMMAND, "env": {"A": "\0"}}}, "names of letters"),
    ({"on": "ready", "command": {**COMMAND, "timeout": 3}}, "a duration"),
    ({"on": "unread", "command": {**COMMAND, "restart": True}}, "restart only with"),
    ({"on": "ready", "webhook": {}}, "url"),
    ({"on": "ready", "webhook": {**WEBHOOK, "retries": -1}}, "retries"),
    ({"on": "ready", "webhook": {**WEBHOOK, "timout": "1s"}}, "timout"),
]


@pytest.mark.parametrize(("value", "problem"), BROKEN)
def test_what_is_refused(value: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem.replace("(", r"\(")):
        read(value)


def test_nothing_is_an_empty_list_and_asks_nobody() -> None:
    document = Document.model_validate({"hooks": None, "authorize": None})
    assert list(document.hooks) == []
    assert document.authorize.url is None
    assert list(document.authorize.on) == ["read", "publish"]
    assert document == Document()


def test_secrets_are_not_shown() -> None:
    webhook = WebhookSection.model_validate(
        {"url": "http://user:word@host/x?token=word", "secret": "word"}
    )
    assert "word" not in repr(webhook)
    assert "word" not in webhook.model_dump_json()
    assert webhook.url.reveal() == "http://user:word@host/x?token=word"
    assert webhook.secret.get_secret_value() == "word"


@pytest.mark.parametrize(
    "text", ["http://h", "https://h:8443/p?q", "http://[::1]:80/", "https://u:p@h/x"]
)
def test_urls_that_are_taken(text: str) -> None:
    assert HttpUrl.parse(text).reveal() == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "h", "ftp://h", "http://", "http:///x", "http://h:0/", "http://h:99999/"),
        *("http://a b/", "http://h/\n", "http://[::1", "http://h/" + "x" * 5000),
        "http://u:secret@/",
    ],
)
def test_urls_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a URL") as caught:
        HttpUrl.parse(text)
    assert "secret" not in str(caught.value)


@given(st.text())
def test_any_text_is_a_url_or_a_value_error(text: str) -> None:
    try:
        assert HttpUrl.parse(text).reveal() == text
    except ValueError as error:
        assert str(error).startswith("expected")


def test_a_json_schema_can_be_made() -> None:
    properties = Document.model_json_schema()["properties"]
    assert set(properties) == {"hooks", "authorize"}


def test_every_key_has_a_description() -> None:
    for model in (HookSection, WebhookSection, AuthorizeSection):
        assert all(field.description for field in model.model_fields.values())


def test_what_lasts_is_among_the_names() -> None:
    for name in TIED:
        read({"on": name, "command": {**COMMAND, "restart": True}})


def test_sections_have_one_base() -> None:
    assert issubclass(HookSection, Section)
    assert issubclass(schema.Config, Section)


def test_a_secret_of_the_wrong_type_is_not_shown() -> None:
    text = b"authorize: {url: 'http://127.0.0.1/x', secret: 31415926}\n"
    with pytest.raises(ConfigProblems) as refused:
        load_bytes(text, "flux.yaml")
    assert "authorize.secret" in str(refused.value)
    assert "31415926" not in str(refused.value)
