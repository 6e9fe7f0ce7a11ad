"""A mixture of experts: a router sends each token through the few experts that it ranks first.

mixture_of_experts.md derives the equations. Axes: `...` any number of axes of tokens, N tokens in
one, n those of one expert, D features, E experts, H units of an expert.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_bool, as_count
from manual_nn.checks.arrays import check_fields, check_floats, check_like
from manual_nn.initial import glorot
from manual_nn.layers.silu import silu_and_slope
from manual_nn.layers.softmax_cross_entropy import softmax
from manual_nn.sums import sum_rows


class MixtureOfExperts(NamedTuple):
    """The router's matrix, and two dense layers for each expert."""

    router: Array  # (D, E)
    weight_up: Array  # (E, D, H)
    bias_up: Array  # (E, H)
    weight_down: Array  # (E, H, D)
    bias_down: Array  # (E, D)


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    x: Array  # (..., D)
    p: Array  # (N, E), the softmax of the router's logits
    chosen: npt.NDArray[np.bool_]  # (N, E), which experts a token goes through
    z: tuple[Array, ...]  # (n, H), each expert's pre-activations


def forward(
    params: MixtureOfExperts, x: Array, *, top_k: int, renormalise: bool = True
) -> tuple[Array, Kept]:
    """Add up what the chosen experts make of each token, times their gates; eq. (1), (2), (3).

    out = sum over the chosen of p_e f_e(x), with p the softmax of x router and the expert
    f_e(x) = silu(x weight_up + bias_up) weight_down + bias_down. An expert computes the tokens that
    have chosen it, and no others.

    Args:
        params: router, (D, E), and for each expert weight_up, (E, D, H), bias_up, (E, H),
            weight_down, (E, H, D), and bias_down, (E, D).
        x: (..., D), float32 or float64 as are the parameters.
        top_k: how many experts a token goes through, those of the largest logits, the first of
            equal ones; from 1 to E.
        renormalise: whether the softmax is over the chosen alone, so that their gates sum to 1, and
            not over all. With one expert a token and gates that sum to 1 the router learns nothing.

    Returns:
        out, (..., D), and what `backward` needs.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: the shapes do not fit, or top_k is not from 1 to E.

    Source: Shazeer et al., Outrageously Large Neural Networks: the Sparsely-Gated
    Mixture-of-Experts Layer, 2017, arXiv:1701.06538.

    >>> one, values = np.ones((3, 1, 1)), np.array([[2.0], [8.0], [4.0]])
    >>> router = np.array([[0.0, 5.0, 0.0]])
    >>> params = MixtureOfExperts(router, 0 * one, 0 * values, 0 * one, values)
    >>> out, kept = forward(params, np.array([[1.0], [-1.0]]), top_k=1)
    >>> out  # by expert 1, and by the first of two that are equal
    array([[8.],
           [2.]])
    """
    check_fields(params, MixtureOfExperts)
    check_floats(x, name="x", ndim=1)
    for name, array, ndim in zip(params._fields, params, (2, 3, 2, 3, 2), strict=True):
        check_floats(array, name=f"params.{name}", ndim=ndim)
    D, E, H = x.shape[-1], params.router.shape[-1], params.weight_up.shape[-1]
    shapes = (D, E), (E, D, H), (E, H), (E, H, D), (E, D)
    for name, array, shape in zip(params._fields, params, shapes, strict=True):
        check_like(array, shape, x.dtype, name=f"params.{name}", like="x and the other parameters")
    renormalise = as_bool(renormalise, name="renormalise")
    if as_count(top_k, name="top_k") > E:
        raise ValueError(f"top_k must be at most {E}, the number of experts, got {top_k}")
    rows = x.reshape(-1, D)  # (N, D)
    logits = rows @ params.router  # (N, E)
    first = np.argsort(-logits, axis=1, kind="stable")[:, :top_k]  # (N, top_k)
    chosen = np.zeros(logits.shape, bool)  # (N, E)
    np.put_along_axis(chosen, first, values=True, axis=1)
    p = softmax(np.where(chosen, logits, -np.inf) if renormalise else logits)  # (N, E)
    out, pre_activations = np.zeros(rows.shape, x.dtype), []  # (N, D)
    for e in range(E):
        tokens = np.flatnonzero(chosen[:, e])  # (n,)
        z = rows[tokens] @ params.weight_up[e] + params.bias_up[e]  # (n, H)
        f = silu_and_slope(z)[0] @ params.weight_down[e] + params.bias_down[e]  # (n, D)
        out[tokens] += p[tokens, e, np.newaxis] * f
        pre_activations.append(z)
    return out.reshape(x.shape), Kept(x, p, chosen, tuple(pre_activations))


def backward(params: MixtureOfExperts, kept: Kept, d_out: Array) -> tuple[MixtureOfExperts, Array]:
    """Go back through the experts of each token, and through the router; eq. (4) to (8).

    The gate's derivative is <d_out, f_e(x)> = <d_out weight_down^T, a> + <d_out, bias_down>, and
    the expert needs that product anyway. The choice has no gradient.

    Args:
        params: as in `forward`.
        kept: what `forward` has kept.
        d_out: (..., D), the derivative of the loss with respect to out.

    Returns:
        d_params, shaped like params, and d_x, (..., D).

    Raises:
        TypeError: d_out is not an array of the dtype of out.
        ValueError: d_out has another shape than out.
    """
    x, p, chosen, pre_activations = kept
    check_like(d_out, x.shape, x.dtype, name="d_out", like="out")
    rows, d_rows = x.reshape(-1, x.shape[-1]), d_out.reshape(-1, x.shape[-1])  # (N, D)
    d_params = MixtureOfExperts(*(np.zeros_like(param) for param in params))
    d_x, d_p = np.zeros_like(rows), np.zeros_like(p)  # (N, D), (N, E)
    for e, z in enumerate(pre_activations):
        tokens = np.flatnonzero(chosen[:, e])  # (n,)
        a, slope = silu_and_slope(z)  # (n, H) each
        gate, d_out_of_e = p[tokens, e, np.newaxis], d_rows[tokens]  # (n, 1), (n, D)
        ungated = d_out_of_e @ params.weight_down[e].T  # (n, H), d_a as if the gate were 1
        d_p[tokens, e] = (ungated * a).sum(axis=1) + d_out_of_e @ params.bias_down[e]
        d_f, d_z = gate * d_out_of_e, gate * ungated * slope  # (n, D), (n, H)
        d_params.weight_down[e] = a.T @ d_f  # (H, D)
        d_params.bias_down[e] = sum_rows(d_f)  # (D,)
        d_params.weight_up[e] = rows[tokens].T @ d_z  # (D, H)
        d_params.bias_up[e] = sum_rows(d_z)  # (H,)
        d_x[tokens] += d_z @ params.weight_up[e].T
    d_logits = p * (d_p - (p * d_p).sum(axis=1, keepdims=True))  # (N, E)
    d_x += d_logits @ params.router.T
    return d_params._replace(router=rows.T @ d_logits), d_x.reshape(x.shape)


def init(
    D: int, H: int, E: int, *, rng: "np.random.Generator", dtype: npt.DTypeLike = np.float64
) -> MixtureOfExperts:
    """Draw the router's matrix and each expert's weights of eq. (1), (2), and set biases to 0.

    Raises:
        TypeError: a size is not a whole number, the dtype is neither float32 nor float64, or rng is
            not a generator.
        ValueError: a size is below 1.
    """
    router = glorot((D, E), fan_in=D, fan_out=E, rng=rng, dtype=dtype)
    up = glorot((E, D, H), fan_in=D, fan_out=H, rng=rng, dtype=dtype)
    down = glorot((E, H, D), fan_in=H, fan_out=D, rng=rng, dtype=dtype)
    zeros = np.zeros((E, H), up.dtype), np.zeros((E, D), up.dtype)
    return MixtureOfExperts(router, up, zeros[0], down, zeros[1])
