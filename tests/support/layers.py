"""Who imports whom: the rooms of the house and their doors, checked on the syntax trees.

The table is docs/architecture.md's. `check` takes modules by name with their source text, so that a
broken sample is judged exactly as the project is.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.syntax import nodes_of

PACKAGES = ("flux", "protocols", "media", "config")
SHELL_FILES = frozenset({"endpoint", "server", "client", "worker"})  # may do input and output
NET_FILES = frozenset({"endpoint", "server", "client"})  # may use flux.net below the core

# Modules that read a clock, open a descriptor or start something.
IMPURE = frozenset(
    {"asyncio", "socket", "ssl", "subprocess", "time", "threading", "select", "selectors", "uvloop"}
)
RANDOM = frozenset({"random", "secrets", "uuid"})  # a machine is handed its randomness
SHARED_FLOORS = frozenset({"rtp", "mpegts", "flv", "http"})  # of the bridges
PURE_ROOMS = frozenset({"protocols", "media", "config", "flux.base"})

FLOOR = frozenset({"flux", "flux.base"})  # `flux` itself holds the version alone
CORE = FLOOR | {"flux.net", "config", "media"}
WATCH = CORE | {"flux.core"}
SHARED_BRIDGES = WATCH | {"flux.security", "flux.telemetry", "protocols"}
BRIDGE = SHARED_BRIDGES | {f"flux.bridges.{floor}" for floor in SHARED_FLOORS}
SURFACES = BRIDGE | {"flux.bridges.*", "flux.workers"}
DOORS: dict[str, frozenset[str]] = {
    "flux": frozenset(),
    "flux.base": frozenset(),
    "flux.net": FLOOR,
    "config": FLOOR,
    "media": FLOOR,
    "protocols": FLOOR,
    "flux.core": CORE,
    "flux.security": WATCH,
    "flux.telemetry": WATCH,
    "flux.bridges": frozenset(),
    "flux.bridges.rtp": SHARED_BRIDGES,
    "flux.bridges.mpegts": SHARED_BRIDGES,
    "flux.bridges.flv": SHARED_BRIDGES,
    "flux.bridges.http": SHARED_BRIDGES,
    "flux.bridges.*": BRIDGE,
    "flux.workers": FLOOR | {"config", "media"},
    "flux.api": SURFACES,
    "flux.console": SURFACES,
    "flux.cluster": SURFACES,
    "flux.app": frozenset({"*"}),
    "flux.cli": frozenset({"*"}),
    "flux.__main__": frozenset({"*"}),
}
OPENERS = {  # calls that open a socket or a listener; the last word, and what may stand before it
    "socket": ("socket",),
    "create_connection": ("socket", "loop"),
    "create_server": ("socket", "loop"),
    "create_datagram_endpoint": ("loop",),
    "create_unix_server": ("loop",),
    "create_unix_connection": ("loop",),
    "open_connection": ("asyncio",),
    "start_server": ("asyncio",),
    "open_unix_connection": ("asyncio",),
    "start_unix_server": ("asyncio",),
    "TCPSite": ("web", ""),
    "UnixSite": ("web", ""),
    "run_app": ("web", ""),
}
ADOPTING = frozenset({"sock", "fileno"})  # arguments that hand over a socket made in flux.net


@dataclass(frozen=True, slots=True)
class Import:
    """One import statement's target."""

    target: str  # module name in full
    line: int


def modules_of(root: Path) -> dict[str, str]:
    """The source text of every module of the project by its name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = list(path.relative_to(root).with_suffix("").parts)
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name + (".__init__" if parts[-1] == "__init__" else "")] = path.read_text()
    return found


def check(modules: Mapping[str, str]) -> list[str]:
    """Everything that breaks a rule, one line each. Packages are named `x.y.__init__`."""
    known = {name.removesuffix(".__init__") for name in modules}
    problems: list[str] = []
    for name, source in sorted(modules.items()):
        tree = ast.parse(source)
        importer = name.removesuffix(".__init__")
        for imported in imports_of(tree, name, known):
            reason = judge(importer, imported.target)
            if reason:
                problems.append(f"{importer}:{imported.line}: {reason}")
        problems += [
            f"{importer}:{line}: opens a socket with {call}(); flux.net does that"
            for line, call in opened_sockets(tree)
            if room_of(importer) != "flux.net"
        ]
    return problems


def judge(importer: str, target: str) -> str:
    """Why `importer` may not import `target`; empty if it may."""
    room, other = room_of(importer), room_of(target)
    top = target.partition(".")[0]
    if room not in DOORS:
        return f"{room} is no room of the house"
    if other is None:
        return judge_outside(importer, room, top)
    if other not in DOORS:
        return f"{other} is no room of the house"
    if room == other and not is_other_bridge(importer, target):
        return ""
    doors = DOORS[room]
    if is_other_bridge(importer, target):
        return f"one bridge imports another: {target}"
    if "*" in doors or other in doors:
        return ""
    if other == "flux.net" and may_use_net(importer):
        return ""
    return f"{room} may not import {other} ({target})"


def judge_outside(importer: str, room: str | None, top: str) -> str:
    """The rules for modules that are not the project's."""
    if room == "flux.base" and top not in sys.stdlib_module_names:
        return f"flux.base needs {top}, which is not in the standard library"
    if room not in PURE_ROOMS or is_shell(importer):
        return ""
    if top in IMPURE:
        return f"{top} is for endpoint.py, server.py, client.py, worker.py and config/sources"
    if top in RANDOM and room in ("protocols", "media"):
        return f"{top}: randomness is handed in from outside"
    return ""


def room_of(module: str) -> str | None:
    """The room a module lies in; None if it is not the project's."""
    parts = module.split(".")
    if parts[0] not in PACKAGES:
        return None
    if parts[0] != "flux" or len(parts) == 1:
        return parts[0]
    if parts[1] == "bridges" and len(parts) > 2:
        return f"flux.bridges.{parts[2] if parts[2] in SHARED_FLOORS else '*'}"
    return f"flux.{parts[1]}"


def is_other_bridge(importer: str, target: str) -> bool:
    """Whether both are bridges of single protocols, and not the same one."""
    if room_of(importer) != "flux.bridges.*" or room_of(target) != "flux.bridges.*":
        return False
    return importer.split(".")[2] != target.split(".")[2]


def is_shell(module: str) -> bool:
    """Whether a module below the core may do input and output."""
    return module.rpartition(".")[2] in SHELL_FILES or module.startswith("config.sources")


def may_use_net(module: str) -> bool:
    """Whether a module below the core may use flux.net."""
    if room_of(module) not in ("protocols", "media", "config"):
        return False
    return module.rpartition(".")[2] in NET_FILES or module.startswith("config.sources")


def imports_of(tree: ast.AST, module: str, known: set[str]) -> Iterator[Import]:
    """Every import in a module, also those inside functions and under TYPE_CHECKING."""
    for node in nodes_of(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")[: -node.level]
                base = ".".join([*parents, base] if base else parents)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield Import(inner if inner in known else base, node.lineno)
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant):
                    yield Import(str(argument.value), node.lineno)


def opened_sockets(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Calls that open a socket or a listener."""
    for node in nodes_of(tree):
        if not isinstance(node, ast.Call) or called(node) not in OPENERS:
            continue
        owner = owner_of(node).lower()
        allowed = OPENERS[called(node)]
        if not any(owner.endswith(word) if word else not owner for word in allowed):
            continue
        if not any(keyword.arg in ADOPTING for keyword in node.keywords):
            yield node.lineno, ".".join(filter(None, (owner, called(node))))


def called(node: ast.Call) -> str:
    """The last word of what is called."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def owner_of(node: ast.Call) -> str:
    """The word before the last one of what is called; `f()` counts as `f`."""
    if not isinstance(node.func, ast.Attribute):
        return ""
    value: ast.expr = node.func.value
    if isinstance(value, ast.Call):
        value = value.func
    if isinstance(value, ast.Attribute):
        return value.attr
    return value.id if isinstance(value, ast.Name) else ""
