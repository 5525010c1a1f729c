"""Frozen sets of rendered pictures: the bundled ones, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from i2uv_edge import resources, strict_toml
from i2uv_edge.data.pictures import list_pictures, read_picture, sha256_of
from i2uv_edge.data.rendered_set import (
    BUNDLED,
    MANIFEST,
    TRUTH,
    SetSettings,
    read_set,
    set_sha256,
    write_set,
)
from i2uv_edge.data.synthetic import Sample, SceneSettings, render_sample
from i2uv_edge.errors import DamagedError, UsageError
from i2uv_edge.hand.metrics import pa_mpvpe

SCENE = SceneSettings(size=48, supersampling=1)
# Here too, so that nobody freezes the sets anew without meaning to.
FROZEN = {
    "pictures": "950cab3c4b2b34831b79526802fba91b522b75dc20b92393422268d99313457b",
    "evaluation": "53ac62dc525e3b0785e93dde2647da6803b02d6790171e43d825f470a33e1feb",
}


@pytest.fixture(scope="module")
def bundled() -> dict[str, list[tuple[str, Sample]]]:
    return {name: list(read_set(resources.calibration_data() / name)) for name in BUNDLED}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "small"
    write_set(folder, 11, 3, SCENE)
    return folder


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "set"))


def difference(first: Sample, second: Sample) -> float:
    """Mean absolute difference of two pictures, 0..255."""
    return float(np.abs(first.picture.astype(int) - second.picture).mean())


# --- the bundled sets -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_set_is_the_one_its_manifest_lists(
    name: str, bundled: dict[str, list[tuple[str, Sample]]]
) -> None:
    seed, count = BUNDLED[name]
    settings = strict_toml.load(SetSettings, resources.calibration_data() / name / MANIFEST)
    assert (settings.seed, settings.count) == (seed, count) == (seed, len(bundled[name]))
    assert settings.edition == 1
    assert all(sample.picture.shape == (256, 256, 3) for _, sample in bundled[name])


@pytest.mark.parametrize("name", BUNDLED)
def test_files_of_a_bundled_set_are_those_that_were_frozen(name: str) -> None:
    folder = resources.calibration_data() / name
    assert set_sha256([*list_pictures(folder)[0], folder / TRUTH]) == FROZEN[name]


@pytest.mark.parametrize("name", BUNDLED)
@pytest.mark.parametrize("index", [0, 57, 101])
def test_bundled_set_can_be_made_again(
    name: str, index: int, bundled: dict[str, list[tuple[str, Sample]]]
) -> None:
    settings = strict_toml.load(SetSettings, resources.calibration_data() / name / MANIFEST)
    kept = bundled[name][index][1]
    made = settings.render(index)
    assert difference(made, kept) < 6  # JPEG, mostly of the sensor's noise
    assert difference(made, bundled[name][index + 1][1]) > 20
    scale = kept.frame.scale_mm
    np.testing.assert_allclose(made.fine * made.frame.scale_mm, kept.fine * scale, atol=0.01)
    np.testing.assert_allclose(made.coarse * made.frame.scale_mm, kept.coarse * scale, atol=0.01)
    assert made.frame.scale_mm == pytest.approx(scale)


def test_a_constant_map_is_far_off_on_the_evaluation_set(
    bundled: dict[str, list[tuple[str, Sample]]],
) -> None:
    samples = [sample for _, sample in bundled["evaluation"]]
    truth = np.stack([sample.coarse for sample in samples])
    scale = np.array([sample.frame.scale_mm for sample in samples])[:, None, None]
    constant = np.broadcast_to(truth.mean(0), truth.shape)
    assert pa_mpvpe(constant * scale, truth * scale).mean() >= 28.0
    assert pa_mpvpe(truth * scale, truth * scale).mean() < 1e-3


def test_evaluation_looks_at_hands_from_all_round(
    bundled: dict[str, list[tuple[str, Sample]]],
) -> None:
    away = np.stack([sample.parameters.rotation[2] for _, sample in bundled["evaluation"]])
    octants = np.bincount((away > 0) @ (1, 2, 4), minlength=8)
    assert octants.min() > 0.05 * len(away)


def test_calibration_and_evaluation_share_no_picture(
    bundled: dict[str, list[tuple[str, Sample]]],
) -> None:
    contents = {
        name: {sha256_of(path) for path in list_pictures(resources.calibration_data() / name)[0]}
        for name in BUNDLED
    }
    assert contents["pictures"].isdisjoint(contents["evaluation"])
    angles = {
        name: {sample.parameters.angles.tobytes() for _, sample in bundled[name]}
        for name in BUNDLED
    }
    assert angles["pictures"].isdisjoint(angles["evaluation"])
    assert {name: len(found) for name, found in angles.items()} == {
        name: count for name, (_, count) in BUNDLED.items()
    }


# --- writing and reading --------------------------------------------------------------------------


def test_set_written_and_read_is_what_was_rendered(small: Path) -> None:
    read = list(read_set(small))
    assert [name for name, _ in read] == ["00000", "00001", "00002"]
    for index, (_, sample) in enumerate(read):
        made = render_sample(11, index, SCENE)
        assert difference(made, sample) < 6
        np.testing.assert_allclose(sample.fine, made.fine, atol=1e-6)
        np.testing.assert_allclose(sample.coarse, made.coarse, atol=1e-6)
        np.testing.assert_allclose(sample.joints, made.joints, atol=1e-6)
        assert sample.frame.scale_mm == made.frame.scale_mm


def test_set_keeps_the_camera_of_each_picture(small: Path) -> None:
    for index, (_, sample) in enumerate(read_set(small)):
        made = render_sample(11, index, SCENE)
        assert (sample.frame.camera is None) == (made.frame.camera is None)
        np.testing.assert_allclose(sample.intrinsics, made.intrinsics, rtol=1e-6)
        np.testing.assert_allclose(
            sample.in_camera(sample.fine), made.in_camera(made.fine), rtol=1e-4, atol=1e-5
        )


def test_set_of_an_unknown_edition_is_refused(copy: Path) -> None:
    manifest = copy / MANIFEST
    manifest.write_text(manifest.read_text().replace("edition = 2", "edition = 3"))
    with pytest.raises(UsageError, match="edition 3"):
        next(read_set(copy))


def test_same_settings_write_the_same_bytes(small: Path, tmp_path: Path) -> None:
    settings = write_set(tmp_path / "again", 11, 3, SCENE)
    assert settings == strict_toml.load(SetSettings, small / MANIFEST)
    assert sha256_of(tmp_path / "again" / TRUTH) == sha256_of(small / TRUTH)


def test_set_hash_depends_on_names_contents_and_order(copy: Path) -> None:
    paths = list_pictures(copy)[0]
    renamed = paths[0].rename(copy / "renamed.jpg")
    hashes = [set_sha256([renamed, *paths[1:]]), set_sha256([*paths[1:], renamed])]
    renamed.rename(paths[0])
    hashes += [set_sha256(paths), set_sha256(paths[:2])]
    paths[0].write_bytes(paths[0].read_bytes() + b"\0")
    hashes.append(set_sha256(paths))
    assert len(set(hashes)) == 5


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def swap(path: Path) -> None:
    other = path.with_name("00002.jpg")
    first, second = path.read_bytes(), other.read_bytes()
    path.write_bytes(second)
    other.write_bytes(first)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(append, id="changed"),
        pytest.param(Path.unlink, id="missing"),
        pytest.param(lambda path: path.rename(path.with_name("x.jpg")), id="renamed"),
        pytest.param(lambda path: shutil.copy(path, path.with_name("y.jpg")), id="one more"),
        pytest.param(swap, id="swapped"),
    ],
)
def test_pictures_that_are_not_the_frozen_ones_are_refused(
    copy: Path, damage: Callable[[Path], object]
) -> None:
    damage(copy / "00001.jpg")
    with pytest.raises(DamagedError, match="not the frozen set") as raised:
        next(read_set(copy))
    assert str(copy) in raised.value.what
    assert "3 pictures" in raised.value.expected


def test_truncated_picture_is_refused_even_if_its_hash_is_listed(copy: Path) -> None:
    path = copy / "00000.jpg"
    before = set_sha256([*list_pictures(copy)[0], copy / TRUTH])
    path.write_bytes(path.read_bytes()[:-20])
    after = set_sha256([*list_pictures(copy)[0], copy / TRUTH])
    manifest = copy / MANIFEST
    manifest.write_text(manifest.read_text().replace(before, after))
    with pytest.raises(Exception, match=r"00000\.jpg is cut short"):
        next(read_set(copy))


def lose_rows(path: Path) -> None:
    with np.load(path) as truth:
        arrays = dict(truth)
    arrays["scales"] = arrays["scales"][:2]
    np.savez(path, allow_pickle=False, **arrays)


def lose_array(path: Path) -> None:
    with np.load(path) as truth:
        arrays = {name: array for name, array in truth.items() if name != "origin"}
    np.savez(path, allow_pickle=False, **arrays)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(Path.unlink, "cannot be read", id="missing"),
        pytest.param(lambda path: path.write_bytes(b""), "cannot be read", id="empty"),
        pytest.param(lambda path: path.write_bytes(b"PK" * 50), "cannot be read", id="garbage"),
        pytest.param(
            lambda path: path.write_bytes(path.read_bytes()[:-30]), "cannot be read", id="cut"
        ),
        pytest.param(lose_rows, "2 rows of scales", id="too few rows"),
        pytest.param(lose_array, "origin", id="an array missing"),
    ],
)
def test_damaged_truth_is_refused(copy: Path, damage: Callable[[Path], object], said: str) -> None:
    damage(copy / TRUTH)
    with pytest.raises(DamagedError, match=said) as raised:
        next(read_set(copy))
    assert str(copy / TRUTH) in raised.value.what


def test_truth_of_other_hands_is_refused(copy: Path) -> None:
    with np.load(copy / TRUTH) as truth:
        arrays = {name: array[::-1] for name, array in truth.items()}
    np.savez(copy / TRUTH, allow_pickle=False, **arrays)
    with pytest.raises(DamagedError, match="not the frozen set"):
        next(read_set(copy))


def test_unknown_key_in_a_manifest_is_refused(copy: Path) -> None:
    manifest = copy / MANIFEST
    manifest.write_text(manifest.read_text().replace("[scene]\n", "[scene]\nfog = 1\n"))
    with pytest.raises(UsageError, match="'fog'"):
        next(read_set(copy))


def test_folder_without_a_manifest_is_refused(copy: Path) -> None:
    (copy / MANIFEST).unlink()
    with pytest.raises(UsageError, match="no file"):
        next(read_set(copy))


def test_pictures_are_read_one_at_a_time(copy: Path) -> None:
    samples = read_set(copy)
    next(samples)
    (copy / "00002.jpg").unlink()
    next(samples)
    with pytest.raises(Exception, match=r"00002\.jpg"):
        next(samples)


def test_bundled_pictures_are_jpeg_files_of_moderate_size() -> None:
    for name in BUNDLED:
        paths = list_pictures(resources.calibration_data() / name)[0]
        assert {path.suffix for path in paths} == {".jpg"}
        assert sum(path.stat().st_size for path in paths) < 12_000_000
        assert read_picture(paths[0]).dtype == np.uint8
