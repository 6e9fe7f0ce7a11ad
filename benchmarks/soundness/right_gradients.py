"""Right implementations of a gradient, and the check of any gradient beside them."""

from typing import Any

import jax
import numpy as np

from benchmarks.soundness.orders import Numpy
from benchmarks.soundness.subjects import Subject
from reference.bounds.tracing import precise_jax
from reference.compare import Comparer, Comparison, differentiated


class Witnesses:
    """A subject at the shapes of example arguments: right gradients of it, and their comparison."""

    def __init__(self, subject: Subject, *example: Any, measured: bool = True) -> None:
        """Trace the loss; rounding is measured, or the proven bound alone is asked."""
        self.subject = subject
        self.comparer = Comparer(
            subject.gradient,
            *example,
            measured=measured,
            differentiated=differentiated(example, subject.places),
        )
        self._compiled = jax.jit(subject.gradient)
        self._broken = {
            mistake: jax.jit(jax.grad(function, subject.argnums))
            for mistake, function in subject.broken.items()
        }

    def right(self, args: tuple[Any, ...], dtype: str, rng: np.random.Generator) -> dict[str, Any]:
        """Compute the gradient in each way; rng draws one of the orders of sums."""
        results = {"XLA": _as_numpy(self._compiled(*args))}
        for order in ("forward", str(rng.choice(Numpy.ORDERS[1:]))):
            jaxpr, numpy = self.comparer.traced.jaxpr, Numpy(dtype, order, rng)
            with np.errstate(all="ignore"), precise_jax():
                flat = numpy.evaluate(jaxpr.jaxpr, jaxpr.consts, jax.tree.leaves(args))
            results[f"NumPy, {order}"] = jax.tree.unflatten(self.comparer.traced.structure, flat)
        others = self.subject.others.items()  # which give the loss, too
        return results | {name: function(*args)[1] for name, function in others}

    def broken(self, args: tuple[Any, ...]) -> dict[str, Any]:
        """Compute the gradients of the loss's broken ways, by XLA."""
        return {name: _as_numpy(compiled(*args)) for name, compiled in self._broken.items()}

    def compare(
        self, results: dict[str, Any], args: tuple[Any, ...], dtype: str
    ) -> dict[str, Comparison]:
        """Compare results at the same arguments; rounding is measured once."""
        at = self.comparer.at(*args, dtype=dtype)
        return {name: at(result) for name, result in results.items()}


def _as_numpy(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)
