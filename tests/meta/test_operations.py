"""The page of operations lists all that JAX can differentiate, and says of each what is true."""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import pytest

from reference.bounds import rules as bound_rules
from reference.bounds.registry import RULES as PROVEN
from reference.jaxprs import equations
from reference.noise import rules as noise_rules
from reference.noise.evaluation import CALLS
from reference.noise.evaluation import RULES as DISTURBED
from tests.support.cases import each
from tests.support.project import ROOT

PAGE = ROOT / "reference" / "OPERATIONS.md"
ROW = re.compile(r"^\| (`.+?) \| (proven|measured|none) \| (.+) \|$", re.MULTILINE)
EVALUATED = "(bounds/tracing.py)"
LINK = re.compile(r"\[[^\]]+\]\(([^)]+)\)")


def rows() -> list[tuple[list[str], str, str]]:
    """Read the primitives, the word and the remark of each row."""
    found = ROW.findall(PAGE.read_text(encoding="utf-8"))
    return [(re.findall(r"`([^`]+)`", names), word, remark) for names, word, remark in found]


def words() -> dict[str, str]:
    """Say for each primitive what the page says of it."""
    return {name: word for names, word, _ in rows() for name in names}


def home(rule: Callable[..., Any]) -> str:
    """Name the file of a rule, as the page links to it."""
    return rule.__module__.removeprefix("reference.").replace(".", "/") + ".py"


def ours(module: Any) -> dict[str, Callable[..., Any]]:
    """List the rules of this package, without those that another test may have registered."""
    table = PROVEN if module is bound_rules else DISTURBED | CALLS
    return {k: rule for k, rule in table.items() if rule.__module__.startswith(module.__name__)}


@pytest.fixture(scope="module", name="harnesses")
def _harnesses() -> dict[str, list[Any]]:
    """List what JAX tries each of its primitives with, by their names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from jax._src.internal_test_util import test_harnesses  # noqa: PLC0415
    groups: dict[str, list[Any]] = {}
    for harness in test_harnesses.all_harnesses:
        groups.setdefault(harness.group_name, []).append(harness)
    return groups


def is_real(arg: Any) -> bool:
    leaves = jax.tree.leaves(arg)
    return bool(leaves) and all(
        hasattr(leaf, "dtype") and jax.numpy.issubdtype(leaf.dtype, np.floating) for leaf in leaves
    )


def pulled_back(function: Callable[..., Any], args: Sequence[Any]) -> Any:
    """Differentiate a function in its real arguments."""
    places = [i for i, arg in enumerate(args) if is_real(arg)]

    def of_real(*real: Any) -> Any:
        every = list(args)
        for place, arg in zip(places, real, strict=True):
            every[place] = arg
        return function(*every)

    def pull(*real: Any) -> Any:
        out, vjp = jax.vjp(of_real, *real)
        return vjp(out)

    return jax.make_jaxpr(pull)(*(args[place] for place in places))


def rounds(variable: Any) -> bool:
    return bool(jax.numpy.issubdtype(variable.aval.dtype, np.inexact))


def by_jax() -> set[str]:
    """List what the bound takes from JAX, because it is not rounded."""
    return {name for names, _, remark in rows() if EVALUATED in remark for name in names}


def operations_of(group: Sequence[Any]) -> Iterator[tuple[Any, bool]]:
    """List the operations of a function and of its gradient, and say if they are the gradient's."""
    single = [harness for harness in group if harness.dtype == np.float32]
    harness = (single or group)[0]
    args = harness.dyn_args_maker(np.random.RandomState(0))
    for eqn in equations(jax.make_jaxpr(harness.dyn_fun)(*args)):
        yield eqn, False
    if not any(map(is_real, args)):
        return
    try:
        gradient = pulled_back(harness.dyn_fun, args)
    except Exception:  # JAX says in many ways that it does not differentiate
        return
    for eqn in equations(gradient):
        yield eqn, True


def test_every_operation_that_jax_tries_its_primitives_with_is_listed(
    harnesses: dict[str, list[Any]],
) -> None:
    """A new primitive fails here: give it a rule, or say on the page why it has none."""
    assert len(harnesses) > 100
    met: dict[str, str] = {}
    differentiated, rounding = set(), set()
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for name, group in harnesses.items():
            for eqn, of_gradient in operations_of(group):
                met.setdefault(eqn.primitive.name, name)
                differentiated |= {name} if of_gradient else set()
                rounding |= {eqn.primitive.name} if any(map(rounds, eqn.outvars)) else set()
    assert len(differentiated) > 100
    listed = words()
    missing = {primitive: name for primitive, name in met.items() if primitive not in listed}
    assert missing == {}, "primitives that no row lists, with what JAX tries them in"
    assert rounding.isdisjoint(by_jax()), "what rounds is not taken from JAX"


def test_every_primitive_that_has_a_rule_is_listed_once() -> None:
    names = [name for listed, _, _ in rows() for name in listed]
    assert sorted(set(names)) == sorted(names)
    with_rules = {*ours(bound_rules), *ours(noise_rules)}
    assert sorted(with_rules - set(names)) == []


def test_what_is_proven_is_what_has_a_rule_of_the_bound() -> None:
    proven = [(home(rule), name) for name, rule in ours(bound_rules).items()]
    listed = [
        (LINK.findall(remark)[0], name)
        for names, word, remark in rows()
        if word == "proven"
        for name in names
        if EVALUATED not in remark
    ]
    assert sorted(listed) == sorted(proven)
    assert by_jax().isdisjoint(ours(bound_rules))


@each("row", rows())
def test_each_row_says_where_the_rules_are_or_why_there_are_none(row: Any) -> None:
    names, word, remark = row
    for link in LINK.findall(remark):
        assert (PAGE.parent / link.partition("#")[0]).exists(), link
    if word != "proven":
        assert len(LINK.sub("", remark).split()) >= 6, f"why is nothing proven of {names}?"
    if word == "none":
        assert set(names).isdisjoint(ours(noise_rules))


def test_the_page_counts_its_rows_right() -> None:
    said = re.search(
        r"\*\*(\d+) proven, (\d+) measured, (\d+) none\*\*", PAGE.read_text(encoding="utf-8")
    )
    assert said
    listed = [*words().values()]
    counts = [listed.count(word) for word in ("proven", "measured", "none")]
    assert [*map(int, said.groups())] == counts
