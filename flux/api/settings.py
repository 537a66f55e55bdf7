"""A stream's settings as the API shows and takes them: what YAML has, with secrets hidden.

Secrets never leave. So that a client can send back what it read, a hidden value that is sent at
the place where it was shown stands for the secret that is there.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import JsonValue, ValidationError

from config.problems import path_of, problems_of
from config.quantities import FROM_FILE
from config.schema import StreamSection
from config.section import Section
from config.urls import HIDDEN
from flux.api.problem import ApiProblem, Fault, pointer_to
from flux.telemetry.redact import redact_value

MAX_BODY_BYTES = 64 << 10
BODY_TIMEOUT = 10.0  # seconds for a client to send a whole body
MERGE_PATCH = "application/merge-patch+json"
DEPTH = 32  # of nested values; settings have three or four


class StreamBody(Section):
    """Gives the settings a place in the messages of the configuration's reader."""

    stream: StreamSection


async def read_settings(request: web.Request) -> dict[str, Any]:
    """The JSON object that a request carries; raises `ApiProblem` if it does not carry one."""
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise too_large()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            data = await request.read()
    except TimeoutError:
        detail = f"The body did not come within {BODY_TIMEOUT:g} s."
        raise ApiProblem(408, "body-timeout", detail, {"Connection": "close"}) from None
    except (ClientPayloadError, HttpProcessingError, web.RequestPayloadError):
        raise ApiProblem(400, "body-malformed", "The body is cut or badly framed.") from None
    value = parse(data)
    if not isinstance(value, dict):
        fault = Fault("expected an object", pointer="")
        raise ApiProblem(422, "settings-invalid", "Settings are an object.", errors=[fault])
    return value


def too_large() -> ApiProblem:
    """What is said to a body over the limit."""
    detail = f"A body may have {MAX_BODY_BYTES} bytes."
    return ApiProblem(413, "body-too-large", detail)


def parse(data: bytes) -> object:
    """JSON as RFC 8259 has it and no more: UTF-8, no NaN, no key twice, no half characters."""
    try:
        value = json.loads(
            data.decode(), parse_constant=_refuse_constant, object_pairs_hook=_object
        )
        json.dumps(value, ensure_ascii=False).encode()  # lone surrogates end here
    except RecursionError:
        raise ApiProblem(400, "body-malformed", "The body is nested too deeply.") from None
    except UnicodeError:
        raise ApiProblem(400, "body-malformed", "The body is not UTF-8.") from None
    except ValueError as error:
        raise ApiProblem(400, "body-malformed", f"The body is no JSON: {error}.") from None
    if _is_deeper(value, DEPTH):
        raise ApiProblem(400, "body-malformed", "The body is nested too deeply.")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _is_deeper(value: object, depth: int) -> bool:
    if isinstance(value, dict):
        return depth == 0 or any(_is_deeper(each, depth - 1) for each in value.values())
    if isinstance(value, list):
        return depth == 0 or any(_is_deeper(each, depth - 1) for each in value)
    return False


def build(values: Mapping[str, Any], current: StreamSection | None) -> StreamSection:
    """The settings of a request; `current` are those of the stream, whose secrets may be kept."""
    if current is not None:
        values = _restore(values, show(current), current.model_dump())
    hidden = [pointer_to(path) for path in _hidden_in(values)]
    if hidden:
        faults = [Fault("is hidden: give the value itself", pointer=each) for each in hidden]
        raise ApiProblem(422, "settings-invalid", "A value is not known.", errors=faults)
    try:
        return StreamBody.model_validate({"stream": values}, context=FROM_FILE).stream
    except ValidationError as error:
        problems = problems_of(error, StreamBody, {}, "")
        paths = [path_of(each)[1:] for each in error.errors(include_url=False)]
    faults = [
        Fault(problem.reason, pointer=pointer_to(path))
        for problem, path in zip(problems, paths, strict=True)
    ]
    raise ApiProblem(422, "settings-invalid", "The settings are not valid.", errors=faults)


def patch(current: StreamSection, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with a merge patch applied, RFC 7396; null gives a key its default."""
    declared = current.model_dump(exclude_unset=True)
    merged: dict[str, Any] = _merge(
        declared, _restore(changes, show(current), current.model_dump())
    )
    return merged


def show(section: StreamSection) -> dict[str, JsonValue]:
    """The settings as anybody may see them, defaults included."""
    shown = redact_value(section.model_dump(mode="json"))
    if not isinstance(shown, dict):
        raise TypeError("settings are no section")
    return shown


def _merge(target: Any, changes: Any) -> Any:
    if not isinstance(changes, Mapping):
        return changes
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged


def _restore(given: Any, shown: Any, real: Any) -> Any:
    """What was given, with secrets where it has what was shown for them."""
    if isinstance(given, str):
        return real if HIDDEN in given and given == shown else given
    if isinstance(given, Mapping) and isinstance(shown, Mapping) and isinstance(real, Mapping):
        return {key: _restore(value, shown.get(key), real.get(key)) for key, value in given.items()}
    if isinstance(given, list) and isinstance(shown, list) and isinstance(real, list | tuple):
        kept = [_restore(*each) for each in zip(given, shown, real, strict=False)]
        return kept + given[len(kept) :]
    return given


def _hidden_in(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where a hidden value stands that nothing is known of."""
    if isinstance(value, str):
        return [path] if HIDDEN in value else []
    if isinstance(value, Mapping):
        return [found for key, each in value.items() for found in _hidden_in(each, (*path, key))]
    if isinstance(value, list | tuple):
        return [found for i, each in enumerate(value) for found in _hidden_in(each, (*path, i))]
    return []
