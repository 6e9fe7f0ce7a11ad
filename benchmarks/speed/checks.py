"""Time what it takes to refuse bad input, beside a gradient of 784-256-10 at 128 rows.

Axes: N rows in the batch.
"""

from benchmarks.speed.gradients import Shape, draw_problem
from benchmarks.speed.peers import our_gradient
from benchmarks.speed.timing import Timings, compare, interleave
from manual_nn.checks.finite import check_pre_activations
from manual_nn.models import mlp
from manual_nn.models.arguments import as_batch, as_row_weight

SHAPE = Shape((784, 256, 10), 128, "float32")
WHERE = "784-256-10, 128 rows, float32"


def measure(rounds: int, threads: int) -> Timings:
    """Give the checks of all arguments and of every layer a turn, and the gradient with them."""
    problem = draw_problem(SHAPE)
    params, X, y, weight_decay = problem
    z, a = mlp.forward(params, X)

    def checks() -> None:
        as_batch(params, X, y, weight_decay)
        as_row_weight(params, len(X), None)
        for l, pre_activations in enumerate([*a[1:], z], start=1):
            check_pre_activations(pre_activations, l, params, X)

    calls = {"checks": checks, "ours": our_gradient(problem).run}
    return compare(interleave(calls, rounds, threads=threads), ("ours",))
