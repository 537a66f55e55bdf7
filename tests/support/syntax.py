"""The nodes of a syntax tree, quickly: a thousand files are looked through by several tests."""

import ast

_MARKS = (ast.expr_context, ast.operator, ast.boolop, ast.unaryop, ast.cmpop)
_NODES = frozenset(
    kind
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.AST) and not issubclass(kind, _MARKS)
)


def nodes_of(tree: ast.AST) -> list[ast.AST]:
    """As `ast.walk`, in its order, without what has no place: contexts, operators."""
    found = [tree]
    for node in found:  # it grows meanwhile
        for value in node.__dict__.values():
            if value.__class__ in _NODES:
                found.append(value)
            elif value.__class__ is list:
                found += [each for each in value if each.__class__ in _NODES]
    return found
