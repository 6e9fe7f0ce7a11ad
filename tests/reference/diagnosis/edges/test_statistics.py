"""Other statistics in the backward pass than those of the forward pass are found, and named.

Axes: N rows, D features.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from reference import Code, check_gradient
from reference.arrays import Array
from tests.support.draws import normal

N, D = 6, 4
EPS = 1e-5


def batch_norm(x: Any, weight: Any, bias: Any) -> Any:
    mean = x.mean(0)
    centred = x - mean[None, :]
    variance = (centred**2).mean(0)
    deviation = jnp.sqrt(variance + EPS)
    normal = centred / deviation[None, :]
    return normal * weight[None, :] + bias[None, :]


def loss(x: Any, weight: Any, bias: Any, running_mean: Any, running_variance: Any, t: Any) -> Any:
    del running_mean, running_variance  # of which evaluation makes use
    out = jnp.tanh(batch_norm(jnp.sin(x), weight, bias))
    return (out * t).sum()


def gradient(args: Any, mistake: str = "") -> tuple[Array, Array, Array]:
    x, weight, bias, running_mean, running_variance, t = args
    z = np.sin(x)
    mean, s = z.mean(0), np.sqrt(z.var(0) + EPS)
    n = (z - mean) / s
    d_out = t * (1 - np.tanh(n * weight + bias) ** 2)
    d_n = d_out * weight
    d_z = (d_n - d_n.mean(0) - n * (d_n * n).mean(0)) / s
    if mistake:
        s = np.sqrt(running_variance + EPS)
        d_z = d_n / s
    if mistake == "running in both":
        n = (z - running_mean) / s
    return np.cos(x) * d_z, (d_out * n).sum(0), d_out.sum(0)


def test_running_statistics_in_the_place_of_those_of_the_batch_are_named() -> None:
    args = (
        *(normal(N, D), normal(D), normal(D, seed=1), normal(D, seed=2)),
        *(np.exp(normal(D, seed=3)), normal(N, D, seed=4)),
    )
    for mistake, operand in (("running in both", "`mean` and `variance`"), ("in x", "`variance`")):
        report = check_gradient(
            gradient(args, mistake), loss, *args, argnums=(0, 1, 2), explain_seconds=np.inf
        )
        cause = report.causes[0]
        assert (cause.code, cause.kind) == (Code.LOCAL_DERIVATIVE, "other_statistics"), cause
        assert cause.operand == operand
        running = "`running_mean` and `running_variance`"
        used = running if mistake == "running in both" else "`running_variance`"
        assert f"uses {used} in place of {operand}" in cause.sentence
        assert cause.where is not None
        line = "return normal * weight" if mistake == "running in both" else "normal = centred"
        assert cause.where.text.startswith(line)
    report = check_gradient(gradient(args), loss, *args, argnums=(0, 1, 2), explain_seconds=np.inf)
    assert (report.ok, report.causes) == (True, ())
