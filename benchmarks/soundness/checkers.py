"""Plant mistakes in gradients and see which gradient checkers notice.

python -m benchmarks.soundness.checkers

The wrong gradients are attached to the right functions by jax.custom_jvp (forward) and
jax.custom_vjp (reverse), for checkers that differentiate; the others are handed the gradient.
jax.test_util.check_grads has its own tolerances. The central differences are the usual ones: 20
random elements of each array, a step of 1e-3, and numpy.isclose with rtol and atol of 1e-3. A
checker that raises an alarm at the right gradient too, as differences do across many kinks, has not
found the mistake.
"""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.test_util import check_grads

from benchmarks.tables import Page, parser_of
from manual_nn import init_params
from reference import check_gradient, loss

ABOUT = """\
Mistakes planted in right gradients, and which checker notices them: `jax.test_util.check_grads`
with its own tolerances, the usual central differences (20 random elements of each array, a step of
1e-3, rtol and atol of 1e-3), and `reference.check_gradient`."""
LEGEND = """
*alarm either way*: the checker rejects the right gradient as well, because its random step crosses
kinks of the ReLU network."""
STEP = 1e-3
TOLERANCE = 1e-3
SAMPLES = 20  # of each array
HEADINGS = (
    "gradient of",
    "mistake",
    "check_grads, fwd",
    "check_grads, rev",
    "central differences",
    "ours",
)


class Candidate(NamedTuple):
    """A function with a gradient that somebody may have written.

    Attributes:
        mistake: what is wrong with the gradient.
        function: as check_grads takes it, of one argument; a scalar, or a number for each element.
        total: the scalar loss.
        gradient: its gradient, right or wrong.
        at: where to check.
    """

    mistake: str
    function: Callable[[Any], Any]
    total: Callable[[Any], Any]
    gradient: Callable[[Any], Any]
    at: Any


def sines() -> Iterator[Candidate]:
    """The derivative of 1,000 sines, right and scaled."""
    x = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    for mistake, factor in (("none", 1), ("times 0", 0), ("times 2", 2), ("times -1", -1)):
        yield Candidate(
            mistake,
            jnp.sin,
            lambda x: jnp.sum(jnp.sin(x)),
            functools.partial(lambda factor, x: factor * jnp.cos(x), np.float32(factor)),
            x,
        )


def with_one_wrong(total: Callable[[Any], Any], at: Any, which: str) -> Iterator[Candidate]:
    """The gradient of this loss, right and with an element wrong that is of the median size."""
    right = jax.jit(jax.grad(total))
    yield Candidate("none", total, total, right, at)
    weight = np.asarray(jax.tree.leaves(right(at))[0])
    size = np.sort(abs(weight[weight != 0]))
    row, column = np.argwhere(abs(weight) == size[len(size) // 2])[0]

    def one_wrong(factor: float, at: Any) -> Any:
        leaves, structure = jax.tree.flatten(right(at))
        leaves[0] = leaves[0].at[row, column].multiply(factor)
        return jax.tree.unflatten(structure, leaves)

    for factor, words in ((1.01, "1 % off"), (-1, "of the wrong sign")):
        wrong = jax.jit(functools.partial(one_wrong, factor))
        yield Candidate(f"one element of {which} {words}", total, total, wrong, at)


def draw_batch(dtype: npt.DTypeLike) -> tuple[Any, Any]:
    """Draw 128 rows that are as sparse as pictures of digits, and their classes."""
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(128, 784)) * (rng.uniform(size=(128, 784)) < 0.2)
    return X.astype(dtype), rng.integers(10, size=128)


def linear_maps(dtype: npt.DTypeLike) -> Iterator[Candidate]:
    """Least squares of a linear map from 784 to 256: smooth, so differences have no kinks."""
    rng = np.random.default_rng(1)
    W = rng.normal(scale=0.05, size=(784, 256)).astype(dtype)
    X, _ = draw_batch(dtype)
    y = rng.normal(size=(128, 256)).astype(dtype)
    yield from with_one_wrong(lambda W: jnp.mean((X @ W - y) ** 2), W, "784 x 256")


def networks(dtype: npt.DTypeLike) -> Iterator[Candidate]:
    """Our network, 784-256-10, with 128 rows and a weight_decay of 1e-5."""
    params = init_params((784, 256, 10), rng=np.random.default_rng(1), dtype=dtype)
    X, y = draw_batch(dtype)

    def total(params: Any) -> Any:
        return loss(params, X, y, weight_decay=1e-5)

    def decayed_twice(params: Any) -> Any:
        return loss(params, X, y, weight_decay=2e-5)

    yield from with_one_wrong(total, params, "784 x 256")
    doubled = jax.jit(jax.grad(decayed_twice))
    yield Candidate("decay of 1e-5 doubled", total, total, doubled, params)


FAMILIES = {
    "1,000 sines, float32": sines(),
    "784-256 least squares, float32": linear_maps(np.float32),
    "784-256 least squares, float64": linear_maps(np.float64),
    "784-256-10 network, float32": networks(np.float32),
    "784-256-10 network, float64": networks(np.float64),
}


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
    """Ask jax.test_util.check_grads."""
    try:
        check_grads(with_derivative(candidate, mode), (candidate.at,), order=1, modes=(mode,))
    except AssertionError:
        return True
    return False


def differences_notice(candidate: Candidate) -> bool:
    """Compare with central differences at random elements."""
    rng = np.random.default_rng(0)
    function = jax.jit(candidate.total)
    leaves, structure = jax.tree.flatten(candidate.at)
    for which, gradient in enumerate(jax.tree.leaves(candidate.gradient(candidate.at))):
        for place in rng.integers(leaves[which].size, size=SAMPLES):
            values = []
            for step in (STEP, -STEP):
                moved = [np.array(leaf) for leaf in leaves]
                moved[which].flat[place] += moved[which].dtype.type(step)
                values.append(float(function(jax.tree.unflatten(structure, moved))))
            difference = (values[0] - values[1]) / (2 * STEP)
            got = np.asarray(gradient).flat[place]
            if not np.isclose(difference, got, rtol=TOLERANCE, atol=TOLERANCE):
                return True
    return False


def judge(candidate: Candidate) -> tuple[list[bool], float]:
    """Say which checkers raise an alarm, and how many seconds ours takes."""
    start = time.perf_counter()
    report = check_gradient(candidate.gradient, candidate.total, candidate.at)
    seconds = time.perf_counter() - start
    alarms = [
        check_grads_notices(candidate, "fwd"),
        check_grads_notices(candidate, "rev"),
        differences_notice(candidate),
        not report.ok,
    ]
    return alarms, seconds


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table, a row for each mistake, and how long our check takes."""
    parser = parser_of("python -m benchmarks.soundness.checkers", __doc__)
    args = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)  # noqa: FBT003, JAX's way
    page = Page("Mistakes that other gradient checkers let pass", ABOUT)
    page.row(HEADINGS)
    page.row(["---"] * len(HEADINGS))
    times: dict[tuple[str, str], float] = {}
    found: list[list[str]] = []
    for family, candidates in FAMILIES.items():
        for candidate in candidates:
            alarms, times[family, candidate.mistake] = judge(candidate)
            if candidate.mistake == "none":
                control = alarms
                cells = ["false alarm" if alarm else "passed" for alarm in alarms]
            else:
                words = {(True, True): "alarm either way", (True, False): "caught"}
                cells = [words.get(pair, "missed") for pair in zip(alarms, control, strict=True)]
            page.row([family, candidate.mistake, *cells])
            found.append(cells)
    page.line(LEGEND)
    page.line("\nSeconds of our check of the right gradient, compilation included:\n")
    for (family, mistake), seconds in times.items():
        if mistake == "none":
            page.line(f"- {family}: {seconds:.2f}")
    right = sum(mistake == "none" for _, mistake in times)
    caught = [sum(cell == "caught" for cell in column) for column in zip(*found, strict=True)]
    raised = [sum(cell == "false alarm" for cell in column) for column in zip(*found, strict=True)]
    summary = (
        f"Of {len(times) - right} mistakes ours caught {caught[3]}, check_grads {caught[0]} "
        f"forward and {caught[1]} in reverse, central differences {caught[2]}; at {right} right "
        f"gradients ours raised {raised[3]} alarms, check_grads {raised[0]} forward and "
        f"{raised[1]} in reverse, central differences {raised[2]}."
    )
    page.write(args.results / "checkers.md", summary, parser.prog, argv)


if __name__ == "__main__":
    main()
