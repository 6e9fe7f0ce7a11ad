"""SwiGLU, a gated linear unit: one map of the input multiplied by the SiLU of another.

swiglu.md derives the equations. All arrays have one shape, that of gate and value.
"""

from typing import NamedTuple

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_floats, check_like
from manual_nn.layers.silu import forward as silu
from manual_nn.layers.silu import silu_and_slope


class Inputs(NamedTuple):
    """The two inputs of the layer, two maps of what the block is given."""

    gate: Array
    value: Array


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    inputs: Inputs


def forward(params: tuple[()], x: Inputs) -> tuple[Array, Kept]:
    """Multiply the value by the SiLU of the gate, out = gate sigmoid(gate) value; eq. (1).

    Args:
        params: there are none: the two maps and the one that follows are dense layers of their own.
        x: gate and value, of one shape of at least one axis and one dtype, float32 or float64.

    Returns:
        out, of the shape of gate, and what `backward` needs.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: gate has no axis or no element, or value has another shape.

    Source: Shazeer, GLU Variants Improve Transformer, 2020, arXiv:2002.05202.

    >>> import numpy as np
    >>> out, kept = forward((), Inputs(np.array([-1.0, 0.0, 50.0]), np.array([1.0, 2.0, 3.0])))
    >>> out
    array([ -0.26894142,   0.        , 150.        ])
    """
    gate, value = x
    check_floats(gate, name="x.gate", ndim=1)
    check_like(value, gate.shape, gate.dtype, name="x.value", like="x.gate")
    return silu((), gate)[0] * value, Kept(Inputs(gate, value))


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Inputs]:
    """Go back to both factors of the product; eq. (2), (3).

    d_value = d_out silu(gate), and d_gate = d_out value silu'(gate).

    Args:
        params: there are none: ().
        kept: what `forward` has kept.
        d_out: the derivative of the loss with respect to out, of its shape.

    Returns:
        (), and d_x, shaped like x.

    Raises:
        TypeError: d_out is not an array of the dtype of out.
        ValueError: d_out has another shape than out.
    """
    gate, value = kept.inputs
    check_like(d_out, gate.shape, gate.dtype, name="d_out", like="out")
    opened, slope = silu_and_slope(gate)
    return (), Inputs(d_out * (value * slope), d_out * opened)
