"""The benchmarks time contenders that compute the same; no time decides a test.

Axes: N rows in the batch, L layers.
"""

import functools
import itertools
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from timeit import Timer
from typing import Any

import jax
import numpy as np
import pytest

from benchmarks.speed import __main__ as command
from benchmarks.speed import blocks, epochs, gradients, limits, peers, timing
from benchmarks.speed.floor import Counts, floor, torch_floor, xla_floor
from benchmarks.speed.gradients import Shape
from benchmarks.speed.picture import LOOKS, draw_ratios
from manual_nn.arrays import Array
from manual_nn.layers.dense import Params
from reference.compare import Comparer, Verdict
from tests.support.bounds import loss_and_grad_by_jax

DEEP = Shape((6, 5, 4, 3), 8, "float64")
HERE = [name for name in peers.GRADIENTS if name not in peers.missing()]
EPOCHS_HERE = [name for name in epochs.EPOCHS if name not in peers.missing()]


@functools.cache
def gradient_comparer() -> Comparer:
    return Comparer(loss_and_grad_by_jax, *gradients.draw_problem(DEEP))


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("dtype", gradients.DTYPES)
def test_every_contender_computes_the_loss_and_the_gradient(name: str, dtype: str) -> None:
    problem = gradients.draw_problem(DEEP._replace(dtype=dtype))._replace(weight_decay=0.125)
    contender = peers.GRADIENTS[name](problem)
    contender.run()
    result = contender.in_our_form(contender.run())  # the second call's, as they are timed
    comparison = gradient_comparer()(result, *problem, dtype=dtype)
    assert comparison.verdict == Verdict.MATCH, comparison


BATCH_SIZE, STEPS, LEARNING_RATE, SEED = 4, 3, 0.5, 7


def orders(name: str) -> Callable[[int], Any]:
    """Draw the order of the rows as this contender does."""
    if name in {"ours", "compiled"}:
        return np.random.default_rng(SEED).permutation
    if name == "JAX":
        return functools.partial(jax.random.permutation, jax.random.key(SEED))
    if name == "PyTorch":
        import torch  # noqa: PLC0415, it may be missing

        return functools.partial(torch.randperm, generator=torch.Generator().manual_seed(SEED))
    from sklearn.utils import shuffle  # noqa: PLC0415, only this contender needs it

    return lambda N: shuffle(np.arange(N), random_state=np.random.RandomState(SEED))


def descend(params: Params, X: Array, y: Array, weight_decay: float) -> Any:
    """Take a step of gradient descent for every batch, in the order of the rows."""
    for start in range(0, BATCH_SIZE * STEPS, BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        _, gradient = loss_and_grad_by_jax(params, X[rows], y[rows], weight_decay)
        params = jax.tree.map(lambda p, d_p: p - LEARNING_RATE * d_p, params, gradient)
    return params


@pytest.mark.parametrize("name", EPOCHS_HERE)
def test_every_epoch_takes_a_step_for_each_batch_in_a_random_order(name: str) -> None:
    shape = Shape((6, 5, 3), BATCH_SIZE * STEPS, "float32")
    problem = gradients.draw_problem(shape)._replace(weight_decay=0.125)
    contender = epochs.EPOCHS[name](epochs.Training(problem, BATCH_SIZE, LEARNING_RATE, SEED))
    trained = contender.in_our_form(contender.run())
    order = np.asarray(orders(name)(shape.N))
    assert sorted(order) == list(range(shape.N))
    arguments = (problem.params, problem.X[order], problem.y[order], problem.weight_decay)
    comparison = Comparer(descend, *arguments)(trained, *arguments, dtype="float32")
    assert comparison.verdict == Verdict.MATCH, comparison


def test_an_epoch_is_timed_for_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs, "N", 256)
    timings = epochs.measure(epochs.Setting((6, 5, 3), 128), rounds=2, threads=1)
    everybody = {"floor", *EPOCHS_HERE}
    assert set(timings.over) == {"floor", "ours", "compiled"}
    for other, over in timings.over.items():
        assert set(over) == everybody - {other}
    cells = epochs.row(epochs.Setting((6, 5, 3), 128), 1, timings)
    assert len(cells) == len(epochs.HEADINGS)
    assert cells[epochs.HEADINGS.index("compiled / floor")] == str(
        timings.over["floor"]["compiled"]
    )


def test_the_floor_of_an_epoch_is_that_of_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs, "N", 256)
    steps: list[tuple[Any, ...]] = []
    monkeypatch.setattr(epochs, "floor", lambda *shape: lambda: steps.append(shape))
    epochs.products_of_an_epoch(epochs.Setting((6, 5, 3), 64))()
    assert steps == 4 * [((6, 5, 3), 64, "float32")]


@pytest.mark.parametrize("sizes", [(5, 3), (6, 5, 4, 3)])
def test_the_floor_is_the_products_of_a_gradient(
    sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """3 L - 1 of them: up through the layers, then down, where the first needs no d_X."""
    N, L = 7, len(sizes) - 1
    run = floor(sizes, N, "float32")
    matmul, shapes = np.matmul, []

    def record(left: Array, right: Array, out: Array) -> None:
        shapes.append((left.shape, right.shape))
        matmul(left, right, out=out)

    monkeypatch.setattr(np, "matmul", record)
    run()
    pairs = list(itertools.pairwise(sizes))
    up = [((N, fan_in), (fan_in, fan_out)) for fan_in, fan_out in pairs]
    down = [((N, fan_out), (fan_out, fan_in)) for fan_in, fan_out in pairs[1:]]
    weights = [((fan_in, N), (N, fan_out)) for fan_in, fan_out in pairs]
    assert len(shapes) == 3 * L - 1
    assert shapes[:L] == up
    assert sorted(shapes[L:]) == sorted(down + weights)


def test_the_floor_of_xla_is_the_same_products() -> None:
    def shapes(*counts: Counts) -> list[list[tuple[int, ...]]]:
        products: Any = xla_floor((6, 5, 4, 3), 7, "float32", *counts)()
        return [[out.shape for out in each] for each in products]

    up, down, weights = [(7, 5), (7, 4), (7, 3)], [(7, 5), (7, 4)], [(6, 5), (5, 4), (4, 3)]
    assert shapes() == [up, down, weights]
    assert shapes((1, 0, 2), (0, 0, 1), (1, 2, 0)) == [
        [up[0], up[2]],
        [down[1]] * 2,
        [weights[0]] * 2 + [weights[1]],
    ]


def test_the_floor_of_pytorch_is_the_same_products() -> None:
    pytest.importorskip("torch")
    products: Any = torch_floor((6, 5, 3), 7, "float64")()
    assert [tuple(out.shape) for out in products] == [(7, 5), (6, 5), (7, 3), (5, 3), (7, 5)]


@pytest.mark.parametrize("number", [2, 3])
def test_blocks_of_rows_add_up_to_the_gradient(number: int) -> None:
    problem = gradients.draw_problem(DEEP)._replace(weight_decay=0.125)
    run = blocks.in_blocks(problem, number)
    run()
    comparison = gradient_comparer()(run(), *problem, dtype=DEEP.dtype)
    assert comparison.verdict == Verdict.MATCH, comparison


def test_every_way_to_use_threads_has_a_process_and_a_turn_in_every_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits: list[int] = []
    processes = []

    def process_of(threads: int) -> ThreadPoolExecutor:
        assert threads == 2
        processes.append(ThreadPoolExecutor(1))
        return processes[-1]

    monkeypatch.setattr(blocks, "process_of", process_of)
    monkeypatch.setattr(blocks, "threadpool_limits", lambda limit, **_: limits.append(limit))
    turns: list[str] = []
    time_turn = blocks.time_turn

    def record(way: str, *what: Any) -> float:
        turns.append(way)
        return time_turn(way, *what)

    monkeypatch.setattr(blocks, "time_turn", record)
    (timings,) = blocks.measure([DEEP], 2, 2)
    assert turns == [way for order in timing.orders(blocks.WAYS, 2) for way in order]
    assert turns[:3] != turns[3:]
    assert len(processes) == len(timings.seconds) == 3
    assert limits == [1, 1]  # all but BLAS's own threads
    network, rows, *cells = blocks.row(DEEP, timings)
    assert (network, rows, len(cells)) == ("6-5-4-3", "8", len(blocks.HEADINGS) - 2)


def test_a_missing_peer_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("torch", "sklearn"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(peers, "obstacle_to_compiling", lambda: "it is of another version")
    absent = peers.missing()
    assert absent["compiled"] == "numba"
    assert absent["PyTorch"] == "torch"
    assert absent["scikit-learn"] == "sklearn"
    present = gradients.contenders(DEEP)
    assert {"ours", "row by row"} <= set(present)
    assert not set(present) & set(absent)


def test_row_by_row_is_spared_large_batches() -> None:
    assert "row by row" in gradients.contenders(DEEP._replace(N=128))
    assert "row by row" not in gradients.contenders(DEEP._replace(N=8192))


def test_a_ratio_is_taken_within_each_round() -> None:
    """The machine is 1, 2, 4, 8 and 16 times as slow; the ratios do not show it."""
    slowness = [1.0, 2.0, 4.0, 8.0, 16.0]
    timings = timing.compare({"ours": slowness, "other": [3 * s for s in slowness]}, ["ours"])
    assert timings.seconds["ours"] == timing.Figure(2, 4, 8)
    assert timings.over == {"ours": {"other": timing.Figure(3, 3, 3)}}
    assert str(timings.seconds["ours"]) == "4 (2–8)"


@pytest.mark.parametrize(("call", "calls"), [(2.0**-10, 32), (2.0**-8, 8), (0.5, 1)])
def test_a_turn_lasts_long_enough_and_gives_the_time_of_a_call(call: float, calls: int) -> None:
    """On a clock that only a call moves."""
    now = 0.0

    def run() -> None:
        nonlocal now
        now += call

    timer = Timer(run, timer=lambda: now)
    found = timing.calls_in_a_turn(timer)
    assert found * call >= timing.TURN
    assert found <= calls
    assert timing.turn(timer, found) == call


@pytest.mark.parametrize("threads", [1, 2])
def test_everybody_has_a_turn_in_every_round(threads: int) -> None:
    seconds = timing.interleave({"one": int, "other": float}, 3, threads=threads)
    assert {name: len(times) for name, times in seconds.items()} == {"one": 3, "other": 3}


def test_threads_are_not_set_after_the_libraries_have_started() -> None:
    with pytest.raises(RuntimeError, match="has started"):
        timing.limit_threads(1)


def test_one_thread_is_one_thread_and_one_core_for_all() -> None:
    with timing.process_of(1) as process:
        environment = process.submit(peers.load, 1).result()
        with pytest.raises(RuntimeError, match="every library must have 3 threads, got"):
            process.submit(timing.environment, 3).result()
        assert process.submit(timing.all_threads).result() == 1
    assert environment["XLA"].startswith("NPROC=1 ")
    assert "openblas" in environment["threads"]


def test_the_command_prints_tables_and_writes_the_picture_and_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "all_threads", lambda: 1)
    monkeypatch.setattr(gradients, "QUICK", [DEEP])
    monkeypatch.setattr(epochs, "QUICK", [])
    command.main(["--rounds", "2", "--results", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "| 6-5-4-3 | 8 | " in printed
    for name in peers.missing():
        assert f"{name} is left out" in printed
    found = json.loads((tmp_path / "speed.json").read_text())
    (run,) = found["threads"]
    (result,) = run["gradients"]
    everybody = {"floor", gradients.NO_DECAY, gradients.PRODUCTS["JAX"], gradients.BEST, *HERE}
    everybody |= {gradients.PRODUCTS["PyTorch"]} if "PyTorch" in HERE else set()
    assert set(result["over"]) == {"floor", gradients.BEST, "ours", "compiled"}
    for other, over in result["over"].items():
        assert set(over) == everybody - {other}
    assert found["import"]["over"]["numpy"]["manual_nn"]["median"] > 0
    page = (tmp_path / "speed.md").read_text(encoding="utf-8")
    ratio = f"{result['over']['floor']['ours']['median']:.3g}"
    assert f"\n6-5-4-3, 8 rows, float64, 1 thread: ours takes {ratio} times the bare" in page
    assert page.count("| 6-5-4-3 | 8 | 1 | ") == 1
    assert result["over"]["floor"][gradients.BEST]["median"] <= 1
    compiled = result["over"]["compiled"]["JAX"]["median"]
    assert f"JAX {compiled:.3g} ({compiled:.3g} to {compiled:.3g})" in page
    least = f"JAX takes at least {compiled:.3g} times as long as compiled: at 6-5-4-3, 8 rows, "
    assert f"\n\n- 1 thread. {least}" in page
    assert (tmp_path / "ratio_to_floor.png").read_bytes().startswith(b"\x89PNG")


def test_the_limits_name_the_fastest_peers_and_the_shortest_epochs() -> None:
    def timings(**seconds: float) -> timing.Timings:
        found = {name.replace("_", " "): [t, t] for name, t in seconds.items()}
        return timing.compare(found, [name for name in found if name != "JAX"])

    own = {"XLA's products": 3, "PyTorch's products": 4}
    near = timings(floor=1, compiled=2, JAX=2.5, PyTorch=8, **own)
    far = timings(floor=1, compiled=2, JAX=4, PyTorch=6, **own)
    assert limits.of_gradients([(DEEP._replace(N=1), far), (DEEP, near)]) == (
        "JAX takes at least 1.25 times as long as compiled: at 6-5-4-3, 8 rows, float64, where "
        "XLA's products take 3 times as long as the floor's, and compiled 2 times. "
        "PyTorch takes at least 3 times as long as compiled: at 6-5-4-3, 1 row, float64, where "
        "PyTorch's products take 4 times as long as the floor's, and compiled 2 times."
    )
    assert limits.of_gradients([(DEEP, timings(JAX=1, ours=1))]) == ""
    settings = [epochs.Setting((6, 5), batch) for batch in (1, 2)]
    both = zip(settings, [timings(floor=2, JAX=3), timings(floor=4, JAX=5)], strict=True)
    assert limits.of_epochs([*both]) == (
        "The epochs take at least so many times as long as their floor: JAX's 1.25."
    )
    assert limits.of_epochs([(settings[0], timings(floor=2, ours=3))]) == ""
    assert limits.of_epochs([]) == ""


def test_two_rounds_are_needed_for_quartiles(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--rounds", "1"])
    assert "--rounds must be at least 2" in capsys.readouterr().err


def test_the_picture_shows_every_contender_of_every_shape() -> None:
    networks, batches, names = [[4, 3], [6, 5, 3]], [1, 32], list(LOOKS)
    drawn = np.random.default_rng(0).uniform(1, 99, (2, len(networks), len(batches), len(names)))

    def result(sizes: list[int], N: int, medians: Array) -> dict[str, Any]:
        over = {name: {"median": median} for name, median in zip(names, medians, strict=True)}
        return {"sizes": sizes, "N": N, "dtype": "float32", "over": {"floor": over}}

    runs = [
        {
            "threads": threads,
            "gradients": [
                result(sizes, N, medians)
                for sizes, of_network in zip(networks, of_run, strict=True)
                for N, medians in zip(batches, of_network, strict=True)
            ],
        }
        for threads, of_run in zip([1, 2], drawn, strict=True)
    ]
    figure = draw_ratios(runs)
    figure.draw_without_rendering()
    axes: Any = np.reshape(np.array(figure.axes), (2, 2))
    assert [panel.get_title() for panel in axes[0]] == ["4-3", "6-5-3"]
    assert [panel.get_ylabel() for panel in axes[:, 0]] == [
        "float32\n1 thread",
        "float32\n2 threads",
    ]
    for place in np.ndindex(2, 2):
        lines = {line.get_label(): line for line in axes[place].lines}
        for which, name in enumerate(names):
            assert np.array_equal(lines[name].get_xdata(), batches)
            assert np.array_equal(lines[name].get_ydata(), drawn[place][:, which])
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["the products alone", *names]
