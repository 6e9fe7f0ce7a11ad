"""What is named is right if it gives the identical fault; the counts become a page."""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.soundness import located
from benchmarks.soundness.located import Planter, Result, row, try_subject
from benchmarks.soundness.planted_operations import WHY_UNKNOWN
from benchmarks.soundness.planted_readers import FIRST
from benchmarks.soundness.planted_regions import LEFT_OUT
from benchmarks.soundness.planting import FACTOR, Plant
from benchmarks.soundness.subjects import Subject
from reference.compare import Verdict
from reference.diagnosis.edges.words import Words

x, t = np.random.default_rng(0).normal(size=(2, 4, 3))


def loss(w: Any) -> Any:
    z = w * x.astype(w.dtype)
    a = z**2
    return (a * t.astype(w.dtype)).sum()


SUBJECT = Subject("squares", loss, 0, lambda rng: (rng.normal(size=(4, 3)),))


@pytest.fixture
def planter() -> Planter:
    return Planter(SUBJECT, SUBJECT.draw(np.random.default_rng(1)), "float64")


def test_a_cause_is_right_if_it_gives_the_identical_fault(planter: Planter) -> None:
    (edge,) = (edge for edge in planter.edges if edge.name == "integer_pow")
    forgotten = [Plant(edge.path, 0, "identity")]
    result = planter.result([forgotten])
    assert result is not None
    assert (result.caught, result.cause, result.same, result.code) == (
        True,
        True,
        True,
        "local_derivative",
    )
    (cause, *_) = planter.check(planter.tape.gradient(forgotten)).causes
    fault = planter.fault(forgotten)
    assert planter.is_right([cause], fault)
    assert not planter.is_right([replace(cause, kind="applied_twice")], fault)
    assert not planter.is_right([replace(cause, kind=FACTOR, factor=2.0)], fault)
    assert not planter.is_right([replace(cause, operation="mul")], fault)
    assert not planter.is_right([replace(cause, where=None)], fault)
    assert cause.where is not None
    other = cause.where._replace(number=cause.where.number + 1)
    assert not planter.is_right([replace(cause, where=other)], fault)


def test_a_whole_function_that_is_left_out_may_be_named_by_its_call() -> None:
    def bent(z: Any) -> Any:
        return jnp.where(z > 0, jnp.sin(z), jnp.cos(z)) * t.astype(z.dtype)

    def loss(z: Any) -> Any:
        return (bent(z) * t.astype(z.dtype)).sum()

    planter = Planter(SUBJECT._replace(function=loss), (x,), "float64")
    (*_, plant, _) = planter.places.of_regions[LEFT_OUT]  # the last one of `bent`
    (cause, *_) = planter.check(planter.tape.gradient([plant])).causes
    assert (cause.kind, cause.operation.endswith("bent")) == ("identity", True)
    assert planter.is_right([cause], planter.fault([plant]))


def test_a_factor_that_is_told_where_arrays_enter_is_planted_there() -> None:
    def loss(w: Any, b: Any, v: Any, c: Any) -> Any:
        hidden = jnp.tanh(x.astype(w.dtype) @ w + b[None])
        return ((hidden @ v + c[None]) ** 2).sum()

    rng = np.random.default_rng(0)
    args: tuple[Any, ...] = tuple(rng.normal(size=(3,) * n) for n in (2, 1, 2, 1))
    planter = Planter(Subject("biases", loss, (0, 1, 2, 3), lambda _: args), args, "float64")
    w, b, v, c = planter.right
    gradient = [w, b / len(x), v, c / len(x)]
    (cause, *_) = planter.check(gradient).causes
    assert "is the mean over them, not the sum" in cause.sentence
    pairs = zip(gradient, planter.right, strict=True)
    fault = np.concatenate([np.ravel(np.asarray(wrong) - right) for wrong, right in pairs])
    assert planter.is_right([cause], fault)
    assert not planter.is_right([replace(cause, factor=0.5)], fault)


def test_of_two_mistakes_that_one_gives_as_well_both_are_not_named(planter: Planter) -> None:
    on_one_path = [edge for edge in planter.edges if edge.name in {"integer_pow", "reduce_sum"}]
    result = planter.result([[Plant(edge.path, 0, FACTOR, 2.0)] for edge in on_one_path])
    assert result is not None
    assert (result.caught, result.code, result.cause) == (True, "scaled", False)


def test_what_does_not_show_is_not_planted(planter: Planter) -> None:
    (edge,) = (edge for edge in planter.edges if edge.name == "integer_pow")
    assert planter.result([[Plant(edge.path, 0, FACTOR, 1.0)]]) is None
    assert planter.result([[Plant(edge.path, 0, FACTOR, 1 + 1e-12)]]) is None


def test_a_mistake_may_be_drawn_for_one_array_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(located, "OF_ONE_ARRAY", 1.0)
    of_two = Subject(
        "of two",
        lambda w, b: ((w * x + b) ** 2).sum(),
        (0, 1),
        lambda rng: tuple(rng.normal(size=(2, 4, 3))),
    )
    rng = np.random.default_rng(0)
    two = Planter(of_two, of_two.draw(rng), "float64")
    alone = [plants for plants in (two.draw(rng) for _ in range(8)) if plants[0].only is not None]
    assert alone
    for plants in alone:
        assert [bool(part.any()) for part in np.split(two.fault(plants), 2)].count(True) == 1
    of_one = Planter(SUBJECT, SUBJECT.draw(rng), "float64")
    assert all(plant.only is None for _ in range(8) for plant in of_one.draw(rng))


def test_a_row_counts_what_became_of_the_gradients() -> None:
    right = [
        Result("a", "float32", (), caught=False),
        Result("a", "float32", (), caught=True, code="x"),
    ]
    single = [
        Result("a", "float64", ("identity",), caught=True, cause=True, line=True, code="sign"),
        Result("a", "float64", ("identity",), caught=True, line=True, same=True, code="unknown"),
        Result("a", "float64", ("clipped",), caught=True, code="unknown"),
    ]
    pairs = [Result("a", "float64", (FACTOR, FACTOR), caught=True, cause=True, code="path_scaled")]
    cells = row("a", right + single + pairs)
    percents = ["100.0 %", "50.0 %", "100.0 %", "50.0 %"]
    assert cells == ["a", "2", *percents, "1", "1", "100.0 %", "2", "1"]


def test_pairs_are_counted_by_what_they_are_of() -> None:
    alone = f"identity{located.IN_ONE_ARRAY}"
    results = [
        Result("a", "float64", kinds, caught=True, cause=named)
        for kinds, named in (
            ((FACTOR, "identity"), True),
            (("identity", FACTOR), False),
            (("another_value, at every step", FACTOR), True),
            ((alone, FIRST), False),
            ((FACTOR,), True),
        )
    ]
    assert list(located.of_pairs(results)) == [
        ["an operation and an operation", "2", "50.0 %"],
        ["an operation and another array", "1", "100.0 %"],
        ["one array alone and several operations", "1", "0.0 %"],
    ]


def test_what_stays_unknown_is_counted_by_kind_with_the_reason() -> None:
    def unknown(kind: str, *, doubted: bool = False) -> Result:
        return Result("a", "float64", (kind,), caught=True, code="unknown", doubted=doubted)

    results = [
        *(unknown("identity", doubted=True), unknown(FIRST), unknown(FIRST, doubted=True)),
        *(unknown("its square"), unknown(FIRST)._replace(code="path_scaled")),
    ]
    assert list(located.of_unknown(results)) == [
        [FIRST, "2", "1", WHY_UNKNOWN[FIRST]],
        ["identity", "1", "1", ""],
    ]
    assert located.DOUBT in inspect.getsource(Words.doubt)


def test_where_no_check_could_tell_nothing_is_planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(located, "subjects", lambda *_: iter([SUBJECT]))
    monkeypatch.setattr(jax, "clear_caches", lambda: None)
    monkeypatch.setattr(located, "UNSEEING", {Verdict.MATCH})
    assert [result.kinds for result in try_subject(0, 1, 1, 0)] == [()] * 3  # one for each draw


def test_the_command_writes_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(located, "subjects", lambda *_: iter([SUBJECT]))
    monkeypatch.setattr(jax, "clear_caches", lambda: None)
    options = ["--results", str(tmp_path), "--faults", "8", "--workers", "1"]
    options += ["--log", str(tmp_path / "log")]
    assert located.main(options) == 0
    monkeypatch.setattr(located, "try_subject", None)  # it is in the log
    assert located.main(options) == 0
    text = (tmp_path / "located.md").read_text(encoding="utf-8")
    assert "\nOf 8 planted faults 100.0 % were caught, the cause named first was right for" in text
    assert "0 of 1 right gradients were given a cause." in text
    assert "the search knows it: `passes_at_zero` (" in text
    results = try_subject(0, 1, 1, 0)
    assert [len(result.kinds) for result in results] == [0, *[1] * 8, 2, 1]
    for result in results[1:9]:
        assert result.cause, result.words
