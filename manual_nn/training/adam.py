"""Adam and AdamW, which scale each step by the size of the gradients so far; derived in adam.md.

`d_name` is dL/d(name) of one batch; t is the number of the step, from 1 on.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_number


@dataclass(frozen=True)
class Adam:
    """Adam: down the mean of the gradients so far, divided by the root of the mean of squares.

    m <- beta1 m + (1 - beta1) d_W, v <- beta2 v + (1 - beta2) d_W^2, and W <- W - learning_rate *
    m' / (sqrt(v') + eps) with m' = m / (1 - beta1^t) and v' = v / (1 - beta2^t); eq. (1) to (3).

    The penalty of the loss is part of the gradient and so of both means.

    Args:
        beta1: what remains of the mean after a step, from 0 to below 1.
        beta2: what remains of the mean of squares, likewise.
        eps: is added to the root, so that what is divided by is not 0; above 0.

    Raises:
        TypeError: a setting is not a real number.
        ValueError: a setting is out of range.

    Source: Kingma and Ba (2015), Adam: A method for stochastic optimization, algorithm 1; the
    settings' names and values are theirs.

    >>> mean, square = np.zeros(1), np.zeros(1)
    >>> Adam(eps=1.0).direction(np.array([-3.0]), [mean, square], 1, np.empty(1))  # -3 / (3 + 1)
    array([-0.75])
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    usual_learning_rate: ClassVar[float] = 0.001
    decoupled: ClassVar[bool] = False  # the penalty's gradient is part of the gradient
    moments: ClassVar[int] = 2  # arrays that are kept beside each weight and each bias

    def __post_init__(self) -> None:
        """Check the settings."""
        for name in ("beta1", "beta2"):
            beta = as_number(getattr(self, name), name=name, minimum=0)
            if beta >= 1:
                raise ValueError(f"{name} must be below 1, got {getattr(self, name)}")
            object.__setattr__(self, name, beta)
        object.__setattr__(self, "eps", as_number(self.eps, name="eps", minimum=0, strict=True))

    def direction(self, d_array: Array, moments: list[Array], step: int, spare: Array) -> Array:
        """Move both means, and give what the learning rate multiplies; eq. (1) to (3).

        Args:
            d_array: the gradient in a weight or a bias; written to.
            moments: the mean of such gradients, and of their squares, like `d_array`.
            step: the number of the step, from 1 on.
            spare: an array to write to, likewise.
        """
        mean, square = moments
        mean *= self.beta1
        mean += np.multiply(1 - self.beta1, d_array, out=spare)
        np.square(d_array, out=spare)
        spare *= 1 - self.beta2
        square *= self.beta2
        square += spare

        root = np.sqrt(np.divide(square, 1 - self.beta2**step, out=spare), out=spare)
        root += self.eps
        direction = np.divide(mean, 1 - self.beta1**step, out=d_array)
        direction /= root
        return direction


class AdamW(Adam):
    """Adam, with the decay of the weights decoupled from what Adam does to the gradient.

    The gradient is that of the loss without its penalty; the penalty's, 2 weight_decay W, is added
    to Adam's direction: W <- W - learning_rate * (m' / (sqrt(v') + eps) + 2 weight_decay W);
    eq. (4). torch.optim.AdamW and optax.adamw call 2 weight_decay by the name of weight_decay.

    Args:
        beta1: as for `Adam`, likewise beta2 and eps.

    Source: Loshchilov and Hutter (2019), Decoupled weight decay regularization, algorithm 2.
    """

    decoupled: ClassVar[bool] = True
