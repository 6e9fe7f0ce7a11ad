"""Mistakes of what is chosen by the largest are found, and named, however it is written.

Axes: N places in, M windows of S places, C channels.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reference import Code, check_gradient
from reference.arrays import Array
from tests.support.draws import normal

N, M, S, C = 7, 5, 3, 4
PLACES = np.arange(M)[:, None] + np.arange(S)


def by_places(x: Any, t: Any) -> Any:
    rows = x[PLACES]  # (M, S, C)
    first = jnp.argmax(rows, axis=1, keepdims=True)
    pooled = jnp.take_along_axis(rows, first, axis=1)
    return (pooled[:, 0] * t).sum()


def by_windows(x: Any, t: Any) -> Any:
    pooled = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (S, 1), (1, 1), "VALID")
    return (pooled * t).sum()


def gradient(x: Array, t: Array, mistake: str = "") -> Array:
    """Go back through the windows, one place of them after another."""
    winner, d_x = x[PLACES].argmax(axis=1), np.zeros_like(x)  # (M, C)
    if mistake == "in the first channel":
        winner = np.repeat(winner[:, :1], C, axis=1)
    for w in range(S):
        wins = winner == w
        if mistake in {"of a mean", "to all"}:
            d_x[w : w + M] += t / (S if mistake == "of a mean" else 1)
        elif mistake == "=":
            np.copyto(d_x[w : w + M], t, where=wins)
        else:
            d_x[w : w + M] += np.where(wins, t, 0)
    return d_x


@pytest.mark.parametrize(
    ("loss", "equals", "every"),
    [(by_places, "first_window_of_slices", 1), (by_windows, "first_window_only", 3)],
)
def test_mistakes_of_max_pooling_are_named(loss: Any, equals: str, every: int) -> None:
    x, t = normal(N, C), normal(M, C, seed=1)
    mistakes = (
        ("in the first channel", "chosen_in_the_first_along_1", "in the first slice along axis 1"),
        ("of a mean", "of_a_mean", "in equal parts to all of a window"),
        ("to all", "to_all_of_a_window", "goes to all of a window"),
        ("=", equals, "for each place of a window in turn"),
    )
    for mistake, kind, words in mistakes[::every]:
        report = check_gradient(gradient(x, t, mistake), loss, x, t, explain_seconds=math.inf)
        cause = report.causes[0]
        found = cause.code, cause.kind, cause.operand
        assert found == (Code.LOCAL_DERIVATIVE, kind, "`x`"), (mistake, cause)
        assert words in cause.sentence, cause.sentence
        assert cause.where is not None
        assert cause.where.text.startswith("pooled = ")
    report = check_gradient(gradient(x, t), loss, x, t)
    assert (report.ok, report.causes) == (True, ())
    report = check_gradient(normal(N, C, seed=2), loss, x, t, explain_seconds=math.inf)
    assert [cause.code for cause in report.causes] == [Code.UNKNOWN]
