"""The loss and gradient over Dask arrays: for any blocks, and on a cluster that loses a machine.

Axes: N rows in all, D inputs, K classes.
"""

import functools
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask.array as da
import jax
import numpy as np
import numpy.typing as npt
import pytest
from dask.delayed import delayed
from distributed import Client, LocalCluster
from hypothesis import given
from hypothesis import strategies as st

import manual_nn
import reference
from manual_nn import Dense, distributed
from reference.arrays import Array
from reference.compare import Comparer, Verdict
from tests.support.bits import same_bits
from tests.support.cases import each
from tests.support.exact import SQUARES, TOTAL, integer_network
from tests.support.strategies import TRAITS, Shape, dtypes, make_network, seeds, weight_decays


@st.composite
def divisions(draw: st.DrawFn, size: int) -> tuple[int, ...]:
    """Divide an axis into blocks."""
    cuts = draw(st.sets(st.integers(1, size - 1))) if size > 1 else set()
    return tuple(int(block) for block in np.diff([0, *sorted(cuts), size]))


def blocks(array: Array, *divisions: tuple[int, ...]) -> da.Array:
    """Make a Dask array of these blocks; an axis without a division is in one piece."""
    whole = tuple((size,) for size in array.shape[len(divisions) :])
    return da.from_array(array, chunks=divisions + whole)


# Any blocks


def by_jax(params: Any, X: Any, y: Any, weight_decay: Any, sample_weight: Any) -> Any:
    """Take weight_decay and sample_weight by position, as traced arguments."""
    return reference.loss_and_grad(
        params, X, y, weight_decay=weight_decay, sample_weight=sample_weight
    )


def weights_of_rows(N: int, seed: int) -> Array:
    """Draw weights, some of them 0."""
    rng = np.random.default_rng([seed, 2])
    weights = rng.exponential(size=N) * rng.integers(2, size=N)
    weights[rng.integers(N)] = 1
    return weights


@functools.cache
def comparer(shape: Shape) -> Comparer:
    network = make_network(shape, np.float64, seed=0)
    return Comparer(by_jax, *network, np.ones(shape.N))


SHAPES = [
    Shape((2, 3), 1, soft=False),
    Shape((3, 4, 2), 2, soft=True),
    Shape((4, 5, 3), 7, soft=False),
    Shape((2, 3, 4, 3), 17, soft=True),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@given(seed=seeds, trait=st.sampled_from(TRAITS), dtype=dtypes, data=st.data())
def test_any_division_into_blocks_keeps_the_bound_of_the_result_in_one_piece(
    shape: Shape, seed: int, trait: str, dtype: type[np.floating], data: st.DataObject
) -> None:
    decay = data.draw(weight_decays)
    params, X, y, _ = make_network(shape, dtype, seed=seed, trait=trait)
    weighted = data.draw(st.booleans())
    weight = weights_of_rows(shape.N, seed) if weighted else np.ones(shape.N)
    rows, others, columns = (data.draw(divisions(size)) for size in (len(X), len(X), X.shape[1]))
    result = distributed.loss_and_grad(
        params,
        blocks(X, rows, columns),
        blocks(y, others),
        weight_decay=decay,
        sample_weight=blocks(weight, others) if weighted else None,
    )
    comparison = comparer(shape)(result, params, X, y, decay, weight, dtype=dtype)
    allowed = {Verdict.MATCH, Verdict.AMBIGUOUS} if comparison.open_kinks else {Verdict.MATCH}
    assert comparison.verdict in allowed, comparison


@given(
    seed=seeds,
    hidden=st.integers(0, 4),
    N=st.sampled_from([1, 2, 4, 8]),
    dtype=dtypes,
    decay=st.sampled_from([0.0, 0.25]),
    data=st.data(),
)
def test_exact_arithmetic_gives_the_bits_of_the_local_function_for_any_blocks(
    seed: int, hidden: int, N: int, dtype: type[np.floating], decay: float, data: st.DataObject
) -> None:
    params, X, y = integer_network(seed, D=3, hidden=hidden, K=4, N=N, dtype=dtype)
    rows = data.draw(divisions(N))
    X_blocks, y_blocks = blocks(X, rows), blocks(y, rows)
    local = manual_nn.loss_and_grad(params, X, y, weight_decay=decay)
    assert same_bits(
        distributed.loss_and_grad(params, X_blocks, y_blocks, weight_decay=decay), local
    )
    loss = distributed.loss(params, X_blocks, y_blocks, weight_decay=decay)
    assert same_bits(loss, local[0])


def problem(N: int = 12, *, soft: bool = False) -> tuple[Any, Array, Array]:
    return make_network(Shape((3, 4, 2), N, soft=soft), np.float64, seed=0)[:3]


@pytest.mark.parametrize("soft", [False, True])
def test_the_loss_is_that_of_loss_and_grad(*, soft: bool) -> None:
    params, X, y = problem(soft=soft)
    X_blocks, y_blocks, weight = blocks(X, (5, 4, 3)), blocks(y), blocks(np.arange(12.0))
    options: Any = {"weight_decay": 0.1, "sample_weight": weight}
    value, _ = distributed.loss_and_grad(params, X_blocks, y_blocks, **options)
    assert distributed.loss(params, X_blocks, y_blocks, **options) == value


def test_without_a_weight_decay_there_is_no_penalty() -> None:
    params, X, y = integer_network(0, D=3, hidden=4, K=4, N=8, dtype=np.float64)
    X_blocks, y_blocks = blocks(X, (3, 5)), blocks(y)
    local = manual_nn.loss_and_grad(params, X, y, weight_decay=0.0)
    assert same_bits(distributed.loss_and_grad(params, X_blocks, y_blocks), local)
    assert distributed.loss(params, X_blocks, y_blocks) == local[0]


@pytest.mark.parametrize("each", [0.5, 2.0**1023])
def test_equal_weights_of_a_power_of_two_are_as_none(each: float) -> None:
    params, X, y = problem()
    X_blocks, y_blocks = blocks(X, (5, 7)), blocks(y)
    weight = da.full(12, each, chunks=3)
    weighted = distributed.loss_and_grad(params, X_blocks, y_blocks, sample_weight=weight)
    assert same_bits(weighted, distributed.loss_and_grad(params, X_blocks, y_blocks))


@pytest.mark.parametrize("weight_dtype", [np.float16, np.float32, np.uint8])
def test_weights_of_any_type_are_divided_in_float64(weight_dtype: npt.DTypeLike) -> None:
    params, X, y = problem()
    X_blocks, y_blocks, weight = blocks(X, (5, 7)), blocks(y), np.tile([1.0, 2.0, 3.0], 4)
    got, want = (
        distributed.loss_and_grad(params, X_blocks, y_blocks, sample_weight=blocks(given))
        for given in (weight.astype(weight_dtype), weight)
    )
    assert same_bits(got, want)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weight", [None, np.array([3.0, 1.0, 7.0])])
def test_one_block_has_the_bits_of_the_local_function(
    dtype: type[np.floating], weight: Array | None
) -> None:
    params, X, y, _ = make_network(Shape((3, 4, 2), 3, soft=False), dtype, seed=1)
    weight_block = None if weight is None else blocks(weight)
    got = distributed.loss_and_grad(params, blocks(X), blocks(y), sample_weight=weight_block)
    assert same_bits(got, manual_nn.loss_and_grad(params, X, y, sample_weight=weight))


def test_blocks_are_added_up_in_the_dtype_of_the_parameters() -> None:
    """Each adds x / 8 to the gradient, and the sum is another if float64 rounds it at the end."""
    zero = (Dense(np.zeros((1, 2), np.float32), np.zeros(2, np.float32)),)
    X, y = np.append(SQUARES, np.float32(0))[:, None], np.ones(4, int)
    _, (d_layer,) = distributed.loss_and_grad(zero, blocks(X, (1, 1, 1, 1)), blocks(y))
    assert d_layer.weight.dtype == np.float32
    assert d_layer.weight.tolist() == [[TOTAL / 8, -TOTAL / 8]]


def test_blocks_of_weight_0_and_blocks_without_rows_are_as_if_they_were_not_there() -> None:
    params, X, y = problem()
    weight = np.repeat([1.0, 0.0, 1.0], 4)
    kept = weight > 0
    got = distributed.loss_and_grad(
        params,
        blocks(X, (4, 0, 4, 4)),
        blocks(y, (4, 4, 4, 0)),
        sample_weight=blocks(weight, (4, 4, 4)),
    )
    expected = distributed.loss_and_grad(params, blocks(X[kept], (4, 4)), blocks(y[kept]))
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, other)  # a sum with 0 more in it is the same


def test_each_block_is_read_once_and_none_before_it_is_needed() -> None:
    params, X, y = problem()
    read: list[int] = []

    def block(rows: Array) -> Array:
        read.append(len(rows))
        return X[rows]

    numbers = da.arange(12, chunks=((5, 4, 3),))
    X_blocks = numbers.map_blocks(block, new_axis=1, chunks=(numbers.chunks[0], (3,)), meta=X[:0])
    assert not read
    distributed.loss_and_grad(params, X_blocks, blocks(y), sample_weight=da.ones(12))
    assert sorted(read) == [3, 4, 5]


def test_the_result_can_be_written_to_and_is_new() -> None:
    params, X, y = problem()
    y_blocks = blocks(y)
    _, gradient = distributed.loss_and_grad(params, blocks(X), y_blocks)
    given = [X, y, *itertools.chain(*params)]
    for d_array in itertools.chain(*gradient):
        assert d_array.flags.writeable
        assert not any(np.shares_memory(d_array, array) for array in given)


# What it refuses


def malformed() -> dict[str, tuple[dict[str, Array], type[Exception]]]:
    """What the shapes and dtypes show to be wrong, and which error it is."""
    _, X, y = problem()
    return {
        "X of one axis": ({"X": X[:, 0]}, ValueError),
        "X too wide": ({"X": np.hstack([X, X])}, ValueError),
        "no row": ({"X": X[:0], "y": y[:0]}, ValueError),
        "complex X": ({"X": X.astype(complex)}, TypeError),
        "X of words": ({"X": X.astype(str)}, TypeError),
        "y too long": ({"y": np.append(y, 0)}, ValueError),
        "y of three classes": ({"y": np.full((len(y), 3), 1 / 3)}, ValueError),
        "classes as floats": ({"y": y.astype(float)}, TypeError),
        "complex probabilities": ({"y": np.eye(2, dtype=complex)[y]}, TypeError),
        "weights too short": ({"sample_weight": np.ones(len(y) - 1)}, ValueError),
        "weights of two axes": ({"sample_weight": np.ones((len(y), 1))}, ValueError),
        "complex weights": ({"sample_weight": np.ones(len(y), complex)}, TypeError),
    }


def unreadable(array: Array) -> da.Array:
    """Make a Dask array of this shape and dtype whose blocks no task may read."""

    def block() -> Array:
        pytest.fail("a task was run")

    return da.from_delayed(delayed(block)(), array.shape, array.dtype)


@each("function", ["loss", "loss_and_grad"])
@each("what", malformed())
def test_shapes_and_dtypes_are_refused_as_locally_before_any_task(function: str, what: str) -> None:
    params, X, y = problem()
    changes, error = malformed()[what]
    arguments = {"X": X, "y": y} | changes
    with pytest.raises(error) as local:
        getattr(manual_nn, function)(params, **arguments)
    lazy = {name: unreadable(array) for name, array in arguments.items()}
    with pytest.raises(error) as refused:
        getattr(distributed, function)(params, **lazy)
    assert str(refused.value) == str(local.value)


def bad_values() -> dict[str, tuple[bool, dict[str, Array]]]:
    """What only the tasks can see to be wrong, in the last row; for soft targets or not."""
    _, X, y = problem()
    soft = problem(soft=True)[2]
    last = np.arange(len(y)) == len(y) - 1
    return {
        "X infinite": (False, {"X": np.where(last[:, None], np.inf, X)}),
        "X NaN": (True, {"X": np.where(last[:, None], np.nan, X)}),
        "class too large": (False, {"y": y + 2 * last}),
        "negative class": (False, {"y": y - 9 * last}),
        "half the probability": (True, {"y": np.where(last[:, None], soft / 2, soft)}),
        "negative probability": (True, {"y": np.where(last[:, None], [-1.0, 2.0], soft)}),
    }


@each("function", ["loss", "loss_and_grad"])
@each("what", bad_values())
def test_what_a_block_holds_is_refused_as_locally_and_its_place_named(
    function: str, what: str
) -> None:
    soft, changes = bad_values()[what]
    params, X, y = problem(soft=soft)
    arguments = {"X": X, "y": y} | changes
    with pytest.raises(ValueError, match=r"^[Xy]\[8:12\] must") as local:
        getattr(manual_nn, function)(params, **arguments, chunk_size=4)
    lazy = {name: blocks(array, (4, 4, 4)) for name, array in arguments.items()}
    with pytest.raises(ValueError, match="must") as refused:
        getattr(distributed, function)(params, **lazy)
    assert str(refused.value) == str(local.value)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (-1.0, r"sample_weight\[8:12\] must hold finite numbers, none negative, got -1.0 in row 3"),
        (
            np.nan,
            r"sample_weight\[8:12\] must hold finite numbers, none negative, got nan in row 3",
        ),
        (0.0, "sample_weight must not be"),
    ],
)
def test_weights_that_are_negative_or_no_numbers_or_all_0_are_refused_before_inputs_are_read(
    bad: float, said: str
) -> None:
    params, X, y = problem()
    weight = np.zeros(len(y))
    weight[-1] = bad
    X_blocks = unreadable(X).rechunk(((4, 4, 4), (3,)))
    with pytest.raises(ValueError, match=said):
        distributed.loss_and_grad(params, X_blocks, blocks(y), sample_weight=blocks(weight))


@pytest.mark.parametrize("name", ["X", "y", "sample_weight"])
def test_arrays_in_memory_and_blocks_of_unknown_sizes_are_refused(name: str) -> None:
    params, X, y = problem()
    arrays = {"X": X, "y": y, "sample_weight": np.ones(len(y))}
    lazy: dict[str, Any] = {key: blocks(array) for key, array in arrays.items()}
    with pytest.raises(TypeError, match=f"{name} must be a Dask array, got ndarray"):
        distributed.loss_and_grad(params, **lazy | {name: arrays[name]})
    unknown = lazy[name][blocks(y) >= 0]
    with pytest.raises(ValueError, match=rf"{name} must have blocks of known sizes.*compute_chunk"):
        distributed.loss(params, **lazy | {name: unknown})
    unknown.compute_chunk_sizes()
    assert distributed.loss(params, **lazy | {name: unknown}) == distributed.loss(params, **lazy)


@pytest.mark.parametrize("weight_decay", [-1.0, np.inf, "1"])
def test_the_weight_decay_and_params_are_checked_as_locally(weight_decay: Any) -> None:
    params, X, y = problem()
    for function in ("loss", "loss_and_grad"):
        errors = []
        for package, X_given, y_given in ((manual_nn, X, y), (distributed, blocks(X), blocks(y))):
            with pytest.raises((TypeError, ValueError)) as raised:
                getattr(package, function)(params, X_given, y_given, weight_decay=weight_decay)
            errors.append(repr(raised.value))
            with pytest.raises(TypeError, match="params must be a sequence"):
                getattr(package, function)(None, X_given, y_given)
        assert errors[0] == errors[1]


def test_without_dask_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['dask'] = None; from manual_nn import distributed"
    done = subprocess.run(  # noqa: S603, the interpreter of this test
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "ImportError: manual_nn.distributed needs Dask: install manual-nn[dask]" in done.stderr


# On a cluster


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Start two worker processes of one thread each, for those that ask for them alone."""
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=str(tmp_path_factory.mktemp("dask")),
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def on(client: Client, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a function with the cluster as Dask's scheduler."""
    with client.as_current():
        return function(*args, **options)


@pytest.mark.long
def test_two_processes_give_the_bits_of_one(client: Client) -> None:
    params, X, y = integer_network(0, D=3, hidden=4, K=4, N=64, dtype=np.float32)
    X_blocks, y_blocks = blocks(X, (1, 2, 3, 10, 16, 32)), blocks(y)
    got = on(client, distributed.loss_and_grad, params, X_blocks, y_blocks, weight_decay=0.25)
    assert same_bits(got, manual_nn.loss_and_grad(params, X, y, weight_decay=0.25))
    assert all(d_array.flags.writeable for d_array in itertools.chain(*got[1]))


@pytest.mark.long
def test_an_error_in_a_block_comes_back_from_its_process(client: Client) -> None:
    params, X, y = problem()
    with pytest.raises(ValueError, match=r"y\[6:12\] must hold class numbers from 0 to 1, got 7"):
        on(client, distributed.loss, params, blocks(X, (6, 6)), blocks(np.append(y[:-1], 7)))


PATIENCE = 60  # seconds, after which what is waited for will not come


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


@pytest.mark.long
def test_a_worker_killed_in_the_middle_changes_no_bit(client: Client, tmp_path: Path) -> None:
    """Both workers wait at a gate, each with one of the blocks from 4 on, when one is killed.

    Every read of a block leaves a note of the block and the process. The gate opens when the killed
    process is gone.
    """
    params = make_network(Shape((3, 5, 4), 1, soft=False), np.float64, seed=0).params
    count, size = 12, 50
    gate = tmp_path / "gate"

    def read(block_info: Any, folder: Path, *, gated: bool) -> Array:
        (block, _) = block_info[None]["chunk-location"]
        (folder / f"{block}-{os.getpid()}").touch()
        while gated and block >= 4 and not gate.exists():
            time.sleep(0.01)
        return np.random.default_rng(block).normal(size=(size, 3))

    def data(folder: str, *, gated: bool) -> da.Array:
        (tmp_path / folder).mkdir()
        return da.map_blocks(
            read,
            chunks=((size,) * count, (3,)),
            dtype=np.float64,
            meta=np.empty((0, 0)),
            folder=tmp_path / folder,
            gated=gated,
        )

    def notes(folder: str) -> set[tuple[int, int]]:
        """List who has begun to read what: (block, process)."""
        names = [path.name.split("-") for path in (tmp_path / folder).iterdir()]
        return {(int(block), int(process)) for block, process in names}

    def at_work() -> dict[int, int]:
        """Map each process to the gated block that it is at."""
        return {process: block for block, process in notes("disturbed") if block >= 4}

    y = da.arange(count * size, chunks=size) % 4
    undisturbed = on(client, distributed.loss_and_grad, params, data("calm", gated=False), y)
    assert len(notes("calm")) == count
    with ThreadPoolExecutor(1) as pool:
        X = data("disturbed", gated=True)
        running = pool.submit(on, client, distributed.loss_and_grad, params, X, y)
        try:
            wait_for(lambda: len(at_work()) == 2)
            killed, block = next(iter(at_work().items()))
            os.kill(killed, signal.SIGKILL)
            wait_for(lambda: not is_alive(killed))
        finally:
            gate.touch()
        disturbed = running.result(PATIENCE)
    readers = {process for number, process in notes("disturbed") if number == block}
    assert readers > {killed}, "the block that was lost was not read again"
    assert same_bits(disturbed, undisturbed)


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
