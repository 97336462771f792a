"""Who imports whom: read from the source, nothing is run."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Edge:
    """One import: `target` is a module of the package by its full name, else the top name of a foreign one."""

    source: str
    target: str
    line: int
    when: str  # "load", "call" (inside a function) or "types" (under TYPE_CHECKING)

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target} ({self.when})"


def modules(package: Path) -> dict[str, Path]:
    """{full name of a module: its file} of a package; a package's own name stands for its __init__.py."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _marked(tree: ast.AST, when: str = "load") -> Iterator[tuple[ast.AST, str]]:
    """Every node below `tree`, and when it runs."""
    for node in ast.iter_child_nodes(tree):
        inside = when
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inside = "call"
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            inside = "types"
        yield node, inside
        yield from _marked(node, inside)


def edges(package: Path) -> list[Edge]:
    """Every import of a package. `from a import b` is one of a.b where that is a module, else of a."""
    known, out = modules(package), []
    for source, path in known.items():
        here = source if path.name == "__init__.py" else source.rpartition(".")[0]
        for node, when in _marked(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                above = here.split(".")[: len(here.split(".")) + 1 - node.level] if node.level else []
                base = ".".join([*above, *([node.module] if node.module else [])])
                names = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names]
            else:
                continue
            for name in dict.fromkeys(names):
                own = name.partition(".")[0] == package.name
                assert not own or name in known, f"{path}:{node.lineno}: no module {name}"
                out.append(Edge(source, name if own else name.partition(".")[0], node.lineno, when))
    return out


def circles(found: list[Edge], package: str) -> list[set[str]]:
    """The groups of modules that import one another, directly or through others."""
    after: dict[str, set[str]] = {}
    for edge in found:
        if edge.target.partition(".")[0] == package:
            after.setdefault(edge.source, set()).add(edge.target)
    reached = {name: reach(after, name) for name in after}
    groups = [frozenset(b for b in reached[a] if a in reached.get(b, ())) for a in after]
    return [set(group) for group in dict.fromkeys(groups) if group]


def reach(after: dict[str, set[str]], start: str) -> set[str]:
    """The modules that can be reached from `start` by one import or more."""
    seen, todo = set(), [start]
    while todo:
        for name in after.get(todo.pop(), set()) - seen:
            seen.add(name)
            todo.append(name)
    return seen
