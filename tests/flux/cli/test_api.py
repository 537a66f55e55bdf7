"""The API client of the command line: where it asks, and what it makes of every answer."""

from base64 import b64encode

import pytest
import typer

from flux.cli.api import ApiClient, ApiError, path_of
from tests.support.ports import free_port
from tests.support.scripted_http import Answer, ScriptedHttp, as_json, page, problem


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("http://127.0.0.1:9997", "http://127.0.0.1:9997"),
        ("localhost:9997", "http://localhost:9997"),
        ("[::1]:9997", "http://[::1]:9997"),
        ("https://media.example/flux/", "https://media.example/flux"),
        ("http://h:1/api/v1", "http://h:1"),
        ("http://user:secret@h:1", "http://h:1"),
    ],
)
def test_where_it_asks(text: str, base: str) -> None:
    assert ApiClient(text).base == base


@pytest.mark.parametrize(
    "text", ["", "ftp://h", "http://", "http://u:hunter2@h:99999", "http://[::1"]
)
def test_a_url_that_is_none(text: str) -> None:
    with pytest.raises(typer.BadParameter) as caught:
        ApiClient(text)
    assert "hunter2" not in str(caught.value)


def test_names_keep_their_slashes() -> None:
    assert path_of("streams", "live/cam 1?") == "/api/v1/streams/live/cam%201%3F"


def test_all_pages_are_asked_for() -> None:
    def script(method: str, path: str) -> Answer:
        number = int(path.partition("page=")[2].partition("&")[0])
        return page([{"name": f"cam{number}"}], number, 3)

    with ScriptedHttp(script) as server:
        items = ApiClient(server.url).items("/api/v1/streams")
    assert [item["name"] for item in items] == ["cam0", "cam1", "cam2"]
    assert all("items_per_page=1000" in path for _, path, _ in server.requests)


def test_an_empty_list() -> None:
    with ScriptedHttp(lambda method, path: page([], 0, 0)) as server:
        assert ApiClient(server.url).items("/api/v1/streams") == []


def test_credentials_go_in_a_header_and_nowhere_else() -> None:
    with ScriptedHttp(lambda method, path: as_json({})) as server:
        ApiClient(server.url.replace("//", "//me:p%40ss@")).get("/healthz")
    _, path, headers = server.requests[0]
    assert headers["Authorization"] == f"Basic {b64encode(b'me:p@ss').decode()}"
    assert path == "/healthz"


def test_a_problem_is_told_in_its_own_words() -> None:
    with (
        ScriptedHttp(lambda *_: problem(404, "stream-not-found", "No such stream.")) as server,
        pytest.raises(ApiError, match=r"No such stream\.") as caught,
    ):
        ApiClient(server.url).get("/api/v1/streams/x")
    assert (caught.value.reason, caught.value.status) == ("stream-not-found", 404)


@pytest.mark.parametrize(
    "answer",
    [
        (500, "text/html", b"<h1>no"),
        (502, "application/json", b"[]"),
        (404, "application/json", b'{"detail": "x"}'),
        (400, "text/plain", b"\xff\xfe"),
    ],
)
def test_an_error_without_problem_details(answer: Answer) -> None:
    with ScriptedHttp(lambda *_: answer) as server, pytest.raises(ApiError) as caught:
        ApiClient(server.url).get("/")
    assert (caught.value.reason, caught.value.status) == ("api-refused", answer[0])


@pytest.mark.parametrize(
    "body", [b"<html>", b'{"items": 3}', b"[]", b'{"items": [], "page_count": "x"}']
)
def test_a_server_that_is_no_flux(body: bytes) -> None:
    with (
        ScriptedHttp(lambda *_: (200, "text/html", body)) as server,
        pytest.raises(ApiError, match="no FLUX API"),
    ):
        ApiClient(server.url).items("/api/v1/streams")


def test_nobody_listens() -> None:
    with pytest.raises(ApiError, match=r"cannot reach http://127\.0\.0\.1:\d+: .*is FLUX running"):
        ApiClient(f"http://127.0.0.1:{free_port()}").get("/healthz")


def test_a_proxy_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with ScriptedHttp(lambda *_: as_json({"status": "ok"})) as server:
        assert ApiClient(server.url).get("/healthz") == {"status": "ok"}
