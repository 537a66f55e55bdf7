"""Everything that is wrong with a configuration, each with its path, file, line and expectation."""

import difflib
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from config.audio import OUTPUTS, WORD
from config.urls import show_value
from flux.base.errors import ConfigError

Path = tuple[str | int, ...]  # keys and list indices from the root

# What pydantic puts into paths for a key itself, and for one of several forms of a value.
_NO_KEYS = frozenset({"[key]", WORD, OUTPUTS})

_PLAIN = re.compile(r"[^\s.\"\[\]]+")
_KINDS = {
    "bool_type": "true or false",
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "model_type": "a section of keys",
    "dict_type": "a section of keys",
    "mapping_type": "a section of keys",
    "list_type": "a list",
    "tuple_type": "a list",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    path: str  # `streams.cam1.source`; empty for the file as a whole
    reason: str  # what was expected and what was found
    file: str = ""
    line: int = 0  # from 1; 0 if there is none

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        if self.path and place:
            return f"{self.path} ({place}): {self.reason}"
        return f"{self.path or place}: {self.reason}" if self.path or place else self.reason


class ConfigProblems(ConfigError):
    """A configuration is refused; `problems` are all reasons, in the order of their lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__("", "\n".join(map(str, self.problems)))


def format_path(path: Sequence[str | int]) -> str:
    """The path as people read it; a key that holds a dot or a space is quoted."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            key = step if _PLAIN.fullmatch(step) else json.dumps(step, ensure_ascii=False)
            text += f".{key}" if text else key
    return text


SECRETS = frozenset({"secret", "password"})  # keys whose values are never shown


def problems_of(
    error: ValidationError, model: type[BaseModel], lines: Mapping[Path, int], file: str
) -> list[Problem]:
    """The problems of pydantic's report, in our words and with lines."""
    found = []
    for detail in error.errors(include_url=False):
        path = path_of(detail)
        found.append(
            Problem(format_path(path), _reason(detail, path, model), file, _line(path, lines))
        )
    return found


def path_of(detail: ErrorDetails) -> Path:
    """The keys and indices that lead to what is wrong."""
    return tuple(step for step in detail["loc"] if step not in _NO_KEYS)


def _line(path: Path, lines: Mapping[Path, int]) -> int:
    """The line of the key, or of the nearest section above it (a missing key has none)."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return lines.get((), 0)


def _reason(detail: ErrorDetails, path: Path, model: type[BaseModel]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    is_secret = bool(path) and str(path[-1]) in SECRETS
    found = "" if is_secret else f", found {describe(detail['input'])}"
    if kind == "extra_forbidden":
        return _unknown_key(path, model)
    if kind == "missing":
        return "this key is required"
    if detail["loc"][-1:] == ("[key]",):
        return str(context.get("error", detail["msg"]))
    if kind == "value_error":
        if isinstance(detail["input"], Mapping):  # a rule over the keys of one section
            return str(context["error"])
        return f"{context['error']}{found}"
    if kind == "literal_error":
        return f"expected {context['expected']}{found}"
    if kind == "greater_than_equal":
        return f"expected at least {context['ge']}{found}"
    if kind == "less_than_equal":
        return f"expected at most {context['le']}{found}"
    return f"expected {_KINDS.get(kind, detail['msg'])}{found}"


def describe(value: object) -> str:
    """What was found, in the words of YAML."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, list | tuple):
        return "a list"
    return show_value(value)


def _unknown_key(path: Path, model: type[BaseModel]) -> str:
    known = keys_at(path[:-1], model)
    near = difflib.get_close_matches(str(path[-1]).lower().replace("-", "_"), known, n=1)
    if near:
        return f"unknown key, did you mean {near[0]!r}?"
    return f"unknown key, expected one of {', '.join(known)}" if known else "unknown key"


def _section_of(annotation: object) -> object:
    """The section among the forms that a value may have; what it is, where there is none."""
    if typing.get_origin(annotation) in (typing.Annotated, typing.Union, types.UnionType):
        for form in map(_section_of, typing.get_args(annotation)):
            if isinstance(form, type) and issubclass(form, BaseModel):
                return form
    return annotation


def keys_at(path: Path, model: type[BaseModel]) -> list[str]:
    """The keys that the schema knows in the section at `path`; none if it is no section."""
    here: object = model
    for step in path:
        if isinstance(here, type) and issubclass(here, BaseModel):
            field = here.model_fields.get(str(step))
            here = _section_of(field.annotation) if field else None
        else:  # a mapping of names to sections
            arguments = typing.get_args(here)
            here = arguments[-1] if arguments else None
    return list(here.model_fields) if isinstance(here, type) and issubclass(here, BaseModel) else []
