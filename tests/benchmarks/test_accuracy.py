"""The table of accuracies has a row for each set of data as it is, and one standardised."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from benchmarks import accuracy
from benchmarks.accuracy import Row

QUICK = {name: clone(one).set_params(max_iter=2) for name, one in accuracy.CLASSIFIERS.items()}


def test_there_are_two_rows_for_each_set_of_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(accuracy, "CLASSIFIERS", QUICK)
    monkeypatch.setattr(accuracy, "DATA", {"iris": accuracy.DATA["iris"]})
    accuracy.main(["--seeds", "0", "1", "--results", str(tmp_path)])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    headings, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert headings[-2:] == ["BackpropClassifier", "MLPClassifier"]
    assert [row[:4] for row in rows] == [
        ["iris", "150", "4", "as they are"],
        ["iris", "150", "4", "standardised"],
    ]
    page = (tmp_path / "accuracy.md").read_text(encoding="utf-8")
    assert "\n".join(lines) in page
    assert " of 2 cases" in page


@pytest.mark.parametrize("scaled", [False, True])
def test_an_accuracy_is_that_of_each_fold_by_networks_of_the_others(scaled: bool) -> None:
    X, y = load_wine(return_X_y=True)
    right = []
    for kept, fold in StratifiedKFold(5, shuffle=True, random_state=3).split(X, y):
        scaler = StandardScaler(with_mean=scaled, with_std=scaled).fit(X[kept])
        network = QUICK["MLPClassifier"].set_params(random_state=3)
        with pytest.warns(UserWarning, match="Maximum iterations"):
            network.fit(scaler.transform(X[kept]), y[kept])
        right.append(network.score(scaler.transform(X[fold]), y[fold]))
    found = accuracy.accuracy(QUICK["MLPClassifier"], X, y, 3, scaled=scaled)
    assert found == pytest.approx(np.mean(right), rel=1e-12)


def test_the_summary_counts_the_rows_and_names_the_largest_differences() -> None:
    rows = [
        Row("iris", [0.9, 0.8], [0.8, 0.9]),
        Row("wine", [0.9, 0.9], [0.5, 0.6]),
        Row("wine", [0.8, 0.9], [0.9, 0.85]),
        Row("digits", [0.5, 0.5], [0.5, 0.75]),
    ]
    said = accuracy.summary(rows)
    assert "in 2 of 4 cases, and less by 0.1250 at most in the others; they " in said
    assert said.endswith("they differ most on wine, 0.900 beside 0.550.")
    assert "in 2 of 2 cases; they" in accuracy.summary(rows[:2])
