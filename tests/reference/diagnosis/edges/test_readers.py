"""What all readers of an element hand down to it is seen to be added, and nothing else.

Axes: N places in, M windows of S places, C channels.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from reference import Code, check_gradient
from tests.support.draws import normal

N, M, S, C = 7, 5, 3, 4
COVERS = (abs(np.arange(M)[:, None] - np.arange(N) + (S - 1) / 2) < S / 2) * 1.0  # (M, N)
READ = np.array([2, 0, 2, 5, 2, 5])


def by_a_matrix(x: Any, t: Any) -> Any:
    pooled = COVERS @ x / S
    return (pooled * t).sum()


def by_windows(x: Any, t: Any) -> Any:
    pooled = jax.lax.reduce_window(x, 0.0, jax.lax.add, (S, 1), (1, 1), "VALID")
    return (pooled / S * t).sum()


def by_slices(x: Any, t: Any) -> Any:
    pooled = x[:M] + x[1 : M + 1] + x[2:]
    return (pooled / S * t).sum()


def test_an_equals_sign_in_average_pooling_is_named_however_it_is_written() -> None:
    x, t = normal(N, C), normal(M, C, seed=1)
    backwards = np.zeros((N, C))
    for w in range(S):
        backwards[w : w + M] = t / S
    onwards = np.zeros((N, C))
    for o in range(M):
        onwards[o : o + S] = t[o] / S
    for loss, d_x, kind in (
        (by_a_matrix, backwards, "first_reader"),
        (by_windows, onwards, "last_reader"),
        (by_slices, backwards, "first_reader"),
    ):
        report = check_gradient(d_x, loss, x, t, explain_seconds=math.inf)
        cause = report.causes[0]
        assert (cause.code, cause.kind) == (Code.LOCAL_DERIVATIVE, kind), cause
        assert cause.where is not None
        assert cause.where.text.startswith("pooled = ")
        report = check_gradient(COVERS.T @ t / S, loss, x, t)
        assert (report.ok, report.causes) == (True, ())
    report = check_gradient(normal(N, C, seed=2), by_slices, x, t, explain_seconds=math.inf)
    assert [cause.code for cause in report.causes] == [Code.UNKNOWN]


def test_a_mean_over_the_readers_of_a_row_is_named() -> None:
    """As an embedding's gradient that is divided by how often a word occurs."""
    E, t = normal(6, C), normal(len(READ), C, seed=1)

    def loss(E: Any, words: Any, t: Any) -> Any:
        rows = E[words]
        return (jnp.sin(rows) * t).sum()

    d_E = np.zeros_like(E)
    np.add.at(d_E, READ, np.cos(E[READ]) * t)
    d_E /= np.maximum(np.bincount(READ, minlength=6), 1)[:, None]
    cause, *_ = check_gradient(d_E, loss, E, READ, t, explain_seconds=math.inf).causes
    assert (cause.kind, cause.operand) == ("mean_of_the_readers", "`E`")
    assert cause.where is not None
    assert cause.where.text == "rows = E[words]"
