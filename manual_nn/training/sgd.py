"""Steps of stochastic gradient descent, in place, in arrays that are allocated once.

A step, eq. (1), uses the gradient only to subtract it from the parameters, and needs no loss:

    W <- W - (a^T (learning_rate d_z) + 2 learning_rate weight_decay W)

The learning rate goes into d_z, which is small beside W. The decay does not go into a factor of W,
1 - 2 learning_rate weight_decay: rounded to float32, that factor would be off by the same amount in
every step.
`step_name` is learning_rate d_name.
Axes: N rows to train on, n of them in a batch; D inputs, K classes.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_number
from manual_nn.layers import softmax_cross_entropy
from manual_nn.layers.dense import Dense, Params
from manual_nn.layers.softmax_cross_entropy import softmax
from manual_nn.models import mlp
from manual_nn.models.arguments import as_row_weight
from manual_nn.models.workspace import Workspace


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


class SGD:
    """Parameters on their way down: each step moves them against the gradient of one batch.

    It is `loss_and_grad` followed by `sgd_step`, up to the rounding of the update.

    Args:
        params: where to start; unchanged, because the steps update a copy, `SGD.params`.
        X: the inputs, (N, D), in the dtype of the parameters.
        target: the target probabilities, (N, K), in the dtype of the parameters.
        batch_size: the most rows of a batch.
        learning_rate: the factor of the gradient.
        weight_decay: the factor of the penalty on the weights.
        sample_weight: the weights of the rows within their batch, (N,), or None for equal ones.

    >>> sgd = SGD(
    ...     (Dense(np.zeros((1, 2)), np.zeros(2)),),
    ...     X=np.array([[1.0], [2.0]]),
    ...     target=np.eye(2),
    ...     batch_size=1,
    ...     learning_rate=0.5,
    ...     weight_decay=0.0,
    ... )
    >>> sgd.step(np.array([1]))
    >>> sgd.params[0].weight  # d_W = 2 (1/2, -1/2)
    array([[-0.5,  0.5]])
    """

    def __init__(
        self,
        params: Params,
        X: Array,
        target: Array,
        *,
        batch_size: int,
        learning_rate: float,
        weight_decay: float,
        sample_weight: Array | None = None,
    ) -> None:
        """Copy the parameters, and make the arrays that the steps write to."""
        self.params: Params = tuple(
            Dense(weight.copy(order="C"), bias.copy()) for weight, bias in params
        )
        self.X, self.target, self.sample_weight = X, target, sample_weight
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self._workspace = Workspace(params, batch_size)
        self._X = np.empty((batch_size, X.shape[1]), X.dtype)
        self._target = np.empty((batch_size, target.shape[1]), X.dtype)

    def step(self, rows: npt.NDArray[np.integer[Any]]) -> None:
        """Take the step for the batch of these rows, (n,); eq. (1).

        Raises:
            ValueError: the pre-activations are infinite or NaN.
        """
        n = len(rows)
        # "clip" has NumPy write into place; no row number is out of range
        X = np.take(self.X, rows, axis=0, out=self._X[:n], mode="clip")
        target = np.take(self.target, rows, axis=0, out=self._target[:n], mode="clip")
        weights = None if self.sample_weight is None else self.sample_weight[rows]
        row_weight = as_row_weight(self.params, n, weights)
        out = self._workspace.arrays(n)

        z, a = mlp.forward(self.params, X, out=out.z)
        kept = softmax_cross_entropy.Kept(softmax(z), target, row_weight)
        _, step_logits = softmax_cross_entropy.backward((), kept, d_out=self.learning_rate)
        step_z = mlp.backward(self.params, a, step_logits, out=out.d_z)  # linear in its start

        decay = self.learning_rate * self.weight_decay
        for layer, a_below, step_z_l, out_l, decay_out in zip(
            self.params, a, step_z, out.gradient, out.decay, strict=True
        ):
            step = mlp.layer_backward(
                layer, a_below, step_z_l, decay, out=out_l, decay_out=decay_out
            )
            for array, step_array in zip(layer, step, strict=True):
                array -= step_array
