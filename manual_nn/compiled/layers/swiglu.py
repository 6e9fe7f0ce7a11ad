"""SwiGLU, in one pass over memory; all arrays have one shape, that of gate and value."""

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_floats, check_like
from manual_nn.compiled.compiler import compiled
from manual_nn.compiled.entrywise import entrywise
from manual_nn.compiled.layers.silu import silu_and_slope
from manual_nn.layers.swiglu import Inputs, Kept

__all__ = ["Inputs", "Kept", "backward", "forward"]


def forward(params: tuple[()], x: Inputs) -> tuple[Array, Kept]:
    """Multiply the value by the SiLU of the gate, out = gate sigmoid(gate) value; swiglu.md (1).

    >>> out, kept = forward((), Inputs(np.array([-1.0, 0.0, 50.0]), np.array([1.0, 2.0, 3.0])))
    >>> out
    array([ -0.26894142,   0.        , 150.        ])
    """
    gate, value = x
    check_floats(gate, name="x.gate", ndim=1)
    check_like(value, gate.shape, gate.dtype, name="x.value", like="x.gate")
    return entrywise(_multiply, gate, value), Kept(Inputs(gate, value))


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Inputs]:
    """Compute d_value = d_out silu(gate), d_gate = d_out value silu'(gate); swiglu.md (2), (3)."""
    gate, value = kept.inputs
    check_like(d_out, gate.shape, gate.dtype, name="d_out", like="out")
    d_value = np.empty(value.shape, value.dtype)
    d_gate = entrywise(_multiply_backward, d_out, gate, value, numbers=(d_value.reshape(-1),))
    return (), Inputs(d_gate, d_value)


@compiled
def _multiply(gate: Array, value: Array, out: Array) -> None:
    for i in range(len(gate)):
        opened, _ = silu_and_slope(gate[i])
        out[i] = opened * value[i]  # (1)


@compiled
def _multiply_backward(
    d_out: Array, gate: Array, value: Array, d_value: Array, d_gate: Array
) -> None:
    for i in range(len(gate)):
        opened, slope = silu_and_slope(gate[i])
        d_value[i] = d_out[i] * opened  # (2)
        d_gate[i] = d_out[i] * (value[i] * slope)  # (3)
