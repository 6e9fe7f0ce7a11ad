"""The residual connection, proven against JAX with branches of several layers."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference.layers.dense
import reference.layers.layer_norm
import reference.layers.silu
import reference.layers.tanh
from manual_nn.layers import dense, layer_norm, residual, silu, tanh
from manual_nn.layers.dense import Dense
from manual_nn.layers.layer_norm import LayerNorm
from manual_nn.layers.residual import Kept, Step
from reference.layers import residual as twin
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.strategies import seeds

TWINS = {
    layer: getattr(reference.layers, layer.__name__.rpartition(".")[2])
    for layer in (dense, layer_norm, silu, tanh)
}
NORM = Step(layer_norm, {"eps": 0.5})
BRANCHES: dict[str, list[Any]] = {
    "one layer": [Step(tanh)],
    "pre-norm": [NORM, Step(dense), Step(silu)],
    "dense last": [Step(tanh), Step(dense)],
}


def forward_by_jax(params: Any, x: Any, *, branch: Any) -> Any:
    steps = [(TWINS[step.layer], step.options) for step in branch]
    return twin.forward(params, x, branch=steps)


TWIN: Any = SimpleNamespace(forward=forward_by_jax)


def subject_of(N: int, D: int, branch: list[Any]) -> Subject:
    """Make parameters for each layer of the branch, from D units to D."""
    makers: dict[Any, Any] = {
        dense: lambda draw: Dense(draw(D, D), draw(D)),
        layer_norm: lambda draw: LayerNorm(draw(D), draw(D)),
    }
    return Subject(
        lambda draw, _: (
            tuple(makers.get(step.layer, lambda _: ())(draw) for step in branch),
            draw(N, D),
        ),
        {"branch": branch},
    )


@given(N=st.integers(1, 4), D=st.integers(1, 4), name=st.sampled_from([*BRANCHES]), seed=seeds)
@FEW
def test_values_and_gradients_agree_with_jax(N: int, D: int, name: str, seed: int) -> None:
    prove(residual, TWIN, subject_of(N, D, BRANCHES[name]), seed)


def through_the_branch_alone(params: Any, kept: Kept, d_out: Any) -> Any:
    d_params, d_x = residual.backward(params, kept, d_out)
    return d_params, d_x - d_out


def with_d_out_twice(params: Any, kept: Kept, d_out: Any) -> Any:
    """Add d_out where the sum begins, and once more where the branch ends."""
    d_params, d_x = residual.backward(params, kept, d_out)
    return d_params, d_x + d_out


def past_the_branch_alone(params: Any, kept: Kept, d_out: Any) -> Any:
    d_params, _ = residual.backward(params, kept, d_out)
    return d_params, d_out.copy()


def with_the_sum_for_the_branch(params: Any, kept: Kept, d_out: Any) -> Any:
    """The gradient of the branch's input takes the place of d_out, as a sum in place would."""
    _, d_x = residual.backward(params, kept, d_out)
    return residual.backward(params, kept, d_x)[0], d_x


def with_d_out_for_every_layer(params: Any, kept: Kept, d_out: Any) -> Any:
    """Each layer of the branch receives what the last one should."""
    steps = zip(kept.branch, params, kept.inner, strict=True)
    each = [step.layer.backward(param, inner, d_out) for step, param, inner in steps]
    return tuple(d_param for d_param, _ in each), residual.backward(params, kept, d_out)[1]


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        residual,
        TWIN,
        subject_of(3, 4, BRANCHES["pre-norm"]),
        Named(through_the_branch_alone, "return x + f"),
        Named(with_d_out_twice, "return x + f"),
        Named(past_the_branch_alone, "normal * weight + bias"),
        with_the_sum_for_the_branch,
        with_d_out_for_every_layer,
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_exact_where_the_numbers_are(dtype: type[np.floating[Any]]) -> None:
    """Two dense layers in a row, which commute with nothing."""
    first = Dense(np.array([[1, 2], [0, 1]], dtype), np.array([1, 0], dtype))
    second = Dense(np.array([[0, 1], [1, 0]], dtype), np.array([0, -1], dtype))
    branch = [Step(dense), Step(dense)]
    x = np.array([[3, 5]], dtype)
    out, kept = residual.forward((first, second), x, branch=branch)
    np.testing.assert_array_equal(out, np.array([[3 + 11, 5 + 3]], dtype))  # y_1 is 4, 11
    d_out = np.array([[2, 1]], dtype)
    (d_first, d_second), d_x = residual.backward((first, second), kept, d_out)
    np.testing.assert_array_equal(d_second.weight, np.array([[8, 4], [22, 11]], dtype))
    np.testing.assert_array_equal(d_first.weight, np.array([[3, 6], [5, 10]], dtype))
    np.testing.assert_array_equal(d_first.bias, np.array([1, 2], dtype))
    np.testing.assert_array_equal(d_x, np.array([[2 + 5, 1 + 2]], dtype))
    np.testing.assert_array_equal(d_out, np.array([[2, 1]], dtype))


def test_arguments_that_do_not_fit_are_refused() -> None:
    x = np.ones((2, 3))
    _, kept = residual.forward(((),), x, branch=[Step(tanh)])
    with pytest.raises(ValueError, match="branch must have at least one layer, and as many as par"):
        residual.forward((), x, branch=[])
    with pytest.raises(ValueError, match="as many as params, 2, got 1"):
        residual.forward(((), ()), x, branch=[Step(tanh)])
    wide = Dense(np.ones((3, 1)), np.ones(1))
    with pytest.raises(
        ValueError, match=r"the branch's out must have shape \(2, 3\) to fit x, got"
    ):
        residual.forward((wide,), x, branch=[Step(dense)])
    with pytest.raises(TypeError, match="x must be float32 or float64, got int64"):
        residual.forward(((),), np.ones(3, np.int64), branch=[Step(tanh)])
    with pytest.raises(ValueError, match=r"x must have at least 1 axis"):
        residual.forward((), np.ones(()), branch=[])
    with pytest.raises(ValueError, match=r"d_out must have shape \(2, 3\) to fit out, got \(6,\)"):
        residual.backward((), kept._replace(branch=(), inner=()), np.ones(6))
    with pytest.raises(TypeError, match="d_out must be float64 like out, got int64"):
        residual.backward(((),), kept, np.ones((2, 3), np.int64))
