"""The binary cross-entropy of logits, proven against JAX, and its digits far out."""

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.compiled.layers import binary_cross_entropy as compiled
from manual_nn.layers import binary_cross_entropy
from manual_nn.layers.binary_cross_entropy import Kept
from manual_nn.layers.sigmoid import sigmoid
from reference.layers import binary_cross_entropy as twin
from tests.support.compiled import in_python, of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.strategies import seeds


def subject_of(shape: list[int], *, soft: bool, **options: Any) -> Subject:
    rng = np.random.default_rng(0)
    target = rng.random(shape) if soft else rng.integers(2, size=shape).astype(float)
    if options.get("pos_weight") == "each":
        options["pos_weight"] = rng.uniform(0, 5, shape[-1])
    return Subject(lambda draw, _: ((), draw(*shape)), {"target": target, **options})


@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    soft=st.booleans(),
    options=st.sampled_from([{}, {"pos_weight": 2.5}, {"pos_weight": "each"}]),
    seed=seeds,
)
@FEW
def test_values_and_gradients_agree_with_jax(
    shape: list[int], soft: bool, options: dict[str, Any], seed: int
) -> None:
    prove(binary_cross_entropy, twin, subject_of(shape, soft=soft, **options), seed)


def test_a_row_that_is_taken_in_parts_agrees_with_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = in_python(compiled)
    monkeypatch.setattr(layer, "WIDTH", 2)
    prove(layer, twin, subject_of([2, 5], soft=True, pos_weight="each"), seed=0)


def of_probabilities(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    return binary_cross_entropy.backward(params, kept._replace(x=sigmoid(kept.x)), d_out)


def without_the_mean(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    _, d_x = binary_cross_entropy.backward(params, kept, d_out)
    return (), d_x * d_x.size


def with_the_mean_over_the_examples(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    _, d_x = binary_cross_entropy.backward(params, kept, d_out)
    return (), d_x * d_x.shape[-1]


def weighted_on_the_whole(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    _, d_x = binary_cross_entropy.backward(params, kept._replace(pos_weight=1.0), d_out)
    return (), kept.pos_weight * d_x


def without_the_weight(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    return binary_cross_entropy.backward(params, kept._replace(pos_weight=1.0), d_out)


def of_the_positives_alone(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    _, d_x = binary_cross_entropy.backward(params, kept, d_out)
    return (), np.where(kept.target == 1, d_x, 0)


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        binary_cross_entropy,
        twin,
        subject_of([4, 5], soft=False, pos_weight=2.5),
        of_probabilities,
        without_the_mean,
        with_the_mean_over_the_examples,
        Named(weighted_on_the_whole, "(1 - target) * absent"),
        Named(without_the_weight, "weight * target * present"),
        Named(of_the_positives_alone, "absent"),
    )


@of_each_implementation(binary_cross_entropy)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_exact_where_the_numbers_are(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    """A logit of 0 is a probability of 1/2, and one of 4096 is certain."""
    x = np.array([[0, 4096], [-4096, 4096]], dtype)
    target = np.array([[0.25, 0], [1, 1]], dtype)
    _, kept = layer.forward((), x, target=target)
    _, d_x = layer.backward((), kept)
    np.testing.assert_array_equal(d_x, np.array([[0.0625, 0.25], [-0.25, 0]], dtype))
    loss, _ = layer.forward((), x[1], target=1 - target[1], pos_weight=3.0)
    assert loss == 4096 / 2
    loss, _ = layer.forward((), x[1], target=target[1], pos_weight=3.0)
    assert loss == 3 * 4096 / 2
    weights = np.array([3, 0], dtype)
    loss, kept = layer.forward((), x, target=target, pos_weight=weights)
    _, d_x = layer.backward((), kept, 4.0)
    np.testing.assert_array_equal(d_x, np.array([[0, 1], [-3, 0]], dtype))
    assert loss.dtype == d_x.dtype == dtype


@of_each_implementation(binary_cross_entropy)
def test_the_largest_logits_have_a_finite_mean(layer: ModuleType) -> None:
    largest = np.finfo(np.float32).max
    x = np.full(3, largest)
    loss, kept = layer.forward((), x, target=np.zeros_like(x))
    assert abs(loss / largest - 1) < 3 * 2.0**-24 * 2  # three quotients and two sums are rounded
    assert (layer.backward((), kept)[1] == np.float32(1) / 3).all()


@of_each_implementation(binary_cross_entropy)
def test_a_certain_and_right_logit_keeps_its_digits(layer: ModuleType) -> None:
    """In float32 1 - p is 0; exp is off by 4 units in the last place at most, log1p too."""
    x = np.array([20], np.float32)
    for sign in (1, -1):
        target = np.array([sign > 0], np.float32)
        loss, kept = layer.forward((), sign * x, target=target)
        _, d_x = layer.backward((), kept)
        want = math.exp(-20) / (1 + math.exp(-20))
        assert abs(loss - math.log1p(math.exp(-20))) <= (8 + 8) * 2.0**-24 * want
        assert abs(d_x + sign * want) <= (8 + 4) * 2.0**-24 * want


@of_each_implementation(binary_cross_entropy)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    x, target = np.ones((2, 3)), np.ones((2, 3))
    with pytest.raises(ValueError, match=r"target must have shape \(2, 3\) to fit x, got \(3,\)"):
        layer.forward((), x, target=np.ones(3))
    with pytest.raises(TypeError, match="target must be float64 like x, got int64"):
        layer.forward((), x, target=np.ones((2, 3), np.int64))
    with pytest.raises(ValueError, match=r"target must be from 0 to 1, got numbers from -1.0 to 1"):
        layer.forward((), x, target=np.array([[-1.0, 0, 0], [1, 1, 1]]))
    with pytest.raises(ValueError, match=r"target must be from 0 to 1, got numbers from 2.0 to 2"):
        layer.forward((), x, target=2 * target)
    with pytest.raises(
        ValueError, match="pos_weight must be a finite number of at least 0, got -1"
    ):
        layer.forward((), x, target=target, pos_weight=-1)
    with pytest.raises(ValueError, match=r"pos_weight must have shape \(3,\) .*, got \(2,\)"):
        layer.forward((), x, target=target, pos_weight=np.ones(2))
    with pytest.raises(ValueError, match=r"pos_weight must hold finite numbers, none neg"):
        layer.forward((), x, target=target, pos_weight=np.array([1.0, -1, 0]))
    with pytest.raises(ValueError, match=r"none negative, got \[ 1. inf  0.\]"):
        layer.forward((), x, target=target, pos_weight=np.array([1, np.inf, 0]))
    _, kept = layer.forward((), x, target=target)
    with pytest.raises(TypeError, match="d_out must be a real number, got str"):
        layer.backward((), kept, "1")
    with pytest.raises(ValueError, match="x must have at least 1 axis"):
        layer.forward((), np.ones(()), target=np.ones(()))
