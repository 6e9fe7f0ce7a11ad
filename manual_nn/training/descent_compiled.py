"""Steps of training by the loops that Numba compiles, many of them in a call.

Axes: N rows to train on, n of them in a batch, S steps.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.compiled import steps as compiled
from manual_nn.compiled.arrays import in_order
from manual_nn.layers.dense import Dense, Params
from manual_nn.training.adam import Adam
from manual_nn.training.descent import Descent
from manual_nn.training.rows import is_sparse, take
from manual_nn.training.schedule import rate_at

# A call takes so many steps or does so much work, whichever is less, and at least one step: only
# between calls can a training be watched and interrupted.
AT_ONCE = 64
WORK = 2**30  # rows times parameters: a fraction of a second


class CompiledDescent(Descent):
    """Does what `Descent` does, up to rounding, with the same arguments."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Put the parameters, and each of the moments, into a vector."""
        self._steps = np.zeros(1, np.int64)
        super().__init__(*arguments, **options)
        self._sizes = np.array([self.X.shape[1], *(len(bias) for _, bias in self.params)])
        self._theta, self.params = as_vector(self.params)
        vectors = [as_vector(moment) for moment in self.moments]
        self.moments = tuple(layers for _, layers in vectors)
        none = np.empty(0, self._theta.dtype)
        self._flat_moments = [*(vector for vector, _ in vectors), none, none][:2]

    @property
    def steps(self) -> int:
        """How many steps were taken, those of a call counted before it ends."""
        return int(self._steps[0])

    @steps.setter
    def steps(self, steps: int) -> None:
        self._steps[0] = steps

    def take(self, order: npt.NDArray[np.int64]) -> Iterator[int]:
        """Take a step for each batch of the rows in this order, and say how many each call took.

        Raises:
            ValueError: the pre-activations are infinite or NaN.
        """
        size = self.batch_size
        most = WORK // (size * self._theta.size)
        at_once = size if is_sparse(self.X) else size * min(max(most, 1), AT_ONCE)
        whole = len(order) - len(order) % size
        for start in range(0, whole, at_once):
            yield from self._take(order[start : min(start + at_once, whole)].reshape(-1, size))
        if whole < len(order):
            yield from self._take(order[None, whole:])

    def step(self, rows: npt.NDArray[np.integer[Any]]) -> None:
        """Take the step for the batch of these rows, (n,)."""
        for _ in self._take(rows[None].astype(np.int64)):
            pass

    def _take(self, rows: npt.NDArray[np.int64]) -> Iterator[int]:
        """Take steps, for rows (S, n); one that is not finite is left to `Descent`."""
        while len(rows) > 0:
            before = self.steps
            self._call(rows)
            taken = self.steps - before
            if taken > 0:
                yield taken
            rows = rows[taken:]
            if len(rows) > 0:
                super().step(rows[0])
                yield 1
                rows = rows[1:]

    def _call(self, rows: npt.NDArray[np.int64]) -> None:
        """Call what is compiled, which counts the steps that it takes."""
        rates = [
            rate_at(self.learning_rate, self.steps + s, steps_per_epoch=self.steps_per_epoch)
            for s in range(len(rows))
        ]
        X, target, weights = self.X, self.target, self.sample_weight
        if is_sparse(X):  # of one step, whose rows are made dense
            (batch,), rows = rows, np.arange(rows.size)[None]
            X, target = take(X, batch, self._X), take(target, batch, self._target)
            weights = None if weights is None else weights[batch]
        arguments = (
            self._theta,
            self._sizes,
            rows,
            X.view(np.ndarray),
            target.view(np.ndarray),
            np.empty(0) if weights is None else in_order(weights),
            np.array(rates),
            self._steps,
        )
        optimizer, decay = self.optimizer, self.weight_decay
        if optimizer.moments == 0 and self.max_grad_norm is None:
            compiled.sgd(*arguments, decay)
            return
        if isinstance(optimizer, Adam):
            kind, betas, eps = compiled.ADAM, (optimizer.beta1, optimizer.beta2), optimizer.eps
        else:
            kind = compiled.NESTEROV if optimizer.nesterov else compiled.SGD
            betas, eps = (optimizer.momentum, 0.0), 0.0
        compiled.with_moments(
            *arguments,
            *((0.0, decay) if optimizer.decoupled else (decay, 0.0)),
            math.inf if self.max_grad_norm is None else self.max_grad_norm,
            kind,
            betas,
            eps,
            *self._flat_moments,
        )


def as_vector(params: Params) -> tuple[Array, Params]:
    """Copy all parameters into one vector, W_1, b_1 to W_L, b_L, and find them there."""
    theta = np.concatenate([array.reshape(-1) for layer in params for array in layer])
    sizes = [array.size for layer in params for array in layer]
    parts = iter(np.split(theta, np.cumsum(sizes)[:-1]))
    layers = [Dense(next(parts).reshape(weight.shape), next(parts)) for weight, _ in params]
    return theta, tuple(layers)
