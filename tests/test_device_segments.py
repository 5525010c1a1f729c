"""The segments of a bundle, chained: the same answers as the whole network."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from model_toys import Ended, Toy, run
from quantizer_toys import pictures, recipe, spec_of, tiny_affinenet, tiny_srnet

from i2uv_edge.convert import segments
from i2uv_edge.convert.flatbuffer import read_model, write_model
from i2uv_edge.convert.segments import Segment, cut
from i2uv_edge.convert.tflite import to_tflite
from i2uv_edge.data.evaluation import read_evaluation
from i2uv_edge.device.segments import (
    SegmentChain,
    described,
    segment_runner,
    write_segments,
)
from i2uv_edge.errors import ConversionError, DamagedError, InputError
from i2uv_edge.quantizer.network import quantize
from i2uv_edge.runners import TfliteRunner
from i2uv_edge.spec import NetworkSpec, RecipeSpec

STRICT = recipe("*warp", "*map", input="int8", output="int8")
FLOAT_HEADS = recipe("*warp", "*head")


def written(folder: Path, made: RecipeSpec = STRICT) -> NetworkSpec:
    network = tiny_affinenet()
    quantized = quantize(network, made, [pictures(3, 64)], network_role="affinenet")
    spec = spec_of(network, 64)
    to_tflite(quantized, spec, folder / "affinenet.tflite")
    return spec


@pytest.mark.parametrize("made", [STRICT, FLOAT_HEADS], ids=["strict", "float-heads"])
def test_the_chain_answers_as_the_whole_network_to_the_last_bit(
    made: RecipeSpec, tmp_path: Path
) -> None:
    spec = written(tmp_path, made)
    found = write_segments(tmp_path, spec)
    feed = {"picture_in": pictures(3, 64, seed=7)}
    whole = TfliteRunner(tmp_path / "affinenet.tflite", spec)(feed)["map_out"]
    chained = segment_runner(tmp_path, spec, found)(feed)["map_out"]
    assert np.ptp(whole) > 0.1
    np.testing.assert_array_equal(chained, whole)


def test_files_sort_as_they_run_and_ports_say_how_they_are_stored(tmp_path: Path) -> None:
    found = write_segments(tmp_path, written(tmp_path))
    names = [fields["file"] for fields in found]
    assert names == sorted(names)
    assert names[:2] == ["segments/affinenet.00.dsp.tflite", "segments/affinenet.01.cpu.tflite"]
    first = found[0]["inputs"][0]
    assert (first["name"], first["dtype"], first["shape"]) == ("picture_in", "int8", [1, 64, 64, 3])
    assert first["scale"] == pytest.approx(1 / 255, rel=1e-3)
    assert first["zero_point"] == -128
    made = {port["name"]: port for fields in found for port in fields["outputs"]}
    for fields in found[1:]:
        assert all(made[port["name"]] == port for port in fields["inputs"])
    assert json.loads(json.dumps(found)) == found


def test_a_network_that_is_one_segment_is_that_already(tmp_path: Path) -> None:
    network, made = tiny_srnet(), recipe(input="int8", output="int8")
    quantized = quantize(network, made, [pictures(3, 16)], network_role="srnet")
    spec = spec_of(network, 16, "srnet")
    to_tflite(quantized, spec, tmp_path / "srnet.tflite")
    (fields,) = write_segments(tmp_path, spec)
    assert (fields["file"], fields["unit"]) == ("srnet.tflite", "DSP")
    assert [path.name for path in tmp_path.iterdir()] == ["srnet.tflite"]
    assert described("srnet", [fields]) == "srnet: whole for the DSP"


def test_what_is_left_to_the_cpu_is_said(tmp_path: Path) -> None:
    strict = described("affinenet", write_segments(tmp_path, written(tmp_path)))
    assert strict.startswith(
        "affinenet: 4 segments for the DSP, 4 for the CPU with no multiply-add: "
    )
    assert "decoder.*.warp" in strict
    assert "head" not in strict
    heads = described("affinenet", write_segments(tmp_path, written(tmp_path, FLOAT_HEADS)))
    assert "% of the multiply-adds" in heads
    assert "decoder.*.head" in heads


def test_segments_that_compute_something_else_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worse(data: bytes) -> tuple[Segment, ...]:
        first, *others = cut(data)
        model = read_model(first.data)
        weight = max(model.buffers, key=lambda b: 0 if b.data is None else len(b.data))
        weight.data = np.roll(weight.data, 1)
        return (dataclasses.replace(first, data=write_model(model)), *others)

    monkeypatch.setattr(segments, "cut", worse)
    with pytest.raises(ConversionError, match="differ from the whole network"):
        write_segments(tmp_path, written(tmp_path))


def test_files_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    spec = written(tmp_path)
    found = write_segments(tmp_path, spec)
    files = {fields["file"]: tmp_path / fields["file"] for fields in found}
    names = list(files)
    with pytest.raises(DamagedError, match=r"affinenet.03.cpu.tflite reads 'decoder.0.head'"):
        SegmentChain({name: files[name] for name in (*names[:2], *names[3:])})
    files[names[1]].unlink()
    with pytest.raises(InputError, match="cannot be run"):
        segment_runner(tmp_path, spec, found)


# --- in bundles ----------------------------------------------------------------------------------


def test_the_exported_network_cut_answers_the_same_to_pictures(
    exported: tuple[Ended, Path], tmp_path: Path
) -> None:
    from i2uv_edge.bundle import Bundle
    from i2uv_edge.comparison import open_contents

    contents = open_contents(Bundle.open(exported[1]))
    spec = contents.specs["affinenet"]
    (tmp_path / "affinenet.tflite").write_bytes((exported[1] / "affinenet.tflite").read_bytes())
    found = write_segments(tmp_path, spec)
    whole = TfliteRunner(tmp_path / "affinenet.tflite", spec)
    chain = segment_runner(tmp_path, spec, found)
    for sample in list(read_evaluation(exported[1] / "eval", 64))[:3]:
        feed = {"image": sample.picture[None]}
        np.testing.assert_array_equal(chain(feed)["uv_map"], whole(feed)["uv_map"])


@pytest.mark.usefixtures("toy_world")
def test_export_writes_segments_and_validate_and_plan_take_them(toy: Toy, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    weights = ("--checkpoint", str(toy.srnet_weights))
    ended = run("export", str(toy.srnet), *weights, "--split", "-o", str(bundle))
    assert ended.code == 0, ended.err
    assert "srnet: 1 segment for the DSP, 2 for the CPU with no multiply-add" in ended.out
    manifest = json.loads((bundle / "manifest.json").read_text())
    listed = {item["path"]: item for item in manifest["artifacts"] if item["kind"] == "segment"}
    named = [fields["file"] for fields in manifest["networks"]["srnet"]["segments"]]
    assert sorted(path for path in listed if path.endswith(".tflite")) == named
    whole = next(item for item in manifest["artifacts"] if item["path"] == "srnet.tflite")
    assert {listed[name]["parent"] for name in named} == {whole["sha256"]}
    # Against the fake-quant networks the segments have the gates of every converted file.
    compared = run("validate", str(bundle), "--candidate", "split", "--reference", "fake-quant")
    assert compared.code == 0, compared.err
    assert "split" in compared.out
    planned = run("plan", str(bundle), "--split", "--runtime", "qnn", "--json")
    plan = json.loads(planned.out)
    assert [part["network"] for part in plan["segments"]] == [
        "srnet.00.cpu",
        "srnet.01.dsp",
        "srnet.02.cpu",
    ]
    assert [part["unit"] for part in plan["segments"]] == ["CPU", "DSP", "CPU"]
    assert plan["crossings"] == 2
    assert "as segments" in plan["note"]
    fallback = run("plan", str(bundle), "--split", "--runtime", "qnn", "--fail-on-fallback")
    assert fallback.code == 3
    assert "first input/quantized: cut off by the split" in fallback.err


@pytest.mark.usefixtures("toy_world")
def test_what_has_no_segments_is_refused(
    toy: Toy, exported: tuple[Ended, Path], tmp_path: Path
) -> None:
    weights = ("--checkpoint", str(toy.srnet_weights))
    options = ("--recipe", "float", "--split", "-o", str(tmp_path / "bundle"))
    ended = run("export", str(toy.srnet), *weights, *options)
    assert (ended.code, "quantizes nothing" in ended.err) == (2, True)
    assert not (tmp_path / "bundle").exists()
    for arguments in (["validate", "--candidate", "split"], ["plan", "--split"]):
        verb, *others = arguments
        ended = run(verb, str(exported[1]), *others)
        assert (ended.code, "exported with --split" in ended.err) == (2, True), ended.err
    ended = run("plan", str(exported[1] / "srnet.tflite"), "--split")
    assert (ended.code, "is no bundle" in ended.err) == (2, True)
