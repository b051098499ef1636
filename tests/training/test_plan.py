"""The plan of a compile: numbers that make no sense are refused, and every name in it has something behind it."""

from typing import Any, get_args

import pytest

from training.compress.importance import IMPORTANCES
from training.compress.recover import DISTANCES
from training.errors import SubjectRefused
from training.plan import Cost, Distance, Importance, Plan
from training.stages import COSTS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": (2.0, 1.0)}, r"plan: levels: expected numbers above 1, got \(2.0, 1.0\)"),
        ({"importance": "guess"}, "plan: importance: expected one of magnitude, taylor, .* got 'guess'"),
        ({"grid": 0}, "plan: grid: expected a whole number of at least 1, got 0"),
        ({"grid": 4.0}, "plan: grid: expected a whole number of at least 1, got 4.0"),
        ({"cost": "flops"}, "plan: cost: expected one of ms, macs, got 'flops'"),
        ({"presets": ("int8",)}, r"plan: presets: expected some of portable, vnni, amx, dynamic, got \('int8',\)"),
        ({"race_seconds": float("nan")}, "plan: race_seconds: expected a number above 0, got nan"),
        ({"race_seconds": float("inf")}, "plan: race_seconds: expected a number above 0, got inf"),
        ({"race_seconds": 0.0}, "plan: race_seconds: expected a number above 0, got 0.0"),
        ({"floor": 1.5}, "plan: floor: expected a share of 1, got 1.5"),
        ({"recovery_epochs": 0}, "plan: recovery_epochs: expected at least 1, got 0"),
        ({"distillation": -0.1}, "plan: distillation: expected a share of 1, got -0.1"),
        ({"distance": "miles"}, "plan: distance: expected one of soft targets, squared error, got 'miles'"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SubjectRefused, match=message):
        Plan(**change)


def test_every_name_has_something_behind_it() -> None:
    assert set(get_args(Importance)) == IMPORTANCES.keys()
    assert set(get_args(Distance)) == DISTANCES.keys()
    assert set(get_args(Cost)) == COSTS.keys()
