"""What is timed computes the same layer, and what is kept is counted."""

import importlib
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from benchmarks.layers import block
from benchmarks.layers.peers import arrays_kept, bare, draw_d_out, fields_kept, passes_of
from benchmarks.layers.table import TABLE, Arguments, Draws
from benchmarks.speed.timing import installed
from reference.compare import Verdict
from tests.support.layer_proof import Subject, vjp_comparer

# The usual sizes, and what stands for them here: 768 and 1,024 are three and four times 256, too.
SMALL = {8: 3, 12: 2, 28: 3, 32: 2, 56: 6, 64: 4, 128: 5, 256: 2, 512: 3, 768: 6, 1000: 5}
SMALL |= {1024: 8, 2048: 7, 3072: 5, 8192: 4}
OTHERS = [
    *((name, "JAX") for name in ("embedding", "lstm", "softmax_cross_entropy")),
    ("layer_norm", "compiled"),
    *((name, "PyTorch") for name in TABLE if installed("torch")),
]


@pytest.mark.parametrize(("name", "who"), OTHERS)
def test_a_contender_computes_the_layer_and_its_gradients(name: str, who: str) -> None:
    """Under the bound of its twin: JAX where each kind of arguments is, PyTorch everywhere.

    What is compiled is proven with the layers.
    """
    arguments = TABLE[name].draw(Draws(SMALL))
    params, x, options, of_twin = arguments
    ours = importlib.import_module(f"manual_nn.layers.{name}")
    d_out = draw_d_out(ours, arguments)
    contender = passes_of(name, Draws(SMALL), [who])[who]
    out = contender.out(contender.forward())
    gradients = contender.gradients(contender.backward())
    shaped = ours.forward(params, x, **options)
    structure = jax.tree.structure((shaped[0], ours.backward(params, shaped[1], d_out)))
    twin = importlib.import_module(f"reference.layers.{name}")
    subject = Subject(lambda *_: (params, x), dict(options if of_twin is None else of_twin))
    comparer = vjp_comparer(twin, subject)
    result = jax.tree.unflatten(structure, [out, *gradients])
    comparison = comparer(result, params, x, d_out, dtype="float32", compiled=False)
    assert comparison.verdict == Verdict.MATCH, comparison


BLOCK_OTHERS = ["ours", "compiled", *(["PyTorch"] if installed("torch") else [])]


@pytest.mark.parametrize("who", BLOCK_OTHERS)
def test_every_contender_computes_the_block_of_a_transformer(who: str) -> None:
    draws = SMALL | {3 * 768: 3 * SMALL[768]}
    params, x, options, _ = block.ROW.draw(Draws(draws))
    layer = block.by_layers(block.in_numpy)
    d_out = draw_d_out(layer, Arguments(params, x, options))
    contender = block.passes(Draws(draws), ["ours", who])[who]
    result = contender.out(contender.forward()), *contender.gradients(contender.backward())
    comparer = vjp_comparer(block.twin(), Subject(lambda *_: (params, x), dict(options)))
    out, kept = layer.forward(params, x, **options)
    structure = jax.tree.structure((out, layer.backward(params, kept, d_out)))
    shaped = jax.tree.unflatten(structure, result)
    comparison = comparer(shaped, params, x, d_out, dtype="float32", compiled=False)
    assert comparison.verdict == Verdict.MATCH, comparison


def test_arguments_are_not_counted_and_an_array_is_counted_once() -> None:
    given, made = np.ones(3), np.ones((2, 5))
    kept = SimpleNamespace(a=given[1:], b=made, c=made[0], eps=1.0)
    (one,) = arrays_kept(tuple(vars(kept).values()), [given])
    assert one is made


def test_what_is_kept_is_named() -> None:
    assert fields_kept("layer_norm", Draws(SMALL)) == ["normal", "deviation"]
    passes = passes_of("layer_norm", Draws(SMALL))
    assert passes["ours"].kept == 4 * (3 * 6 + 3)  # float32: an entry, and one of each row
    assert passes["JAX"].kept >= passes["ours"].kept


def test_what_is_not_compiled_is_left_out() -> None:
    assert set(passes_of("residual", Draws(SMALL), ("ours", "compiled"))) == {"ours"}


def test_bare_products_are_made_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    run = bare(((2, (3, 4), (4, 5)), (1, (6, 2), (2, 1))))
    matmul, shapes = np.matmul, []

    def record(left: Any, right: Any, out: Any) -> None:
        shapes.append((left.shape, right.shape))
        matmul(left, right, out=out)

    monkeypatch.setattr(np, "matmul", record)
    run()
    assert shapes == [((3, 4), (4, 5)), ((3, 4), (4, 5)), ((6, 2), (2, 1))]
