"""Axes that are split or put together in another order are found, and named; so is what is skipped.

Axes: N rows, H heads of D features.
"""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from reference import Code, check_gradient
from reference.arrays import Array
from tests.support.draws import normal

N, H, D = 3, 2, 4


def of_heads(x: Any, scale: Any, t: Any) -> Any:
    a = jnp.sin(x)
    heads = a.reshape(N, H, D)
    turned = jnp.stack([-heads[..., D // 2 :], heads[..., : D // 2]], axis=2).reshape(N, H, D)
    each = turned * scale[None, :, None]
    out = each.reshape(N, H * D)
    return (jnp.sin(out) * t).sum()


def gradient(x: Array, scale: Array, t: Array, mistake: str = "") -> tuple[Array, Array]:
    heads = np.sin(x).reshape(N, H, D)
    turned = np.concatenate([-heads[..., D // 2 :], heads[..., : D // 2]], axis=2)
    d_out = np.cos((turned * scale[:, None]).reshape(N, H * D)) * t
    d_each = d_out.reshape(N, H, D)
    if mistake == "joined":
        d_each = d_out.reshape(N, D, H).swapaxes(1, 2)
    d_turned = d_each * scale[:, None]
    d_heads = np.concatenate([d_turned[..., D // 2 :], -d_turned[..., : D // 2]], axis=2)
    d_a = (d_heads.swapaxes(1, 2) if mistake == "split" else d_heads).reshape(N, H * D)
    d_x = d_out if mistake == "skipped" else d_a * np.cos(x)
    return d_x, (d_each * turned).sum((0, 2))


def test_another_order_of_two_axes_and_what_is_skipped_are_named() -> None:
    args = normal(N, H * D), normal(H, seed=1), normal(N, H * D, seed=2)
    for mistake, kind, operand, line in (
        ("split", "split_in_another_order", "`a`", "heads = "),
        ("joined", "joined_in_another_order", "`each`", "out = each.reshape"),
        ("skipped", "all_left_out", "`x`", "out = each.reshape"),
    ):
        wrong = gradient(*args, mistake)
        report = check_gradient(wrong, of_heads, *args, argnums=(0, 1), explain_seconds=math.inf)
        cause = report.causes[0]
        found = cause.code, cause.kind, cause.operand
        assert found == (Code.LOCAL_DERIVATIVE, kind, operand), (mistake, cause)
        assert cause.where is not None
        assert cause.where.text.startswith(line)
    report = check_gradient(gradient(*args), of_heads, *args, argnums=(0, 1))
    assert (report.ok, report.causes) == (True, ())
    wrong = normal(N, H * D, seed=3), normal(H, seed=4)
    report = check_gradient(wrong, of_heads, *args, argnums=(0, 1), explain_seconds=math.inf)
    assert [cause.code for cause in report.causes] == [Code.UNKNOWN]


def squashed(z: Any) -> Any:
    """A function whose last result no argument looks like."""
    u = jnp.tanh(z)
    v = u * jnp.sin(z)
    return v.sum(1)


def test_what_is_skipped_may_end_within_a_function() -> None:
    def loss(x: Any, W: Any) -> Any:
        return (squashed(jnp.cos(x) @ W) ** 2).sum()

    x, W = normal(N, D), normal(D, D, seed=1)
    z = np.cos(x) @ W
    u = np.tanh(z)
    d_v = np.broadcast_to(2 * (u * np.sin(z)).sum(1, keepdims=True), z.shape)
    d_W = np.cos(x).T @ (d_v * ((1 - u**2) * np.sin(z) + u * np.cos(z)))
    report = check_gradient((d_v, d_W), loss, x, W, argnums=(0, 1), explain_seconds=math.inf)
    cause = report.causes[0]
    assert (cause.kind, cause.operand) == ("all_left_out", "`x`"), cause
    assert cause.sentence.endswith("as if nothing were between the two, in ['x'].")
    assert cause.where is not None
    assert cause.where.text.startswith("v = u")
