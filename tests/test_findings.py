from __future__ import annotations

import json
import math

from i2uv_edge.findings import (
    BlockFinding,
    Budget,
    Findings,
    Step,
    TensorFinding,
    floats_in_words,
)

SMALL = Step(("affinenet: heads", "affinenet: decoder.2"), 0.3, 0.04, 0.02)
LARGE = Step(("affinenet: heads", "srnet: last"), 0.2, 0.2, 0.11)
FOUND = Findings(
    model="toy",
    recipe="w8a8",
    pictures=16,
    integer_mm={"affinenet": 1.25},
    blocks=(
        BlockFinding("affinenet", "first.head", "heads", 0.001, 0.8, 0.4, 0.85),
        BlockFinding("affinenet", "bridge", "", 0.2, 0.1, 1.2, 0.05),
    ),
    tensors=(
        TensorFinding("affinenet", "input", "activation", math.inf, 0.0),
        TensorFinding("affinenet", "bridge.weight", "weight", 31.5, 0.0),
    ),
    ladder=(SMALL, LARGE),
    budgets=(Budget(0.5, "toy-0.5mm.toml", SMALL, 0.456, 200),),
)


def test_a_step_says_what_is_float_and_what_that_costs() -> None:
    assert SMALL.line() == "0.30 mm: heads and decoder.2 float, +4.0 % time, estimated"


def test_networks_are_named_where_there_are_two() -> None:
    assert floats_in_words(LARGE.floats) == "affinenet's heads and srnet's last float"
    assert floats_in_words(()) == "everything integer"


def test_more_float_than_the_gates_allow_is_said() -> None:
    assert LARGE.line().endswith("(11.0 % of the multiply-adds float) *")
    assert "* of a network; bundled recipes allow themselves 5 %" in FOUND.text()


def test_the_table_has_the_worst_blocks_and_tensors_first() -> None:
    lines = FOUND.text().splitlines()
    places = [
        next(i for i, line in enumerate(lines) if line.startswith(name))
        for name in ("first.head", "bridge  ", "bridge.weight", "input")
    ]
    assert places == sorted(places)
    assert (
        "0.5 mm: heads and decoder.2 float, +4.0 % time, estimated; 0.456 mm on 200 pictures"
        in (FOUND.text())
    )


def test_the_document_is_json_without_numbers_that_json_has_not() -> None:
    document = json.loads(json.dumps(FOUND.fields(), allow_nan=False))
    assert document["schema"] == 1
    assert document["tensors"][0]["sqnr_db"] is None
    assert document["budgets"][0]["choice"]["floats"] == list(SMALL.floats)
