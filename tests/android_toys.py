"""A bundle of nothing but names, which is one to place_bundle, and the AARs of a toy runtime."""

from __future__ import annotations

import zipfile
from pathlib import Path

from aars import ABI, V66_LIBRARIES
from toolchain import Fetched, run, sources

from i2uv_edge.bundle import seal, write_json

FILES = (
    *("affinenet.tflite", "affinenet.onnx", "srnet.tflite", "atlas.npz", "encodings.json"),
    *("golden/dump.json", "golden/0000.input.bin", "golden/0000.vertices.bin"),
    *("golden/0000.srnet.bin", "eval/00001.jpg", "eval/00000.jpg", "eval/truth.npz"),
)
LIBRARIES = {
    "tensorflow-lite-2.16.1": ("libtensorflowlite_jni.so",),
    "tensorflow-lite-gpu-2.16.1": ("libtensorflowlite_gpu_jni.so",),
    "qnn-litert-delegate": ("libQnnTFLiteDelegate.so",),
    "qnn-runtime": V66_LIBRARIES,
}


def write_toy_bundle(folder: Path, *, passed: bool | None = True) -> Path:
    """Write a sound bundle whose files hold their own names."""
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    seal(folder, {"model": "toy", "networks": {"affinenet": {}, "srnet": {}}, "sources": {}})
    if passed is not None:
        write_json(folder / "report.json", {"passed": passed})
    return folder


def write_aars(folder: Path, tools: Fetched) -> Path:
    """Write AARs whose classes are the stubs' and whose libraries are empty."""
    folder.mkdir(parents=True)
    classes = folder / "classes"
    boot = ("-source", "8", "-target", "8", "-nowarn", "-bootclasspath", tools.android)
    run(["javac", *boot, "-d", classes, *sources("stubs")])
    for name, libraries in LIBRARIES.items():
        jar = folder / f"{name}.jar"
        with zipfile.ZipFile(jar, "w") as inner:
            for path in sorted(classes.rglob("*.class")):
                where = path.relative_to(classes).as_posix()
                if _home(where) == name:
                    inner.write(path, where)
        with zipfile.ZipFile(folder / f"{name}.aar", "w") as archive:
            archive.write(jar, "classes.jar")
            for library in libraries:
                archive.writestr(f"jni/{ABI}/{library}", b"\x7fELF")
                archive.writestr(f"jni/x86_64/{library}", b"\x7fELF")
        jar.unlink()
    return folder


def _home(where: str) -> str:
    if where.startswith("com/qualcomm"):
        return "qnn-litert-delegate"
    return f"tensorflow-lite{'-gpu' if '/gpu/' in where else ''}-2.16.1"
