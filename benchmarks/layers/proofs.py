"""Measure how far a layer is off, on the draws of its own test, in standard deviations of rounding.

The test of a layer, tests/manual_nn/layers/test_NAME.py, draws shapes and options, and proves the
layer there under the proven bound. Here its draws are taken, and the layer's results are compared
under measured rounding as well, for more values of each kind.
"""

import importlib
import itertools
import os
from dataclasses import replace
from types import ModuleType
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from benchmarks.tables import versions


class Drawn(NamedTuple):
    """What a layer's test hands to the proof."""

    layer: ModuleType
    twin: ModuleType
    subject: Any
    seed: int


def load() -> str:
    """Have the tests draw as in CI, the same each time, and say what the proofs depend on."""
    os.environ["CI"] = "true"
    importlib.import_module("tests.conftest")
    return versions()


def measure(name: str, draws: int) -> dict[str, Any]:
    """Compare the layer of this name with its twin at so many draws of each kind of values.

    Returns:
        How many `shapes` and `cases` there were, how many of these are `wrong` or have `lost`
        digits, and by precision the largest error of the others in `sigmas`, and the relative error
        that is seen at half of the elements of a gradient, its `median` over cases and arrays.
    """
    import jax  # noqa: PLC0415, after its threads are limited

    from benchmarks.soundness.tally import REFUSED, Tally  # noqa: PLC0415
    from reference.compare import Verdict  # noqa: PLC0415

    tally, drawn = Tally(), draws_of(name)
    for one in drawn:
        add(tally, one, draws)
        jax.clear_caches()
    for failure in tally.failures:
        print(failure, flush=True)
    return {
        "shapes": len(drawn),
        "cases": tally.cases,
        "wrong": sum(tally.right[verdict] for verdict in REFUSED),
        "lost": tally.right[Verdict.LOSES_DIGITS],
        "sigmas": tally.farthest,
        "median": {dtype: float(np.median(seen)) for dtype, seen in tally.median.items()},
    }


def draws_of(name: str) -> list[Drawn]:
    """Have the layer's test draw its subjects, and prove nothing."""
    tests = importlib.import_module(f"tests.manual_nn.layers.test_{name}")
    found: list[Drawn] = []

    def take(layer: ModuleType, twin: ModuleType, subject: Any, seed: int) -> None:
        found.append(Drawn(layer, twin, subject, seed))

    with mock.patch.object(tests, "prove", take):
        tests.test_values_and_gradients_agree_with_jax()
    return found


def add(tally: Any, drawn: Drawn, draws: int) -> None:
    """Compare a layer's values and gradients, of every kind of numbers in both precisions.

    What measured rounding does not explain is wrong if the proven bound does not allow it either.
    """
    from benchmarks.soundness.tally import REFUSED  # noqa: PLC0415
    from reference.compare import Verdict  # noqa: PLC0415
    from tests.support import layer_proof  # noqa: PLC0415

    layer, twin, subject, seed = drawn
    rng = np.random.default_rng(seed)
    comparer = layer_proof.vjp_comparer(twin, subject, measured=True)
    proven = layer_proof.vjp_comparer(twin, subject)
    kinds = itertools.product(range(draws), layer_proof.KINDS, layer_proof.DTYPES)
    for _, kind, dtype in kinds:
        params, x = layer_proof.arguments_of(subject, kind, dtype, rng)
        out, kept = layer.forward(params, x, **layer_proof.options_in(subject, dtype))
        d_out = layer_proof.cast(rng.normal(size=out.shape), dtype)
        result = out, layer.backward(params, kept, d_out)
        comparison = comparer(result, params, x, d_out, dtype=dtype)
        tally.cases += 1
        if comparison.verdict in REFUSED:
            verdict = proven(result, params, x, d_out, dtype=dtype, compiled=False).verdict
            is_wrong = verdict in REFUSED
            tally.right[Verdict.MISMATCH if is_wrong else Verdict.LOSES_DIGITS] += 1
            if is_wrong:
                options = subject.options
                tally.failures.append(f"wrong: {kind.__name__}, {dtype}, {options}, seed {seed}")
        else:
            tally.add_right(comparison, dtype)
        of_gradients = tuple(leaf for leaf in comparison.leaves if leaf.path != "[0]")
        tally.add_sight(replace(comparison, leaves=of_gradients), dtype)
