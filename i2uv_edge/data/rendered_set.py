"""A set of rendered pictures on disk, frozen: pictures, what they show, and the hash of it all.

``calibration_data/`` holds two, made by ``python -m i2uv_edge.data.rendered_set``. The truth is
stored as hand parameters, not vertices: a hundredth of the size, and exact.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from i2uv_edge import resources, strict_toml
from i2uv_edge.data import synthetic
from i2uv_edge.data.pictures import list_pictures, read_picture, sha256_of
from i2uv_edge.data.rendered import first
from i2uv_edge.data.rendered.sample import Frame, Sample, SceneSettings
from i2uv_edge.errors import DamagedError, InputError
from i2uv_edge.hand.model import HandModel, HandParameters

TRUTH = "truth.npz"
MANIFEST = "manifest.toml"
JPEG_QUALITY = 92
PARAMETERS = ("angles", "scales", "relief", "rotation")
NO_CAMERA = np.full(3, np.nan, np.float32)  # stands for the camera of an orthographic picture
# What draws the pictures of each edition; the bundled sets are of the first, whose manifests name
# no edition.
EDITIONS = {1: first.render_sample, 2: synthetic.render_sample}


@dataclass(frozen=True)
class SetSettings:
    """What made a set, and the hash of the pictures and the truth that came out.

    The first edition draws by those of the scene's settings that its manifests list.
    """

    seed: int
    count: int
    sha256: str
    scene: SceneSettings
    edition: int = 1

    def __post_init__(self) -> None:
        if self.edition not in EDITIONS:
            raise ValueError(f"edition {self.edition} is none of {sorted(EDITIONS)}")

    def render(self, index: int) -> Sample:
        """Make a picture of the set again."""
        return EDITIONS[self.edition](self.seed, index, self.scene)


def write_set(
    folder: Path, seed: int, count: int, scene: SceneSettings, edition: int = 2
) -> SetSettings:
    """Render pictures 0..count-1 of ``seed`` into a new folder."""
    settings = SetSettings(seed, count, "", scene, edition)
    folder.mkdir(parents=True)
    samples = []
    for index in range(count):
        sample = settings.render(index)
        samples.append(sample)
        path = folder / f"{index:05d}.jpg"
        bgr = np.ascontiguousarray(sample.picture[:, :, ::-1])
        if not cv2.imwrite(str(path), bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
            raise InputError(f"{path} cannot be written", remedy="check the disk's free space")
    truth = {name: np.stack([getattr(s.parameters, name) for s in samples]) for name in PARAMETERS}
    truth["origin"] = np.stack([s.frame.origin for s in samples])
    truth["side"] = np.array([s.frame.side for s in samples])
    if edition > 1:  # the first knew no perspective
        cameras = [NO_CAMERA if s.frame.camera is None else s.frame.camera for s in samples]
        truth["camera"] = np.stack(cameras)
    np.savez_compressed(folder / TRUTH, allow_pickle=False, **truth)
    sha256 = set_sha256([*list_pictures(folder)[0], folder / TRUTH])
    settings = replace(settings, sha256=sha256)
    (folder / MANIFEST).write_text(_toml(settings), encoding="utf-8")
    return settings


def read_set(folder: Path) -> Iterator[tuple[str, Sample]]:
    """The samples of a set, one at a time: (name, sample).

    Raises
    ------
    DamagedError
        Pictures or truth are not those the manifest lists.
    """
    settings = strict_toml.load(SetSettings, folder / MANIFEST)
    paths, _ = list_pictures(folder)
    truth = _read_truth(folder / TRUTH, settings)
    if len(paths) != settings.count or set_sha256([*paths, folder / TRUTH]) != settings.sha256:
        raise DamagedError(
            f"the pictures in {folder} and their {TRUTH} are not the frozen set",
            expected=f"{settings.count} pictures, with {TRUTH} of the hash {settings.sha256}",
            remedy="restore the folder from the repository",
        )
    model = HandModel.load()
    for index, path in enumerate(paths):
        parameters = HandParameters(**{name: truth[name][index] for name in PARAMETERS})
        camera = truth["camera"][index] if "camera" in truth else NO_CAMERA
        frame = Frame(
            truth["origin"][index],
            float(truth["side"][index]),
            None if np.isnan(camera).any() else camera,
        )
        hand = model.pose(parameters)
        yield (
            path.stem,
            Sample(
                picture=read_picture(path),
                coarse=frame.to_map(hand.coarse),
                fine=frame.to_map(hand.fine),
                joints=frame.to_map(hand.joints),
                parameters=parameters,
                frame=frame,
            ),
        )


def _read_truth(path: Path, settings: SetSettings) -> dict[str, NDArray[Any]]:
    names = (*PARAMETERS, "origin", "side", *(("camera",) if settings.edition > 1 else ()))
    try:
        # np.load leaves a file open that it opened itself and that is none of its own.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            truth = {name: content[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DamagedError(
            f"{path} cannot be read ({error})",
            expected="the truth of the pictures beside it",
            remedy="restore the folder from the repository",
        ) from error
    for name, array in truth.items():
        if len(array) != settings.count:
            raise DamagedError(
                f"{path} holds {len(array)} rows of {name}",
                expected=f"{settings.count}, one for each picture",
                remedy="restore the folder from the repository",
            )
    return truth


def set_sha256(paths: Sequence[Path]) -> str:
    """One hash for many files: of the lines ``name sha256`` in the order given."""
    lines = "".join(f"{path.name} {sha256_of(path)}\n" for path in paths)
    return hashlib.sha256(lines.encode()).hexdigest()


def _toml(settings: SetSettings) -> str:
    # JSON writes booleans, numbers, strings and lists as TOML does.
    scene = [f"{key} = {json.dumps(value)}" for key, value in asdict(settings.scene).items()]
    edition = [f"edition = {settings.edition}"] if settings.edition > 1 else []
    return "\n".join(
        [
            "# What made these pictures, and the hash of what came out; see data/rendered_set.py.",
            f"seed = {settings.seed}",
            f"count = {settings.count}",
            f'sha256 = "{settings.sha256}"',
            *edition,
            "",
            "[scene]",
            *scene,
            "",
        ]
    )


# Seeds no training run may use (training/config.py keeps those from 1 << 40 on).
BUNDLED = {"pictures": (1 << 41, 128), "evaluation": (1 << 42, 200)}


def main(root: Path) -> None:
    """Make the bundled sets."""
    for name, (seed, count) in BUNDLED.items():
        bundled = strict_toml.load(SetSettings, resources.calibration_data() / name / MANIFEST)
        write_set(root / name, seed, count, bundled.scene, bundled.edition)


if __name__ == "__main__":
    import sys

    main(Path(sys.argv[1]))
