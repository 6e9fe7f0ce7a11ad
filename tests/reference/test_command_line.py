"""`python -m reference`: what it prints, and what it exits with."""

import functools
import re
from collections.abc import Sequence
from typing import Any

import pytest

import manual_nn
from reference.campaign import agreement
from reference.campaign.quantities import gradient_by_hand
from reference.command_line import main
from tests.conftest import depth
from tests.support.commands import Output, run_apart, run_here

ROW = re.compile(
    r"(?P<quantity>\S.*?) +(?P<dtype>float32|float64) +(?P<cases>\d+) +(?P<match>\d+) +"
    r"(?P<ambiguous>\d+) +(?P<not_comparable>\d+) +(?P<wrong>\d+) +(?P<ulps>\S+) +(?P<ratio>\S+)  "
    r"(?P<shape>\d+(-\d+)+, \d+ rows), seed (?P<seed>\d+)"
)


run = functools.partial(run_here, main)


def rows_of(output: Output) -> dict[tuple[str, str], dict[str, str]]:
    """Take the rows of the table apart, by quantity and dtype."""
    rows = [match.groupdict() for match in map(ROW.fullmatch, output.out.splitlines()) if match]
    return {(row["quantity"], row["dtype"]): row for row in rows}


CASES = min(3, depth().networks)  # each compiles for seconds


@pytest.fixture(scope="module")
def some_cases() -> Output:
    return run_apart("reference", "--cases", str(CASES), "--seed", "5")


def test_agreement_exits_with_0_and_says_so(some_cases: Output) -> None:
    assert some_cases.status == 0
    assert some_cases.out.splitlines()[-1].startswith(f"{CASES} networks, ")
    assert some_cases.out.endswith("All agree.\n")


def all_quantities(seed: int) -> list[str]:
    return [
        *gradient_by_hand(*agreement.draw_example(seed).at("float64")),
        *agreement.directed_by_hand(*agreement.draw_directed_example(seed).at("float64")),
    ]


def test_every_quantity_is_listed_in_both_dtypes_with_every_case(some_cases: Output) -> None:
    assert set(rows_of(some_cases)) == {
        (quantity, dtype) for quantity in all_quantities(5) for dtype in ("float32", "float64")
    }
    for row in rows_of(some_cases).values():
        counts = [int(row[key]) for key in ("match", "ambiguous", "not_comparable", "wrong")]
        assert int(row["cases"]) == CASES == sum(counts)
        assert int(row["seed"]) in range(5, 5 + CASES)


def test_every_function_of_manual_nn_is_among_the_quantities() -> None:
    quantities = {name.partition(",")[0] for name in all_quantities(5)}
    training = {
        name
        for name in manual_nn.__all__
        if getattr(getattr(manual_nn, name), "__module__", "").startswith("manual_nn.training.")
    }
    not_compared = {"Dense", "Workspace", "init_params", *training}
    assert set(manual_nn.__all__) - not_compared <= quantities


def test_a_pipe_gets_no_progress_bar(some_cases: Output) -> None:
    assert some_cases.err == ""


def test_the_same_seed_gives_the_same_output(
    some_cases: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "--cases", str(CASES), "--seed", "5") == some_cases


def test_a_worst_case_is_drawn_again_by_its_seed(
    some_cases: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    again = {
        seed: rows_of(run(capsys, "--cases", "1", "--seed", seed))
        for seed in {row["seed"] for row in rows_of(some_cases).values()}
    }
    for key, row in rows_of(some_cases).items():
        alone = again[row["seed"]][key]
        assert [alone[column] for column in ("shape", "seed", "ulps")] == [
            row[column] for column in ("shape", "seed", "ulps")
        ]


def test_without_options_the_seed_is_0(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = []

    def interrupted(seed: int) -> agreement.Example:
        seeds.append(seed)
        raise KeyboardInterrupt

    monkeypatch.setattr("reference.command_line.draw_example", interrupted)
    assert run(capsys, "--cases", "1").status == 130
    assert seeds == [0]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--cases", "0"),
        ("--cases", "-1"),
        ("--cases", "2.5"),
        ("--cases", "many"),
        ("--seed", "-1"),
        ("--seed", "0.5"),
    ],
    ids=" ".join,
)
def test_a_bad_option_exits_with_2_and_a_line_that_names_it(
    arguments: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    option, value = arguments
    out, err = capsys.readouterr()
    assert exit_info.value.code == 2
    assert out == ""
    usage, line = err[: err.index("error:")], err[err.index("error:") :]
    assert "usage: python -m reference" in usage
    assert option in line
    assert value in line
    assert line.count("\n") == 1


def test_a_fault_exits_with_1_and_shows_where(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_factor_2(params: Any, X: Any, y: Any, *, weight_decay: float = 0.0) -> Any:
        value, _ = right(params, X, y, weight_decay=weight_decay)
        _, gradient = right(params, X, y, weight_decay=weight_decay / 2)
        return value, gradient

    right = manual_nn.loss_and_grad
    monkeypatch.setattr(manual_nn, "loss_and_grad", without_factor_2)
    seed = next(seed for seed in range(100) if agreement.draw_example(seed).weight_decay > 0)
    output = run(capsys, "--cases", "1", "--seed", str(seed))
    assert output.status == 1
    assert output.out.endswith("NOT all agree.\n")
    wrong = {key for key, row in rows_of(output).items() if row["wrong"] == "1"}
    assert wrong == {("loss_and_grad, weights", "float32"), ("loss_and_grad, weights", "float64")}


def test_an_interruption_exits_with_130_after_the_table_so_far(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(seed: int) -> agreement.Example:
        if seed == 6:
            raise KeyboardInterrupt
        return agreement.draw_example(seed)

    monkeypatch.setattr("reference.command_line.draw_example", interrupted)
    output = run(capsys, "--cases", "3", "--seed", "5")
    assert output.status == 130
    assert {row["cases"] for row in rows_of(output).values()} == {"1"}
    assert output.out.endswith("All agree.\nInterrupted.\n")
