"""Mistakes of several operations together are found, and named.

Axes: B examples, T rows, D units; C channels in G groups, P places.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reference import Code, check_gradient
from reference.arrays import Array
from reference.diagnosis.edges.kinds import REGIONS
from tests.support.draws import normal

B, T, D = 3, 4, 5
C, G, P = 6, 2, 3


def first_cause(gradient: Any, loss: Any, *args: Any, argnums: Any = 0) -> Any:
    report = check_gradient(gradient, loss, *args, argnums=argnums, explain_seconds=math.inf)
    assert not report.ok
    return report.causes[0]


def standardised(x: Any, gain: Any, t: Any) -> Any:
    c = x - x.mean(-1, keepdims=True)
    n = c / jnp.sqrt((c**2).mean(-1, keepdims=True) + 1e-5)
    return (jnp.sin(n * gain[None, None, :]) * t).sum()


def of_standardised(x: Array, gain: Array, t: Array, means: Any, whole: Any = -1) -> Any:
    """Give the gradient with means along some axes and with the sums of the forward pass, too.

    If `whole` is None they are those of the mean square alone.
    """

    def statistics(axis: Any) -> Any:
        s = np.sqrt(x.var(axis, keepdims=True) + 1e-5)
        return (x - x.mean(axis, keepdims=True)) / s, s

    n, _ = statistics(-1)
    d_out = np.cos(n * gain) * t
    d_n, d_gain = d_out * gain, (d_out * n).sum((0, 1))
    n, s = statistics(-1 if whole is None else whole)
    d_c = (d_n - n * (d_n * n).mean(means, keepdims=True)) / s
    if whole is None:
        return d_c - d_c.mean(-1, keepdims=True), d_gain
    return d_c - d_n.mean(means, keepdims=True) / s, d_gain


def test_means_along_another_axis_are_named() -> None:
    args = normal(B, T, D), normal(D), normal(B, T, D, seed=1)
    for axes, whole, kind, words, operand in (
        (1, -1, "means_along_1", "means along axis 1, not along those", "`x`"),
        ((1, 2), -1, "means_along_1_2", "means along axes 1 and 2", "`x`"),
        (0, 0, "all_sums_along_0", "all sums, of the forward pass too, along axis 0", "`x`"),
        ((1, 2), None, "mean_square_along_1_2", "has the mean along axes 1 and 2", "`c`"),
    ):
        gradient = of_standardised(*args, axes, whole)
        cause = first_cause(gradient, standardised, *args, argnums=(0, 1))
        assert (cause.code, cause.kind, cause.operand) == (Code.LOCAL_DERIVATIVE, kind, operand)
        assert cause.where.text.startswith("n = c / ")
        assert words in cause.sentence
    report = check_gradient(of_standardised(*args, -1), standardised, *args, argnums=(0, 1))
    assert (report.ok, report.causes) == (True, ())


def test_the_sum_of_a_softmax_is_named_whoever_has_written_it() -> None:
    z, t = normal(T, D), normal(T, D, seed=1)

    def by_hand(z: Any, t: Any) -> Any:
        e = jnp.exp(z)
        p = e / e.sum(1, keepdims=True)
        return (t * jnp.sin(p)).sum()

    def by_jax(z: Any, t: Any) -> Any:
        p = jax.nn.softmax(z, axis=1)
        return (t * jnp.sin(p)).sum()

    p = np.asarray(jax.nn.softmax(z, axis=1))
    d_p = t * np.cos(p)
    for loss in (by_hand, by_jax):
        cause = first_cause(p * (d_p - (p * d_p).sum(0)), loss, z, t)
        assert (cause.kind, cause.operand) == ("sum_along_0", "`z`")
        assert cause.where.text.startswith("p = ")
    assert first_cause(p * (1 - p) * d_p, by_hand, z, t).kind == "softmax_diagonal"


def test_the_statistics_of_another_group_are_named() -> None:
    x, weight, t = normal(C, P), normal(C), normal(C, P, seed=1)
    x += np.arange(C)[:, None]

    def loss(x: Any, weight: Any, t: Any) -> Any:
        g = x.reshape(G, -1)
        n = (g - g.mean(-1, keepdims=True)) / jnp.sqrt(g.var(-1, keepdims=True) + 1e-5)
        out = n.reshape(x.shape) * weight[:, None]
        return (out * t).sum()

    right, _ = jax.grad(loss, (0, 1))(x, weight, t)
    g, group = x.reshape(G, -1), np.arange(C) % G
    mean, var = (s[group, None] for s in (g.mean(-1), g.var(-1)))
    d_weight = (t * (x - mean) / np.sqrt(var + 1e-5)).sum(1)
    cause = first_cause((np.asarray(right), d_weight), loss, x, weight, t, argnums=(0, 1))
    assert (cause.kind, cause.operand) == ("of_another_group", "`weight`")
    assert cause.where.text.startswith("out = n.reshape")
    assert "group c % G" in cause.sentence


@pytest.mark.parametrize("by", ["slices", "maximum"])
def test_an_equals_sign_where_slices_overlap_is_named(by: str) -> None:
    x, t = normal(20), normal(18, seed=1)

    def loss(x: Any, t: Any) -> Any:
        slices = [x[i : i + 18] for i in range(3)]
        if by == "maximum":
            pooled = jnp.maximum(jnp.maximum(slices[0], slices[1]), slices[2])
        else:
            pooled = jnp.stack(slices).max(axis=0)
        return (pooled * t).sum()

    d_x = np.zeros(20)
    for i in range(18):
        d_x[i + x[i : i + 3].argmax()] = t[i]
    cause = first_cause(d_x, loss, x, t)
    assert (cause.kind, cause.operand) == ("last_window_of_slices", "`x`")
    assert cause.where.text.startswith("pooled = ")


def test_each_pattern_says_what_is_wrong_in_words_of_its_own() -> None:
    sentences = [pattern.sentence for pattern in REGIONS.values()]
    assert len(set(sentences)) == len(sentences) == 1 + 3 + 2 + 4 * 10 + 4 + 4
