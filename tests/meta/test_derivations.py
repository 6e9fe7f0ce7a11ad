"""The derivations and the code hold together: citations exist, and equations are cited."""

import re
from pathlib import Path

import pytest

import manual_nn
import reference

PACKAGES = {
    "manual_nn": Path(manual_nn.__file__).parent,
    "reference": Path(reference.__file__).parent,
}
DERIVATIONS = {"manual_nn": "models/DERIVATIONS.md", "reference": "bounds/ROUNDING.md"}


def equations(package: str) -> list[str]:
    """List the numbers that the derivations give to equations, in order."""
    text = (PACKAGES[package] / DERIVATIONS[package]).read_text(encoding="utf-8")
    return re.findall(r"\\tag\{(R?\d+)\}", text)


def citations(package: str) -> set[str]:
    """Collect the numbers cited by the code, as in `eq. (2), (8) to (12)`."""
    cited = set()
    for path in PACKAGES[package].rglob("*.py"):
        for words in re.findall(r"eq\. (\(R?\d+\)(?:[^\"\n]*\(R?\d+\))?)", path.read_text("utf-8")):
            cited.update(re.findall(r"\((R?\d{1,2})\)", words))
    return cited


@pytest.mark.parametrize("package", PACKAGES)
def test_equations_are_numbered_in_order(package: str) -> None:
    numbers = equations(package)
    letter = "R" if package == "reference" else ""
    assert numbers == [f"{letter}{i}" for i in range(1, len(numbers) + 1)]
    assert len(numbers) > 5


@pytest.mark.parametrize("package", PACKAGES)
def test_every_number_cited_exists_and_every_equation_is_cited(package: str) -> None:
    assert citations(package) == set(equations(package))


@pytest.mark.parametrize("package", PACKAGES)
def test_the_derivations_refer_to_equations_that_exist(package: str) -> None:
    text = (PACKAGES[package] / DERIVATIONS[package]).read_text(encoding="utf-8")
    prose = re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)
    assert set(re.findall(r"\((R?\d{1,2})\)", prose)) <= set(equations(package))


@pytest.mark.parametrize("package", PACKAGES)
def test_the_mathematics_is_balanced(package: str) -> None:
    """Displays open and close, and braces match, or nothing would render."""
    text = (PACKAGES[package] / DERIVATIONS[package]).read_text(encoding="utf-8")
    displays = re.findall(r"\$\$(.*?)\$\$", text, flags=re.DOTALL)
    assert text.count("$$") == 2 * len(displays)
    for formula in displays:
        assert formula.count("{") == formula.count("}")
        assert formula.count(r"\tag") == 1
