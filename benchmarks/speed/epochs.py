"""Time a training epoch on data of the shape of MNIST: a new random order and a step per batch.

Each run goes on from the parameters that the run before has reached; none evaluates. The floor is
the bare products of matrices that the steps take, by NumPy's BLAS. Axes: N rows, D inputs, K
classes.
"""

import itertools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.speed.floor import floor
from benchmarks.speed.gradients import Shape, draw_problem
from benchmarks.speed.peers import (
    Contender,
    Problem,
    missing,
    sklearn_classifier,
    torch_cross_entropy,
    torch_layers,
)
from benchmarks.speed.timing import Timings, compare, interleave
from manual_nn.layers.dense import Dense, Params
from manual_nn.models.arguments import as_targets
from manual_nn.training.descent import Descent
from manual_nn.training.sgd import SGD

N = 51_072  # near the 51,000 of MNIST, and a multiple of both batches
LEARNING_RATE = 0.1


class Training(NamedTuple):
    """An epoch to run, with a batch_size that divides the rows."""

    problem: Problem
    batch_size: int
    learning_rate: float
    seed: int


class Setting(NamedTuple):
    """What is timed."""

    network: tuple[int, ...]
    batch_size: int


QUICK = [Setting((784, 100, 10), 128)]
FULL = [Setting(sizes, batch) for sizes in ((784, 100, 10), (784, 256, 10)) for batch in (32, 128)]


def measure(setting: Setting, rounds: int, threads: int) -> Timings:
    """Give everybody a turn in each round, in float32."""
    problem = draw_problem(Shape(setting.network, N, "float32"))
    training = Training(problem, setting.batch_size, LEARNING_RATE, seed=0)
    absent = missing()
    calls = {name: make(training).run for name, make in EPOCHS.items() if name not in absent}
    calls["floor"] = products_of_an_epoch(setting)
    others = [name for name in ("floor", "ours", "compiled") if name in calls]
    return compare(interleave(calls, rounds, threads=threads), others)


def products_of_an_epoch(setting: Setting) -> Callable[[], None]:
    """Make the products of every step, without their rows being gathered or a weight moved."""
    products = floor(setting.network, setting.batch_size, "float32")

    def run() -> None:
        for _ in range(N // setting.batch_size):
            products()

    return run


def our_epoch(training: Training, kind: type[Descent] = Descent) -> Contender:
    """The loop of `manual_nn.train`, without what it does after an epoch."""
    (params, X, y, weight_decay), batch_size, learning_rate, seed = training
    descent = kind(
        params,
        X,
        as_targets(params, len(X), y),
        batch_size=batch_size,
        optimizer=SGD(),
        learning_rate=learning_rate,
        weight_decay=weight_decay,
    )
    rng = np.random.default_rng(seed)

    def run() -> Params:
        for _ in descent.take(rng.permutation(len(X))):
            pass
        return descent.params

    return Contender(run, lambda params: params)


def compiled_epoch(training: Training) -> Contender:
    """The same by the loops that Numba compiles."""
    from manual_nn.training.descent_compiled import CompiledDescent  # noqa: PLC0415, needs Numba

    return our_epoch(training, CompiledDescent)


def jax_epoch(training: Training) -> Contender:
    """One jitted function: a permutation, and lax.scan over the batches."""
    import jax  # noqa: PLC0415, it may be missing
    import jax.numpy as jnp  # noqa: PLC0415

    import reference  # noqa: PLC0415, it needs JAX

    (params, X, y, weight_decay), batch_size, learning_rate, seed = training
    gradient_of: Any = jax.grad(reference.loss)

    def epoch(params: Any, key: Any, X: Any, y: Any) -> Any:
        rows = jnp.arange(len(X), dtype=jnp.int32)  # as without x64
        order = jax.random.permutation(key, rows).reshape(-1, batch_size)

        def step(params: Any, rows: Any) -> Any:
            gradient = gradient_of(params, X[rows], y[rows], weight_decay=weight_decay)
            moved = jax.tree.map(lambda p, d_p: p - learning_rate * d_p, params, gradient)
            return moved, None

        return jax.lax.scan(step, params, order)[0]

    compiled: Any = jax.jit(epoch, donate_argnums=0)
    data = jax.device_put((X, y.astype(np.int32)))
    state = jax.tree.map(jnp.array, params)  # a copy, which may be donated
    keys = (jax.random.key(seed + run) for run in itertools.count())

    def run() -> Any:
        nonlocal state
        state = jax.block_until_ready(compiled(state, next(keys), *data))
        return state

    return Contender(run, lambda params: jax.tree.map(np.array, params))


def torch_epoch(training: Training) -> Contender:
    """A plain PyTorch loop, whose step has the gradient of the penalty in it.

    torch.optim.SGD, with weight_decay for the weights, was slower, fused or not.
    """
    import torch  # noqa: PLC0415, it may be missing

    problem, batch_size, learning_rate, seed = training
    layers = torch_layers(problem.params)
    X, y = torch.tensor(problem.X), torch.tensor(problem.y)
    kept = 1 - 2 * learning_rate * problem.weight_decay
    generator = torch.Generator().manual_seed(seed)

    def run() -> None:
        for rows in torch.randperm(len(X), generator=generator).split(batch_size):
            torch_cross_entropy(layers, X[rows], y[rows]).backward()
            with torch.no_grad():
                for weight, bias in layers:
                    weight.mul_(kept).add_(weight.grad, alpha=-learning_rate)
                    bias.add_(bias.grad, alpha=-learning_rate)
                    weight.grad = bias.grad = None

    def in_our_form(_: object) -> Params:
        pairs = [(weight.detach().numpy(), bias.detach().numpy()) for weight, bias in layers]
        return tuple(Dense(weight.T, bias) for weight, bias in pairs)

    return Contender(run, in_our_form)


def sklearn_epoch(training: Training) -> Contender:
    """MLPClassifier.fit for one iteration from the parameters there are, all that it does."""
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415, it may be missing

    problem, batch_size, learning_rate, seed = training
    classifier = sklearn_classifier(
        problem,
        alpha=2 * problem.weight_decay * batch_size,
        batch_size=batch_size,
        learning_rate_init=learning_rate,
        max_iter=1,
        warm_start=True,
        random_state=seed,
    )

    def run() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # after one iteration
            return classifier.fit(problem.X, problem.y)

    def in_our_form(fitted: Any) -> Params:
        return tuple(map(Dense, fitted.coefs_, fitted.intercepts_))

    return Contender(run, in_our_form)


EPOCHS: dict[str, Callable[[Training], Contender]] = {
    "ours": our_epoch,
    "compiled": compiled_epoch,
    "JAX": jax_epoch,
    "PyTorch": torch_epoch,
    "scikit-learn": sklearn_epoch,
}

PEERS = [name for name in EPOCHS if name not in {"ours", "compiled"}]
HEADINGS = [
    *("network", "batch", "threads", "ours, s"),
    *(f"{name} / ours" for name in PEERS),
    "compiled, s",
    *(f"{name} / compiled" for name in ("ours", *PEERS)),
    *("floor, s", "compiled / floor"),
    *(f"{name} / floor" for name in PEERS),
]
LEGEND = """
The floor is the bare products of the steps by NumPy's BLAS. *X / floor* says how many times as fast
as X an epoch would be that took no time for anything else: more than that takes faster products."""


def row(setting: Setting, threads: int, timings: Timings) -> list[str]:
    """Lay out what was measured for one setting with so many threads."""
    return [
        "-".join(map(str, setting.network)),
        str(setting.batch_size),
        str(threads),
        f"{timings.seconds['ours'].median:.3g}",
        *(str(timings.over["ours"].get(name, "")) for name in PEERS),
        *_compiled_columns(timings),
        f"{timings.seconds['floor'].median:.3g}",
        *(str(timings.over["floor"].get(name, "")) for name in ("compiled", *PEERS)),
    ]


def _compiled_columns(timings: Timings) -> list[str]:
    if "compiled" not in timings.over:
        return [""] * (2 + len(PEERS))
    seconds, over = timings.seconds["compiled"].median, timings.over["compiled"]
    return [f"{seconds:.3g}", *(str(over.get(name, "")) for name in ("ours", *PEERS))]
