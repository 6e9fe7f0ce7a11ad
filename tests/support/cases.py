"""Tests of many cases that can only fail together, and whose names nobody would read."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

Test = Callable[..., None]


def each(names: str | tuple[str, ...], cases: Iterable[Any]) -> Callable[[Test], Test]:
    """Run a test for each case as pytest.mark.parametrize does, but as one test.

    The first case that fails ends the test, and the failure names it. What a fixture gives is the
    same for every case.

    Args:
        names: the test's argument that each case is, or the arguments that it holds.
        cases: at least one.

    Raises:
        ValueError: if there is no case, one holds too little or too much, or the test has no such
            argument.
    """
    if isinstance(names, str):
        return each((names,), ((case,) for case in cases))
    all_arguments = [dict(zip(names, case, strict=True)) for case in cases]
    if not all_arguments:
        raise ValueError("cases must have at least one, got none")

    def decorate(test: Test) -> Test:
        signature = inspect.signature(test)
        parameters = signature.parameters
        if not set(names) <= set(parameters):
            raise ValueError(f"names must be arguments of {test.__name__}, got {names!r}")

        @functools.wraps(test)
        def test_of_all_cases(**fixtures: Any) -> None:
            for arguments in all_arguments:
                try:
                    test(**fixtures, **arguments)
                except BaseException as error:
                    error.add_note(f"in the case {arguments}")
                    raise

        rest = [parameter for name, parameter in parameters.items() if name not in names]
        vars(test_of_all_cases)["__signature__"] = signature.replace(parameters=rest)
        return test_of_all_cases

    return decorate
