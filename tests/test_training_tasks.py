"""Which task a run is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from network_toys import AFFINENET, SRNET
from training_toys import CONFIG

from i2uv_edge.errors import UsageError
from i2uv_edge.spec import NetworkSpec
from i2uv_edge.training.config import DatasetSettings
from i2uv_edge.training.picture_to_map import PictureToMap
from i2uv_edge.training.super_resolution import SuperResolution
from i2uv_edge.training.tasks import make_task


@pytest.mark.parametrize(("spec", "kind"), [(AFFINENET, PictureToMap), (SRNET, SuperResolution)])
def test_task_is_that_of_the_role(spec: NetworkSpec, kind: type) -> None:
    assert type(make_task(spec, CONFIG)) is kind


def test_family_that_nobody_can_train_is_refused() -> None:
    with pytest.raises(UsageError, match=r"toy-affinenet: no training .* family resnet"):
        make_task(replace(AFFINENET, family="resnet"), CONFIG)


def test_setting_of_another_task_is_refused() -> None:
    with pytest.raises(UsageError, match="affinenet = 'w' is an SRNet's setting"):
        make_task(AFFINENET, replace(CONFIG, affinenet="w"))
    for config in (
        replace(CONFIG, teacher="w"),
        replace(CONFIG, dataset=DatasetSettings(kind="freihand")),
    ):
        with pytest.raises(UsageError, match="takes neither a teacher nor pictures"):
            make_task(SRNET, config)


def test_pictures_without_annotations_need_a_teacher() -> None:
    for spec in (AFFINENET, SRNET):
        with pytest.raises(UsageError, match="no annotations"):
            make_task(spec, replace(CONFIG, images="photos"))
