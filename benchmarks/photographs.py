"""What a model sees in photographs of hands, to be looked at: there is no ground truth here.

`python benchmarks/photographs.py DIR` writes, for each picture of the folder, the picture beside
the same one with the predicted mesh and joints over it, and how far the model disagrees with
itself (`i2uv_edge.hand.confidence`); besides, one sheet with all of them and a table. Pictures are
of one right hand each, which fills most of them, since nothing here looks for hands.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from i2uv_edge import comparison  # noqa: E402
from i2uv_edge.atlases import ModelAtlases  # noqa: E402
from i2uv_edge.bundle import Bundle  # noqa: E402
from i2uv_edge.data.evaluation import folder_samples  # noqa: E402
from i2uv_edge.errors import I2uvError, InputError, UsageError  # noqa: E402
from i2uv_edge.hand.confidence import seam_disagreement_mm  # noqa: E402
from i2uv_edge.networks.model import load_networks  # noqa: E402
from i2uv_edge.parity import HandRunner  # noqa: E402
from i2uv_edge.report.meshes import enlarged  # noqa: E402
from i2uv_edge.spec import load_model  # noqa: E402
from i2uv_edge.tracking.overlay import draw_joints, lay_over  # noqa: E402

__all__ = ["Model", "Seen", "document", "look", "panel", "sheet", "table", "write"]

Picture = NDArray[np.uint8]
Float32 = NDArray[np.float32]

OUTPUT = ROOT / "build" / "photographs"
SIDE = 320  # of each of the two pictures of a panel
FOOT = 28  # of the line below them
COLUMNS = 2  # panels in a row of the sheet
COVER = 0.65  # how much the mesh hides of the picture
JPEG_QUALITY = 90


@dataclass(frozen=True)
class Model:
    """What looks, and the atlases of what it answers."""

    name: str
    runner: HandRunner
    atlases: ModelAtlases
    side: int  # of the pictures that it takes


@dataclass(frozen=True)
class Seen:
    """A picture and the answer to it.

    Attributes
    ----------
    name : of the file
    picture : (S, S, 3) what the network was shown
    vertices : (V, 3) map units, of the last network's mesh
    joints : (21, 3) map units; (0, 3) where the mesh knows none
    disagreement_mm : of AffineNet's map with itself, see `seam_disagreement_mm`
    """

    name: str
    picture: Picture
    vertices: Float32
    joints: Float32
    disagreement_mm: float


def of_bundle(folder: Path, runner: str) -> Model:
    """The model of a bundle, run by what it holds: float, tflite or onnx."""
    contents = comparison.open_contents(Bundle.open(folder))
    (chosen,) = comparison.runners(contents, [runner])
    side = contents.specs["affinenet"].input.shape[1]
    return Model(f"{contents.model} ({runner})", chosen, contents.atlases, side)


def of_weights(name: str, checkpoints: Sequence[Path]) -> Model:
    """A model in float, with its bundled weights or others."""
    networks = load_networks(load_model(name), checkpoints)
    if "affinenet" not in networks:
        raise UsageError(f"{name} takes no pictures", expected="a model with an AffineNet")
    specs = {role: network.spec for role, network in networks.items()}
    modules = {role: (network.spec, network.module) for role, network in networks.items()}
    atlases = ModelAtlases.of_networks(specs)
    chain = comparison.float_chain(modules, atlases)
    return Model(f"{name} (float)", chain, atlases, specs["affinenet"].input.shape[1])


def look(model: Model, folder: Path) -> Iterator[Seen]:
    """Show the model every picture of a folder, whole."""
    atlas = model.atlases.fine or model.atlases.coarse
    for sample in folder_samples(folder, model.side):
        answer = model.runner(sample.picture[None], (sample.id,))
        vertices = answer["vertices"][0]
        yield Seen(
            name=sample.id,
            picture=np.rint(sample.picture * 255).astype(np.uint8),
            vertices=vertices,
            joints=np.asarray(atlas.joint_regressor @ vertices, np.float32),
            disagreement_mm=float(
                seam_disagreement_mm(model.atlases.coarse, answer["affinenet"][0])
            ),
        )


def panel(seen: Seen, faces: NDArray[np.int32]) -> Picture:
    """The picture, the same with the hand over it, and below what it is and how far to trust it."""
    plain = enlarged(seen.picture, SIDE)
    right = plain.copy()
    if np.isfinite(seen.vertices).all():
        lay_over(right, seen.vertices * SIDE, faces, opacity=COVER, samples=2)
        draw_joints(right, seen.joints * SIDE)
    foot = np.full((FOOT, 2 * SIDE, 3), 255, np.uint8)
    value = seen.disagreement_mm
    said = f"seams disagree by {value:.1f} mm" if np.isfinite(value) else "no hand was read"
    for text, left in ((seen.name, 6), (said, SIDE + 6)):
        place = left, FOOT - 9
        cv2.putText(foot, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([np.concatenate([plain, right], 1), foot])


def sheet(panels: Sequence[Picture]) -> Picture:
    """All panels, a few in a row."""
    blank = np.full_like(panels[0], 255)
    filled = [*panels, *[blank] * (-len(panels) % COLUMNS)]
    rows = [np.concatenate(filled[i : i + COLUMNS], 1) for i in range(0, len(filled), COLUMNS)]
    return np.concatenate(rows)


def document(model: str, disagreements: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """What is written as JSON; a disagreement that is no number is null."""
    rows = [
        {"name": name, "seam_disagreement_mm": value if np.isfinite(value) else None}
        for name, value in disagreements
    ]
    return {"model": model, "pictures": rows}


def table(disagreements: Sequence[tuple[str, float]]) -> str:
    """Markdown, a line for each picture."""
    lines = ["| picture | seam disagreement, mm |", "|---|---|"]
    lines += [f"| {name} | {value:.1f} |" for name, value in disagreements]
    return "\n".join(lines) + "\n"


def write(model: Model, folder: Path, output: Path) -> str:
    """Write everything into a folder, over what an earlier run left there, and return the table.

    Raises
    ------
    InputError
        There is no picture in the folder, or one cannot be read.
    """
    output.mkdir(parents=True, exist_ok=True)
    faces = (model.atlases.fine or model.atlases.coarse).faces
    panels, found = [], []
    for seen in look(model, folder):
        panels.append(panel(seen, faces))
        found.append((seen.name, seen.disagreement_mm))
        _save(output / f"{Path(seen.name).stem}.jpg", panels[-1])
    if not panels:
        raise InputError(f"there are no pictures in {folder}", expected="photographs of hands")
    _save(output / "sheet.jpg", sheet(panels))
    text = json.dumps(document(model.name, found), indent=2) + "\n"
    (output / "photographs.json").write_text(text, encoding="utf-8")
    (output / "photographs.md").write_text(table(found), encoding="utf-8")
    return table(found)


def _save(path: Path, picture: Picture) -> None:
    bgr = np.ascontiguousarray(picture[:, :, ::-1])
    if not cv2.imwrite(str(path), bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
        raise InputError(f"{path} cannot be written", remedy="check the disk's free space")


def main() -> int:
    """Write and print the table; exit codes as those of `i2uv-edge`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="photographs of right hands")
    parser.add_argument("--model", default="edge", help="a model's name  [default: edge]")
    parser.add_argument(
        "--checkpoint", type=Path, action="append", default=[], help="weights in place of bundled"
    )
    parser.add_argument("--bundle", type=Path, help="a bundle in place of a model")
    parser.add_argument("--runner", default="float", help="of a bundle  [default: float]")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    if options.bundle is not None and (options.checkpoint or options.model != "edge"):
        parser.error("--bundle brings its own model and weights")
    torch.set_num_threads(1)
    try:
        if options.bundle is None:
            model = of_weights(options.model, options.checkpoint)
        else:
            model = of_bundle(options.bundle, options.runner)
        found = write(model, options.folder, options.output)
    except I2uvError as error:
        print(f"photographs: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{model.name}\n\n{found}\nlook at {options.output / 'sheet.jpg'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
