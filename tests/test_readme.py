"""Every command that README.md shows is run, on small stand-ins for what is the user's.

What takes minutes as written is told to take less (`LESS`). What another test or CI itself runs is
listed with where (`ELSEWHERE`).
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dataset_toys import hand, write_freihand, write_ho3d, write_mano, write_video
from model_toys import Toy, run

from i2uv_edge import resources

ROOT = Path(__file__).parents[1]
PHOTOGRAPHS = ROOT / "benchmarks" / "photographs.py"
PROGRAMS = ("i2uv-edge", "make", "pip", "python", "qai-hub", "torchrun")

FEW = "--set steps=2 --set batch=2 --set evaluation_samples=2"
LESS = {
    "i2uv-edge train affinenet-edge": FEW,
    "i2uv-edge quantize edge --checkpoint WEIGHTS.safetensors": FEW,
}
ELSEWHERE = {
    "make android-packages": (".ci/run", "make android-packages"),
    "make apk": (".ci/run", "make apk"),
    "make android-test": (".ci/run", "make android-test"),
    "make export": (".ci/run", "make export"),
    "make test": (".ci/run", "make test"),
    "i2uv-edge export paper --checkpoint A.pth --checkpoint S.pth": (
        "tests/test_paper_model.py",
        '"export", "paper"',
    ),
    "i2uv-edge run build/sd865 camera:0": (
        "tests/test_tracking_sources.py",
        "test_a_camera_s_pictures_come_with_the_time",
    ),
    "torchrun --nproc-per-node 8 -m i2uv_edge evaluate ...": (
        "tests/test_own_meshes.py",
        "test_processes_of_torchrun_say_together_what_one_says",
    ),
}
# What a target runs once `.venv` is there.
MAKES = {"make photographs PHOTOGRAPHS=MY_PICTURES": f"python {PHOTOGRAPHS} MY_PICTURES"}


def commands(text: str) -> list[str]:
    """What the fenced blocks show; two spaces or more set apart what is said of a command."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [re.split(r"\s{2,}", line)[0] for block in blocks for line in block.splitlines()]
    return [line for line in dict.fromkeys(lines) if line.split(" ")[0] in PROGRAMS]


COMMANDS = commands((ROOT / "README.md").read_text(encoding="utf-8"))


def test_commands_are_told_from_what_is_said_of_them() -> None:
    text = "```\nmake it    so\n  indented\nno command\n```\nmake prose\n```sh\npython -m a\n```\n"
    assert commands(text) == ["make it", "python -m a"]
    assert len(COMMANDS) > 15


def test_nothing_is_listed_that_the_readme_does_not_show() -> None:
    assert {*LESS, *ELSEWHERE, *MAKES} <= set(COMMANDS)


@pytest.mark.parametrize(("file", "text"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_is_run_elsewhere_is_there(file: str, text: str) -> None:
    assert text in (ROOT / file).read_text(encoding="utf-8")


def test_targets_run_what_is_run_here() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in MAKES.values():
        assert Path(command.split(" ")[1]).relative_to(ROOT).as_posix() in makefile


@pytest.fixture(scope="module")
def desk(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with what the README takes to be there, the bundled model's bundle first."""
    from conftest import move_in

    folder = tmp_path_factory.mktemp("desk")
    shutil.copytree(toy.data / "pictures", folder / "MY_PICTURES")
    shutil.copy(folder / "MY_PICTURES" / "00000.jpg", folder / "hand.jpg")
    write_video(folder / "clip.mp4")
    weights = resources.checkpoints() / "affinenet-edge.safetensors"
    shutil.copy(weights, folder / "WEIGHTS.safetensors")
    write_freihand(folder / "FREIHAND", hands=hand)
    write_ho3d(folder / "HO3D")
    write_mano(folder / "MANO_RIGHT.pkl")
    with pytest.MonkeyPatch.context() as patch:
        move_in(toy, patch)
        patch.chdir(folder)
        assert run("export").code in (0, 3)  # gates are for the whole set of pictures
    (folder / "BUNDLE").symlink_to(folder / "build" / "sd865")
    return folder


@pytest.mark.slow
@pytest.mark.bundled
@pytest.mark.usefixtures("toy_world")
@pytest.mark.parametrize("command", [line for line in COMMANDS if line not in ELSEWHERE])
def test_a_command_does_what_it_says(
    command: str, desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in desk.iterdir():  # what a command leaves behind must not be in another's way
        if path.name != "build":
            (tmp_path / path.name).symlink_to(path)
    shutil.copytree(desk / "build", tmp_path / "build")
    monkeypatch.chdir(tmp_path)
    command = MAKES.get(command, command)
    program, *arguments = shlex.split(f"{command} {LESS.get(command, '')}")
    if program == "python":
        subprocess.run([sys.executable, *arguments], check=True, timeout=120)
        return
    assert program == "i2uv-edge"
    if arguments[0] == "export" and "-o" not in arguments:
        arguments.append("--force")  # of which the README speaks with the first command
    ended = run(*arguments)
    judged = {"export", "validate"}  # by gates that are for the whole set of pictures
    assert ended.code in ((0, 3) if arguments[0] in judged else (0,)), ended.err
