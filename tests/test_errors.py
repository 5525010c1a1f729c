from __future__ import annotations

import pickle

import pytest

from i2uv_edge import errors


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.I2uvError, 1),
        (errors.UsageError, 2),
        (errors.InputError, 2),
        (errors.GateError, 3),
        (errors.MissingDependencyError, 4),
        (errors.ConversionError, 5),
        (errors.DamagedError, 6),
        (errors.HubError, 7),
    ],
)
def test_each_kind_has_the_exit_code_of_the_contract(
    kind: type[errors.I2uvError], code: int
) -> None:
    assert kind("it broke").exit_code == code


def test_every_kind_is_an_i2uv_error() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__]
    assert all(issubclass(kind, errors.I2uvError) for kind in kinds)


def test_the_message_says_what_happened_what_was_expected_and_what_to_do() -> None:
    error = errors.InputError("a.png is empty", expected="a picture", remedy="remove it")
    assert str(error) == "a.png is empty\nexpected: a picture\nto do: remove it"


def test_parts_that_are_not_known_leave_no_line() -> None:
    assert str(errors.UsageError("no such file")) == "no such file"
    assert str(errors.UsageError("no such file", remedy="look")) == "no such file\nto do: look"


def test_an_error_survives_the_way_back_from_a_worker_process() -> None:
    error = errors.DamagedError("changed", expected="sha256 1", remedy="copy it again")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is errors.DamagedError
    assert str(again) == str(error)
