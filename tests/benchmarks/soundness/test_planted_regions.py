"""What lies between two arrays is told by their values, and its mistakes are what they say."""

import jax
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
    np.testing.assert_allclose(found.eps, eps, rtol=1e-6, atol=1e-15)
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
        n, pull = jax.vjp(lambda x, form=form: normalise(form, x, (1,)), x)
        got = OF_NORMALS[kind][1](found, x, np.asarray(n), d, (1,))
        np.testing.assert_allclose(got, pull(d)[0], rtol=1e-12, atol=1e-14)
        other = OF_NORMALS[kind][1](found, x, np.asarray(n), d, (0,))
        assert abs(np.asarray(other) - got).max() > 0.1
    p = np.asarray(normalise(SOFTMAX, x, (1,)))
    jacobians = np.stack([np.diag(row) - np.outer(row, row) for row in p])
    want = np.einsum("njj,nj->nj", jacobians, d)
    got = OF_NORMALS[regions.DIAGONAL][1](Normal(SOFTMAX, (1,)), x, p, d, ())
    np.testing.assert_allclose(got, want, rtol=1e-12)


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
    x = normal(N, 5, 2, 3)
    n = np.asarray(normalise(STANDARD, x, (1, 3)))
    got = of_another_group(x, n.reshape(N, 5, 6))
    assert got is not None
    mean, s = x.mean((1, 3)), x.std((1, 3))
    for c in range(6):
        one = x[:, :, c // 3, c % 3]
        want = (one - mean[:, None, c % 2]) / s[:, None, c % 2]
        np.testing.assert_allclose(got[..., c], want, rtol=1e-12)
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
