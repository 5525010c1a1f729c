"""Imports flow one way, and nothing heavy is imported before it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import i2uv_edge

PACKAGE = Path(i2uv_edge.__file__).parent

# The rooms of the house, the lowest first; a room may use its own floor and those below.
FLOORS = (
    {"errors"},
    {"atomic", "effort", "pickles", "resources", "strict_toml"},
    {"spec", "target_spec"},
    {"findings", "hand", "plans", "scores"},
    {
        *("atlases", "bundle", "data", "networks", "parity", "report", "standpoints", "table"),
        "tally",
    },
    {
        *("chain", "convert", "device", "dumps", "onnx_runner", "quantizer", "requests"),
        *("runners", "training"),
    },
    {"emulation"},
    {"comparison"},
    {
        *("analysis", "assembly", "blockwise", "diagnosis", "evaluation", "oracle", "planning"),
        *("quantization", "reporting", "tracking"),
    },
    {"pipeline"},
    {"cli"},
    {"__init__", "__main__"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

HEAVY = ("cv2", "flatbuffers", "numba", "numpy", "onnx", "onnxruntime", "onnxsim", "scipy", "torch")


def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Return the files of all modules by their dotted name below the package."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = list(path.relative_to(package).with_suffix("").parts)
        if len(parts) > 1 and parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts)] = path
    return found


def imports(path: Path, name: str, known: set[str]) -> set[str]:
    """Return the modules of the package that a file imports, inside functions too."""
    prefix = "i2uv_edge."
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import in line {node.lineno}"
            # `from package import name` may mean a module or something inside it.
            targets = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            if f"{target}.".startswith(prefix):
                found.add(closest(target.removeprefix("i2uv_edge").strip("."), known))
    return found


def closest(dotted: str, known: set[str]) -> str:
    """Return the longest part of a dotted name that is a module; the package is `__init__`."""
    while dotted and dotted not in known:
        dotted = dotted.rpartition(".")[0]
    return dotted or "__init__"


def graph(package: Path = PACKAGE) -> dict[str, set[str]]:
    files = modules(package)
    return {name: imports(path, name, set(files)) - {name} for name, path in files.items()}


def upward(edges: dict[str, set[str]]) -> list[str]:
    return [
        f"{name} imports {target}"
        for name, targets in edges.items()
        for target in sorted(targets)
        if FLOOR[target.partition(".")[0]] > FLOOR[name.partition(".")[0]]
    ]


def test_every_room_has_its_floor() -> None:
    assert {name.partition(".")[0] for name in modules()} <= FLOOR.keys()


def test_no_room_imports_from_a_floor_above() -> None:
    assert upward(graph()) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    # The package's own file lists names for type checkers only.
    edges = {name: targets for name, targets in graph().items() if name != "__init__"}
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' -> '.join(error.args[1])}")


def test_the_proof_sees_upward_imports_in_functions_and_from_the_package(tmp_path: Path) -> None:
    (tmp_path / "hand").mkdir()
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "pipeline.py").write_text("from i2uv_edge.hand import atlas\n")
    (tmp_path / "hand" / "__init__.py").write_text("")
    (tmp_path / "hand" / "atlas.py").write_text(
        "def f():\n    from i2uv_edge import pipeline\n    import i2uv_edge.errors\n"
    )
    (tmp_path / "errors.py").write_text("from i2uv_edge import anything\n")
    assert upward(graph(tmp_path)) == ["errors imports __init__", "hand.atlas imports pipeline"]


@pytest.mark.parametrize("module", ["i2uv_edge", "i2uv_edge.cli", "i2uv_edge.spec"])
def test_importing_is_light(module: str) -> None:
    program = f"import sys, {module}; print(*(set({HEAVY!r}) & set(sys.modules)))"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == []


def test_what_is_loaded_by_each_floor_lies_below_it() -> None:
    """The same in running processes: what an import really brings in, not what the text says."""
    program = (
        "import importlib, sys\n"
        "importlib.import_module('i2uv_edge.' + sys.argv[1])\n"
        "print(*sorted(m for m in sys.modules if m.startswith('i2uv_edge.')))\n"
    )
    for room in ("errors", "resources", "requests", "spec", "bundle", "cli"):
        ended = subprocess.run(
            [sys.executable, "-c", program, room], capture_output=True, text=True, check=True
        )
        loaded = {name.split(".")[1] for name in ended.stdout.split()}
        assert room in loaded
        assert max(FLOOR[name] for name in loaded) == FLOOR[room], (room, loaded)


def test_the_public_names_are_there_and_no_others() -> None:
    assert "export" in dir(i2uv_edge)
    assert i2uv_edge.ExportRequest().model == "edge"
    with pytest.raises(AttributeError, match="no_such_verb"):
        i2uv_edge.no_such_verb  # noqa: B018
