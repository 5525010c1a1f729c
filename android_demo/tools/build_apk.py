"""Builds the app: `python build_apk.py [--aars FOLDER] [-o OUT.apk]`.

With Debian's packages alone, see `toolchain.py`. Without the AARs of the runtime the app is
compiled against signatures and has none: it says so on its screen, and its file's name does. The
key it is signed with is made once and is good for trying out.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import aars
from place_bundle import ASSETS, PLACED
from toolchain import DEMO, FRAMEWORK, Fetched, ended, fetched, require, run, sources

from i2uv_edge.bundle import MANIFEST
from i2uv_edge.device.debian_files import cache_folder
from i2uv_edge.errors import ConversionError, InputError

__all__ = ["LEAST_API", "OUTPUT", "PACKAGE", "build", "compile_app"]

PACKAGE = "i2uv.edge.demo"
LEAST_API, TARGET_API = 26, 33
OUTPUT = DEMO.parent / "build" / "android"
MAIN = DEMO / "app" / "src" / "main"
CODE = ("core/src/main", "engine/src/main", "app/src/main")
JAVA = ("-nowarn", "-source", "8", "-target", "8", "-encoding", "UTF-8")
PASSWORD = "android"  # of a key that protects nothing


def build(
    libraries: Path | None = None,
    output: Path | None = None,
    *,
    key: Path | None = None,
    assets: Path = ASSETS,
) -> Path:
    """Build and sign the app around the bundle that was placed.

    Parameters
    ----------
    libraries
        A folder of AARs; without it the app has no runtime.
    output
        The APK; by default in `build/android`, named by whether it has a runtime.
    key
        A keystore; made where there is none.
    assets
        Where the bundle was placed.

    Raises
    ------
    MissingDependencyError
        A tool is not there.
    InputError
        No bundle was placed, or the AARs are not enough.
    ConversionError
        A tool failed.
    """
    require()
    if not (assets / PLACED / MANIFEST).is_file():
        raise InputError(
            f"no bundle lies in {assets / PLACED}",
            remedy=f"python {DEMO.name}/tools/place_bundle.py BUNDLE",
        )
    tools = fetched()
    with tempfile.TemporaryDirectory(prefix="apk-") as scratch:
        work = Path(scratch)
        found = None
        if libraries is not None:
            (work / "aars").mkdir()
            found = aars.unpack(libraries, work / "aars")
        label = "i2uv-edge" if found else "i2uv-edge (no runtime)"
        base = _resources(work, assets, label)
        _code(work, tools, found)
        _add(base, work, found)
        output = output or OUTPUT / ("hand.apk" if found else "hand-no-runtime.apk")
        output.parent.mkdir(parents=True, exist_ok=True)
        aligned, signed = work / "aligned.apk", work / "signed.apk"
        run(["zipalign", "-f", "-p", "4", base, aligned])
        run(
            [
                *("apksigner", "sign", "--ks", _keystore(key), "--ks-pass", f"pass:{PASSWORD}"),
                *("--min-sdk-version", str(LEAST_API), "--out", signed, aligned),
            ]
        )
        partial = output.with_name(f".{output.name}.partial")
        shutil.copyfile(signed, partial)
        partial.replace(output)
    return output


def compile_app(work: Path, tools: Fetched, generated: Path, jars: Sequence[Path]) -> Path:
    """Compile core, engine and app; returns the folder of the classes.

    `jars` are the runtime's own classes; what of them is missing is compiled against the stubs.
    """
    stubs, classes = work / "stubs", work / "classes"
    stubs.mkdir()
    classes.mkdir()
    boot = ("-bootclasspath", tools.android)
    run(["javac", *JAVA, *boot, "-d", stubs, *sources("stubs")])
    path = ":".join(str(item) for item in [*jars, stubs])
    code = [*sources(*CODE), *sorted(generated.rglob("*.java"))]
    run(["javac", *JAVA, *boot, "-classpath", path, "-d", classes, *code])
    return classes


def _resources(work: Path, assets: Path, label: str) -> Path:
    """The APK with everything but code and libraries; R.java lies in `generated`."""
    text = (MAIN / "AndroidManifest.xml").read_text(encoding="utf-8")
    # Gradle takes both from its own files and refuses a package in the manifest.
    text = text.replace("<manifest ", f'<manifest package="{PACKAGE}" ', 1)
    manifest = work / "AndroidManifest.xml"
    manifest.write_text(text.replace("${appLabel}", label), encoding="utf-8")
    base, packed = work / "base.apk", work / "resources.zip"
    (work / "generated").mkdir()
    run(["aapt2", "compile", "--dir", MAIN / "res", "-o", packed])
    run(
        [
            *("aapt2", "link", "--warn-manifest-validation", "-I", FRAMEWORK),
            *(
                "--manifest",
                manifest,
                "-A",
                MAIN / "assets",
                "-A",
                assets,
                "--java",
                work / "generated",
            ),
            # With the dot: without it the models are compressed all the same.
            *("-0", ".tflite", "--min-sdk-version", str(LEAST_API)),
            *("--target-sdk-version", str(TARGET_API), "--version-code", "1"),
            *("--version-name", version("i2uv-edge"), "--debug-mode", "-o", base, packed),
        ]
    )
    return base


def _code(work: Path, tools: Fetched, found: aars.Aars | None) -> None:
    jars = found.jars if found else ()
    classes = compile_app(work, tools, work / "generated", jars)
    dx: list[str | Path] = [
        "java",
        "-Xmx1g",
        "-cp",
        tools.dx,
        "com.android.dx.command.Main",
        "--dex",
    ]
    command = [*dx, f"--min-sdk-version={LEAST_API}", f"--output={work / 'classes.dex'}"]
    try:
        run([*command, classes, *jars])
    except ConversionError as error:
        if not jars:
            raise
        raise ConversionError(
            f"dx cannot take classes of the AARs: {error.what}",
            expected="class files of Java 8, as TensorFlow Lite 2.16.1 has them",
            remedy="build with Gradle, see the app's README",
        ) from error


def _add(base: Path, work: Path, found: aars.Aars | None) -> None:
    with zipfile.ZipFile(base, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.write(work / "classes.dex", "classes.dex")
        for library in found.libraries if found else ():
            archive.write(library, f"lib/{aars.ABI}/{library.name}")


def _keystore(key: Path | None) -> Path:
    """One key for all builds of a user: another one could not replace an installed app."""
    path = key or cache_folder("android") / "debug.keystore"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        words = ("-storepass", PASSWORD, "-keypass", PASSWORD, "-alias", "debug")
        kind = ("-keyalg", "RSA", "-keysize", "2048", "-validity", "10000", "-dname", "CN=Debug")
        run(["keytool", "-genkeypair", "-keystore", path, *words, *kind])
    return path


def main(arguments: Sequence[str]) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Build the app.")
    parser.add_argument("--aars", type=Path, metavar="FOLDER", help="the runtime's AARs")
    parser.add_argument("-o", "--output", type=Path, metavar="APK")
    options = parser.parse_args(arguments)

    def work() -> None:
        built = build(options.aars, options.output)
        print(f"apk     {built}, {built.stat().st_size / 1e6:.1f} MB")
        if options.aars is None:
            print("        without a runtime, as it says on its screen; --aars FOLDER packages one")

    return ended("build_apk", work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
