"""Reading YAML as people mean it: YAML 1.2 core schema, no duplicate keys, a line for every key.

libyaml parses; the values are made here from its node tree. So `on`, `no` and `12:30:00` stay
text (YAML 1.2.2 section 10.3.2), a key given twice is refused, and `lines` knows where every key
stands. Tags that would build objects are refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from config.problems import Path, Problem, format_path

MAX_FILE_BYTES = 4 << 20
MAX_NODES = 100_000  # aliases counted each time: a few lines can otherwise become gigabytes
MAX_DEPTH = 50

_TAG = "tag:yaml.org,2002:"
_PLAIN = "plain"
_NULL = re.compile(r"|null|Null|NULL|~")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?(?:\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN"
)
_MAX_NUMBER = 32  # characters; longer digits are no number that anybody means

_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _NodeLoader(_Loader):  # type: ignore[valid-type, misc]  # libyaml's where it is built in
    """Composes nodes only. Plain scalars get a tag of ours: this module resolves them itself."""

    yaml_implicit_resolvers = {None: [(_PLAIN, re.compile(""))]}  # noqa: RUF012  PyYAML's own form


@dataclass(slots=True)
class Document:
    """What a YAML text says."""

    value: object = None
    lines: dict[Path, int] = field(default_factory=dict)  # path of a key or item -> line, from 1
    problems: list[Problem] = field(default_factory=list)


def parse_yaml(data: bytes, file: str = "") -> Document:
    """Read one YAML document; what is wrong with it stands in `problems`, all of it."""
    document = Document()
    if len(data) > MAX_FILE_BYTES:
        reason = f"expected at most {MAX_FILE_BYTES} bytes, found {len(data)}"
        document.problems.append(Problem("", reason, file))
        return document
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        document.problems.append(Problem("", "expected UTF-8 text", file, line))
        return document
    try:
        node = yaml.compose(text, Loader=_NodeLoader)
    except yaml.YAMLError as error:
        document.problems.append(_syntax_problem(error, file))
        return document
    except RecursionError:
        document.problems.append(Problem("", f"expected at most {MAX_DEPTH} levels", file, 1))
        return document
    if node is not None:
        _Builder(document, file).build_root(node)
    return document


def _syntax_problem(error: yaml.YAMLError, file: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or "not readable"
    return Problem("", f"not valid YAML: {what}", file, mark.line + 1 if mark else 0)


class _Refused(Exception):
    """The document cannot be read further (too large, or it contains itself)."""


class _Builder:
    """Turns nodes into values, noting lines and problems."""

    def __init__(self, document: Document, file: str) -> None:
        self._document = document
        self._file = file
        self._nodes = 0

    def build_root(self, node: yaml.Node) -> None:
        self._document.lines[()] = node.start_mark.line + 1
        try:
            self._document.value = self._build(node, ())
        except _Refused as error:
            self._problem((), str(error), node)

    def _build(self, node: yaml.Node, path: Path) -> object:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _Refused(f"expected at most {MAX_NODES} values, aliases included")
        if len(path) > MAX_DEPTH:
            raise _Refused(f"expected at most {MAX_DEPTH} levels")
        if isinstance(node, yaml.MappingNode):
            self._check_tag(node, path, "map")
            return self._build_mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            self._check_tag(node, path, "seq")
            return [self._build(item, path) for item, path in self._items(node, path)]
        return self._build_scalar(node, path)

    def _items(self, node: yaml.SequenceNode, path: Path) -> Iterator[tuple[yaml.Node, Path]]:
        for index, item in enumerate(node.value):
            step = (*path, index)
            self._document.lines[step] = item.start_mark.line + 1
            yield item, step

    def _build_mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        values: dict[str, object] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(path, "expected a key that is plain text", key_node)
                continue
            key = str(key_node.value)  # a stream may be named 1 or true: keys are text
            step = (*path, key)
            if key in values:
                first = self._document.lines[step]
                self._problem(step, f"this key was given already, on line {first}", key_node)
                continue
            self._document.lines[step] = key_node.start_mark.line + 1
            values[key] = self._build(value_node, step)
        return values

    def _build_scalar(self, node: yaml.Node, path: Path) -> object:
        text = str(node.value)
        if node.tag != _PLAIN:
            self._check_tag(node, path, "str")
            return text
        value, known = resolve(text)
        if not known:
            self._problem(path, "expected a number of fewer digits", node)
        return value

    def _check_tag(self, node: yaml.Node, path: Path, expected: str) -> None:
        if node.tag not in (_TAG + expected, "!"):
            self._problem(path, f"expected no tag, found {str(node.tag)[:60]!r}", node)

    def _problem(self, path: Path, reason: str, node: yaml.Node) -> None:
        line = node.start_mark.line + 1
        self._document.problems.append(Problem(format_path(path), reason, self._file, line))


def resolve(text: str) -> tuple[object, bool]:
    """A plain scalar under the core schema; (None, False) for a number that is too long."""
    if _NULL.fullmatch(text):
        return None, True
    if _BOOL.fullmatch(text):
        return text[0] in "tT", True
    is_int = _INT.fullmatch(text) is not None
    if not is_int and _FLOAT.fullmatch(text) is None:
        return text, True
    if len(text) > _MAX_NUMBER:
        return None, False
    if is_int:
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10)), True
    return float(re.sub(r"\.(inf|nan)", r"\1", text.lower())), True
