"""The plugin for pytest, in a pytest of its own: what it shows, and what it leaves alone."""

import importlib
import re
import tomllib

import pytest

import reference
from manual_nn.interfaces import pytest_plugin
from tests.support.project import ROOT

pytest_plugins = ["pytester"]

# A right and a wrong gradient of one loss, as fixtures and assertions meet them.
TESTS = """
import sys

import numpy as np
import pytest

X = np.array([1.0, 2.0])


def loss(x):
    return (x**3).sum()


def right(x):
    return 3 * x**2


def wrong(x):
    return 2 * x**2


def test_without_a_check():
    assert "jax" not in sys.modules
    assert "reference" not in sys.modules


def test_right(check_gradient):
    assert check_gradient(right, loss, X).ok


def test_forgotten(check_gradient):
    check_gradient(wrong, loss, X)


def test_cut_short(check_gradient):
    from reference import check_gradient

    assert check_gradient(wrong, loss, X)


def test_whole_already():
    from reference import check_gradient

    report = check_gradient(wrong, loss, X)
    assert report.ok, report


def test_of_something_else():
    from reference import check_gradient

    report = check_gradient(right, loss, X)
    assert report.ok and X.size == 3


def test_with_an_error(check_gradient):
    with pytest.raises(TypeError, match="must return a scalar"):
        check_gradient(right, right, X)
"""


def test_a_failed_test_shows_the_report_whole_and_once(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own, which has imported nothing, whether the plugin is installed."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(TESTS)
    done = pytester.runpytest_subprocess("-p", pytest_plugin.__name__, "-p", "no:cacheprovider")
    done.assert_outcomes(passed=3, failed=4)
    text = done.stdout.str()
    parts = re.split(r"\n_+ (test_\w+) _+\n", text.partition("short test summary")[0])
    shown = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(shown) == [
        *("test_forgotten", "test_cut_short", "test_whole_already", "test_of_something_else")
    ]
    assert shown["test_forgotten"].startswith("gradient check: mismatch (float64)\n  likely scaled")
    assert "Traceback" not in text
    assert "pytest_plugin.py" not in text
    last_line = "proven to be wrong"
    for name in ("test_forgotten", "test_cut_short", "test_whole_already"):
        assert re.findall(rf"^(?:E +)?  {last_line}$", shown[name], re.MULTILINE), shown[name]
    assert "report of the check" in shown["test_cut_short"]
    assert "report of the check" not in shown["test_whole_already"]
    assert "report of the check" not in shown["test_of_something_else"]


def test_every_check_is_a_fixture_and_nothing_else_is() -> None:
    checks = {name for name in reference.__all__ if name.startswith("check_")}
    assert {name for name in vars(pytest_plugin) if name.startswith("check_")} == checks
    for name in checks:
        fixture = getattr(pytest_plugin, name)
        assert isinstance(fixture, type(pytest.fixture(lambda: None)))


def test_the_package_brings_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (module,) = project["entry-points"]["pytest11"].values()
    assert importlib.import_module(module) is pytest_plugin
