"""The package as it is described, installed, and built on a bare machine."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from i2uv_edge import resources

ROOT = Path(__file__).parents[1]
DATA = {
    "_calibration_data": "calibration_data",
    "_export": "export",
    "_quantization": "quantization",
}

# What the installed package must find: run far away from the repository.
PROBE = """
from i2uv_edge import resources, spec
assert spec.load_model("edge").networks
assert spec.load_recipe("w8a8").weights.bits == 8
assert spec.load_gates("w8a8")
assert (resources.calibration_data() / "__init__.py").is_file()
print(resources.export_data())
"""


def configuration() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def canonical(requirement: str) -> str:
    return re.split(r"[=<>~!;\[ ]", requirement)[0].lower().replace("_", "-")


def test_setup_cfg_lists_every_package() -> None:
    code = ROOT / "i2uv_edge"
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in code.rglob("__init__.py")
        if path.parent != code
    }
    listed = set(configuration()["options"]["packages"].split())
    assert listed == {"i2uv_edge", *found, *(f"i2uv_edge.{name}" for name in DATA)}


@pytest.mark.parametrize("folder", DATA.values())
def test_the_data_packages_hold_no_code(folder: str) -> None:
    (only,) = (ROOT / folder).rglob("*.py")
    assert only.name == "__init__.py"
    assert len(only.read_text().splitlines()) == 1


def test_every_requirement_is_pinned() -> None:
    parser = configuration()
    lists = [parser["options"]["install_requires"]]
    lists += parser["options.extras_require"].values()
    wanted = {canonical(line) for text in lists for line in text.split("\n") if line[:1].isalpha()}
    assert wanted
    assert wanted <= {canonical(name) for name in pins()}


def test_constraints_hold_plain_public_versions() -> None:
    assert all(re.fullmatch(r"[\w.]+", version) for version in pins().values())
    assert pins()["torch"] == "2.13.0"


def test_no_build_file_names_a_package_host() -> None:
    for name in ("Makefile", "setup.cfg", "pyproject.toml", "constraints.txt", ".ci/run"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"https?://|index-url|find-links|file:/|/home/|/root/", text), name


def make(*arguments: str) -> str:
    command = ["make", "--no-print-directory", "--dry-run", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "target",
    ["installed-run", "installed-dev", "installed-peers", "installed-charts", "installed-asset"],
)
def test_torch_is_named_in_the_command_that_installs_what_needs_it(target: str) -> None:
    lines = [line for line in make("-B", f".venv/{target}").splitlines() if " pip install" in line]
    assert len(lines) == 1
    assert "-c constraints.txt torch==2.13.0 -e" in lines[0]


def test_make_export_and_make_test_set_up_the_environment_first() -> None:
    assert make("-B", "export").splitlines()[0].endswith("-m venv .venv")
    assert make("-B", "test").splitlines()[0].endswith("-m venv .venv")
    assert "i2uv-edge export" in make("-B", "export").splitlines()[-1]


def test_the_tests_here_run_against_this_repository() -> None:
    assert resources.export_data() == ROOT / "export"
    assert resources.quantization_data() == ROOT / "quantization"
    assert resources.calibration_data() == ROOT / "calibration_data"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy of what is packaged: building leaves files in the folder it is done in."""
    folder = tmp_path_factory.mktemp("source")
    clutter = shutil.ignore_patterns("__pycache__")
    for name in ("i2uv_edge", *DATA.values()):
        shutil.copytree(ROOT / name, folder / name, ignore=clutter)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(source))
    (path,) = folder.glob("*.whl")
    return path


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def install(environment: Path, *what: str) -> Path:
    """Install into a new environment without dependencies and run the probe in it."""
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    pip("--python", str(python), "install", "--no-deps", *what)
    command = [str(python), "-I", "-c", PROBE]
    ended = subprocess.run(command, cwd=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return Path(ended.stdout.strip())


@pytest.mark.slow
def test_the_wheel_holds_the_data_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for package, folder in DATA.items():
        files = {p.relative_to(ROOT / folder).as_posix() for p in tracked(ROOT / folder)}
        assert {f"i2uv_edge/{package}/{name}" for name in files} <= names
    for folder in ("checkpoints", "hand/assets", "report/templates"):
        files = {p.name for p in tracked(ROOT / "i2uv_edge" / folder)}
        assert {f"i2uv_edge/{folder}/{name}" for name in files} <= names
    assert "i2uv_edge/py.typed" in names
    assert any(name.endswith("LICENSE") for name in names)
    assert not any("test" in name.split("/")[0] for name in names)


def tracked(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts]


@pytest.mark.slow
def test_an_installed_package_finds_its_data(wheel: Path, tmp_path: Path) -> None:
    found = install(tmp_path / "venv", str(wheel))
    assert found.is_relative_to(tmp_path)


@pytest.mark.slow
def test_an_editable_package_finds_the_data_where_it_is_edited(
    source: Path, tmp_path: Path
) -> None:
    assert install(tmp_path / "venv", "--editable", str(source)) == source / "export"
