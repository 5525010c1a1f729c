"""Android libraries (AARs): what is in a folder of them, and whether that is enough for the app."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from i2uv_edge.errors import DamagedError, InputError

__all__ = ["ABI", "V66_LIBRARIES", "Aars", "unpack"]

ABI = "arm64-v8a"

# What each delegate is, by a class of it; the runtime itself comes first and has to be there.
_PARTS = {
    "org/tensorflow/lite/Interpreter.class": "org.tensorflow:tensorflow-lite",
    "org/tensorflow/lite/Delegate.class": "org.tensorflow:tensorflow-lite-api",
    "org/tensorflow/lite/gpu/GpuDelegate.class": "org.tensorflow:tensorflow-lite-gpu",
    "org/tensorflow/lite/gpu/GpuDelegateFactory.class": "org.tensorflow:tensorflow-lite-gpu-api",
    "com/qualcomm/qti/QnnDelegate.class": "com.qualcomm.qti:qnn-litert-delegate",
}
_NEEDED = tuple(_PARTS)[:2]
V66_LIBRARIES = ("libQnnDsp.so", "libQnnDspV66Stub.so", "libQnnDspV66Skel.so")
"""What a Snapdragon 865's DSP needs beside Qualcomm's delegate."""


@dataclass(frozen=True)
class Aars:
    """Unpacked AARs.

    Attributes
    ----------
    jars : their classes
    libraries : their native libraries for the phone
    absent : Maven's names of what the app can use and is not there
    """

    jars: tuple[Path, ...]
    libraries: tuple[Path, ...]
    absent: tuple[str, ...]

    @property
    def has_dsp(self) -> bool:
        """Whether Qualcomm's delegate is there."""
        return not any("qnn" in name for name in self.absent)


def unpack(folder: Path, target: Path) -> Aars:
    """Take classes and libraries out of every AAR of a folder.

    Raises
    ------
    InputError
        There is no AAR, or none with the runtime, or Qualcomm's delegate without what V66 needs.
    DamagedError
        A file is no AAR.
    """
    files = sorted(folder.glob("*.aar"))
    if not files:
        raise InputError(
            f"there is no AAR in {folder}",
            expected="; ".join(_PARTS.values()),
            remedy="fetch them from Maven, see the app's README, or build without --aars",
        )
    jars, classes, libraries = [], set(), {}
    for file in files:
        try:
            with zipfile.ZipFile(file) as archive:
                names = set(archive.namelist())
                if "classes.jar" in names:
                    jar = target / f"{file.stem}.jar"
                    jar.write_bytes(archive.read("classes.jar"))
                    with zipfile.ZipFile(jar) as inner:
                        classes.update(inner.namelist())
                    jars.append(jar)
                for name in sorted(names):
                    if name.startswith(f"jni/{ABI}/") and name.endswith(".so"):
                        library = target / Path(name).name
                        library.write_bytes(archive.read(name))
                        libraries[library.name] = library
        except (OSError, zipfile.BadZipFile, KeyError) as error:
            raise DamagedError(f"{file} is no AAR ({error})", remedy="fetch it again") from error
    found = Aars(
        tuple(jars),
        tuple(libraries.values()),
        tuple(name for part, name in _PARTS.items() if part not in classes),
    )
    needed = [_PARTS[part] for part in _NEEDED if part not in classes]
    if needed:
        raise InputError(
            f"the AARs in {folder} are not enough: no {', '.join(needed)}",
            expected="; ".join(_PARTS.values()),
        )
    lacking = [name for name in V66_LIBRARIES if name not in libraries]
    if found.has_dsp and lacking:
        raise InputError(
            f"Qualcomm's delegate is in {folder} and {', '.join(lacking)} is not",
            expected="com.qualcomm.qti:qnn-runtime beside it",
        )
    return found
