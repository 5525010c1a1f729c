"""The app's code on a desktop's JVM: compiled, tested, run.

`python host.py test BUNDLE` runs the JUnit tests on vectors of that bundle;
`python host.py test BUNDLE --dex APK` the same tests on the code that an APK ships;
`python host.py dump BUNDLE OUT [--samples N]` writes the dump that the app would write, the
networks run by this desktop's LiteRT;
`python host.py preview BUNDLE OUT.png` draws what its screen should show.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import golden_vectors
from toolchain import JUNIT, ended, require, run, sources

from i2uv_edge.errors import ConversionError

__all__ = ["Code", "compiled", "dump", "junit", "preview"]

SERVER = Path(__file__).with_name("tflite_server.py")
SHIPPED = ("core/src/main", "engine/src/main")
TESTS = ("core/src/test", "engine/src/test")
SAMPLES = 24


@dataclass(frozen=True)
class Code:
    """Folders of classes: what ships, what stands around it on a desktop, its tests."""

    shipped: Path
    host: Path
    tests: Path


@contextmanager
def compiled() -> Iterator[Code]:
    """Compile everything but the app layer, which needs a phone; warnings are errors.

    Raises
    ------
    MissingDependencyError
        A tool is not there.
    ConversionError
        The code does not compile.
    """
    require(to_test=True)
    with tempfile.TemporaryDirectory(prefix="host-") as scratch:
        work = Path(scratch)
        names = ("stubs", "shipped", "host", "tests")
        stubs, shipped, host, tests = (work / name for name in names)
        for folder in (stubs, shipped, host, tests):
            folder.mkdir()
        strict = ("-Werror", "-Xlint:all,-options,-serial,-path")
        old = ("javac", "-encoding", "UTF-8", "--release", "8")
        new = ("javac", "-encoding", "UTF-8", "--release", "17")
        run([*old, "-nowarn", "-Xlint:-options", "-d", stubs, *sources("stubs")])
        run([*old, *strict, "-cp", stubs, "-d", shipped, *sources(*SHIPPED)])
        run([*new, *strict, "-cp", shipped, "-d", host, *sources("host/src/main")])
        path = _path(shipped, host, *JUNIT)
        run([*new, *strict, "-cp", path, "-d", tests, *sources(*TESTS)])
        yield Code(shipped, host, tests)


def junit(code: Code, bundle: Path, *, dex: Path | None = None) -> str:
    """Run the JUnit tests and return what they said.

    Parameters
    ----------
    bundle
        What they test with; vectors are written for it.
    dex
        An APK: tested is the code in it, made Java's again.

    Raises
    ------
    ConversionError
        A test failed; the message is JUnit's.
    """
    with tempfile.TemporaryDirectory(prefix="junit-") as scratch:
        vectors, jar = Path(scratch) / "vectors.npz", Path(scratch) / "app.jar"
        golden_vectors.write(bundle, vectors)
        if dex is not None:
            _enjarify(dex, jar)
        names = [
            ".".join(path.relative_to(code.tests).with_suffix("").parts)
            for path in sorted(code.tests.rglob("*Test.class"))
        ]
        return run(
            [
                *("java", "-Xmx1g", f"-Di2uv.bundle={bundle}", f"-Di2uv.vectors={vectors}", "-cp"),
                _path(code.tests, jar if dex else code.shipped, code.host, *JUNIT),
                *("org.junit.runner.JUnitCore", *names),
            ]
        )


def dump(code: Code, bundle: Path, output: Path, samples: int = SAMPLES) -> None:
    """Write a dump as the app does, with LiteRT in a process beside it.

    Of the first so many pictures, or of the golden samples where `samples` is 0.
    """
    _main(code, "DumpMain", bundle, output, samples)


def preview(code: Code, bundle: Path, output: Path, *, mirrored: bool = False) -> None:
    """Draw six pictures with their meshes, half of them as left hands, as PNG."""
    output.parent.mkdir(parents=True, exist_ok=True)
    _main(code, "PreviewMain", bundle, output, 360, 420, str(mirrored).lower())


def _main(code: Code, name: str, *arguments: object) -> None:
    path = _path(code.shipped, code.host)
    java = ["java", "-Djava.awt.headless=true", "-cp", path, f"i2uv.edge.host.{name}"]
    run([*java, *map(str, arguments), sys.executable, SERVER])


def _enjarify(dex: Path, jar: Path) -> None:
    # It runs with whatever `python3` is found first, which has to be the one it was installed for.
    environment = {**os.environ, "PATH": f"/usr/bin:/bin:{os.environ.get('PATH', '')}"}
    command = ["enjarify", str(dex), "-o", str(jar)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode or not jar.is_file() or " 0 classes had errors" not in ended.stdout:
        raise ConversionError(f"enjarify failed: {(ended.stdout + ended.stderr).strip()}")


def _path(*items: Path) -> str:
    return ":".join(str(item) for item in items)


def main(arguments: Sequence[str]) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="The app's code on this desktop.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (("test", ""), ("dump", "OUT"), ("preview", "OUT.png")):
        command = commands.add_parser(name)
        command.add_argument("bundle", type=Path)
        if what:
            command.add_argument("output", type=Path, metavar=what)
    commands.choices["test"].add_argument("--dex", type=Path, metavar="APK")
    commands.choices["dump"].add_argument("--samples", type=int, default=SAMPLES)
    options = parser.parse_args(arguments)

    def work() -> None:
        with compiled() as code:
            if options.command == "test":
                print(junit(code, options.bundle, dex=options.dex).strip())
            elif options.command == "dump":
                dump(code, options.bundle, options.output, options.samples)
            else:
                preview(code, options.bundle, options.output)

    return ended("host", work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
