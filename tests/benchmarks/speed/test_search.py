"""The search for causes is timed by itself, and says what it has found."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.speed import search


def test_an_array_that_is_doubled_is_named_in_a_time_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def loss(blocks: Any, x: Any, _y: Any) -> Any:
        return jnp.mean(jnp.square(jnp.tanh(x @ blocks[0]["up"])))

    sizes = 1, 4, 6
    args = search.draw(np.random.default_rng(0), *sizes)
    value, traced = jax.eval_shape(jax.value_and_grad(search.FAMILY.loss(1)), *args)
    assert value.shape == ()
    assert sum(x.size for x in jax.tree.leaves(traced)) == 12 * 6**2
    assert len(search.FAMILY.broken) == 1
    monkeypatch.setattr(search, "FAMILY", search.FAMILY._replace(loss=lambda _blocks: loss))
    result = search.measure("one array by 2", sizes)
    assert result.named == "scaled"
    assert np.isfinite([result.first, result.again]).all()
    assert result.parameters == 12 * 6**2
    assert result.operations > 3
