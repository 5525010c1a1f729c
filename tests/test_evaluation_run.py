"""A model on a data set, by the numbers that a faultless network would get."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_toys import strip, write_freihand, write_ho3d, write_meshes
from network_toys import AFFINENET, SRNET
from numpy.typing import NDArray

from i2uv_edge.atlases import ModelAtlases
from i2uv_edge.data.dataset import HandDataset
from i2uv_edge.data.freihand import FreiHand
from i2uv_edge.errors import InputError, UsageError
from i2uv_edge.evaluation import run as evaluation
from i2uv_edge.evaluation.run import Model
from i2uv_edge.evaluation.sharing import Shard
from i2uv_edge.evaluation.subjects import crop_box
from i2uv_edge.hand.camera import Convention, to_map_units
from i2uv_edge.hand.mano import Mano
from i2uv_edge.requests import EvaluateRequest
from i2uv_edge.spec import MeshesSpec, TensorSpec

Float32 = NDArray[np.float32]
MARGIN = 1.3
SPEC = replace(AFFINENET, output=TensorSpec("map", (1, 64, 64, 3), "NHWC", "toy", (0.0, 1.0)))


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> MeshesSpec:
    coarse, _, mano = write_meshes(tmp_path_factory.mktemp("meshes"))
    return MeshesSpec(coarse=str(coarse), mano=str(mano))


@pytest.fixture(scope="module")
def atlases(meshes: MeshesSpec) -> ModelAtlases:
    return ModelAtlases.of_networks({"affinenet": SPEC}, meshes)


@pytest.fixture(scope="module")
def built_in() -> ModelAtlases:
    return ModelAtlases.of_networks({"affinenet": SPEC})


@pytest.fixture(scope="module")
def freihand(tmp_path_factory: pytest.TempPathFactory, meshes: MeshesSpec) -> Path:
    """Hands that are the mesh, bent, with the joints that its hand model gives them."""
    regressor = Mano.load(Path(meshes.mano)).joint_regressor()

    def hands(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        rng = np.random.default_rng(seed)
        bent = strip()[0] @ (np.eye(3) + rng.normal(0, 0.2, (3, 3)))
        points = bent + rng.normal((0.02, -0.03, 0.55), 0.01)
        return points, regressor @ points

    return write_freihand(tmp_path_factory.mktemp("data") / "f", rows=3, hands=hands)


class Oracle:
    """Answers with the map of the true hand; `error` is how far off, map units."""

    live = True

    def __init__(
        self,
        name: str,
        atlases: ModelAtlases,
        dataset: HandDataset,
        error: float = 0.0,
        convention: Convention = "projected",
    ) -> None:
        self.name = name
        self._atlas = atlases.coarse
        self._error = error
        self._maps = functools.partial(self._map, dataset, convention)

    def __call__(self, pictures: Any, ids: Sequence[str] = ()) -> dict[str, Float32]:
        known = [int(name) for name in ids] or [0] * len(pictures)
        return {"affinenet": np.stack([self._maps(index) for index in known])}

    def refine(self, maps: Float32) -> Float32 | None:
        return None

    def _map(self, dataset: HandDataset, convention: Convention, index: int) -> Float32:
        sample = dataset[index]
        box = crop_box(sample, MARGIN)
        square = float(box.left), float(box.top), float(box.side)
        assert sample.vertices is not None
        assert sample.intrinsics is not None
        points, _ = to_map_units(sample.vertices, sample.intrinsics, square, convention=convention)
        clean = self._atlas.rasterise(points, fill=True)
        noise = np.random.default_rng(index).normal(0, 1, clean.shape)
        return (clean + self._error * noise).astype(np.float32)


def model(
    atlases: ModelAtlases, path: Path, convention: Convention = "projected", off: float = 0.0
) -> Model:
    truth = FreiHand(path, "evaluation")
    spec = replace(SPEC, convention=convention)
    runners = [
        Oracle("float", atlases, truth, convention=convention),
        Oracle("tflite", atlases, truth, off, convention),
    ]
    return Model("toy", {"affinenet": spec}, atlases, runners, MARGIN)


def values(found: Model, request: EvaluateRequest) -> dict[tuple[str, str], float]:
    result = evaluation.run(found, request, Shard(), lambda *_: None)
    assert {score.reference for score in result.report.scores} == {"truth"}
    return {(score.candidate, score.metric): score.value for score in result.report.scores}


def request(folder: Path, **changes: Any) -> EvaluateRequest:
    return replace(EvaluateRequest(Path("bundle"), "freihand", folder), **changes)


# How far off a hand may be unaligned: a bone read from a map of 64 texels is half a percent wrong,
# and as much is its distance; a published map says how far it is by two vertices alone.
@pytest.mark.parametrize(("convention", "unaligned_mm"), [("projected", 3.0), ("published", 10.0)])
def test_a_faultless_network_has_no_error_in_any_protocol(
    atlases: ModelAtlases, freihand: Path, convention: Convention, unaligned_mm: float
) -> None:
    found = values(model(atlases, freihand, convention, off=0.03), request(freihand))
    for metric in ("mpjpe", "mpvpe"):
        assert found["float", f"official_{metric}_mm"] < unaligned_mm
        for moved in ("pa", "root"):
            name = f"official_{moved}_{metric}_mm"
            assert found["float", name] < 0.7, name
            assert found["tflite", name] > 1.5, name
    assert found["float", "official_st_mpjpe_mm"] < 0.7
    assert found["float", "pa_mpvpe_mm"] < 0.7
    for metric in ("pa_mpjpe_auc", "pa_mpvpe_auc", "f15", "pa_f5", "pa_f15"):
        assert found["float", f"official_{metric}"] > 0.98, metric
    assert found["float", "spread_ratio"] == pytest.approx(1, abs=0.05)


def test_the_wrong_convention_shows(atlases: ModelAtlases, freihand: Path) -> None:
    right, wrong = (
        values(
            replace(model(atlases, freihand, "published"), specs={"affinenet": spec}),
            request(freihand),
        )["float", "pa_mpvpe_mm"]
        for spec in (replace(SPEC, convention="published"), SPEC)
    )
    assert wrong > 2 * right


def test_the_crop_is_as_wide_as_it_was_trained_or_as_asked(
    atlases: ModelAtlases, freihand: Path
) -> None:
    asked = values(model(atlases, freihand), request(freihand, margin=MARGIN))
    assert asked == values(model(atlases, freihand), request(freihand))
    wider = values(model(atlases, freihand), request(freihand, margin=2 * MARGIN))
    assert wider["float", "official_mpjpe_mm"] > 5  # the oracle answers for the crop it knows


def test_a_mesh_of_its_own_is_compared_by_joints_and_f_scores(
    built_in: ModelAtlases, atlases: ModelAtlases, freihand: Path
) -> None:
    other = replace(model(atlases, freihand), atlases=built_in)
    found = values(other, request(freihand))
    assert {"official_mpjpe_mm", "official_pa_f5", "pa_mpjpe_mm"} <= {metric for _, metric in found}
    assert not any("mpvpe" in metric for _, metric in found)


def test_without_joints_only_vertices_are_compared(meshes: MeshesSpec, freihand: Path) -> None:
    mute = ModelAtlases.of_networks({"affinenet": SPEC}, replace(meshes, mano=""))
    found = values(model(mute, freihand), request(freihand))
    assert found["float", "pa_mpvpe_mm"] < 1.5
    assert not any("mpjpe" in metric for _, metric in found)


def test_predictions_of_a_faultless_network_are_the_ground_truth(
    atlases: ModelAtlases, freihand: Path, tmp_path: Path
) -> None:
    asked = request(freihand, predictions=tmp_path / "p")
    result = evaluation.run(model(atlases, freihand), asked, Shard(), lambda *_: None)
    assert [path.parent.name for path in result.predictions] == ["float", "tflite"]
    joints, vertices = json.loads(result.predictions[0].read_text())
    for name, ours in (("xyz", joints), ("verts", vertices)):
        theirs = np.array(json.loads((freihand / f"evaluation_{name}.json").read_text()))
        assert np.array(ours).shape == theirs.shape
        assert np.linalg.norm(ours - theirs, axis=-1).mean() < 0.003


def test_predictions_need_no_ground_truth(
    atlases: ModelAtlases, freihand: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "f"
    write_freihand(bare, rows=3, truth=False)
    asked = request(bare, predictions=tmp_path / "p", margin=1.0)
    result = evaluation.run(model(atlases, freihand), asked, Shard(), lambda *_: None)
    assert {score.metric for score in result.report.scores} == {"flicker_mm"}
    assert result.report.passed
    assert len(json.loads(result.predictions[0].read_text())[0]) == 3
    with pytest.raises(UsageError, match="no ground truth for the split evaluation") as raised:
        evaluation.run(model(atlases, freihand), request(bare), Shard(), lambda *_: None)
    assert "--split training" in str(raised.value)


def test_progress_is_of_this_process_s_part(atlases: ModelAtlases, freihand: Path) -> None:
    told: list[tuple[str, int, int]] = []

    def alone(shard: Shard, value: Any) -> list[Any]:
        return [value]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "gather", alone)
        found = model(atlases, freihand)
        result = evaluation.run(
            found, request(freihand), Shard(1, 2), lambda *progress: told.append(progress)
        )
    assert told == [("evaluating", done, 2) for done in range(3)]
    assert not result.leads


def test_ho3d_is_compared_by_joints_without_a_hand_model(
    atlases: ModelAtlases, freihand: Path, tmp_path: Path
) -> None:
    path = write_ho3d(tmp_path / "h", truth=True)

    class Anything(Oracle):
        def __call__(self, pictures: Any, ids: Sequence[str] = ()) -> dict[str, Float32]:
            return {"affinenet": np.stack([self._maps(0)] * len(pictures))}

    runner = Anything("float", atlases, FreiHand(freihand, "evaluation"))
    found = replace(model(atlases, freihand), runners=[runner])
    asked = EvaluateRequest(Path("bundle"), "ho3d", path)
    scores = values(found, asked)
    assert math.isfinite(scores["float", "official_st_mpjpe_mm"])
    assert math.isfinite(scores["float", "official_mpvpe_mm"])
    # The wrist is given out, so the joints unaligned are those with the wrists together.
    raw, rooted = (scores["float", f"official_{n}mpjpe_mm"] for n in ("", "root_"))
    assert raw == pytest.approx(rooted)
    training = values(found, replace(asked, split="training"))
    assert not any("mpvpe" in metric for _, metric in training)
    mute = ModelAtlases(replace(atlases.coarse, joint_regressor=np.zeros((0, 778), np.float32)))
    with pytest.raises(InputError, match="nothing of toy can be compared with ho3d"):
        values(replace(found, atlases=mute), replace(asked, split="training"))


# --- what does not go together --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": None}, "where is the data set freihand"),
        ({"mano": Path("m.pkl")}, "FreiHAND stores its vertices"),
        ({"split": "test"}, "no split 'test'"),
        ({"dataset": "rendered"}, "takes no path"),
        ({"dataset": "rendered", "path": None, "mano": Path("m")}, "takes no --mano"),
        ({"dataset": "rendered", "path": None, "predictions": Path("p")}, "takes no --predictions"),
        ({"dataset": "rendered", "path": None}, "not of the built-in hand"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    atlases: ModelAtlases, freihand: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        values(model(atlases, freihand), request(freihand, **changes))


def test_an_srnet_alone_is_shown_no_pictures(atlases: ModelAtlases, freihand: Path) -> None:
    alone = replace(model(atlases, freihand), specs={"srnet": SRNET})
    with pytest.raises(UsageError, match="SRNet alone, which takes no pictures"):
        values(alone, request(freihand))
