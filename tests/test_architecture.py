"""Imports point one way, every file has its place, and the package stays small."""

import ast

from tests import import_graph as graph

LAYERS = (
    ("errors", "types"),
    ("_checks", "_chains", "_closures", "_files"),
    ("target", "schedules"),
    ("kernels",),
    ("inference",),
    ("sharding",),
    ("adaptation", "diagnostics"),
    ("evidence",),
    ("learning",),
    ("densities", "networks", "datasets", "metrics"),
    ("plotting", "numpyro", "arviz"),
    ("models",),
    ("training",),
    ("study",),
    ("cli",),
    ("", "__main__"),
)
"""Parts of the package, lowest first: one imports from its own layer or from those before it."""

TASKS = ("latent", "data_ebm", "jem", "vae", "autoencoder")

UPWARD = {
    "tempered_ebm.evidence.from_draws -> tempered_ebm.numpyro": "given an MCMC of NumPyro alone",
    "tempered_ebm.evidence.report -> tempered_ebm.plotting": "report.plot() imports when called",
    "tempered_ebm.evidence.report -> tempered_ebm.arviz": "report.to_arviz() imports when called",
}
"""Imports against the layers that are allowed inside of a function, each with its reason."""

PRIVATE = {"tempered_ebm.evidence._reference_path": "its number of particles, for starts"}
"""Private modules and names that other parts may import, each with its reason."""

MAX_FILES, MAX_LINES = 164, 18_360

RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}


def test_every_file_has_a_place():
    misplaced = [module for module in graph.modules() if graph.unit(module) not in RANK]
    assert not misplaced, misplaced


def test_imports_are_absolute():
    relative = [
        f"{module}:{node.lineno}"
        for module, path in graph.modules().items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative, relative


def _is_allowed(edge):
    return edge.in_function and f"{edge.source} -> {edge.target}" in UPWARD


def test_no_import_points_to_a_higher_layer():
    upward = [
        str(edge)
        for edge in graph.imports()
        if RANK.get(graph.unit(edge.target), 0) > RANK.get(graph.unit(edge.source), 0)
        and not _is_allowed(edge)
    ]
    assert not upward, "\n".join(upward)


def test_no_files_import_each_other_in_a_circle():
    # A name taken from the package itself counts as an import of `__init__`, which imports all.
    found = graph.circles(
        {(edge.source, edge.target) for edge in graph.imports() if not _is_allowed(edge)}
    )
    assert not found, "\n".join(" <-> ".join(circle) for circle in found)


def test_circles_are_found_and_chains_are_not():
    chain = {("a", "b"), ("b", "c"), ("a", "c"), ("d", "a")}
    assert not graph.circles(chain)
    assert graph.circles(chain | {("c", "b"), ("c", "d")}) == [["a", "b", "c", "d"]]
    assert graph.circles(chain | {("c", "b")}) == [["b", "c"]]


def test_no_parts_import_each_other_in_a_circle():
    edges = {
        (graph.unit(edge.source), graph.unit(edge.target))
        for edge in graph.imports()
        if not _is_allowed(edge)
    }
    found = graph.circles({(source, target) for source, target in edges if source != target})
    assert not found, "\n".join(" <-> ".join(circle) for circle in found)


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def test_nothing_private_is_imported_by_another_part():
    """What begins with an underscore inside of a part belongs to that part alone."""
    offences = []
    for edge in graph.imports():
        inside = edge.target.split(".")[2:] + ([edge.name] if edge.name else [])
        path = ".".join([edge.target, edge.name] if edge.name else [edge.target])
        foreign = graph.unit(edge.source) != graph.unit(edge.target)
        allowed = any(path == key or path.startswith(f"{key}.") for key in PRIVATE)
        if foreign and any(map(_is_private, inside)) and not allowed:
            offences.append(str(edge))
    assert not offences, "\n".join(offences)


def test_exceptions_are_still_needed():
    imports = graph.imports()
    edges = {f"{edge.source} -> {edge.target}" for edge in imports}
    paths = [f"{edge.target}.{edge.name}" for edge in imports]
    assert set(UPWARD) <= edges
    assert all(any(f"{path}.".startswith(f"{key}.") for path in paths) for key in PRIVATE)


def test_every_task_of_training_has_three_files():
    folder = graph.SOURCE / graph.ROOT / "training"
    for task in TASKS:
        names = sorted(path.name for path in (folder / task).glob("*.py"))
        assert names == ["__init__.py", "config.py", "learner.py", "task.py"], task
    packages = {path.parent.name for path in folder.glob("*/__init__.py")}
    assert packages == set(TASKS)


def test_the_package_stays_small():
    files = graph.modules()
    assert len(files) <= MAX_FILES, f"{len(files)} files"
    lines = sum(map(graph.lines_of_code, files.values()))
    assert lines <= MAX_LINES, f"{lines} lines of code"
