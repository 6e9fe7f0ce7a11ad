"""Gradients by other libraries, autograd and, where it is installed, PyTorch; forward passes again.

They are written for a namespace of functions, and differentiated by the library that it is of.
"""

import functools
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import jax

Gradient = Callable[..., Any]
Forward = Callable[[Any], Callable[..., Any]]


def _recurrent(xp: Any) -> Callable[..., Any]:
    def loss(params: Any, xs: Any) -> Any:
        h = 0 * (xs[0] @ params["U"])
        for t in range(len(xs)):
            h = xp.tanh(h @ params["W"] + xs[t] @ params["U"] + params["b"])
        return (h * h).mean()

    return loss


def _stack(activation: Callable[[Any, Any], Any]) -> Forward:
    def of(xp: Any) -> Callable[..., Any]:
        def loss(params: Any, X: Any) -> Any:
            h = X
            for weight, bias in params:
                h = activation(xp, h @ weight + bias)
            return (h * h).mean()

        return loss

    return of


FORWARD: dict[str, Forward] = {
    "tanh RNN": _recurrent,
    "tanh layers": _stack(lambda xp, z: xp.tanh(z)),
    "ReLU layers": _stack(lambda xp, z: xp.where(z > 0, z, 0 * z)),
}


def by_autograd(forward: Forward) -> Gradient:
    """Differentiate by autograd."""
    import autograd  # noqa: PLC0415, it may be missing
    from autograd import numpy as anp  # noqa: PLC0415

    both: Gradient = autograd.value_and_grad(forward(anp))
    return both


def by_torch(forward: Forward) -> Gradient:
    """Differentiate by PyTorch."""
    import torch  # noqa: PLC0415, it may be missing

    def both(params: Any, x: Any) -> Any:
        def gradient(tensor: Any) -> Any:
            used = tensor.grad is not None
            return (tensor.grad if used else torch.zeros_like(tensor)).numpy()

        tensors = jax.tree.map(lambda leaf: torch.tensor(leaf, requires_grad=True), params)
        value = forward(torch)(tensors, torch.tensor(x))
        value.backward()
        return value.detach().numpy(), jax.tree.map(gradient, tensors)

    return both


LIBRARIES = {"autograd": by_autograd, "torch": by_torch}

# By the family's name: for each library that is installed what makes its gradient.
BY_LIBRARY: Mapping[str, dict[str, Callable[[], Gradient]]] = {
    family: {
        library: functools.partial(by, forward)
        for library, by in LIBRARIES.items()
        if importlib.util.find_spec(library)
    }
    for family, forward in FORWARD.items()
}
