"""The fake-quant networks against the ONNX files that were written from them, computed literally.

The two know nothing of each other (see `i2uv_edge.emulation`): one is the quantizer's modules, in
real arithmetic, the other is made of what stands in the files. What they give may differ by what
float64 leaves, so that a scale, a weight or an operation that was written down wrongly shows, too
small a fault as it may be for millimetres.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from i2uv_edge.comparison import Contents, emulated_chain, fake_quant_chain
from i2uv_edge.parity import STAGE_OF_OUTPUT, HandRunner, Sample
from i2uv_edge.scores import EMULATED, Measurement

__all__ = ["METRIC", "PAIR", "against_files", "largest_difference"]

Maps = NDArray[np.float32]

REFERENCE = "fake-quant"
PAIR = (REFERENCE, "onnx")  # the comparison that this one goes with
METRIC = "texel_max_units"


def against_files(contents: Contents, samples: Iterable[Sample]) -> list[Measurement]:
    """One row a stage: the largest difference of a texel's coordinate, in map units.

    Raises
    ------
    InputError
        A file of the bundle cannot be computed.
    """
    reference, candidate = fake_quant_chain(contents, "real"), emulated_chain(contents)
    return largest_difference(reference, candidate, samples)


def largest_difference(
    reference: HandRunner, candidate: HandRunner, samples: Iterable[Sample]
) -> list[Measurement]:
    """Rows of `METRIC`; NaN where an output is missing or holds no number."""
    found: dict[str, list[tuple[float, str]]] = {}
    for sample in samples:
        theirs, ours = (_answers(runner, sample) for runner in (reference, candidate))
        for stage in dict.fromkeys([*theirs, *ours]):
            value = float("nan")
            if stage in theirs and stage in ours:
                with np.errstate(invalid="ignore", over="ignore"):
                    value = float(np.abs(theirs[stage].astype(np.float64) - ours[stage]).max())
            found.setdefault(stage, []).append((value, sample.id))
    return [
        Measurement(REFERENCE, EMULATED, stage, METRIC, *_worst(values))
        for stage, values in found.items()
    ]


def _answers(runner: HandRunner, sample: Sample) -> Mapping[str, Maps]:
    outputs = runner(sample.taken[None], (sample.id,))
    maps = {stage: outputs[key] for key, stage in STAGE_OF_OUTPUT.items() if key in outputs}
    if sample.affinenet_map is not None:
        refined = runner.refine(sample.affinenet_map[None])
        maps |= {} if refined is None else {"srnet": refined}
    return maps


def _worst(values: Sequence[tuple[float, str]]) -> tuple[float, str]:
    """The largest; what is no number is larger than any."""
    return max(values, key=lambda item: (np.isnan(item[0]), item[0]))
