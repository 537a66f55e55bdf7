"""The OpenAPI 3.1 document, made from the route table and the models."""

import json
import re
from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from config.names import FORBIDDEN, MAX_NAME_BYTES
from config.schema import StreamSection
from flux.api.models import Event, EventsMissed, Problem
from flux.api.operation import JSON, Answer, Operation
from flux.api.problem import CONTENT_TYPE

Schema = dict[str, Any]

NULL = {"type": "null"}
REF = "#/components/schemas/{model}"
TAGS = {
    "streams": "What comes in, and what becomes of it.",
    "sessions": "Who reads and who publishes.",
    "events": "What happens, while it happens.",
    "server": "The server as a whole.",
}
TEXT = """\
The admin API of FLUX. Times are RFC 3339 in UTC, durations seconds, rates bit/s. What is refused is
answered with problem details (RFC 9457); `reason` in them is stable. Changes last until the server
ends: they are not written to its configuration file."""

COMMON = (
    (400, "malformed-request"),
    (400, "query-unknown"),
    (400, "query-invalid"),
    (403, "foreign-host"),
    (403, "foreign-origin"),
    (401, "credentials-needed"),
    (401, "credentials-wrong"),
    (403, "permission-denied"),
    (403, "access-denied"),
    (403, "address-banned"),
    (415, "body-not-json"),
    (417, "expectation-unknown"),
    (500, "internal-error"),
    (503, "password-check-busy"),
    (503, "auth-service-timeout"),
)
SCHEMES: dict[str, Schema] = {
    "basic": {"type": "http", "scheme": "basic", "description": "A user of the configuration."},
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token, where the configuration names a service that takes it.",
    },
}
SECURITY: list[Schema] = [{}, {"basic": []}, {"bearer": []}]  # none: on localhost
TOO_LARGE = (413, "body-too-large")

_LETTER = "[^/\\s{}]".format(re.escape("".join(sorted(FORBIDDEN))))
_FIRST = _LETTER.replace("[^", "[^_.~", 1)
_COMPONENT = f"{_FIRST}{_LETTER}*"
PARAMETERS: dict[str, Schema] = {
    "name": {
        "description": "The stream's name; slashes in it may be written as they are.",
        "schema": {
            "type": "string",
            "maxLength": MAX_NAME_BYTES,
            "pattern": f"^{_COMPONENT}(/{_COMPONENT})*$",
            "examples": ["live/cam1"],
        },
    },
    "id": {
        "description": "The session's id.",
        "schema": {"type": "string", "pattern": "^[^/]+$"},
    },
}
HEADERS: dict[str, Schema] = {
    "If-Match": {
        "description": "Do it only if the stream's ETag is still this one (412 if not).",
        "schema": {"type": "string", "examples": ['"1a2b3c4d-1"']},
    },
    "If-None-Match": {
        "description": "Do it only if the stream's ETag is not this one; `*`: if there is none.",
        "schema": {"type": "string", "examples": ["*"]},
    },
    "Last-Event-ID": {
        "description": "Begin behind this event.",
        "schema": {"type": "string"},
    },
    "ETag": {
        "description": "The version of the stream's settings; its figures do not change it.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9a-f]+-[0-9]+"$'},
    },
    "Location": {
        "description": "Where the stream is.",
        "required": True,
        "schema": {"type": "string"},
    },
}


def document(operations: Sequence[Operation], version: str) -> bytes:
    """The document as JSON."""
    schemas = _schemas(operations)
    queries = {name: schemas.pop(name) for name in {each.query.__name__ for each in operations}}
    paths: dict[str, Schema] = {}
    for operation in operations:
        if operation.is_documented:
            item = paths.setdefault(operation.path, {})
            item[operation.method.lower()] = _operation(
                operation, queries[operation.query.__name__]
            )
    whole = {
        "openapi": "3.1.0",
        "info": {
            "title": "FLUX",
            "version": version,
            "description": TEXT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "security": SECURITY,
        "components": {"schemas": schemas, "securitySchemes": SCHEMES},
    }
    return json.dumps(whole, ensure_ascii=False).encode()


def _schemas(operations: Iterable[Operation]) -> dict[str, Schema]:
    """Every model that is answered or taken, and those that they are made of."""
    models: set[type[BaseModel]] = {Problem, Event, EventsMissed}
    for answer in (answer for each in operations for answer in each.answers):
        if answer.body is not None:
            models.add(answer.body)
    taken: set[type[BaseModel]] = {StreamSection, *(each.query for each in operations)}
    modes: dict[type[BaseModel], Literal["validation", "serialization"]]
    modes = {**dict.fromkeys(models, "serialization"), **dict.fromkeys(taken, "validation")}
    ordered = sorted(modes.items(), key=lambda each: each[0].__name__)
    _, found = models_json_schema(ordered, ref_template=REF)
    schemas: dict[str, Schema] = found["$defs"]
    _patch("StreamSection", schemas, "StreamPatch")
    return schemas


def _patch(name: str, schemas: dict[str, Schema], own: str) -> None:
    """Adds the merge patch of an object to the components: no key is required, each may be null."""
    if own in schemas:
        return
    schema = schemas[own] = deepcopy(schemas[name])
    schema |= {"title": own, "description": f"Changes of a {name}: null gives a key its default."}
    schema.pop("required", None)
    for key, value in schema.get("properties", {}).items():
        value.pop("default", None)
        for choice in (value, *value.get("anyOf", ())):
            inner = str(choice.get("$ref", "")).rpartition("/")[2]
            if "properties" in schemas.get(inner, {}):
                _patch(inner, schemas, f"{inner}Patch")
                choice["$ref"] = REF.format(model=f"{inner}Patch")
        about = {word: value.pop(word) for word in ("title", "description") if word in value}
        choices = value.get("anyOf", [value])
        nothing = [] if NULL in choices else [NULL]
        schema["properties"][key] = {**about, "anyOf": [*choices, *nothing]}


def _operation(operation: Operation, query: Schema) -> Schema:
    found: Schema = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [*_parameters(operation, query)],
        "responses": _responses(operation),
    }
    if operation.text:
        found["description"] = operation.text
    if operation.body is not None:
        schema = {"$ref": REF.format(model=operation.body.schema)}
        found["requestBody"] = {
            "required": True,
            "content": {each: {"schema": schema} for each in operation.body.media_types},
        }
    return found


def _parameters(operation: Operation, query: Schema) -> Iterable[Schema]:
    for name in re.findall(r"\{(\w+)\}", operation.path):
        yield {"name": name, "in": "path", "required": True, **PARAMETERS[name]}
    for name, schema in query.get("properties", {}).items():
        value = {key: each for key, each in schema.items() if key not in ("description", "title")}
        choices = [each for each in value.pop("anyOf", ()) if each != NULL]
        value |= choices[0] if choices else {}
        if value.get("default", 0) in (None, [], ()):
            del value["default"]
        found = {
            "name": name,
            "in": "query",
            "description": schema.get("description", ""),
            "schema": value,
        }
        if value.get("type") == "array":
            found["explode"] = False
        yield found
    for name in operation.headers:
        yield {"name": name, "in": "header", **HEADERS[name]}


def _responses(operation: Operation) -> dict[str, Schema]:
    found = {str(answer.status): _answer(answer) for answer in operation.answers}
    refusals: dict[int, list[str]] = {}
    for status, reason in (*COMMON, *operation.problems, *((TOO_LARGE,) * bool(operation.body))):
        refusals.setdefault(status, []).append(reason)
    for status, reasons in sorted(refusals.items()):
        text = "Refused: " + ", ".join(f"`{reason}`" for reason in reasons)
        content = {CONTENT_TYPE: {"schema": {"$ref": REF.format(model="Problem")}}}
        known = found.setdefault(str(status), {"description": text, "content": {}})
        known["content"] |= content
    return found


def _answer(answer: Answer) -> Schema:
    found: Schema = {"description": answer.text}
    if answer.body is not None and answer.media_type == JSON:
        found["content"] = {JSON: {"schema": {"$ref": REF.format(model=answer.body.__name__)}}}
    elif answer.status not in (101, 204):
        schema = {"type": "object" if answer.media_type == JSON else "string"}
        found["content"] = {answer.media_type: {"schema": schema}}
    if answer.headers:
        found["headers"] = {name: HEADERS[name] for name in answer.headers}
    if answer.status == 201:
        parameters = {"name": "$request.path.name"}
        found["links"] = {"get": {"operationId": "getStream", "parameters": parameters}}
    return found
