"""What lies between two arrays is told by their values, and its mistakes are what they say."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.soundness import planted_regions as regions
from benchmarks.soundness.forms import FORMS, K, N
from benchmarks.soundness.losses import Draw
from benchmarks.soundness.planted_regions import (
    MEAN_SQUARE,
    OF_NORMALS,
    SOFTMAX,
    STANDARD,
    Normal,
    axes_of,
    normal_of,
    normalise,
    of_another_group,
)
from reference.compare import Comparer, Verdict
from tests.support.draws import normal

x = normal(4, 3)


@pytest.mark.parametrize(
    ("form", "axes", "eps"), [(SOFTMAX, (1,), 0.0), (STANDARD, (0,), 1e-5), (MEAN_SQUARE, (1,), 0)]
)
def test_how_an_array_is_normalised_is_told_by_its_values(
    form: str, axes: tuple[int, ...], eps: float
) -> None:
    n = np.asarray(normalise(form, x, axes, eps))
    found = normal_of(x, n)
    assert found is not None
    assert found[:2] == (form, axes)
    # Of two means of three squares each is off by 4 u, and n, whose square counts, by 4 u more.
    rounded = 16 * np.finfo(float).eps / 2 * (x**2).mean(1).max()
    assert found.eps == eps or (eps == 0 and found.eps <= np.sqrt(10) * rounded)
    assert normal_of(x, n + 0.01) is None
    assert normal_of(x, n.T) is None


def test_along_the_right_axes_each_mistake_is_the_derivative() -> None:
    """But for the diagonal, which is it where a row has one element."""
    d = normal(4, 3, seed=1)
    for kind, form in (
        ("sum_along", SOFTMAX),
        ("means_along", STANDARD),
        ("mean_square_along", MEAN_SQUARE),
        ("all_sums_along", STANDARD),
    ):
        found = Normal(form, (1,))

        def derivative(x: Any, d: Any, form: str = form) -> Any:
            return jax.vjp(lambda x: normalise(form, x, (1,)), x)[1](d)[0]

        n = normalise(form, x, (1,))
        got = OF_NORMALS[kind][1](found, x, np.asarray(n), d, (1,))
        assert Comparer(derivative, x, d)(got, x, d, compiled=False).verdict == Verdict.MATCH
        other = OF_NORMALS[kind][1](found, x, np.asarray(n), d, (0,))
        assert abs(np.asarray(other) - got).max() > 0.1
    p = np.asarray(normalise(SOFTMAX, x, (1,)))
    got = OF_NORMALS[regions.DIAGONAL][1](Normal(SOFTMAX, (1,)), x, p, d, ())

    def diagonals(p: Any, d: Any) -> Any:
        return jnp.stack([jnp.diag(jnp.diag(row) - jnp.outer(row, row)) for row in p]) * d

    assert Comparer(diagonals, p, d)(got, p, d, compiled=False).verdict == Verdict.MATCH


def test_the_statistics_may_be_those_of_no_batch() -> None:
    """d_x = d / sqrt(variance + eps), where the variance is a number for each feature."""
    found, d = Normal(STANDARD, (0,), 1.0), normal(4, 3, seed=1)
    variance = np.array([3.0, 8.0, 15.0])
    got = regions.of_constants(found, x, d, variance)
    np.testing.assert_array_equal(got, d / [2.0, 3.0, 4.0])
    for z, may_be in (
        (variance, True),
        (variance[None], True),
        (-variance, False),
        (np.ones(4), False),
    ):
        assert regions.may_be_variance(found, x, z) == may_be
    assert not regions.may_be_variance(found._replace(form=MEAN_SQUARE), x, variance)


def test_a_channel_has_the_statistics_of_another_group() -> None:
    """Of integers the means of 16 numbers, and of their squares, are exact."""
    x = np.round(64 * normal(N, 4, 2, 4))
    n = np.asarray(normalise(STANDARD, x, (1, 3)))
    got, found = of_another_group(x, n.reshape(N, 4, 8)), normal_of(x, n)
    assert got is not None
    assert found is not None
    mean, s = x.mean((1, 3)), np.sqrt(x.var((1, 3)) + found.eps)
    for c in range(8):
        one = x[:, :, c // 4, c % 4]
        want = (one - mean[:, None, c % 2]) / s[:, None, c % 2]
        np.testing.assert_array_equal(got[..., c], want)
    assert of_another_group(x, x) is None


def test_axes_are_read_off_a_name() -> None:
    assert axes_of("means_along", "means_along_0_2") == (0, 2)
    assert axes_of("sum_along", "means_along_0") is None
    assert axes_of(regions.DIAGONAL, "diagonal_alone") == ()
    assert axes_of("sum_along", "identity") is None


def test_every_form_has_a_gradient() -> None:
    assert K > 1
    for function, arguments, places in FORMS.values():
        args = arguments(Draw(np.random.default_rng(0), "normal"))
        shapes = jax.eval_shape(jax.grad(function, places), *args)
        assert all(g.shape for g in jax.tree.leaves(shapes))
