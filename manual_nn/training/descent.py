"""Steps of training, in place, in arrays that are allocated once.

A step of plain `SGD`, sgd.md (1), uses the gradient only to subtract it from the parameters, and
needs no loss:

    W <- W - (a^T (learning_rate d_z) + 2 learning_rate weight_decay W)

The learning rate goes into d_z, which is small beside W. The decay does not go into a factor of W,
1 - 2 learning_rate weight_decay: rounded to float32, that factor would be off by the same amount in
every step. (The compiled steps keep it apart, in float64: sgd.md (4).)
`step_name` is learning_rate d_name.
Axes: N rows to train on, n of them in a batch; D inputs, K classes.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.layers.dense import Dense, Params
from manual_nn.models import mlp
from manual_nn.models.arguments import as_row_weight
from manual_nn.models.workspace import Workspace
from manual_nn.training.clipping import clip_to_norm
from manual_nn.training.losses import LOSSES
from manual_nn.training.optimizer import Optimizer, OptimizerState, first_state
from manual_nn.training.rows import Rows, take
from manual_nn.training.schedule import CosineSchedule, rate_at


class Descent:
    """Parameters on their way down: each step moves them by the gradient of one batch.

    For plain `SGD` it is `loss_and_grad` followed by `sgd_step`, up to the rounding of the update.

    Args:
        params: where to start; unchanged, because the steps update a copy, `Descent.params`.
        X: the inputs, (N, D), in the dtype of the parameters: an array, or CSR of SciPy.
        target: the targets of the loss, (N, K), in the dtype of the parameters.
        batch_size: the most rows of a batch.
        loss: the name of what is minimised beside the penalty, in `losses.LOSSES`.
        optimizer: what makes a direction of the gradient.
        learning_rate: the factor of the direction.
        weight_decay: the factor of the penalty on the weights.
        max_grad_norm: the norm to which a longer gradient is shortened, or None for no limit.
        sample_weight: the weights of the rows within their batch, (N,), or None for equal ones.
        state: what the optimizer remembers, or None to begin; taken over and updated.

    >>> from manual_nn.training.sgd import SGD
    >>> descent = Descent(
    ...     (Dense(np.zeros((1, 2)), np.zeros(2)),),
    ...     X=np.array([[1.0], [2.0]]),
    ...     target=np.eye(2),
    ...     batch_size=1,
    ...     optimizer=SGD(),
    ...     learning_rate=0.5,
    ...     weight_decay=0.0,
    ... )
    >>> descent.step(np.array([1]))
    >>> descent.params[0].weight  # d_W = 2 (1/2, -1/2)
    array([[-0.5,  0.5]])
    """

    def __init__(
        self,
        params: Params,
        X: Rows,
        target: Array,
        *,
        batch_size: int,
        loss: str = "softmax_cross_entropy",
        optimizer: Optimizer,
        learning_rate: float | CosineSchedule,
        weight_decay: float,
        max_grad_norm: float | None = None,
        sample_weight: Array | None = None,
        state: OptimizerState | None = None,
    ) -> None:
        """Copy the parameters, and make the arrays that the steps write to."""
        self.params: Params = tuple(
            Dense(weight.copy(order="C"), bias.copy()) for weight, bias in params
        )
        self.loss = LOSSES[loss]
        self.X, self.target, self.sample_weight = X, target, sample_weight
        self.optimizer, self.learning_rate = optimizer, learning_rate
        self.weight_decay, self.max_grad_norm = weight_decay, max_grad_norm
        self.steps, self.moments = state or first_state(optimizer, params)
        self.batch_size, self.steps_per_epoch = batch_size, math.ceil(len(target) / batch_size)
        self._workspace = Workspace(params, batch_size)
        self._X = np.empty((batch_size, X.shape[1]), X.dtype)
        self._target = np.empty((batch_size, target.shape[1]), X.dtype)
        self._spare = tuple(Dense(*map(np.empty_like, layer)) for layer in self.params)

    @property
    def state(self) -> OptimizerState:
        """What the optimizer remembers; the arrays are those that the next step changes."""
        return OptimizerState(self.steps, self.moments)

    def take(self, order: npt.NDArray[np.int64]) -> Iterator[int]:
        """Take a step for each batch of the rows in this order, and say after each that it is one.

        Raises:
            ValueError: the pre-activations are infinite or NaN.
        """
        for start in range(0, len(order), self.batch_size):
            self.step(order[start : start + self.batch_size])
            yield 1

    def step(self, rows: npt.NDArray[np.integer[Any]]) -> None:
        """Take the step for the batch of these rows, (n,); sgd.md (1), adam.md (3) and (4).

        Raises:
            ValueError: the pre-activations are infinite or NaN.
        """
        learning_rate = rate_at(
            self.learning_rate, self.steps, steps_per_epoch=self.steps_per_epoch
        )
        if self.optimizer.moments == 0 and self.max_grad_norm is None:
            step = self._gradient(rows, learning_rate, learning_rate * self.weight_decay)
            for layer, step_layer in zip(self.params, step, strict=True):
                for array, step_array in zip(layer, step_layer, strict=True):
                    array -= step_array
            self.steps += 1
            return
        coupled, decoupled = self.weight_decay, 0.0
        if self.optimizer.decoupled:
            coupled, decoupled = decoupled, coupled
        gradient = self._gradient(rows, 1.0, coupled)
        if self.max_grad_norm is not None:
            clip_to_norm(gradient, self.max_grad_norm)
        self.steps += 1
        for layer, d_layer, spare, *moments in zip(
            self.params, gradient, self._spare, *self.moments, strict=True
        ):
            for array, d_array, spare_array, decay, *array_moments in zip(
                layer, d_layer, spare, (2 * decoupled, 0.0), *moments, strict=True
            ):
                direction = self.optimizer.direction(
                    d_array, array_moments, self.steps, spare_array
                )
                step_array = np.multiply(learning_rate, direction, out=spare_array)
                if decay:
                    step_array += np.multiply(learning_rate * decay, array, out=d_array)
                array -= step_array

    def _gradient(
        self, rows: npt.NDArray[np.integer[Any]], factor: float, weight_decay: float
    ) -> Params:
        """Compute the factor times the gradient of the batch, plus 2 weight_decay W."""
        n = len(rows)
        X, target = take(self.X, rows, self._X), take(self.target, rows, self._target)
        weights = None if self.sample_weight is None else self.sample_weight[rows]
        row_weight = as_row_weight(self.params, n, weights)
        out = self._workspace.arrays(n)

        z, a = mlp.forward(self.params, X, out=out.z)
        step_logits = self.loss.backward(z, target, row_weight, factor)
        step_z = mlp.backward(self.params, a, step_logits, out=out.d_z)  # linear in its start
        return tuple(
            mlp.layer_backward(layer, a_below, step_z_l, weight_decay, out=out_l, decay_out=decay)
            for layer, a_below, step_z_l, out_l, decay in zip(
                self.params, a, step_z, out.gradient, out.decay, strict=True
            )
        )
