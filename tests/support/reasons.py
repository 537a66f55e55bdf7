"""Finds in source text the words that documentation may name: string constants and reasons.

It parses, it does not import: what it says of the code does not depend on what the code does.
"""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from tests.support.syntax import nodes_of

SUBSCRIPTED = "drops"  # counters by reason: `drops["timeline-jump"] += 1`


def trees(files: Iterable[Path]) -> Iterator[ast.Module]:
    """The syntax tree of each file."""
    for file in files:
        yield ast.parse(file.read_text())


@cache
def _said(file: Path) -> tuple[frozenset[str], frozenset[str]]:
    """String constants and names of classes; to walk through all files takes a second."""
    texts: set[str] = set()
    names: set[str] = set()
    for tree in trees([file]):
        for node in nodes_of(tree):
            if isinstance(node, ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.add(node.value)
    return frozenset(texts), frozenset(names)


def constants(files: Iterable[Path]) -> set[str]:
    """Every string constant of the files, docstrings and f-string pieces included."""
    return {text for file in files for text in _said(file)[0]}


def classes(files: Iterable[Path]) -> set[str]:
    """The name of every class of the files."""
    return {name for file in files for name in _said(file)[1]}


def given(files: Iterable[Path], functions: Iterable[str]) -> dict[str, int]:
    """Reasons handed to these functions, each with the HTTP status beside it (0 if there is none).

    A reason is a constant with a hyphen and no space among the arguments, also as one side of an
    `or` or of an `if`; a key of `drops[...]` counts as well, if `drops` is one of the functions.
    """
    wanted = set(functions)
    found: dict[str, int] = {}
    for tree in trees(files):
        for node in nodes_of(tree):
            if isinstance(node, ast.Call) and _name(node.func) in wanted:
                values = [value for arg in node.args for value in _values(arg)]
            elif isinstance(node, ast.Subscript) and _name(node.value) == SUBSCRIPTED in wanted:
                values = [node.slice.value] if isinstance(node.slice, ast.Constant) else []
            else:
                continue
            status = next((v for v in values if isinstance(v, int) and 400 <= v < 600), 0)
            for value in values:
                if _is_reason(value):
                    found[str(value)] = status or found.get(str(value), 0)
    return found


def named(files: Iterable[Path]) -> set[str]:
    """Reasons that functions answer, or that are put into a variable `reason`."""
    found: set[object] = set()
    for tree in trees(files):
        for node in nodes_of(tree):
            if isinstance(node, ast.Return) and node.value is not None:
                found.update(_values(node.value))
            elif isinstance(node, ast.Assign):
                for target, value in _pairs(node):
                    if _name(target) == "reason":
                        found.update(_values(value))
    return {str(value) for value in found if _is_reason(value)}


def _pairs(node: ast.Assign) -> Iterator[tuple[ast.expr, ast.expr]]:
    """What is assigned to what."""
    for target in node.targets:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield from zip(target.elts, node.value.elts, strict=False)
        else:
            yield target, node.value


def _values(node: ast.expr) -> Iterator[object]:
    """The constants that an expression may be."""
    if isinstance(node, ast.Constant):
        yield node.value
    elif isinstance(node, ast.BoolOp):
        for each in node.values:
            yield from _values(each)
    elif isinstance(node, ast.IfExp):
        yield from _values(node.body)
        yield from _values(node.orelse)


def _is_reason(value: object) -> bool:
    return isinstance(value, str) and "-" in value and " " not in value


def _name(node: ast.expr) -> str:
    """The last name of `a.b.c`."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
