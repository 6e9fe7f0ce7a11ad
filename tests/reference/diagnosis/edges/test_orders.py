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
