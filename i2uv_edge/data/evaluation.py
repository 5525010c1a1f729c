"""Pictures to compare runners on, with or without ground truth.

A bundle's ``eval/`` holds pictures and one ``truth.npz`` with, for all samples (N first), ``ids``
and ``scale_mm`` (N,), and in map units ``coarse`` (N, Vc, 3), ``fine`` (N, Vf, 3) and ``joints``
(N, 21, 3). A model whose maps are of another mesh than the built-in hand's has the pictures alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from i2uv_edge import resources
from i2uv_edge.data.pictures import crop, list_pictures, read_picture
from i2uv_edge.data.rendered_set import TRUTH, read_set
from i2uv_edge.errors import InputError
from i2uv_edge.parity import Sample, Truth


def bundled_samples(size: int) -> Iterator[Sample]:
    """The frozen evaluation set, pictures resized to (size, size, 3)."""
    for name, sample in read_set(resources.calibration_data() / "evaluation"):
        yield Sample(
            id=name,
            picture=crop(sample.picture, size)[0],
            truth=Truth(sample.coarse, sample.frame.scale_mm, sample.fine, sample.joints),
        )


def folder_samples(folder: Path, size: int) -> Iterator[Sample]:
    """The pictures of a folder, without truth."""
    for path in list_pictures(folder)[0]:
        yield Sample(id=path.name, picture=crop(read_picture(path), size)[0])


def write_evaluation(folder: Path, *, with_truth: bool = True) -> None:
    """Copy the frozen evaluation set into a bundle's ``eval/``, its truth as vertices."""
    source = resources.calibration_data() / "evaluation"
    folder.mkdir(parents=True)
    for path in list_pictures(source)[0]:
        shutil.copyfile(path, folder / path.name)
    if not with_truth:
        return
    samples = list(read_set(source))
    np.savez_compressed(
        folder / TRUTH,
        ids=np.array([name for name, _ in samples]),
        scale_mm=np.array([sample.frame.scale_mm for _, sample in samples]),
        coarse=np.stack([sample.coarse for _, sample in samples]),
        fine=np.stack([sample.fine for _, sample in samples]),
        joints=np.stack([sample.joints for _, sample in samples]),
    )


def read_evaluation(folder: Path, size: int) -> Iterator[Sample]:
    """The samples of a bundle's ``eval/``.

    Raises
    ------
    InputError
        Pictures and truth do not belong together.
    """
    paths = {path.stem: path for path in list_pictures(folder)[0]}
    if not (folder / TRUTH).exists():  # the seal of the bundle tells whether there should be one
        for name, path in paths.items():
            yield Sample(id=name, picture=crop(read_picture(path), size)[0])
        return
    with np.load(folder / TRUTH, allow_pickle=False) as truth:
        arrays = {name: truth[name] for name in ("ids", "scale_mm", "coarse", "fine", "joints")}
    ids = [str(name) for name in arrays["ids"]]
    if sorted(ids) != sorted(paths):
        raise InputError(
            f"the pictures in {folder} and the samples of its {TRUTH} differ",
            expected="a picture for each id",
            remedy="export the bundle again",
        )
    for row, name in enumerate(ids):
        yield Sample(
            id=name,
            picture=crop(read_picture(paths[name]), size)[0],
            truth=Truth(
                arrays["coarse"][row],
                float(arrays["scale_mm"][row]),
                arrays["fine"][row],
                arrays["joints"][row],
            ),
        )
