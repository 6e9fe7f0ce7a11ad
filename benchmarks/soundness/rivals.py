"""Other gradient checkers, as one calls them: whether they raise an alarm at a gradient.

The wrong gradients are attached to the right functions by jax.custom_jvp (forward),
jax.custom_vjp (reverse) and torch.autograd.Function, for checkers that differentiate.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from benchmarks.soundness.candidates import Candidate

STEP = 1e-3
TOLERANCE = 1e-3
SAMPLES = 20  # of each array


def with_derivative(candidate: Candidate, mode: str) -> Callable[[Any], Any]:
    """Attach the gradient to the function, where its value is a sum of one element each or one."""

    def applied(gradient: Any, tangent: Any, value: Any) -> Any:
        products = jax.tree.map(jnp.multiply, gradient, tangent)
        return products if value.ndim else sum(map(jnp.sum, jax.tree.leaves(products)))

    if mode == "fwd":
        forward = jax.custom_jvp(candidate.function)

        @forward.defjvp
        def _(primals: Any, tangents: Any) -> Any:
            (at,), (tangent,) = primals, tangents
            value = candidate.function(at)
            return value, applied(candidate.gradient(at), tangent, value)

        return forward

    reverse = jax.custom_vjp(candidate.function)
    reverse.defvjp(
        lambda at: (candidate.function(at), candidate.gradient(at)),
        lambda gradient, back: (jax.tree.map(lambda leaf: leaf * back, gradient),),
    )
    return reverse


def check_grads_notices(candidate: Candidate, mode: str) -> bool:
    """Ask jax.test_util.check_grads, with its own tolerances."""
    try:
        check_grads(with_derivative(candidate, mode), (candidate.at,), order=1, modes=(mode,))
    except AssertionError:
        return True
    return False


class Difference(NamedTuple):
    """A central difference of the loss in one element of one of its arrays."""

    leaf: int
    place: int
    value: float


def differences(candidate: Candidate) -> Iterator[Difference]:
    """Take central differences in random elements of each array."""
    rng = np.random.default_rng(0)
    function = jax.jit(candidate.total)
    leaves, structure = jax.tree.flatten(candidate.at)
    for which in range(len(leaves)):
        for place in rng.integers(leaves[which].size, size=SAMPLES):
            values = []
            for step in (STEP, -STEP):
                moved = list(leaves)
                moved[which] = np.array(leaves[which])
                moved[which].flat[place] += moved[which].dtype.type(step)
                values.append(float(function(jax.tree.unflatten(structure, moved))))
            yield Difference(which, int(place), (values[0] - values[1]) / (2 * STEP))


def differ(gradient: Any, found: list[Difference]) -> bool:
    """Say whether a gradient is farther from the differences than the tolerances allow."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(gradient)]
    values = np.array([one.value for one in found])
    got = np.array([leaves[one.leaf].flat[one.place] for one in found])
    return not np.isclose(values, got, rtol=TOLERANCE, atol=TOLERANCE).all()


def gradcheck_notices(candidate: Candidate, *, fast: bool) -> bool:
    """Ask torch.autograd.gradcheck, with its own tolerances, which are for float64."""
    import torch  # noqa: PLC0415, where it is installed

    leaves, structure = jax.tree.flatten(candidate.at)
    total = jax.jit(candidate.total)

    def as_jax(tensors: Any) -> Any:
        arrays = [np.array(tensor.detach().numpy()) for tensor in tensors]
        return jax.tree.unflatten(structure, arrays)

    class Planted(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, *tensors: Any) -> Any:
            ctx.save_for_backward(*tensors)
            return torch.tensor(float(total(as_jax(tensors))), dtype=torch.float64)

        @staticmethod
        def backward(ctx: Any, back: Any) -> Any:
            gradient = jax.tree.leaves(candidate.gradient(as_jax(ctx.saved_tensors)))
            return tuple(torch.from_numpy(np.array(leaf)) * back for leaf in gradient)

    inputs = tuple(torch.from_numpy(np.array(leaf)).requires_grad_() for leaf in leaves)
    right = torch.autograd.gradcheck(Planted.apply, inputs, fast_mode=fast, raise_exception=False)
    return not right
