"""What training takes for an optimizer and for its state."""

import copy
import dataclasses
import re
from typing import Any

import numpy as np
import pytest

import manual_nn
from manual_nn import SGD, Adam, AdamW, CosineSchedule, Dense, OptimizerState
from manual_nn.training.optimizer import as_optimizer, as_optimizer_state, first_state
from tests.support.bits import same_bits

PARAMS = manual_nn.init_params([3, 4, 2], rng=np.random.default_rng(0), dtype=np.float32)
FLOAT32 = np.dtype(np.float32)
NOT_FINITE = np.array([0, np.nan], np.float32)


@pytest.mark.parametrize(
    ("optimizer", "moments"),
    [(SGD(), 0), (SGD(momentum=0.5), 1), (SGD(0.5, nesterov=True), 1), (Adam(), 2), (AdamW(), 2)],
)
def test_an_optimizer_begins_with_no_step_and_moments_of_zero(optimizer: Any, moments: int) -> None:
    assert as_optimizer(optimizer, FLOAT32) is optimizer
    assert optimizer.moments == moments
    for state in (first_state(optimizer, PARAMS), as_optimizer_state(None, optimizer, PARAMS)):
        assert state.steps == 0
        assert len(state.moments) == moments
        for moment in state.moments:
            assert same_bits(moment, tuple(Dense(*map(np.zeros_like, layer)) for layer in PARAMS))


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (SGD(momentum=0), "momentum"),
        (Adam(beta1=0), "beta1"),
        (AdamW(beta2=0), "beta2"),
        (AdamW(eps=1), "eps"),
        (CosineSchedule(2, 3), "initial"),
        (CosineSchedule(2, 3, final=1), "final"),
    ],
)
def test_settings_are_floats_and_stay_as_they_are(settings: Any, name: str) -> None:
    assert type(getattr(settings, name)) is float
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(settings, name, 0.5)
    assert hash(settings) == hash(copy.copy(settings))


def test_the_epochs_of_a_schedule_are_an_integer() -> None:
    assert type(CosineSchedule(2, np.int64(3)).epochs) is int  # type: ignore[arg-type] # NumPy's


def test_a_state_before_the_first_step_is_one() -> None:
    assert as_optimizer_state(OptimizerState(0, (PARAMS, PARAMS)), Adam(), PARAMS).steps == 0


def test_no_moment_shares_memory_with_another_or_with_what_was_given() -> None:
    given = OptimizerState(3, (PARAMS, PARAMS))
    taken = as_optimizer_state(given, Adam(), PARAMS)
    assert taken.steps == 3
    for state in (first_state(Adam(), PARAMS), taken, taken.copy()):
        one, other = (moment[0].weight for moment in state.moments)
        assert not np.shares_memory(one, other)
        assert not np.shares_memory(one, PARAMS[0].weight)
    assert same_bits(taken.moments, given.moments)
    assert same_bits(taken.copy().moments, given.moments)


@pytest.mark.parametrize("value", ["adam", None, 0.1, Adam, object()])
def test_what_is_no_optimizer_is_refused(value: object) -> None:
    got = "the class Adam; write Adam()" if value is Adam else type(value).__name__
    words = re.escape(f"got {got}")
    with pytest.raises(TypeError, match=f"^optimizer must be an SGD, Adam or AdamW .*{words}$"):
        as_optimizer(value, FLOAT32)


def test_an_eps_that_vanishes_in_the_dtype_is_refused() -> None:
    """There 0 / (0 + eps) would be NaN."""
    assert as_optimizer(Adam(eps=1e-60), np.dtype(np.float64)) == Adam(eps=1e-60)
    message = r"optimizer\.eps must be a finite number above 0 in float32, got 1e-60"
    with pytest.raises(ValueError, match=message):
        as_optimizer(Adam(eps=1e-60), FLOAT32)


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (3, TypeError, "optimizer_state must be an OptimizerState or None, got int"),
        ((0, ()), TypeError, "optimizer_state must be an OptimizerState or None, got tuple"),
        (
            OptimizerState(0, ()),
            ValueError,
            r"optimizer_state must be of Adam\(.*\), with 2 moments, got 0",
        ),
        (
            OptimizerState(-1, (PARAMS, PARAMS)),
            ValueError,
            r"optimizer_state\.steps must be at least 0, got -1",
        ),
        (
            OptimizerState(0, (PARAMS[:1], PARAMS)),
            ValueError,
            r"optimizer_state\.moments\[0\] must have 2 layers like params, got 1",
        ),
        (
            OptimizerState(0, (PARAMS, PARAMS[:1])),
            ValueError,
            r"optimizer_state\.moments\[1\] must have 2 layers like params, got 1",
        ),
        (
            OptimizerState(1, (PARAMS, (PARAMS[0], PARAMS[1]._replace(bias=NOT_FINITE)))),
            ValueError,
            r"optimizer_state\.moments\[1\]\[1\]\.bias must be finite, got nan at \[1\]",
        ),
        (
            OptimizerState,
            TypeError,
            r".* got the class OptimizerState; write OptimizerState\(steps, moments\)",
        ),
    ],
)
def test_what_is_no_state_of_the_optimizer_is_refused(
    state: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{message}$"):
        as_optimizer_state(state, Adam(), PARAMS)
