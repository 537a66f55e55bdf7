"""The OpenAPI document: valid, whole, and what the page of it is made of."""

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from typing import Any

import pytest
from openapi_spec_validator import validate

from flux.api.pages import ASSETS, FILES
from flux.api.routes import Api
from tests.support.api_client import ApiClient, client_of
from tests.support.api_state import ApiState, populated


@pytest.fixture
def state() -> ApiState:
    return populated()


@pytest.fixture
async def api(state: ApiState) -> AsyncIterator[ApiClient]:
    async with client_of(state) as client:
        yield client


@pytest.fixture
async def document(api: ApiClient) -> Any:
    return (await api("/api/v1/openapi.json")).body


async def test_the_document_is_valid(document: Any) -> None:
    assert document["openapi"].startswith("3.1.")
    validate(document)


async def test_every_route_is_in_it(document: Any, state: ApiState) -> None:
    served = {
        (each.path, each.method.lower())
        for each in Api(state, state, state.bus).operations
        if not each.path.startswith("/docs")
    }
    told = {(path, method) for path, item in document["paths"].items() for method in item}
    assert told == served
    ids = [op["operationId"] for item in document["paths"].values() for op in item.values()]
    assert len(set(ids)) == len(ids)


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


async def test_every_schema_is_used_and_there(document: Any) -> None:
    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    unused = schemas - references(document)
    assert references(document) <= schemas
    # These are what the text of a stream of events holds.
    assert unused == {"#/components/schemas/Event", "#/components/schemas/EventsMissed"}


async def test_the_settings_are_those_of_the_configuration(document: Any) -> None:
    schemas = document["components"]["schemas"]
    full, patch = schemas["StreamSection"], schemas["StreamPatch"]
    assert {"source", "on_demand", "transport"} <= set(full["properties"])
    assert set(full["properties"]) == set(patch["properties"])
    assert "required" not in patch
    for value in patch["properties"].values():
        assert {"type": "null"} in value["anyOf"]
        assert value["description"]


async def test_every_refusal_is_a_problem(document: Any) -> None:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for status, answer in operation["responses"].items():
                if status >= "400":
                    assert answer["content"], (path, method, status)
            assert "500" in operation["responses"]


class Links(HTMLParser):
    """What a page loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [
            value or ""
            for name, value in attributes
            if name in ("src", "href") and value != "data:,"
        ]


async def test_the_page_loads_what_the_package_has(api: ApiClient) -> None:
    reply = await api("/docs")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/html")
    assert "script-src 'self'" in reply.headers["Content-Security-Policy"]
    links = Links(reply.body.decode()).found
    assert len(links) == 3
    for link in links:
        asset = await api(link)
        assert asset.status == 200
        assert asset.headers["Content-Type"] == FILES[link.removeprefix("/docs/")]
        assert asset.headers["X-Content-Type-Options"] == "nosniff"
    script = (await api("/docs/page.js")).body.decode()
    assert set(re.findall(r'"(/[^"]+)"', script)) == {"/api/v1/openapi.json"}


def test_others_files_are_pinned_and_have_their_licences() -> None:
    names = {path.name for path in ASSETS.iterdir()}
    assert set(FILES) <= names
    assert {"swagger-ui.LICENSE", "swagger-ui.NOTICE", "swagger-ui-bundle.js.LICENSE.txt"} <= names
    assert "swagger-ui-dist 5.35.0" in (ASSETS / "README.md").read_text()
    assert "Apache License" in (ASSETS / "swagger-ui.LICENSE").read_text()
