"""Mistakes at the operations of the MLP's loss have the MLP's code, and the line."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from manual_nn import Dense
from reference.compare import Comparer
from reference.diagnosis.causes import diagnose
from reference.diagnosis.difference import Difference
from reference.limit import Limit
from tests.support.mlp_faults import OF_OPERATIONS

pytestmark = pytest.mark.long


def on_its_own_lines(params: Any, X: Any, y: Any, weight_decay: Any) -> Any:
    """Layers of other widths, each with a line of its own."""
    (W, b), (V, c), (U, d) = params
    a = jax.nn.relu(X @ W + b[None])
    e = jax.nn.relu(a @ V + c[None])
    z = e @ U + d[None]
    right = jnp.take_along_axis(z, y[:, None], axis=1)[:, 0]
    penalty = (W**2).sum() + (V**2).sum() + (U**2).sum()
    return (jax.nn.logsumexp(z, axis=1) - right).mean() + weight_decay * penalty


@pytest.fixture(scope="module")
def args() -> tuple[Any, ...]:
    """A network with units whose pre-activation is exactly 0; one of its weights is square."""
    rng = np.random.default_rng(0)
    params = [
        Dense(rng.normal(size=(m, n)), rng.normal(size=n))
        for m, n in itertools.pairwise((5, 6, 6, 4))
    ]
    for weight, bias in params[:-1]:
        weight[:, 0], bias[0] = 0, 0
    return tuple(params), rng.normal(size=(11, 5)), rng.integers(4, size=11), 0.01


@pytest.fixture(scope="module")
def comparer(args: tuple[Any, ...]) -> Comparer:
    return Comparer(jax.grad(on_its_own_lines), *args)


@pytest.mark.parametrize("fault", OF_OPERATIONS, ids=lambda fault: fault.code)
def test_the_search_of_operations_gives_the_code_first(
    fault: Any, args: tuple[Any, ...], comparer: Comparer
) -> None:
    leaves = comparer(fault(*args), *args).leaves
    limit = Limit(np.inf)
    cause, *_ = diagnose(Difference(leaves, on_its_own_lines, args, 0, limit=limit))
    assert cause.code == fault.code, cause
    assert cause.sentence.startswith(fault.code.description)
    assert cause.where is not None
