"""The import rule: modules depend only on modules below them, and inference needs no simulator."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import sfhflow

ROOT = Path(sfhflow.__file__).parent
MODULES = {
    ".".join(("sfhflow", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
}
# one home for each third-party library
HOMES = {
    "arviz": "sfhflow.interop",
    "nautilus": "sfhflow.exact",
    "scipy": "sfhflow.exact",
    "zuko": "sfhflow.flow",
    "matplotlib": "sfhflow.plots",
    "pydantic": "sfhflow.config",
    "typer": "sfhflow.cli",
    "pyarrow": "sfhflow.parquet",
    "bokeh": "sfhflow.html",
    "jinja2": "sfhflow.html",
    "flask": "sfhflow.app",
    "waitress": "sfhflow.app",
}


def _imports(path: Path) -> list[tuple[str, bool]]:
    """Modules imported by a file, and whether inside a function."""
    found = []
    tree = ast.parse(path.read_text())
    inner = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            # `from package import module` imports the module
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [(name if name in MODULES else node.module, id(node) in inner) for name in names]
        elif isinstance(node, ast.Import):
            found += [(alias.name, id(node) in inner) for alias in node.names]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "optional":
            # optional("module", extra=...) imports what an extra brings
            found += [(argument.value, True) for argument in node.args if isinstance(argument, ast.Constant)]
    return found


def _graph() -> dict[str, set[str]]:
    return {
        name: {target for target, _ in _imports(path) if target in MODULES and target != name}
        for name, path in MODULES.items()
    }


def test_the_import_graph_has_no_cycle():
    graph = _graph()
    # the top-level package only re-exports, so importing its version is not a dependency on all of it
    graph["sfhflow"] = set()
    assert len(list(TopologicalSorter(graph).static_order())) >= len(MODULES)


def test_no_module_imports_another_of_ours_inside_a_function():
    offenders = [(n, t) for n, p in MODULES.items() for t, inside in _imports(p) if inside and t in MODULES]
    assert offenders == []


@pytest.mark.parametrize("library", sorted(HOMES))
def test_each_third_party_library_has_one_home(library):
    users = {n for n, p in MODULES.items() if any(t.split(".")[0] == library for t, _ in _imports(p))}
    home = HOMES[library]
    assert users
    assert {n for n in users if n != home and not n.startswith(f"{home}.")} == set()


def _reachable(start: str) -> set[str]:
    graph, seen, todo = _graph(), set(), [start]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += graph[name]
    return seen


def test_a_model_is_loaded_and_used_without_library_simulator_or_training_code():
    below = _reachable("sfhflow.model")
    above = {"simulator", "galaxy", "prior", "train", "config", "readers", "plots", "report", "cli", "ssp"}
    assert {name for name in below if name.split(".")[1:2] and name.split(".")[1] in above} == set()


def test_simulating_and_training_need_no_astropy_matplotlib_or_pydantic():
    code = (
        "import sys\n"
        "absent = 'astropy', 'matplotlib', 'pydantic', 'pyarrow', 'scipy', 'typer'\n"
        "sys.modules.update(dict.fromkeys(absent))\n"
        "import sfhflow.train, sfhflow.ssp.store\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_every_public_name_is_there():
    assert all(hasattr(sfhflow, name) for name in sfhflow.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = sfhflow.no_such_name
