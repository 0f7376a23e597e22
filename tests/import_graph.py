"""Read the imports of the package from its source: ``python -m tests.import_graph`` reports.

An import counts wherever it stands: at the top of a file, inside a function or for a type checker.
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).parents[1] / "src"
ROOT = "tempered_ebm"


class Import(NamedTuple):
    """One import of a module of the package by another.

    Attributes:
        source: the importing module, as in ``"tempered_ebm.kernels.mala"``.
        target: the imported module; the package's ``__init__`` if a name of it is imported.
        name: the imported name, or None where the module itself is imported.
        line: line number in the importing file.
        in_function: whether it is made when a function is called.
    """

    source: str
    target: str
    name: str | None
    line: int
    in_function: bool

    def __str__(self) -> str:
        name = f" ({self.name})" if self.name else ""
        return f"{self.source}:{self.line} imports {self.target}{name}"


def modules() -> dict[str, Path]:
    """Return the file of every module of the package, packages standing for their ``__init__``."""
    found = {}
    for path in sorted((SOURCE / ROOT).rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _of_statement(node: ast.AST, known: dict[str, Path]) -> list[tuple[str, str | None]]:
    """Return (module, name) of each import of the package in a statement."""
    if isinstance(node, ast.Import):
        targets = [(alias.name, None) for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        # Relative imports are refused by `test_imports_are_absolute`.
        base = node.module or ""
        targets = [
            (f"{base}.{alias.name}", None)
            if f"{base}.{alias.name}" in known
            else (base, alias.name)
            for alias in node.names
        ]
    else:
        targets = []
    return [(module, name) for module, name in targets if module.split(".")[0] == ROOT]


def imports() -> list[Import]:
    """Return every import of one module of the package by another."""
    known, found = modules(), []
    for source, path in known.items():
        tree = ast.parse(path.read_text())
        functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef))
        inner = {id(node) for function in functions for node in ast.walk(function)}
        found += [
            Import(source, target, name, node.lineno, id(node) in inner)
            for node in ast.walk(tree)
            for target, name in _of_statement(node, known)
            if target != source
        ]
    return found


def circles(edges: set[tuple[str, str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one node (Tarjan 1972)."""
    graph: dict[str, list[str]] = {}
    for source, target in sorted(edges):
        graph.setdefault(source, []).append(target)
        graph.setdefault(target, [])
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in graph[node]:
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def lines_of_code(path: Path) -> int:
    """Count the lines of a file that are neither blank nor part of a docstring."""
    text = path.read_text()
    docstrings = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines = enumerate(text.splitlines(), start=1)
    return sum(1 for number, line in lines if line.strip() and number not in docstrings)


def unit(module: str) -> str:
    """Return the top-level part that a module belongs to, as in ``"kernels"``; "" for the root."""
    return module.partition(".")[2].partition(".")[0]


def main() -> None:
    files: Counter = Counter()
    lines: Counter = Counter()
    needs: dict[str, set[str]] = {}
    for module, path in modules().items():
        files[unit(module)] += 1
        lines[unit(module)] += lines_of_code(path)
    for edge in imports():
        if unit(edge.source) != unit(edge.target):
            needs.setdefault(unit(edge.source), set()).add(unit(edge.target))
    print("| part | files | lines of code | imports |\n|---|---|---|---|")
    for name, count in lines.most_common():
        other = ", ".join(sorted(needs.get(name, ()) if name else ["all"]))
        print(f"| {name or '__init__'} | {files[name]} | {count:,} | {other} |")
    print(f"| total | {files.total()} | {lines.total():,} | |")


if __name__ == "__main__":
    main()
