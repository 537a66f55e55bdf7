"""The sizes and names of the house style that no linter counts."""

import ast
from collections.abc import Iterator, Mapping

from tests.support.syntax import nodes_of

VAGUE_NAMES = frozenset({"utils", "util", "common", "helpers", "helper", "misc", "tools"})
MAX_MODULE_LINES = 450
MAX_TEST_LINES = 700
MAX_FUNCTION_LINES = 80
MAX_PUBLIC_METHODS = 20
MAX_ATTRIBUTES = 25
MAX_EXPORTS = 12

Function = ast.FunctionDef | ast.AsyncFunctionDef


def check(sources: Mapping[str, str]) -> list[str]:
    """Everything that is too large or badly named, by the path of the file."""
    problems: list[str] = []
    for path, source in sorted(sources.items()):
        tree = ast.parse(source)
        problems += [f"{path}{text}" for text in problems_of(path, source, tree)]
    return problems


def problems_of(path: str, source: str, tree: ast.Module) -> Iterator[str]:
    """What is wrong with one file, as the end of a line that begins with its path."""
    is_test = path.startswith("tests/")
    folders = path.removesuffix(".py").split("/")
    for word in folders:
        if word in VAGUE_NAMES:
            yield f": {word} says nothing about what it holds"
    lines = source.count("\n")
    limit = MAX_TEST_LINES if is_test else MAX_MODULE_LINES
    if lines > limit:
        yield f": {lines} lines, {limit} are the limit"
    if source.strip() and ast.get_docstring(tree) is None:
        yield ": no docstring"
    may_print = path.startswith(("benchmarks/", "tests/support/"))
    for node in nodes_of(tree):
        if isinstance(node, Function):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            if size > MAX_FUNCTION_LINES:
                yield f":{node.lineno}: {node.name} has {size} lines, {MAX_FUNCTION_LINES} may be"
        elif isinstance(node, ast.ClassDef) and not is_test:
            yield from (f":{node.lineno}: {text}" for text in class_problems(node))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not may_print:
            if node.func.id == "print":
                yield f":{node.lineno}: print"
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f":{node.lineno}: bare except"
    if folders[-1] == "__init__":
        yield from export_problems(tree)


def class_problems(node: ast.ClassDef) -> Iterator[str]:
    """A class that hides a second one."""
    methods = [item.name for item in node.body if isinstance(item, Function)]
    public = [name for name in methods if not name.startswith("_")]
    if len(public) > MAX_PUBLIC_METHODS:
        yield f"{node.name} has {len(public)} public methods, {MAX_PUBLIC_METHODS} may be"
    attributes = {
        target.attr
        for target in nodes_of(node)
        if isinstance(target, ast.Attribute)
        and isinstance(target.ctx, ast.Store)
        and isinstance(target.value, ast.Name)
        and target.value.id == "self"
    }
    if len(attributes) > MAX_ATTRIBUTES:
        yield f"{node.name} has {len(attributes)} attributes, {MAX_ATTRIBUTES} may be"


def export_problems(tree: ast.Module) -> Iterator[str]:
    """A package that shows too much at its door."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
        ):
            count = len(node.value.elts) if isinstance(node.value, ast.Tuple | ast.List) else 0
            if count > MAX_EXPORTS:
                yield f": {count} exports, {MAX_EXPORTS} may be"
