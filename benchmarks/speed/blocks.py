"""Time the blocks of a batch's rows on threads of their own beside BLAS's threads.

The compiled pass frees Python's lock, so that blocks of the rows could be computed by as many
threads at once, each with BLAS on one thread, and their gradients be added up. BLAS divides each
product among its threads instead. Each way has a process of its own, for BLAS's threads wait for
their next product by spinning; the processes take turns in rounds. Axes: N rows in the batch.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from timeit import Timer
from typing import Any

from threadpoolctl import threadpool_limits

from benchmarks.speed.gradients import Shape, draw_problem
from benchmarks.speed.peers import Problem, compiled_gradient
from benchmarks.speed.timing import (
    Timings,
    calls_in_a_turn,
    compare,
    orders,
    process_of,
    settle,
    turn,
)
from manual_nn.models.arguments import as_batch, as_row_weight
from manual_nn.models.workspace import new_arrays

BLAS, BLOCKS, ONE = "BLAS's threads", "blocks of rows", "one thread"
WAYS = (BLAS, BLOCKS, ONE)
NETWORKS = ((64, 32, 10), (784, 256, 10), (784, 1024, 10))
BATCHES = (32, 128, 1024)
SHAPES = [Shape(sizes, N, "float32") for sizes in NETWORKS for N in BATCHES]
HEADINGS = ["network", "rows", f"{BLAS}, ms", *(f"{way} / {BLAS}" for way in WAYS[1:])]


def measure(shapes: Sequence[Shape], rounds: int, threads: int) -> Iterator[Timings]:
    """Give every way a turn in each round, shape by shape, with so many threads."""
    with ExitStack() as stack:
        processes = {way: stack.enter_context(process_of(threads)) for way in WAYS}
        for shape in shapes:
            seconds: dict[str, list[float]] = {way: [] for way in WAYS}
            for order in orders(WAYS, rounds):
                for way in order:
                    turned = processes[way].submit(time_turn, way, shape, threads)
                    seconds[way].append(turned.result())
            yield compare(seconds, [BLAS])


def row(shape: Shape, timings: Timings) -> list[str]:
    """Lay out what was measured for one shape."""
    return [
        shape.network,
        f"{shape.N:,}",
        f"{timings.seconds[BLAS].median * 1e3:.3g}",
        *(str(timings.over[BLAS][way]) for way in WAYS[1:]),
    ]


def time_turn(way: str, shape: Shape, threads: int) -> float:
    """Time a call, and leave nothing spinning behind."""
    timer, calls = timer_of(way, shape, threads)
    seconds = turn(timer, calls)
    settle()
    return seconds


@functools.cache  # in the process of this way
def timer_of(way: str, shape: Shape, threads: int) -> tuple[Timer, int]:
    """Make what is timed, and count the calls in a turn."""
    if way != BLAS:
        threadpool_limits(1, user_api="blas")
    problem = draw_problem(shape)
    run = in_blocks(problem, threads) if way == BLOCKS else compiled_gradient(problem).run
    timer = Timer(run)
    return timer, calls_in_a_turn(timer)


def in_blocks(problem: Problem, blocks: int) -> Callable[[], Any]:
    """Make the function that computes each block of rows by a thread, and adds them up."""
    from manual_nn.models.mlp_compiled import forward_and_backward  # noqa: PLC0415, needs Numba

    N = len(problem.X)
    rows = [slice(N * block // blocks, N * (block + 1) // blocks) for block in range(blocks)]
    outs = [new_arrays(problem.params, part.stop - part.start) for part in rows]
    pool = ThreadPoolExecutor(blocks - 1)

    def run() -> Any:
        params, X, target, weight_decay = as_batch(*problem)
        row_weight = as_row_weight(params, N, None)

        def compute(block: int) -> Any:
            part = rows[block]
            decay = 0.0 if block else weight_decay  # the penalty counts once
            return forward_and_backward(
                params, X[part], target[part], row_weight, decay, out=outs[block]
            )

        others = [pool.submit(compute, block) for block in range(1, blocks)]
        value, gradient = compute(0)
        for other in others:
            block_value, block_gradient = other.result()
            value += block_value
            for layer, block_layer in zip(gradient, block_gradient, strict=True):
                for array, block_array in zip(layer, block_layer, strict=True):
                    array += block_array
        return value, gradient

    return run
