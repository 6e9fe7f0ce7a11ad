"""The planted mistakes are mistakes, and the checkers are asked and counted rightly."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.soundness import checkers, rivals
from benchmarks.soundness.candidates import (
    FAMILIES,
    RIGHT,
    SIZED,
    Block,
    Candidate,
    Family,
    block,
    blocks,
    sines,
)
from tests.support.cases import each

SMALL = (FAMILIES[0], SIZED[1])


@pytest.fixture(autouse=True)
def as_users_have_it() -> Any:
    """JAX's own promotion: check_grads needs it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def relative(candidate: Candidate) -> float:
    """How far a gradient is from JAX's, relative to its largest element."""
    got = jax.tree.leaves(candidate.gradient(candidate.at))
    want = jax.tree.leaves(jax.grad(candidate.total)(candidate.at))
    scale = max(float(abs(leaf).max()) for leaf in want)
    return max(float(abs(a - b).max()) for a, b in zip(got, want, strict=True)) / scale


@each("family", SMALL)
def test_the_first_gradient_is_right_and_all_others_are_wrong(family: Family) -> None:
    unit = np.finfo(family.dtype).eps
    right, *wrong = family.candidates(family.dtype)
    assert right.mistake == RIGHT
    assert relative(right) < 100 * unit
    assert all(candidate.mistake != RIGHT for candidate in wrong)
    assert min(map(relative, wrong)) > 1000 * np.finfo("float64").eps


def test_the_block_is_of_the_size_that_it_says_and_no_token_sees_a_later_one() -> None:
    right = next(blocks(np.float32))
    params: Block = right.at
    assert checkers.size(right) == 7_087_872
    x = np.random.default_rng(0).normal(size=(4, 768)).astype(np.float32)
    later = np.concatenate([x[:2], -x[2:]])
    before, after = (np.asarray(block(params, jnp.asarray(tokens))) for tokens in (x, later))
    assert np.allclose(before[:2], after[:2], atol=1e-5)
    assert not np.allclose(before[2:], after[2:], atol=0.1)


def test_differences_tell_a_doubled_gradient_from_a_right_one() -> None:
    right, _, doubled, _ = sines(np.float64)
    found = list(rivals.differences(right))
    assert len(found) == rivals.SAMPLES
    assert not rivals.differ(right.gradient(right.at), found)
    assert rivals.differ(doubled.gradient(right.at), found)


@each("mode", ("fwd", "rev"))
def test_check_grads_is_handed_the_planted_gradient(mode: str) -> None:
    """Of a smooth function of a few numbers, where it can tell."""

    def total(x: Any) -> Any:
        return jnp.sum(jnp.sin(x))

    right = Candidate(RIGHT, total, total, jnp.cos, np.linspace(0, 1, 5))
    assert not rivals.check_grads_notices(right, mode)
    assert rivals.check_grads_notices(right._replace(gradient=lambda x: 2 * jnp.cos(x)), mode)


def test_the_rows_say_what_each_checker_notices() -> None:
    """Forward, check_grads looks at one direction, in which a function of many may be missed."""
    family = SMALL[0]
    candidates = list(family.candidates(family.dtype))[:2]
    checked = checkers.compared(candidates[0], family.dtype)
    right, wrong = checkers.judge(family, candidates, checked)
    names = list(checkers.checks_of(candidates[0], family, checked, list))
    assert dict(zip(names, wrong[2:], strict=True))[checkers.OURS] == "caught"
    assert set(right[2:]) <= {"passed", "-"}


def test_the_summary_counts_mistakes_that_were_caught_and_alarms_at_right_gradients() -> None:
    names = ["check_grads, fwd", "check_grads, rev", "central differences", "ours"]
    rows = [
        ["f", "none", "passed", "false alarm", "passed", "passed"],
        ["f", "halved", "missed", "alarm either way", "caught", "caught"],
        ["f", "doubled", "missed", "alarm either way", "missed", "caught"],
    ]
    assert checkers.summary_of(rows, names) == (
        "Of 2 mistakes ours caught 2, check_grads 0 forward and 0 in reverse, central differences "
        "1; at 1 right gradients ours raised 0 alarms, check_grads 0 forward and 1 in reverse, "
        "central differences 0."
    )
