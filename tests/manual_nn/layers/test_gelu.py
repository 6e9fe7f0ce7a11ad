"""GELU in both of its forms, proven against JAX, and its values far out."""

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import gelu
from manual_nn.layers.gelu import Kept
from reference.layers import gelu as twin
from tests.support.compiled import of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.strategies import seeds


def subject_of(shape: list[int], *, approximate: bool, scale: float = 1.0) -> Subject:
    return Subject(lambda draw, _: ((), scale * draw(*shape)), {"approximate": approximate})


shapes = st.lists(st.integers(1, 6), min_size=1, max_size=3)


@given(
    shape=shapes, approximate=st.booleans(), scale=st.sampled_from([0.125, 1.0, 3.0]), seed=seeds
)
@FEW
def test_values_and_gradients_agree_with_jax(
    shape: list[int], approximate: bool, scale: float, seed: int
) -> None:
    prove(gelu, twin, subject_of(shape, approximate=approximate, scale=scale), seed)


def by_the_other_form(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    return gelu.backward(params, Kept(kept.x, not kept.approximate), d_out)


def as_a_mask(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    Phi = gelu.forward(params, kept.x, approximate=kept.approximate)[0] / kept.x
    return (), d_out * Phi


def with_the_density_of_erf(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    _, d_x = gelu.backward(params, kept, d_out)
    right, wrong = (np.exp(-(kept.x**2) / k) / math.sqrt(2 * math.pi) for k in (2, 1))
    return (), d_x + d_out * kept.x * (wrong - right)


def without_the_gate(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    """Take only the part of the product rule that as_a_mask leaves out."""
    return (), gelu.backward(params, kept, d_out)[1] - as_a_mask(params, kept, d_out)[1]


def without_the_factor_3(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    """Take x^2 for the derivative of x^3, in the argument of tanh."""
    _, d_x = gelu.backward(params, kept, d_out)
    x, u = kept.x, math.sqrt(2 / math.pi) * (kept.x + 0.044715 * kept.x**3)
    left_out = math.sqrt(2 / math.pi) * 0.044715 * 2 * x**2
    return (), d_x - d_out * x / 2 * (1 - np.tanh(u) ** 2) * left_out


@pytest.mark.parametrize("approximate", [False, True])
def test_the_mistakes_that_people_make_are_seen(approximate: bool) -> None:
    subject = subject_of([4, 5], approximate=approximate)
    of_the_form = without_the_factor_3 if approximate else with_the_density_of_erf
    refute(
        gelu,
        twin,
        subject,
        by_the_other_form,
        Named(as_a_mask, "return x * "),
        Named(without_the_gate, "return x * "),
        Named(of_the_form, "return x * "),
        with_the_density_of_erf,
    )


@of_each_implementation(gelu)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("approximate", [False, True])
def test_it_is_exact_at_0_and_far_out(
    layer: ModuleType, approximate: bool, dtype: type[np.floating[Any]]
) -> None:
    """There Phi is 0, 1/2 or 1, however large x is, and no power of it overflows."""
    largest = np.finfo(dtype).max
    x = np.array([0, 100, -100, largest, -largest], dtype)
    out, kept = layer.forward((), x, approximate=approximate)
    np.testing.assert_array_equal(out, np.array([0, 100, 0, largest, 0], dtype))
    _, d_x = layer.backward((), kept, np.full(5, 4, dtype))
    np.testing.assert_array_equal(d_x, np.array([2, 4, 0, 4, 0], dtype))


@of_each_implementation(gelu)
def test_the_tail_has_its_digits(layer: ModuleType) -> None:
    """In float32 1 + erf and 1 + tanh are multiples of 2^-24; out is right to some roundings.

    Of NumPy's Phi there is one, and of the compiled one 14 at most, normal.md.
    """
    x = np.linspace(-6, -3, 31, dtype=np.float32)
    want = np.array([t * math.erfc(-t / math.sqrt(2)) / 2 for t in x.tolist()])
    out, _ = layer.forward((), x)
    of_Phi = 1 if layer is gelu else 14
    assert (abs(out - want) <= (of_Phi + 1) * 2.0**-24 * abs(want)).all()
    u2 = np.array([2 * math.sqrt(2 / math.pi) * (t + 0.044715 * t**3) for t in x.tolist()])
    want = x / (1 + np.exp(-u2))
    out, _ = layer.forward((), x, approximate=True)
    # The exponent is rounded 7 times, which changes exp by |u2| times that; exp itself is off by
    # 4 units in the last place at most; and 3 operations follow.
    assert (abs(out - want) <= (7 * abs(u2) + 8 + 3) * 2.0**-24 * abs(want)).all()


@of_each_implementation(gelu)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    _, kept = layer.forward((), np.ones((2, 3)))
    with pytest.raises(TypeError, match="x must be float32 or float64, got float16"):
        layer.forward((), np.ones(3, np.float16))
    with pytest.raises(ValueError, match=r"no empty one, got shape \(0,\)"):
        layer.forward((), np.ones(0))
    with pytest.raises(ValueError, match=r"x must have at least 1 axis .* got shape \(\)"):
        layer.forward((), np.ones(()))
    with pytest.raises(TypeError, match="approximate must be a bool, got str"):
        layer.forward((), np.ones(3), approximate="none")
    with pytest.raises(TypeError, match="d_out must be float64 like out, got float32"):
        layer.backward((), kept, np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"d_out must have shape \(2, 3\) to fit out, got \(6,\)"):
        layer.backward((), kept, np.ones(6))
