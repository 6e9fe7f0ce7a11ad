"""What turns gradients into steps: the optimizers there are, and what they remember."""

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from manual_nn.checks.arguments import as_count, as_number, name_of_kind
from manual_nn.checks.finite import check_finite_params
from manual_nn.layers.dense import Dense, Params
from manual_nn.models.arguments import as_tangents
from manual_nn.training.adam import Adam
from manual_nn.training.sgd import SGD

Optimizer: TypeAlias = SGD | Adam  # an AdamW is an Adam


class OptimizerState(NamedTuple):
    """What an optimizer remembers of the steps that are past.

    Args:
        steps: how many there were.
        moments: what it keeps beside the parameters, shaped like them: the velocity of `SGD` with
            momentum, the mean and the mean of squares of `Adam`.
    """

    steps: int
    moments: tuple[Params, ...]

    def copy(self) -> "OptimizerState":
        """Copy the arrays, which then change apart."""
        return OptimizerState(self.steps, tuple(map(copy_of, self.moments)))


def copy_of(params: Params) -> Params:
    """Copy the arrays in their memory order: in another one BLAS may round differently."""
    return tuple(Dense(*map(np.array, layer)) for layer in params)


def first_state(optimizer: Optimizer, params: Params) -> OptimizerState:
    """Begin: no step, and moments of 0."""
    zeros = (tuple(Dense(*map(np.zeros_like, layer)) for layer in params),)
    return OptimizerState(0, zeros * optimizer.moments).copy()


def as_optimizer(optimizer: object, dtype: np.dtype[Any]) -> Optimizer:
    """Check that it is an optimizer whose settings this dtype can hold."""
    if not isinstance(optimizer, SGD | Adam):
        got = name_of_kind(optimizer, SGD, Adam)
        raise TypeError(f"optimizer must be an SGD, Adam or AdamW with its settings, got {got}")
    if isinstance(optimizer, Adam):
        as_number(optimizer.eps, name="optimizer.eps", minimum=0, strict=True, dtype=dtype)
    return optimizer


def as_optimizer_state(state: object, optimizer: Optimizer, params: Params) -> OptimizerState:
    """Check that it is what this optimizer remembers of these parameters; None is the beginning."""
    if state is None:
        return first_state(optimizer, params)
    if not isinstance(state, OptimizerState):
        got = name_of_kind(state, OptimizerState)
        raise TypeError(f"optimizer_state must be an OptimizerState or None, got {got}")
    as_count(state.steps, name="optimizer_state.steps", minimum=0)
    if len(state.moments) != optimizer.moments:
        msg = (
            f"optimizer_state must be of {optimizer}, with {optimizer.moments} moments, got "
            f"{len(state.moments)}"
        )
        raise ValueError(msg)
    for i, moment in enumerate(state.moments):
        name = f"optimizer_state.moments[{i}]"
        check_finite_params(as_tangents(params, moment, name=name), name=name)
    return state.copy()
