r"""The derivations and the code hold together, and a code host renders the mathematics.

A `.md` of either package whose equations have a \tag numbers them from (1). Below each equation
stands the function that computes it, or uses it on the way, as a link; and that function cites the
equation in its docstring: `eq. (3)` is one of the `.md` beside its file, `dense.md (3)` one of
another, and `eq. (R3)` one of ROUNDING.md.
"""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import manual_nn
import reference
from tests.support.project import ROOT

PACKAGES = [Path(package.__file__ or "").parent for package in (manual_nn, reference)]

DOCUMENTS = sorted(
    path
    for package in PACKAGES
    for path in package.rglob("*.md")
    if r"\tag{" in path.read_text("utf-8")
)
SOURCES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
BLOCK = re.compile(r"^```math\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TAG = re.compile(r"\\tag\{(R?\d+)\}")
CITATION = re.compile(r"(eq\.|\b\w+\.md) (\(R?\d+\)(?:(?:,| to| and|, and) \(R?\d+\))*)")
LINK = re.compile(r"\[`(\w+)`\]\(([^)]+\.py)\)")
of_each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


class Equation(NamedTuple):
    """A numbered equation, and the paragraph below it."""

    number: str
    below: str


def equations_in(text: str) -> list[Equation]:
    """List the numbered equations of a document, in order."""
    found = []
    for block in BLOCK.finditer(text):
        below = text[block.end() :].lstrip("\n").partition("\n\n")[0]
        found += [Equation(number, below) for number in TAG.findall(block[1])]
    return found


@functools.cache
def numbers_of(path: Path) -> frozenset[str]:
    """Give the numbers of a document's equations."""
    return frozenset(number for number, _ in equations_in(path.read_text("utf-8")))


@functools.cache
def docstrings_of(path: Path) -> dict[str, str]:
    """Give the docstring of each function of a module, methods included."""
    tree = ast.parse(path.read_text("utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return {function.name: ast.get_docstring(function) or "" for function in functions}


def documents_beside(source: Path) -> list[Path]:
    """List what `eq.` may mean in a source: the document of its name, or else any in its folder."""
    beside = sorted(source.parent.glob("*.md"))
    return [path for path in beside if path.stem.lower() == source.stem.lower()] or beside


def documents_called(name: str, number: str, source: Path) -> list[Path]:
    """Find the documents that a citation may mean, in the source's package before the other.

    The numbers with an R are those of one document, wherever they are cited.
    """
    if name == "eq." and not number.startswith("R"):
        return documents_beside(source)
    if name == "eq.":
        name = "ROUNDING.md"
    for package in sorted(PACKAGES, key=lambda package: package not in source.parents):
        if found := sorted(package.rglob(name)):
            return found
    return []


def citations_in(text: str) -> Iterator[tuple[str, str]]:
    """Give (document, number) for every equation cited; `(2) to (4)` is three."""
    for name, numbers in CITATION.findall(" ".join(text.split())):
        before = ""
        for word, number in re.findall(r"(to )?\((R?\d+)\)", numbers):
            if word:
                letter, first = re.fullmatch(r"(R?)(\d+)", before).groups()  # type: ignore[union-attr]
                last = int(number.removeprefix("R"))
                yield from ((name, f"{letter}{i}") for i in range(int(first) + 1, last))
            yield name, number
            before = number


def test_citations_are_read_in_every_form() -> None:
    text = "as eq. (2), and\n  dense.md (1), (3) to (5) and (7); eq. (R6); (9)"
    dense = [("dense.md", number) for number in "13457"]
    assert list(citations_in(text)) == [("eq.", "2"), *dense, ("eq.", "R6")]


def test_there_are_documents_for_every_kind_of_code() -> None:
    assert {"dense.md", "mlp.md", "curvature.md", "sgd.md", "ROUNDING.md"} <= {
        path.name for path in DOCUMENTS
    }


@of_each_document
def test_equations_are_numbered_in_order_from_1(path: Path) -> None:
    numbers = [number for number, _ in equations_in(path.read_text("utf-8"))]
    letter = "R" if numbers[0].startswith("R") else ""
    assert numbers == [f"{letter}{i}" for i in range(1, len(numbers) + 1)]


@of_each_document
def test_every_equation_names_a_function_which_cites_it(path: Path) -> None:
    for number, below in equations_in(path.read_text("utf-8")):
        assert re.match("(Computed|Used) by ", below), f"nothing is named below ({number})"
        links = LINK.findall(below)
        assert links, f"no function is linked below ({number})"
        for name, target in links:
            source = (path.parent / target).resolve()
            docstring = docstrings_of(source).get(name)
            assert docstring is not None, f"({number}): there is no {name} in {target}"
            cited = [
                document
                for cited_name, cited_number in citations_in(docstring)
                if cited_number == number
                for document in documents_called(cited_name, number, source)
            ]
            assert path in cited, f"{name} in {target} does not cite ({number})"


@pytest.mark.parametrize(
    "source",
    [source for source in SOURCES if source.parent == PACKAGES[0] / "layers"],
    ids=lambda path: path.name,
)
def test_every_public_function_of_a_layer_cites_its_equation(source: Path) -> None:
    for name, docstring in docstrings_of(source).items():
        assert name.startswith("_") or list(citations_in(docstring)), name


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_every_equation_that_code_cites_exists(source: Path) -> None:
    text = re.sub(r"\n *# ?", "\n", source.read_text("utf-8"))
    for name, number in citations_in(text):
        documents = documents_called(name, number, source)
        assert any(number in numbers_of(document) for document in documents), (name, number)


@of_each_document
def test_the_equations_that_a_document_refers_to_exist(path: Path) -> None:
    prose = re.sub(r"\$`.*?`\$", "", BLOCK.sub("", path.read_text("utf-8")), flags=re.DOTALL)
    prose = " ".join(prose.split())
    elsewhere = re.compile(r"\[\w+\.md\]\(([^)]+\.md)\) \((R?\d+)\)")
    for target, number in elsewhere.findall(prose):
        assert number in numbers_of((path.parent / target).resolve()), (target, number)
    own = set(re.findall(r"(?<!\w)\((R?\d{1,2})\)", elsewhere.sub("", prose)))
    assert own <= numbers_of(path)


@of_each_document
def test_fences_and_braces_are_paired(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(re.findall("^```", text, re.MULTILINE)) % 2 == 0
    assert TAG.findall(text) == [number for number, _ in equations_in(text)], "outside of a block"
    for formula in [*BLOCK.findall(text), *re.findall(r"\$`(.*?)`\$", text, re.DOTALL)]:
        plain = re.sub(r"\\[{}]", "", formula)
        assert plain.count("{") == plain.count("}"), formula
        assert len(TAG.findall(formula)) <= 1, formula


# What GitHub's renderer breaks

REFUSED = re.compile(r"\\operatorname|\\text\{[^}]*\\_")  # anywhere in mathematics
EATEN = re.compile(r"\\[^\w\s]")  # a backslash before punctuation, outside of fences and $`...`$


def broken_mathematics(text: str) -> list[str]:
    r"""List what a code host does not render as it is meant in a document.

    Fenced blocks and $`...`$ keep their backslashes. Between plain dollars Markdown comes first,
    and takes the backslash from \{, \, \|, \; \! \_ and \\.
    """
    fenced = BLOCK.findall(text)
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    fenced += re.findall(r"\$`(.*?)`\$", text, re.DOTALL)
    text = re.sub(r"\$`.*?`\$", "", text, flags=re.DOTALL)
    text = re.sub(r"`[^`]*`", "", text)
    displays = re.findall(r"\$\$(.*?)\$\$", text, re.DOTALL)
    paragraphs = re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL).split("\n\n")
    inline = [found for part in paragraphs for found in re.findall(r"\$([^$]+)\$", part)]
    broken = [found[0] for formula in fenced for found in REFUSED.finditer(formula)]
    for formula in [*displays, *inline]:
        broken += [found[0] for form in (REFUSED, EATEN) for found in form.finditer(formula)]
    return broken + ["$$"] * len(displays)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("$$x$$", ["$$"]),
        ("$$\\{ x \\}$$", ["\\{", "\\}", "$$"]),
        ("$$a \\\\ b$$", ["\\\\", "$$"]),
        ("so $a\\,b$ and $\\|c\\|$", ["\\,", "\\|", "\\|"]),
        ("so $a\n\\,b$", ["\\,"]),
        ("```math\n\\operatorname{Var} x\n```", ["\\operatorname"]),
        ("$`\\text{fan\\_in}`$", ["\\text{fan\\_"]),
        ("```math\n\\{ x \\} \\, y\n```", []),
        ("$`\\lbrace x \\rbrace`$ and $x^2$", []),
        ("```bash\necho $$ \\{\n```\nand `$\\{$`", []),
    ],
)
def test_what_does_not_render_is_found(text: str, want: list[str]) -> None:
    assert broken_mathematics(text) == want


@pytest.mark.parametrize(
    "path",
    sorted(
        path
        for path in ROOT.rglob("*.md")
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    ),
    ids=lambda path: path.name,
)
def test_a_code_host_renders_the_mathematics(path: Path) -> None:
    assert not broken_mathematics(path.read_text("utf-8"))
