"""Stochastic gradient descent, plain or with momentum; derived in sgd.md.

`d_name` is dL/d(name) of one batch.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_number
from manual_nn.layers.dense import Dense, Params


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent: down the gradient, or down a decaying sum of all gradients.

    W <- W - learning_rate * d_W; with momentum, v <- momentum * v + d_W and W <- W -
    learning_rate * v; with Nesterov's, W <- W - learning_rate * (d_W + momentum * v);
    eq. (1) to (3).

    Args:
        momentum: what remains of the velocity v after a step, from 0 to below 1.
        nesterov: whether to take the gradient's step from where the velocity leads; needs momentum.

    Raises:
        TypeError: momentum is not a real number, or nesterov not a bool.
        ValueError: momentum is out of range, or 0 with nesterov.

    Source: Sutskever et al. (2013), On the importance of initialization and momentum in deep
    learning; the form is that of torch.optim.SGD and optax.sgd.

    >>> velocity, d_weight, spare = np.array([4.0]), np.array([1.0]), np.empty(1)
    >>> SGD(momentum=0.5).direction(d_weight, [velocity], 1, spare)  # 4/2 + 1
    array([3.])
    """

    momentum: float = 0.0
    nesterov: bool = False

    usual_learning_rate: ClassVar[float] = 0.1
    decoupled: ClassVar[bool] = False  # the penalty's gradient is part of the gradient

    def __post_init__(self) -> None:
        """Check the settings."""
        momentum = as_number(self.momentum, name="momentum", minimum=0)
        if momentum >= 1:
            raise ValueError(f"momentum must be below 1, got {self.momentum}")
        if not isinstance(self.nesterov, bool):
            raise TypeError(f"nesterov must be a bool, got {type(self.nesterov).__name__}")
        if self.nesterov and momentum == 0:
            raise ValueError("momentum must be above 0 with nesterov, got 0")
        object.__setattr__(self, "momentum", momentum)

    @property
    def moments(self) -> int:
        """How many arrays are kept beside each weight and each bias."""
        return 1 if self.momentum else 0

    def direction(self, d_array: Array, moments: list[Array], _step: int, spare: Array) -> Array:
        """Move the velocity, and give what the learning rate multiplies; eq. (2) and (3).

        Args:
            d_array: the gradient in a weight or a bias; written to.
            moments: the velocity, like `d_array`, or without momentum nothing.
            spare: an array to write to, likewise.
        """
        if not moments:
            return d_array
        (velocity,) = moments
        velocity *= self.momentum
        velocity += d_array
        if not self.nesterov:
            return velocity
        d_array += np.multiply(self.momentum, velocity, out=spare)
        return d_array


def sgd_step(params: Params, gradient: Params, learning_rate: float) -> Params:
    """Take one step down a gradient, W <- W - learning_rate * d_W, b likewise; eq. (1).

    Args:
        params: the layers, float32 or float64.
        gradient: shaped like `params`, however it was computed.
        learning_rate: the factor of the gradient, above 0.

    Returns:
        The new parameters, in the dtype of `params`.

    Raises:
        TypeError, ValueError: the learning rate is not a number above 0.

    >>> params = (Dense(np.array([[1.0, 2.0]]), np.zeros(2)),)
    >>> sgd_step(params, params, 0.25)
    (Dense(weight=array([[0.75, 1.5 ]]), bias=array([0., 0.])),)
    """
    learning_rate = as_number(learning_rate, name="learning_rate", minimum=0, strict=True)
    return tuple(
        Dense(weight - learning_rate * d_weight, bias - learning_rate * d_bias)
        for (weight, bias), (d_weight, d_bias) in zip(params, gradient, strict=True)
    )
