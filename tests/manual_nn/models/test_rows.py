"""How the rows of a batch are counted, cut into blocks, and written in place.

Axes: N rows in the batch, D inputs, K classes.
"""

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import manual_nn
import reference
from manual_nn import Workspace, models, rowwise
from manual_nn.arrays import Array
from manual_nn.models import mlp
from manual_nn.models.arguments import as_params
from reference import Comparer, Verdict
from tests.conftest import depth
from tests.support.bits import same_bits
from tests.support.exact import equal_logits_network
from tests.support.strategies import Shape, dtypes, make_network, seeds, shapes

FEWER = settings(max_examples=depth().compilations)  # each compiles for a second


def leaves(value_and_gradient: Any) -> list[Array]:
    """List the loss and the arrays of the gradient."""
    return jax.tree.leaves(value_and_gradient)


def weighted_by_jax(params: Any, X: Any, y: Any, weight_decay: Any, sample_weight: Any) -> Any:
    return reference.loss_and_grad(
        params, X, y, weight_decay=weight_decay, sample_weight=sample_weight
    )


@pytest.mark.long
@FEWER
@given(shape=shapes, dtype=dtypes, data=st.data())
def test_the_weighted_loss_and_gradient_agree_with_jax_row_by_row_and_in_blocks(
    shape: Shape, dtype: type[np.floating], data: st.DataObject
) -> None:
    """One bound holds for each, for it allows the rows to be summed in any order."""
    comparer = None
    for seed in data.draw(st.lists(seeds, min_size=4, max_size=4)):
        network = make_network(shape, dtype, seed=seed)
        params, X, y, weight_decay = network
        rng = np.random.default_rng(seed)
        weights = rng.integers(0, 9, size=len(X)).astype(dtype)
        weights[rng.integers(len(X))] = 3
        args = params, X, y, weight_decay, weights
        comparer = comparer or Comparer(weighted_by_jax, *args)
        options: dict[str, Any] = {"weight_decay": weight_decay, "sample_weight": weights}
        size = data.draw(st.integers(1, len(X)))
        for got in (
            manual_nn.loss_and_grad(params, X, y, **options),
            manual_nn.loss_and_grad(params, X, y, **options, chunk_size=size),
            manual_nn.loss_and_grad(
                *(params, X, y),
                **options,
                chunk_size=size,
                workspace=Workspace(params, len(X), backend="numba"),
            ),
            rowwise.loss_and_grad(params, X, y, **options),
        ):
            assert comparer(got, *args).verdict in {Verdict.MATCH, Verdict.AMBIGUOUS}
        value, _ = manual_nn.loss_and_grad(params, X, y, **options)
        assert manual_nn.loss(params, X, y, **options) == value


@pytest.mark.long
@FEWER
@given(shape=shapes, dtype=dtypes, data=st.data())
def test_the_sum_over_blocks_agrees_with_jax_in_one_piece(
    shape: Shape, dtype: type[np.floating], data: st.DataObject
) -> None:
    comparer = None
    for seed in data.draw(st.lists(seeds, min_size=4, max_size=4)):
        args = make_network(shape, dtype, seed=seed)
        comparer = comparer or Comparer(by_jax, *args)
        for size in range(1, len(args.X) + 2):
            got = manual_nn.loss_and_grad(*args[:3], weight_decay=args[3], chunk_size=size)
            assert comparer(got, *args).verdict in {Verdict.MATCH, Verdict.AMBIGUOUS}


def by_jax(params: Any, X: Any, y: Any, weight_decay: Any) -> Any:
    return reference.loss_and_grad(params, X, y, weight_decay=weight_decay)


@pytest.mark.parametrize("function", [manual_nn.loss_and_grad, rowwise.loss_and_grad])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_of_weight_2_is_there_twice_and_one_of_weight_0_is_not(
    function: Any, dtype: npt.DTypeLike
) -> None:
    params, X, y, weight_decay = equal_logits_network(dtype)
    options: dict[str, Any] = {"weight_decay": weight_decay}
    _, weighted = function(params, X, y, **options, sample_weight=[2, 0, 1, 1])
    _, repeated = function(params, X[[0, 0, 2, 3]], y[[0, 0, 2, 3]], **options)
    assert same_bits(weighted, repeated)


@given(seed=seeds, shape=shapes, dtype=dtypes, weight=st.sampled_from([0.125, 3.0, 1e300, 5e-324]))
def test_equal_weights_are_none_to_the_bit(
    seed: int, shape: Shape, dtype: type[np.floating], weight: float
) -> None:
    params, X, y, weight_decay = make_network(shape, dtype, seed=seed)
    plain = manual_nn.loss_and_grad(params, X, y, weight_decay=weight_decay)
    weights = np.full(len(X), weight)
    assert same_bits(
        manual_nn.loss_and_grad(params, X, y, weight_decay=weight_decay, sample_weight=weights),
        plain,
    )


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("weights", [None, [2, 0, 1, 1]])
def test_blocks_of_exact_numbers_add_up_to_the_bit(size: int, weights: list[int] | None) -> None:
    params, X, y, weight_decay = equal_logits_network(np.float64)
    options: dict[str, Any] = {"weight_decay": weight_decay, "sample_weight": weights}
    whole = manual_nn.loss_and_grad(params, X, y, **options)
    blocks = manual_nn.loss_and_grad(params, X, y, **options, chunk_size=size)
    assert same_bits(blocks[1], whole[1])


def test_rows_on_disk_are_read_block_by_block(tmp_path: Path) -> None:
    """Whole numbers in a file of another type: they are converted a block at a time."""
    params, X, y, _ = equal_logits_network(np.float64)
    on_disk = np.memmap(tmp_path / "X", dtype=np.int16, mode="w+", shape=X.shape)
    on_disk[:] = X
    assert same_bits(
        manual_nn.loss_and_grad(params, on_disk, y, chunk_size=3)[1],
        manual_nn.loss_and_grad(params, X, y)[1],
    )


def test_errors_in_a_block_say_where_it_is() -> None:
    params, X, y, _ = equal_logits_network(np.float64)
    X[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"X\[2:4\] must be finite, got nan at \[1, 1\]"):
        manual_nn.loss_and_grad(params, X, y, chunk_size=2)
    with pytest.raises(ValueError, match=r"X must be finite, got nan at \[3, 1\]"):
        manual_nn.loss_and_grad(params, X, y, chunk_size=4)  # of all rows: no block
    y[1] = 7
    with pytest.raises(ValueError, match=r"y\[0:2\] must hold class numbers from 0 to 1, got 7"):
        manual_nn.loss(params, X, y, chunk_size=2)


def test_inputs_are_refused_before_a_block_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    params, X, y, _ = equal_logits_network(np.float64)
    monkeypatch.delattr(mlp, "forward")
    for function in (manual_nn.loss, manual_nn.loss_and_grad):
        with pytest.raises(ValueError, match="X must have shape"):
            function(params, X[:, :1], y, chunk_size=2)


@pytest.mark.parametrize(("prepared", "times"), [(False, 1), (True, 0)])
def test_parameters_are_checked_once_a_call_and_not_beside_a_workspace_that_knows_them(
    monkeypatch: pytest.MonkeyPatch, prepared: bool, times: int
) -> None:
    params, X, y, _ = equal_logits_network(np.float64)
    workspace = Workspace(params, len(X)) if prepared else None
    checked = []

    def noted(params: Any, **options: Any) -> Any:
        checked.append(params)
        return as_params(params, **options)

    for module in (mlp, models.workspace, models.arguments):
        monkeypatch.setattr(module, "as_params", noted)
    manual_nn.loss_and_grad(params, X, y, workspace=workspace, chunk_size=2)
    assert len(checked) == times


# In place


@given(seed=seeds, shape=shapes, dtype=dtypes, more=st.integers(0, 3), data=st.data())
def test_a_workspace_changes_no_bit_whatever_it_was_used_for_before(
    seed: int, shape: Shape, dtype: type[np.floating], more: int, data: st.DataObject
) -> None:
    params, X, y, weight_decay = make_network(shape, dtype, seed=seed)
    others = make_network(shape, dtype, seed=seed + 1)
    workspace = Workspace(params, len(X) + more)
    size = data.draw(st.none() | st.integers(1, len(X)))
    call = functools.partial(manual_nn.loss_and_grad, weight_decay=weight_decay, chunk_size=size)
    call(*others[:3], workspace=workspace)
    got = call(params, X, y, workspace=workspace)
    assert same_bits(got, call(params, X, y))
    for array, own in zip(leaves(got[1]), leaves(workspace.gradient), strict=True):
        assert np.shares_memory(array, own)


def test_without_a_workspace_results_share_no_memory() -> None:
    params, X, y, _ = equal_logits_network(np.float64)
    first, second = (manual_nn.loss_and_grad(params, X, y)[1] for _ in range(2))
    for a, b in zip(leaves(first), leaves(second), strict=True):
        assert not np.shares_memory(a, b)


def test_a_workspace_takes_layers_that_are_plain_pairs() -> None:
    params, X, y, _ = equal_logits_network(np.float64)
    workspace = Workspace(params, len(X))
    pairs: Any = [list(layer) for layer in params]
    got = manual_nn.loss_and_grad(pairs, X, y, workspace=workspace)
    assert same_bits(got, manual_nn.loss_and_grad(params, X, y))


def test_a_workspace_does_not_overwrite_the_parameters_it_is_given() -> None:
    params, X, y, _ = equal_logits_network(np.float64)
    workspace = Workspace(params, len(X))
    _, gradient = manual_nn.loss_and_grad(params, X, y, workspace=workspace)
    with pytest.raises(ValueError, match="params must not be the workspace's own gradient"):
        manual_nn.loss_and_grad(gradient, X, y, workspace=workspace)


@pytest.mark.parametrize(
    ("rows", "error", "said"),
    [
        (0, ValueError, "rows must be at least 1, got 0"),
        (2.5, TypeError, "rows must be a whole number, got 2.5"),
    ],
)
def test_a_workspace_has_a_whole_number_of_rows(
    rows: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        Workspace(equal_logits_network(np.float64).params, rows)


def test_a_workspace_has_a_backend_that_there_is() -> None:
    params = equal_logits_network(np.float64).params
    assert Workspace(params, 2).backend == "numpy"
    with pytest.raises(ValueError, match="backend must be 'auto', 'numpy' or 'numba', got 'jax'"):
        Workspace(params, 2, backend="jax")
