"""AffineNet's task: a picture of a hand -> the UV map of its mesh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor, nn

from i2uv_edge.data.rendered import first
from i2uv_edge.data.synthetic import SceneSettings, render_sample
from i2uv_edge.errors import UsageError
from i2uv_edge.hand.atlas import Atlas
from i2uv_edge.hand.metrics import pa_mpvpe
from i2uv_edge.hand.model import FloatArray, HandModel
from i2uv_edge.networks.affinenet import AffineNet
from i2uv_edge.networks.affinenet_edge import AffineNetEdge
from i2uv_edge.spec import NetworkSpec
from i2uv_edge.training.annotated import AnnotatedPictures
from i2uv_edge.training.config import TrainingConfig
from i2uv_edge.training.kept import KeptPictures
from i2uv_edge.training.keypoints import in_picture
from i2uv_edge.training.losses import MapLoss, resize
from i2uv_edge.training.surface import Surface
from i2uv_edge.training.task import Batch, Sample, Source, array, pictures

SUPERVISED = 4  # the finest stages, which weigh the same (I2UV-HandNet, section 3.2)


class RenderedPictures:
    """The built-in hand, drawn as it is asked for.

    Parameters
    ----------
    settings
        How pictures vary.
    first_edition
        Part of them that are made the way the frozen sets were.
    keypoints
        Whether samples have their joints, too.
    """

    def __init__(
        self, settings: SceneSettings, first_edition: float = 0.0, *, keypoints: bool = False
    ) -> None:
        self.settings, self.first_edition = settings, first_edition
        self.keypoints = keypoints

    def atlas(self, size: int) -> Atlas:
        """See `Source`."""
        return Atlas.of_mesh(HandModel.load().coarse, size)

    def sample(self, seed: int, index: int) -> Sample:
        """See `Source`."""
        earlier = np.random.default_rng((seed, index, 1)).random() < self.first_edition
        render = first.render_sample if earlier else render_sample
        sample = render(seed, index, self.settings)
        made: Sample = {
            "picture": sample.picture,
            "coarse": sample.coarse,
            "scale_mm": np.asarray(sample.frame.scale_mm, np.float32),
        }
        if self.keypoints:
            made["keypoints"] = in_picture(sample.joints[:, :2])
        return made


def picture_source(config: TrainingConfig, size: int) -> Source:
    """The run's pictures, of side ``size``."""
    if config.dataset.kind != "rendered":
        return AnnotatedPictures(config, size)
    backgrounds = config.augmentation.backgrounds
    settings = SceneSettings(size=size, coarse_edges=config.coarse_edges, backgrounds=backgrounds)
    keypoints = config.keypoints.any
    drawn = RenderedPictures(settings, config.first_edition, keypoints=keypoints)
    if not config.kept:
        return drawn
    what = f"{settings} {config.first_edition}{' keypoints' if keypoints else ''}"
    return KeptPictures(drawn, Path(config.kept), what)


class PictureToMap:
    """Map of the coarse mesh from a picture. Score: PA-MPVPE.

    Parameters
    ----------
    spec, config
        The network and the run.
    """

    def __init__(self, spec: NetworkSpec, config: TrainingConfig) -> None:
        self.source = picture_source(config, spec.input.shape[1])
        self.surface = Surface(self.source.atlas(spec.output.shape[1]))
        self.map_loss = MapLoss.of(self.surface, config.loss)
        self.teacher_forcing = config.teacher_forcing

    def sample(self, seed: int, index: int) -> Sample:
        """See `Source`."""
        return self.source.sample(seed, index)

    def loss(self, module: nn.Module, batch: Batch, progress: float, coin: float) -> Tensor:
        """Loss of the finest stages; the warps follow true maps at first, if that is asked for."""
        self.map_loss.to(batch["coarse"].device)
        truth = self.surface.rasterise(batch["coarse"])
        # While the coarse maps are centimetres off, warps that follow them fetch the wrong places
        # and may teach the network to ignore what they fetch.
        forcing = self.teacher_forcing
        follow = progress < forcing and coin < 1.0 - progress / forcing
        maps = stages(module, pictures(batch["picture"]), truth if follow else None)
        return self.map_loss.stages(maps, truth, batch["coarse"])

    def score(self, module: nn.Module, batch: Batch) -> FloatArray:
        """PA-MPVPE."""
        self.map_loss.to(batch["coarse"].device)
        predicted = self.surface.read_vertices(module(pictures(batch["picture"])).float())
        scale = array(batch["scale_mm"])[:, None, None]
        aligned = pa_mpvpe(array(predicted) * scale, array(batch["coarse"]) * scale)
        return aligned.astype(np.float32)


def stages(module: nn.Module, picture: Tensor, truth: Tensor | None) -> tuple[Tensor, ...]:
    """The maps that are supervised, coarse to fine; the warps follow ``truth`` where it is given.

    Of a map with a confidence, the map alone.
    """
    if not isinstance(module, AffineNet | AffineNetEdge):
        raise UsageError(
            f"{type(module).__name__} has no maps of several stages to learn from",
            expected="a network of the family affinenet or affinenet_edge",
        )
    guides = None
    if truth is not None:
        guides = tuple(resize(truth, size) for size in module.guide_sizes(truth.shape[-1]))
    maps = module.stages(picture, guides)
    supervised = [stage[:, :3].float() for stage in maps[-SUPERVISED:]]
    if guides is not None:
        # Nothing else depends on the coarsest maps now, and processes that train together wait for
        # a gradient of every parameter.
        for stage in maps[:-SUPERVISED]:
            supervised[-1] = supervised[-1] + 0.0 * stage.float().mean()
    return tuple(supervised)


__all__ = ["PictureToMap", "RenderedPictures", "picture_source", "stages"]
