"""A set of rendered pictures on disk, frozen: pictures, what they show, and the hash of it all.

``calibration_data/`` holds two, made by ``python -m i2uv_edge.data.rendered_set``. The truth is stored
as hand parameters, not vertices: a hundredth of the size, and exact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from i2uv_edge import strict_toml
from i2uv_edge.data.pictures import list_pictures, read_picture, sha256_of
from i2uv_edge.data.synthetic import Frame, Sample, SceneSettings, render_sample
from i2uv_edge.errors import DamagedError, InputError
from i2uv_edge.hand.model import HandModel, HandParameters

TRUTH = "truth.npz"
MANIFEST = "manifest.toml"
JPEG_QUALITY = 92


@dataclass(frozen=True)
class SetSettings:
    """What made a set, and the hash of what came out (`set_sha256`)."""

    seed: int
    count: int
    sha256: str
    scene: SceneSettings


def write_set(folder: Path, seed: int, count: int, scene: SceneSettings) -> SetSettings:
    """Render pictures 0..count-1 of ``seed`` into a new folder."""
    folder.mkdir(parents=True)
    samples = []
    for index in range(count):
        sample = render_sample(seed, index, scene)
        samples.append(sample)
        path = folder / f"{index:05d}.jpg"
        bgr = np.ascontiguousarray(sample.picture[:, :, ::-1])
        if not cv2.imwrite(str(path), bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
            raise InputError(f"{path} cannot be written", remedy="check the disk's free space")
    np.savez_compressed(
        folder / TRUTH,
        angles=np.stack([s.parameters.angles for s in samples]),
        scales=np.stack([s.parameters.scales for s in samples]),
        relief=np.stack([s.parameters.relief for s in samples]),
        rotation=np.stack([s.parameters.rotation for s in samples]),
        origin=np.stack([s.frame.origin for s in samples]),
        side=np.array([s.frame.side for s in samples]),
    )
    settings = SetSettings(seed, count, set_sha256(list_pictures(folder)[0]), scene)
    (folder / MANIFEST).write_text(_toml(settings), encoding="utf-8")
    return settings


def read_set(folder: Path) -> Iterator[tuple[str, Sample]]:
    """The samples of a set, one at a time: (name, sample).

    Raises
    ------
    DamagedError
        The pictures are not those the manifest lists.
    """
    settings = strict_toml.load(SetSettings, folder / MANIFEST)
    paths, _ = list_pictures(folder)
    if len(paths) != settings.count or set_sha256(paths) != settings.sha256:
        raise DamagedError(
            f"the pictures in {folder} are not the frozen set",
            expected=f"{settings.count} pictures with the set hash {settings.sha256}",
            remedy="restore the folder from the repository",
        )
    model = HandModel.load()
    with np.load(folder / TRUTH, allow_pickle=False) as truth:
        for index, path in enumerate(paths):
            parameters = HandParameters(
                **{name: truth[name][index] for name in ("angles", "scales", "relief", "rotation")}
            )
            frame = Frame(truth["origin"][index], float(truth["side"][index]))
            hand = model.pose(parameters)
            yield path.stem, Sample(
                picture=read_picture(path),
                coarse=frame.to_map(hand.coarse),
                fine=frame.to_map(hand.fine),
                joints=frame.to_map(hand.joints),
                parameters=parameters,
                frame=frame,
            )


def set_sha256(paths: Sequence[Path]) -> str:
    """One hash for many files: of the lines ``name sha256`` in the order given."""
    lines = "".join(f"{path.name} {sha256_of(path)}\n" for path in paths)
    return hashlib.sha256(lines.encode()).hexdigest()


def _toml(settings: SetSettings) -> str:
    scene = [
        f"{key} = {list(value) if isinstance(value, tuple) else value}"
        for key, value in asdict(settings.scene).items()
    ]
    return "\n".join(
        [
            "# What made these pictures, and the hash of what came out; see data/rendered_set.py.",
            f"seed = {settings.seed}",
            f"count = {settings.count}",
            f'sha256 = "{settings.sha256}"',
            "",
            "[scene]",
            *scene,
            "",
        ]
    )


# Seeds no training run uses (training/tasks.py keeps 1 << 40 for its own held-out samples).
BUNDLED = {"pictures": (1 << 41, 128), "evaluation": (1 << 42, 200)}


def main(root: Path) -> None:
    """Make the bundled sets."""
    for name, (seed, count) in BUNDLED.items():
        write_set(root / name, seed, count, SceneSettings())


if __name__ == "__main__":
    import sys

    main(Path(sys.argv[1]))
