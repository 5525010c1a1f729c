"""Which task a run is."""

from __future__ import annotations

from i2uv_edge.errors import UsageError
from i2uv_edge.spec import NetworkSpec
from i2uv_edge.training.config import TrainingConfig
from i2uv_edge.training.distillation import Distillation
from i2uv_edge.training.hands import HandDistillation, KeypointsToHand, PictureToHand
from i2uv_edge.training.picture_to_map import PictureToMap
from i2uv_edge.training.published_pairs import PAIRS, PublishedPairs
from i2uv_edge.training.super_resolution import SuperResolution
from i2uv_edge.training.task import Task


def make_task(spec: NetworkSpec, config: TrainingConfig) -> Task:
    """The task of a network by its role, and by whether there is a teacher.

    Raises
    ------
    UsageError
        Nothing trains networks of this family, or a setting is another task's.
    """
    if config.images and not config.teacher:
        raise UsageError(
            f"the pictures of {config.images} have no annotations to learn from",
            remedy="name a teacher, or a dataset instead",
        )
    if spec.role == "hand":
        if config.teacher:
            return HandDistillation(spec, config)
        return PictureToHand(spec, config) if spec.takes_pictures else KeypointsToHand(spec, config)
    if spec.role == "srnet":
        if config.teacher or config.dataset.kind not in ("rendered", PAIRS):
            raise UsageError(
                f"{spec.name} refines maps; it takes neither a teacher nor pictures of a data set",
                expected=f"dataset.kind = rendered or {PAIRS}",
                remedy="name the AffineNet whose maps it is to refine: affinenet",
            )
        return (PublishedPairs if config.dataset.kind == PAIRS else SuperResolution)(spec, config)
    if spec.family not in ("affinenet", "affinenet_edge"):
        raise UsageError(
            f"network {spec.name}: no training is defined for the family {spec.family}",
            expected="affinenet, affinenet_edge or a network of the role srnet",
        )
    if config.affinenet:
        raise UsageError(
            f"{spec.name} is an AffineNet; affinenet = {config.affinenet!r} is an SRNet's setting",
            remedy="to start from these weights pass --initial, to learn from them --teacher",
        )
    return Distillation(spec, config) if config.teacher else PictureToMap(spec, config)


__all__ = ["make_task"]
