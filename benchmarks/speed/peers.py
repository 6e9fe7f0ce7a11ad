"""The contenders: each computes the loss and its gradient in its own way.

Each is set up as its documentation advises and, where several ways are usual, in the one that was
fastest here; arrays are converted, put on the device and compiled before the clock starts. All
compute the same, which tests/benchmarks/speed/test_speed.py proves. Peers are imported where they
are used, as any may be missing. Axes: N rows in the batch, D inputs, K classes.
"""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import manual_nn
from benchmarks.speed.timing import environment, installed
from manual_nn.arrays import Array
from manual_nn.compiled.backend import obstacle_to_compiling
from manual_nn.layers.dense import Dense, Params

MODULES = {
    "compiled": "numba",
    "JAX": "jax",
    "PyTorch": "torch",
    "scikit-learn": "sklearn",
    "autograd": "autograd",
}


class Contender(NamedTuple):
    """One way to compute what all compute.

    Attributes:
        run: what is timed.
        in_our_form: turns what it returns into a loss and a gradient, or into parameters, of NumPy.
    """

    run: Callable[[], Any]
    in_our_form: Callable[[Any], Any]


class Problem(NamedTuple):
    """A network with a batch, in the order of the arguments of `loss`."""

    params: Params
    X: Array  # (N, D)
    y: np.ndarray[Any, np.dtype[np.intp]]  # (N,), class numbers
    weight_decay: float


def missing() -> dict[str, str]:
    """Say which contenders need a module that is missing or does not work, and which it is."""
    return {
        name: module
        for name, module in MODULES.items()
        if not installed(module) or (module == "numba" and obstacle_to_compiling() is not None)
    }


def load(threads: int) -> dict[str, str]:
    """Import the peers that are there, and say what the figures depend on."""
    for name in MODULES.keys() - missing().keys():
        importlib.import_module(MODULES[name])
    return environment(threads)


def our_gradient(problem: Problem, backend: str = "numpy") -> Contender:
    """`manual_nn.loss_and_grad` with a workspace."""
    params, X, y, weight_decay = problem
    workspace = manual_nn.Workspace(params, rows=len(X), backend=backend)
    return Contender(
        lambda: manual_nn.loss_and_grad(
            params, X, y, weight_decay=weight_decay, workspace=workspace
        ),
        lambda result: result,
    )


def compiled_gradient(problem: Problem) -> Contender:
    """The same by the loops that Numba compiles."""
    return our_gradient(problem, "numba")


def rowwise_gradient(problem: Problem) -> Contender:
    """`manual_nn.rowwise.loss_and_grad`, one row at a time."""
    params, X, y, weight_decay = problem
    return Contender(
        lambda: manual_nn.rowwise.loss_and_grad(params, X, y, weight_decay=weight_decay),
        lambda result: result,
    )


def jax_gradient(problem: Problem) -> Contender:
    """Jitted jax.value_and_grad of the reference's loss.

    Other ways to write the cross-entropy, with take_along_axis or logsumexp, were no faster.
    """
    import jax  # noqa: PLC0415, it may be missing

    import reference  # noqa: PLC0415, it needs JAX

    def loss(params: Any, X: Any, y: Any) -> Any:
        return reference.loss(params, X, y, weight_decay=problem.weight_decay)

    value_and_grad: Any = jax.jit(jax.value_and_grad(loss))
    arguments = jax.device_put((problem.params, problem.X, problem.y.astype(np.int32)))
    return Contender(
        lambda: jax.block_until_ready(value_and_grad(*arguments)),
        lambda result: jax.tree.map(np.asarray, result),
    )


def torch_layers(params: Params) -> list[tuple[Any, Any]]:
    """Make weights and biases that require gradients, laid out as by torch.nn.Linear.

    Weights are (fan_out, fan_in), with which PyTorch was faster for batches of 128 and more.
    """
    import torch  # noqa: PLC0415, it may be missing

    return [
        (
            torch.tensor(np.ascontiguousarray(weight.T), requires_grad=True),
            torch.tensor(bias, requires_grad=True),
        )
        for weight, bias in params
    ]


def torch_cross_entropy(layers: list[tuple[Any, Any]], X: Any, y: Any) -> Any:
    """Compute the mean cross-entropy of the batch with PyTorch."""
    from torch.nn import functional  # noqa: PLC0415, it may be missing

    a = X
    *hidden, (weight, bias) = layers
    for hidden_weight, hidden_bias in hidden:
        a = functional.relu(functional.linear(a, hidden_weight, hidden_bias))
    return functional.cross_entropy(functional.linear(a, weight, bias), y)


def torch_gradient(problem: Problem) -> Contender:
    """PyTorch's eager autograd: backward() after the gradients were set to None."""
    import torch  # noqa: PLC0415, it may be missing

    layers = torch_layers(problem.params)
    X, y = torch.tensor(problem.X), torch.tensor(problem.y)

    def run() -> Any:
        for layer in layers:
            for tensor in layer:
                tensor.grad = None
        loss = torch_cross_entropy(layers, X, y)
        loss.backward()
        with torch.no_grad():  # the penalty by hand: through autograd it takes longer
            for weight, _ in layers:
                loss = loss + problem.weight_decay * torch.dot(weight.view(-1), weight.view(-1))
                weight.grad.add_(weight, alpha=2 * problem.weight_decay)
        return loss

    def in_our_form(loss: Any) -> tuple[Any, Params]:
        gradient = tuple(Dense(weight.grad.numpy().T, bias.grad.numpy()) for weight, bias in layers)
        return loss.detach().numpy(), gradient

    return Contender(run, in_our_form)


def sklearn_classifier(problem: Problem, **settings: Any) -> Any:
    """Make an MLPClassifier for stochastic gradient descent that has our parameters."""
    from sklearn.neural_network import MLPClassifier  # noqa: PLC0415, it may be missing

    hidden = [len(bias) for _, bias in problem.params[:-1]]
    classifier = MLPClassifier(hidden, solver="sgd", momentum=0.0)
    K = len(problem.params[-1].bias)
    classifier.partial_fit(problem.X[:1], problem.y[:1], classes=np.arange(K))  # makes its arrays
    classifier.set_params(**settings)
    classifier.coefs_ = [weight.copy() for weight, _ in problem.params]
    classifier.intercepts_ = [bias.copy() for _, bias in problem.params]
    return classifier


def sklearn_gradient(problem: Problem) -> Contender:
    """MLPClassifier's own backpropagation, called as its `fit` calls it.

    Its penalty is alpha / 2N times the sum of squares.
    """
    params, X, y, weight_decay = problem
    classifier = sklearn_classifier(problem, alpha=2 * weight_decay * len(X))
    target = y[:, None] == np.arange(len(params[-1].bias))  # (N, K), boolean as in `fit`
    activations = [X, *[None] * len(params)]
    deltas = [None] * len(params)
    d_weights = [np.empty_like(weight) for weight, _ in params]
    d_biases = [np.empty_like(bias) for _, bias in params]

    def in_our_form(result: Any) -> tuple[Any, Params]:
        loss, d_weights, d_biases = result
        return loss, tuple(map(Dense, d_weights, d_biases))

    return Contender(
        lambda: classifier._backprop(X, target, None, activations, deltas, d_weights, d_biases),
        in_our_form,
    )


def autograd_gradient(problem: Problem) -> Contender:
    """The autograd package: NumPy, and derivatives by recording its operations."""
    import autograd  # noqa: PLC0415, it may be missing
    from autograd import numpy as anp  # noqa: PLC0415

    params, X, y, weight_decay = problem
    rows = np.arange(len(X))

    def loss(params: Any) -> Any:
        a = X
        *hidden, (weight, bias) = params
        for hidden_weight, hidden_bias in hidden:
            z = anp.dot(a, hidden_weight) + hidden_bias
            a = z * (z > 0)  # the derivative of its maximum is 1/2 at 0
        z = anp.dot(a, weight) + bias
        z = z - anp.max(z, axis=1, keepdims=True)
        log_p = z - anp.log(anp.sum(anp.exp(z), axis=1, keepdims=True))
        penalty = sum(anp.sum(weight * weight) for weight, _ in params)
        return -anp.mean(log_p[rows, y]) + weight_decay * penalty

    value_and_grad = autograd.value_and_grad(loss)
    pairs = [tuple(layer) for layer in params]
    return Contender(
        lambda: value_and_grad(pairs),
        lambda result: (result[0], tuple(Dense(*pair) for pair in result[1])),
    )


GRADIENTS: dict[str, Callable[[Problem], Contender]] = {
    "ours": our_gradient,
    "compiled": compiled_gradient,
    "JAX": jax_gradient,
    "PyTorch": torch_gradient,
    "scikit-learn": sklearn_gradient,
    "autograd": autograd_gradient,
    "row by row": rowwise_gradient,
}
