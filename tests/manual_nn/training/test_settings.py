"""Settings in a file: plain ones stay, others are named by their kind."""

import json
from typing import Any

import pytest

from manual_nn import SGD, AdamW, Convergence, CosineSchedule, EarlyStopping
from manual_nn.training.settings import as_json


@pytest.mark.parametrize(
    ("setting", "want"),
    [
        (None, None),
        (0.5, 0.5),
        ([3, 4], [3, 4]),
        ((3, 4), (3, 4)),
        (SGD(0.5), {"kind": "SGD", "momentum": 0.5, "nesterov": False}),
        (AdamW(0.5, 0.25, 2), {"kind": "AdamW", "beta1": 0.5, "beta2": 0.25, "eps": 2.0}),
        (
            CosineSchedule(0.5, 3),
            {"kind": "CosineSchedule", "initial": 0.5, "epochs": 3, "final": 0.0},
        ),
        (
            EarlyStopping(0.5, 0.25),
            {"kind": "EarlyStopping", "min_accuracy": 0.5, "max_change": 0.25},
        ),
        (Convergence(3, 0.5), {"kind": "Convergence", "n_iter_no_change": 3, "tol": 0.5}),
    ],
)
def test_what_json_holds_of_a_setting(setting: Any, want: Any) -> None:
    assert as_json(setting) == want
    json.dumps(as_json(setting))
