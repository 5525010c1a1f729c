from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from i2uv_edge import resources, spec
from i2uv_edge.errors import UsageError
from i2uv_edge.hand.camera import CONVENTIONS

NETWORK = """
role = "{role}"
family = "toy"
source = "a test"

[input]
name = "in"
shape = {input}
layout = "NHWC"
unit = "1"
range = [0.0, 1.0]

[output]
name = "out"
shape = {output}
layout = "NHWC"
unit = "1"
range = [0.0, 1.0]
"""

RECIPE = """
description = "a test"

[weights]
bits = 8

[activations]
bits = 8
"""

GATE = """
[[gate]]
metric = "vertex_mean_mm"
reference = "float"
candidates = ["*"]
stages = ["*"]
applies_to = ["w8a8"]
limit = 1.0
reason = "a test"
"""


def write(folder: Path, text: str, name: str = "toy.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def network(
    folder: Path, role: str, *, takes: int = 64, gives: int = 64, name: str | None = None
) -> Path:
    text = NETWORK.format(role=role, input=[1, takes, takes, 3], output=[1, gives, gives, 3])
    return write(folder, text, f"{name or role}.toml")


# --- what is bundled ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", spec.network_names())
def test_every_bundled_network_loads_under_its_file_name(name: str) -> None:
    assert spec.load_network(name).name == name


@pytest.mark.parametrize("name", spec.model_names())
def test_every_bundled_model_loads(name: str) -> None:
    model = spec.load_model(name)
    assert model.name == name
    # The paper's networks are too large to be bundled, and nobody has published weights of them.
    assert model.checkpoints.keys() == (set() if name == "paper" else model.networks.keys())


@pytest.mark.parametrize("name", spec.recipe_names())
def test_every_bundled_recipe_loads(name: str) -> None:
    assert spec.load_recipe(name).name == name


@pytest.mark.parametrize("name", spec.target_names())
def test_every_bundled_target_names_its_sources(name: str) -> None:
    assert spec.load_target(name).sources


def test_the_names_of_the_contract_are_bundled() -> None:
    variants = ("r18", "r34", "r50", "r101", "r152", "edge", "tiny")
    networks = {f"affinenet-{name}" for name in variants} | {"srnet", "srnet-edge"}
    assert networks <= set(spec.network_names())
    assert {"edge", "tiny", "paper"} <= set(spec.model_names())
    assert {"float", "w8a8"} <= set(spec.recipe_names())
    assert "sd865" in spec.target_names()


def test_the_edge_model_takes_a_256_picture_and_chains() -> None:
    model = spec.load_model("edge")
    assert model.networks == {"affinenet": "affinenet-edge", "srnet": "srnet-edge"}
    assert spec.load_network("affinenet-edge").input.shape == (1, 256, 256, 3)
    assert spec.load_network("srnet-edge").output.shape == (1, 256, 256, 3)


def test_a_network_alone_is_a_model() -> None:
    model = spec.load_model("srnet-edge")
    assert model.networks == {"srnet": "srnet-edge"}
    assert model.checkpoints == {"srnet": "srnet-edge.safetensors"}


def test_a_network_file_is_a_model_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    bundled = spec.resources.export_data() / "networks" / "srnet-edge.toml"
    path.write_text(bundled.read_text())
    model = spec.load_model(path)
    assert (model.name, model.networks) == ("mine", {"srnet": str(path)})


@pytest.mark.parametrize(
    ("recipe", "metric", "reference", "candidate", "limit"),
    [
        ("w8a8", "vertex_mean_mm", "float", "tflite", 1.0),
        ("w8a8", "vertex_p95_mm", "float", "tflite", 3.0),
        ("w8a8", "vertex_p99_mm", "float", "tflite", None),
        ("w8a8-qat", "vertex_mean_mm", "float", "tflite", 0.5),
        ("w8a8-qat", "vertex_p95_mm", "float", "tflite", 1.0),
        ("w8a8-qat", "vertex_p99_mm", "float", "tflite", 1.5),
        ("w8a8", "vertex_mean_mm", "fake-quant", "tflite", 0.1),
        ("float", "vertex_mean_mm", "fake-quant", "onnx", 0.1),
        ("w8a8-strict", "vertex_mean_mm", "float", "tflite", 0.8),
        ("w8a8-strict", "vertex_mean_mm", "float", "qnn", 1.0),
        ("w8a8-strict", "vertex_mean_mm", "fake-quant", "qnn", 1.0),
        ("w8a8", "pa_mpvpe_mm", "truth", "tflite", 0.01),
        ("w8a8", "f5", "truth", "tflite", 0.007),
        ("w8a8", "flicker_mm", "truth", "tflite", 0.10),
        ("float", "spread_ratio", "truth", "float", 0.8),
    ],
)
def test_the_gates_hold_the_tolerances_of_the_contract(
    recipe: str, metric: str, reference: str, candidate: str, limit: float | None
) -> None:
    names = {"metric": metric, "reference": reference, "candidate": candidate, "stage": "chained"}
    found = [gate.limit for gate in spec.load_gates(recipe) if gate.judges(**names)]
    assert found == [limit]


def test_integer_recipes_may_leave_as_much_in_float_as_the_gate_allows() -> None:
    for name in spec.recipe_names():
        recipe = spec.load_recipe(name)
        gates = [g for g in spec.load_gates(name) if g.metric == "float_macs_share"]
        assert [gate.limit for gate in gates] == (
            [] if recipe.is_float else [recipe.max_float_macs]
        )


def test_no_two_gates_judge_the_same_row() -> None:
    seen = []
    for gate in spec.load_gates():
        for recipe in gate.applies_to:
            for candidate in gate.candidates:
                seen += [(gate.metric, gate.reference, recipe, candidate, s) for s in gate.stages]
    assert len(seen) == len(set(seen))


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "known"),
    [
        (spec.load_network, "affinenet-edge"),
        (spec.load_model, "edge"),
        (spec.load_recipe, "w8a8"),
        (spec.load_target, "sd865"),
    ],
)
def test_an_unknown_name_lists_the_known_ones(load: object, known: str) -> None:
    with pytest.raises(UsageError, match="no-such-name") as caught:
        load("no-such-name")  # type: ignore[operator]
    assert known in caught.value.expected
    assert caught.value.exit_code == 2


def test_a_near_miss_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="did you mean 'w8a8'"):
        spec.load_recipe("w8a9")


def test_a_name_may_be_a_path(tmp_path: Path) -> None:
    recipe = spec.load_recipe(write(tmp_path, RECIPE, "mine.toml"))
    assert (recipe.name, recipe.weights.bits) == ("mine", 8)


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.toml"):
        spec.load_recipe(tmp_path / "absent.toml")


# --- strictness --------------------------------------------------------------------------------


def test_an_unknown_key_names_file_key_and_known_keys(tmp_path: Path) -> None:
    path = write(tmp_path, "weigths = 8\n" + RECIPE)
    with pytest.raises(UsageError) as caught:
        spec.load_recipe(path)
    message = str(caught.value)
    assert str(path) in message
    assert "'weigths'" in message
    assert "activations, description, input, max_float_macs, output, overrides" in message


def test_an_unknown_key_in_a_table_names_the_table(tmp_path: Path) -> None:
    path = write(tmp_path, RECIPE + "bit = 8\n")
    with pytest.raises(UsageError, match=r"toy\.toml: activations: unknown key 'bit'"):
        spec.load_recipe(path)


def test_a_name_in_the_file_is_refused_since_the_file_name_is_the_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown key 'name'"):
        spec.load_recipe(write(tmp_path, 'name = "other"\n' + RECIPE))


@pytest.mark.parametrize(
    ("line", "expected", "actual"),
    [
        ('max_float_macs = "5 %"', "a finite number", "a string"),
        ("max_float_macs = true", "a finite number", "a boolean"),
        ("max_float_macs = nan", "a finite number", "a number"),
        ("overrides = 3", "an array, each a table", "a whole number"),
        ("overrides = [3]", "a table", "a whole number"),
        ('input = "int4"', "one of 'float', 'int8'", "int4"),
    ],
)
def test_a_value_of_another_type_names_key_expected_and_actual(
    tmp_path: Path, line: str, expected: str, actual: str
) -> None:
    with pytest.raises(UsageError) as caught:
        spec.load_recipe(write(tmp_path, line + RECIPE))
    assert line.split(" = ", maxsplit=1)[0] in caught.value.what
    assert actual in caught.value.what
    assert caught.value.expected == expected


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'weights' is missing"):
        spec.load_recipe(write(tmp_path, 'description = "x"\n[activations]\nbits = 8\n'))


def test_a_whole_number_will_do_for_a_number(tmp_path: Path) -> None:
    recipe = spec.load_recipe(write(tmp_path, "max_float_macs = 1\n" + RECIPE))
    assert recipe.max_float_macs == 1.0
    assert isinstance(recipe.max_float_macs, float)


@pytest.mark.parametrize("text", ["a = ", "\x00"])
def test_what_is_no_toml_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"toy\.toml is no valid TOML"):
        spec.load_recipe(write(tmp_path, text))


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "toy.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"toy\.toml is no valid TOML"):
        spec.load_recipe(path)


def test_a_folder_is_no_toml_file(tmp_path: Path) -> None:
    (tmp_path / "toy.toml").mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        spec.load_recipe(tmp_path / "toy.toml")


def test_specs_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        spec.load_recipe("w8a8").max_float_macs = 1.0  # type: ignore[misc]


# --- rules of one kind of file -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('match = "head*"\nreason = " "', "needs a reason"),
        ('match = "head*"', "'reason' is missing"),
        ('match = ""\nreason = "x"', "either match, .* or part"),
        ('match = "a"\npart = "heads"\nreason = "x"', "either match, .* or part"),
        ('match = "head*"\nreason = "x"\nprecision = "int16"', "precision"),
        ('match = "head*"\nreason = "x"\nnetwork = "srnett"', "network"),
    ],
)
def test_a_recipe_override_is_refused(tmp_path: Path, lines: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        spec.load_recipe(write(tmp_path, f"{RECIPE}\n[[overrides]]\n{lines}\n"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[weights]\nbits = 8", "[weights]\nbits = 32", "must both be 32"),
        ("bits = 8", "bits = 7", "one of 8, 32"),
        ("bits = 8", "bits = 8\npercentile = 40.0", "percentile|unknown key"),
        ('description = "a test"', 'description = "x"\nmax_float_macs = 1.5', r"in 0\.\.1"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        spec.load_recipe(write(tmp_path, RECIPE.replace(old, new)))


def with_parts(**parts: str) -> spec.NetworkSpec:
    return replace(spec.load_network("affinenet-edge"), parts=parts)


def test_a_part_becomes_the_network_s_own_glob(tmp_path: Path) -> None:
    text = '\n[[overrides]]\nnetwork = "affinenet"\npart = "heads"\nreason = "x"\n'
    recipe = spec.load_recipe(write(tmp_path, RECIPE + text))
    (override,) = recipe.for_network(with_parts(heads="out?", warps="w*")).overrides
    assert (override.match, override.part, override.network) == ("out?", "", "affinenet")


def test_a_part_of_another_role_is_left_out() -> None:
    recipe = spec.load_recipe("w8a8").for_network(spec.load_network("srnet"))
    assert recipe.overrides == ()


def test_a_part_that_the_network_does_not_have_is_named_with_those_it_has() -> None:
    with pytest.raises(UsageError, match=r"(?s)affinenet-edge has no part 'heads'.*warps"):
        spec.load_recipe("w8a8").for_network(with_parts(warps="*"))


@pytest.mark.parametrize("name", [n for n in spec.network_names() if n.startswith("affinenet")])
@pytest.mark.parametrize("recipe", ["w8a8", "w8a8-qat", "w8a8-strict"])
def test_bundled_recipes_fit_every_bundled_network(name: str, recipe: str) -> None:
    network, whole = spec.load_network(name), spec.load_recipe(recipe)
    made = whole.for_network(network)
    asked = {override.part for override in whole.overrides if not override.optional}
    own = {network.parts[part] for part in asked}
    assert own <= {override.match for override in made.overrides}
    assert len(made.overrides) == len(
        asked | set(network.parts) & {o.part for o in whole.overrides}
    )


def test_an_optional_part_that_the_network_does_not_have_is_left_out(tmp_path: Path) -> None:
    text = '\n[[overrides]]\nnetwork = "affinenet"\npart = "heads"\noptional = true\nreason = "x"\n'
    recipe = spec.load_recipe(write(tmp_path, RECIPE + text))
    assert recipe.for_network(with_parts(warps="*")).overrides == ()
    assert len(recipe.for_network(with_parts(heads="*")).overrides) == 1


def test_a_float_recipe_takes_no_overrides(tmp_path: Path) -> None:
    text = RECIPE.replace("bits = 8", "bits = 32") + '[[overrides]]\nmatch = "a"\nreason = "b"\n'
    with pytest.raises(UsageError, match="a float recipe has no overrides"):
        spec.load_recipe(write(tmp_path, text))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[1, 64, 64, 3]", "[64, 64, 3]"),
        ("[1, 64, 64, 3]", "[1, 0, 64, 3]"),
        ("[0.0, 1.0]", "[1.0, 0.0]"),
        ("[0.0, 1.0]", "[0.0, 0.5, 1.0]"),
        ('"affinenet"', '"decoder"'),
    ],
)
def test_a_network_with_impossible_tensors_is_refused(tmp_path: Path, old: str, new: str) -> None:
    path = network(tmp_path, "affinenet")
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UsageError, match=r"affinenet\.toml"):
        spec.load_network(path)


def test_a_network_leaves_its_architecture_to_the_family(tmp_path: Path) -> None:
    path = network(tmp_path, "srnet")
    path.write_text(path.read_text() + "[architecture]\nwidth = 32\nblocks = [1, 2]\n")
    assert spec.load_network(path).architecture == {"width": 32, "blocks": [1, 2]}


def test_a_model_without_networks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="an affinenet, an srnet or both"):
        spec.load_model(write(tmp_path, 'description = "x"\n'))


def test_a_model_with_a_checkpoint_for_no_network_is_refused(tmp_path: Path) -> None:
    text = 'description = "x"\nsrnet = "srnet-edge"\n[checkpoints]\naffinenet = "a.safetensors"\n'
    with pytest.raises(UsageError, match=r"checkpoints\.affinenet"):
        spec.load_model(write(tmp_path, text))


def test_a_model_whose_network_has_the_other_role_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="whose role is srnet"):
        spec.load_model(write(tmp_path, 'description = "x"\naffinenet = "srnet-edge"\n'))


def test_a_model_whose_maps_do_not_fit_is_refused(tmp_path: Path) -> None:
    first = network(tmp_path, "affinenet", takes=256, gives=32)
    second = network(tmp_path, "srnet", takes=64, gives=256)
    text = f'description = "x"\naffinenet = "{first}"\nsrnet = "{second}"\n'
    with pytest.raises(UsageError, match=r"\[1, 32, 32, 3\].*\[1, 64, 64, 3\]"):
        spec.load_model(write(tmp_path, text, "pair.toml"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"vertex_mean_mm"', '"vertex_meen_mm"', "metric"),
        ('"a test"', '""', "needs a reason"),
        ('candidates = ["*"]', "candidates = []", "candidates"),
        ("limit = 1.0", "limit = inf", "limit"),
        ("limit = 1.0", "limt = 1.0", "limt"),
    ],
)
def test_a_gate_that_would_judge_nothing_is_refused(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        spec.load_gates(path=write(tmp_path, GATE.replace(old, new)))


@pytest.mark.parametrize(
    ("lines", "baseline", "bound"),
    [
        ("", None, 1.0),
        ('kind = "relative"', 8.0, 16.0),
        ('kind = "difference"', 8.0, 9.0),
        ('kind = "relative"\ndirection = "min"', 8.0, 0.0),
        ('kind = "difference"\ndirection = "min"', 8.0, 7.0),
    ],
)
def test_a_gate_states_its_bound_in_the_unit_of_the_metric(
    tmp_path: Path, lines: str, baseline: float | None, bound: float
) -> None:
    (gate,) = spec.load_gates(path=write(tmp_path, GATE + lines))
    assert gate.bound(baseline) == pytest.approx(bound)


def test_a_relative_gate_without_a_baseline_is_an_error(tmp_path: Path) -> None:
    (gate,) = spec.load_gates(path=write(tmp_path, GATE + 'kind = "relative"\n'))
    with pytest.raises(ValueError, match="baseline"):
        gate.bound()


def test_a_gate_without_a_limit_has_no_bound(tmp_path: Path) -> None:
    (gate,) = spec.load_gates(path=write(tmp_path, GATE.replace("limit = 1.0", "")))
    assert gate.bound() is None


def test_a_gate_judges_only_the_rows_it_names(tmp_path: Path) -> None:
    text = GATE.replace('candidates = ["*"]', 'candidates = ["tflite"]')
    (gate,) = spec.load_gates(path=write(tmp_path, text))
    row = {
        "metric": "vertex_mean_mm",
        "reference": "float",
        "candidate": "tflite",
        "stage": "chained",
    }
    assert gate.judges(**row)
    for key in ("metric", "reference", "candidate"):
        assert not gate.judges(**{**row, key: "other"})


def test_a_gate_of_any_candidate_may_except_one(tmp_path: Path) -> None:
    text = GATE.replace('candidates = ["*"]', 'candidates = ["*", "!qnn"]')
    (gate,) = spec.load_gates(path=write(tmp_path, text))
    row = {"metric": "vertex_mean_mm", "reference": "float", "stage": "chained"}
    assert gate.judges(**row, candidate="tflite")
    assert not gate.judges(**row, candidate="qnn")


# --- meshes of the user's own ------------------------------------------------------------------

MESHES = """
[meshes]
coarse = "meshes/hand.obj"
mano = "/data/MANO_RIGHT.pkl"
"""


def test_meshes_lie_where_the_file_that_names_them_says(tmp_path: Path) -> None:
    path = network(tmp_path, "affinenet")
    path.write_text(path.read_text() + MESHES)
    meshes = spec.load_network(path).meshes
    assert meshes is not None
    assert meshes.files() == {
        "coarse": tmp_path / "meshes" / "hand.obj",
        "mano": Path("/data/MANO_RIGHT.pkl"),
    }
    alone = spec.load_model(path)
    assert alone.meshes == meshes
    model = write(tmp_path, f'description = "m"\naffinenet = "{path}"\n' + MESHES, "model.toml")
    assert spec.load_model(model).meshes == meshes


def test_no_bundled_network_or_model_has_meshes_of_its_own() -> None:
    assert all(spec.load_network(name).meshes is None for name in spec.network_names())
    assert all(spec.load_model(name).meshes is None for name in spec.model_names())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[meshes]\n", "'coarse' is missing"),
        ('[meshes]\ncoarse = ""\n', "meshes.coarse is empty"),
        ('[meshes]\ncoarse = "a.obj"\nfiner = "b.obj"\n', "unknown key 'finer'"),
    ],
)
def test_meshes_that_name_no_mesh_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = network(tmp_path, "affinenet")
    path.write_text(path.read_text() + text)
    with pytest.raises(UsageError, match=message):
        spec.load_network(path)


def test_a_map_holds_a_hand_by_a_known_convention(tmp_path: Path) -> None:
    path = network(tmp_path, "affinenet")
    text = path.read_text()
    assert spec.load_network(path).convention == "projected"
    path.write_text('convention = "published"\n' + text)
    assert spec.load_network(path).convention == "published"
    path.write_text('convention = "orthographic"\n' + text)
    with pytest.raises(UsageError, match="one of 'projected', 'published'"):
        spec.load_network(path)


def test_the_conventions_are_those_of_the_camera() -> None:
    hint = get_type_hints(spec.NetworkSpec)["convention"]
    assert get_args(hint) == CONVENTIONS


# --- networks that answer with a hand -----------------------------------------------------------


def test_a_network_of_the_role_hand_has_a_readout_and_no_other_has(tmp_path: Path) -> None:
    text = (resources.export_data() / "networks" / "s2hand.toml").read_text()
    path = tmp_path / "other.toml"
    path.write_text(text.replace('role = "hand"', 'role = "affinenet"'))
    with pytest.raises(UsageError, match=r"role = 'affinenet'.*has a table \[readout\]"):
        spec.load_network(path)


def test_a_hand_model_lies_beside_the_file_that_names_it(tmp_path: Path) -> None:
    text = (resources.export_data() / "networks" / "s2hand.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(text.replace('hand = "stand-in"', 'hand = "MANO_RIGHT.pkl"'))
    found = spec.load_network(path).readout
    assert found is not None
    assert found.hand == str(tmp_path / "MANO_RIGHT.pkl")
    assert not found.is_stand_in


def test_fields_are_slices_in_their_order() -> None:
    found = spec.load_network("s2hand").readout
    assert found is not None
    assert found.slices()["trans"] == slice(40, 43)


def test_a_hand_network_is_a_model_of_its_own() -> None:
    model = spec.load_model("s2hand")
    assert model.networks == {"hand": "s2hand"}
    with pytest.raises(ValueError, match="runs alone"):
        spec.ModelSpec("x", "two", affinenet="affinenet-edge", hand="s2hand")
