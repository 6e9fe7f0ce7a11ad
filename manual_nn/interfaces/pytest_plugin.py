"""The plugin for pytest: a check is a fixture, and the report is the message of a test that fails.

    def test_my_layer(check_layer):
        check_layer(forward, backward, twin, x, weight, bias)

Each check of the package `reference` is a fixture by its own name, which fails the test unless the
report is ok, and returns the report. None of them can be called and its report forgotten. Where a
test asserts a report by itself, the whole of it is shown below the failure.

The checks, and with them JAX, are imported by the first test that asks for one. There are recipes
in reference/CHECK_ANYTHING.md.
"""

from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeAlias

import pytest

from manual_nn.interfaces.checks import package

Check: TypeAlias = Callable[..., Any]


def _failing(name: str) -> Check:
    """Make a check one that fails the test, with the report as the message."""

    def check(*args: Any, **options: Any) -> Any:
        __tracebackhide__ = True
        report = getattr(package(), name)(*args, **options)
        if not report.ok:
            pytest.fail(str(report), pytrace=False)
        return report

    return check


@pytest.fixture(scope="session")
def check_gradient() -> Check:
    """Compare a gradient with JAX autodiff, and fail with the report unless it is right."""
    return _failing("check_gradient")


@pytest.fixture(scope="session")
def check_autograd_function() -> Check:
    """Compare a torch.autograd.Function with its JAX twin, and fail with the report."""
    return _failing("check_autograd_function")


@pytest.fixture(scope="session")
def check_layer() -> Check:
    """Compare both passes of a layer with its JAX twin, and fail with the report."""
    return _failing("check_layer")


@pytest.fixture(scope="session")
def check_vjp() -> Check:
    """Compare a vector-Jacobian product with JAX's, and fail with the report."""
    return _failing("check_vjp")


@pytest.fixture(scope="session")
def check_jvp() -> Check:
    """Compare a Jacobian-vector product with JAX's, and fail with the report."""
    return _failing("check_jvp")


@pytest.fixture(scope="session")
def check_hvp() -> Check:
    """Compare a Hessian-vector product with JAX's, and fail with the report."""
    return _failing("check_hvp")


@pytest.fixture(scope="session")
def check_custom_rule() -> Check:
    """Compare a custom derivative rule with autodiff of its function, and fail with the report."""
    return _failing("check_custom_rule")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the report whole that a failed assertion has cut short: `assert check_gradient(...)`."""
    outcome = yield
    if outcome.failed and call.excinfo is not None and call.excinfo.errisinstance(AssertionError):
        message = _in_one_line(str(call.excinfo.value))
        for report in _reports(call.excinfo.traceback[-1].frame.f_locals.values()):
            if _in_one_line(report) not in message:
                outcome.sections.append(("report of the check", report))
    return outcome


def _reports(values: Iterable[Any]) -> list[str]:
    """Find the reports that are not ok, each once, and import nothing to know them."""
    kind = ("reference.report", "GradientReport")
    reports = (value for value in values if (type(value).__module__, type(value).__name__) == kind)
    return list(dict.fromkeys(str(report) for report in reports if not report.ok))


def _in_one_line(text: str) -> str:
    """Forget how a text is laid out, which pytest changes."""
    return " ".join(text.split())
