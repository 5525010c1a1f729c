"""Photographs as they are shown, by a model that knows the hand; rendered pictures stand in."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from network_toys import AFFINENET, tensor
from numpy.typing import NDArray

from benchmarks import photographs
from benchmarks.photographs import FOOT, SIDE, Model
from i2uv_edge.atlases import ModelAtlases
from i2uv_edge.data.synthetic import SceneSettings, render_sample
from i2uv_edge.errors import InputError
from i2uv_edge.spec import NetworkSpec

Float32 = NDArray[np.float32]
SIZE = 96


@functools.cache
def atlases() -> ModelAtlases:
    from dataclasses import replace

    spec: NetworkSpec = replace(AFFINENET, output=tensor("map", 64))
    return ModelAtlases.of_networks({"affinenet": spec})


class Knows:
    """Answers with the true hand of rendered picture N, in a map with noise of this size."""

    name = "float"
    live = True

    def __init__(self, noise: float = 0.0, spoil: float = 0.0) -> None:
        self.noise, self.spoil = noise, spoil

    def __call__(self, pictures: Any, ids: Sequence[str] = ()) -> dict[str, Float32]:
        (name,) = ids
        assert pictures.shape == (1, SIZE, SIZE, 3)
        clean = atlases().coarse.rasterise(rendered(int(Path(name).stem)).coarse, fill=True)
        noise = np.random.default_rng(0).normal(0, self.noise, clean.shape)
        maps = (clean + noise + self.spoil).astype(np.float32)[None]
        return {"affinenet": maps, "vertices": atlases().coarse.read_vertices(maps)}

    def refine(self, maps: Float32) -> Float32 | None:
        return None


@functools.cache
def rendered(number: int) -> Any:
    return render_sample(0, number, SceneSettings(size=SIZE, held=0.0, occluder=0.0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pictures"
    made.mkdir()
    for number in range(3):
        picture = np.ascontiguousarray(rendered(number).picture[:, :, ::-1])
        assert cv2.imwrite(str(made / f"{number}.png"), picture)
    (made / "0_K.npy").write_bytes(b"not a picture")
    return made


def model(**options: float) -> Model:
    return Model("toy (float)", Knows(**options), atlases(), SIZE)


def test_every_picture_is_written_and_listed(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    text = photographs.write(model(), folder, output)
    names = ["0.jpg", "1.jpg", "2.jpg", "photographs.json", "photographs.md", "sheet.jpg"]
    assert sorted(path.name for path in output.iterdir()) == names
    found = json.loads((output / "photographs.json").read_text())
    assert found["model"] == "toy (float)"
    assert [row["name"] for row in found["pictures"]] == ["0.png", "1.png", "2.png"]
    assert all(row["seam_disagreement_mm"] < 0.5 for row in found["pictures"])
    assert text == (output / "photographs.md").read_text()
    assert len(text.splitlines()) == 2 + 3
    sheet = cv2.imread(str(output / "sheet.jpg"))
    assert sheet is not None
    assert sheet.shape == (2 * (SIDE + FOOT), 2 * 2 * SIDE, 3)


def test_worse_maps_disagree_more(folder: Path) -> None:
    better, worse = (
        [seen.disagreement_mm for seen in photographs.look(model(noise=noise), folder)]
        for noise in (0.01, 0.03)
    )
    assert all(a < b for a, b in zip(better, worse, strict=True))


def test_the_hand_is_drawn_where_it_is(folder: Path) -> None:
    seen = next(photographs.look(model(), folder))
    made = photographs.panel(seen, atlases().coarse.faces)
    assert made.shape == (SIDE + FOOT, 2 * SIDE, 3)
    left, right = (made[:SIDE, x : x + SIDE].astype(int) for x in (0, SIDE))
    changed = np.abs(left - right).max(-1) > 12
    low, high = (np.clip(f(seen.vertices[:, :2], 0) * SIDE, 0, SIDE) for f in (np.min, np.max))
    rows, columns = np.nonzero(changed)
    assert abs(rows.min() - low[1]) < 8
    assert abs(rows.max() - high[1]) < 8
    assert abs(columns.min() - low[0]) < 8
    assert abs(columns.max() - high[0]) < 8


def test_where_no_hand_is_read_the_picture_stays_as_it_is(folder: Path, tmp_path: Path) -> None:
    broken = model(spoil=np.nan)
    seen = next(photographs.look(broken, folder))
    made = photographs.panel(seen, atlases().coarse.faces)
    np.testing.assert_array_equal(made[:SIDE, :SIDE], made[:SIDE, SIDE:])
    photographs.write(broken, folder, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "photographs.json").read_text())
    assert found["pictures"][0]["seam_disagreement_mm"] is None


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="none"):
        photographs.write(model(), tmp_path / "none", tmp_path / "out")
