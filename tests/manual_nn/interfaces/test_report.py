"""A model card tells what there is to tell, in HTML and in Markdown, and its pictures are there.

Axes: N rows, K classes.
"""

import base64
import dataclasses
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import manual_nn
from manual_nn.arrays import Array
from manual_nn.files.models import CURVES, Model
from manual_nn.files.scaling import fit_scaling
from manual_nn.files.sources import Source
from manual_nn.interfaces.experiment import Settings
from manual_nn.interfaces.report import Part, check_report, write_report
from manual_nn.training.adam import Adam
from manual_nn.training.early_stopping import Patience
from manual_nn.training.settings import as_json

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
CLASSES = ("ash", "a<b|c", "oak")


def model(**changes: Any) -> Model:
    """Make a network that takes images of 2 x 2 pixels, whose names need care."""
    settings = dataclasses.replace(Settings(), hidden=[3], optimizer=Adam())
    made = Model(
        manual_nn.init_params([4, 3, 3], rng=np.random.default_rng(0), dtype=np.float32),
        fit_scaling("divide", np.array([[200.0]])),
        classes=CLASSES,
        features=None,
        image_shape=(2, 2),
        source=Source("/data/trees.npz"),
        fingerprint="0123abcd",
        settings={name: as_json(value) for name, value in vars(settings).items()},
        curves={name: [0.5, 0.25] for name in CURVES},
        stopped_early=True,
    )
    return made._replace(**changes)


def part(name: str, rows: int) -> Part:
    """Make rows of the classes 0, 1, 2, 0, 1, and so on."""
    return Part(name, np.zeros((rows, 4)), np.arange(rows) % 3, 0.125, 0.75)


def taken_for(*taken: int) -> Array:
    """Make the probabilities of rows that are taken for these classes, ever less surely."""
    N = len(taken)
    certainty = 0.9 - np.arange(N) / 100
    proba = np.repeat((1 - certainty)[:, np.newaxis] / 2, 3, axis=1)
    proba[np.arange(N), taken] = certainty
    return proba


PARTS = [part("In-sample", 2100), part("Test", 6)]
TAKEN = taken_for(0, 0, 2, 2, 0, 2)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Collects the texts and checks that each tag that opens is closed."""

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.pictures: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a picture, or a tag to be closed."""
        if tag == "img":
            self.pictures.append(str(dict(attrs)["src"]))
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the last tag that is open."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note a text."""
        if data.strip():
            self.texts.append(" ".join(data.split()))


def test_markdown_tells_everything_in_tables_and_its_pictures_lie_beside_it(
    tmp_path: Path,
) -> None:
    written = write_report(tmp_path / "card.md", model(), PARTS, TAKEN)
    names = ["curves", "confusion", "mistakes", "first_layer"]
    pictures = [tmp_path / f"card_{name}.png" for name in names]
    assert written == [*pictures, tmp_path / "card.md"]
    assert all(picture.read_bytes().startswith(PNG_MAGIC) for picture in pictures)
    text = read(tmp_path / "card.md")
    assert sorted(re.findall(r"!\[.+\]\((.*)\)", text)) == sorted(file.name for file in pictures)
    for line in (
        "# trees.npz: a network 4-3-3",
        "`manual-nn train`: 27 parameters in float32.",
        "| In-sample | 2,100 | 0.1250 | 0.75000 |",
        "| Test | 6 | 0.1250 | 0.75000 |",
        "| ash | 2 | 0.333 | 0.500 | 0.400 |",
        "| a&lt;b\\|c | 2 | – | 0.000 | 0.000 |",  # for which no row is taken
        "| oak | 2 | 0.667 | 1.000 | 0.800 |",
        "| 1 | a&lt;b\\|c | ash | 89.0% |",
        "| 3 | ash | oak | 87.0% |",
        "| 4 | a&lt;b\\|c | ash | 86.0% |",
        "- Trained on: `/data/trees.npz`",
        "- SHA-256 of the data: `0123abcd`",
        "- 4 inputs, images of 2 x 2",
        "- 3 classes: ash, a&lt;b\\|c, oak",
        "- Scaling, which the model does itself: divide by 256",
        "| hidden | 3 |",
        "| optimizer | Adam (beta1 0.9, beta2 0.999, eps 1e-08) |",
        "| max_grad_norm | none |",
        "2 epochs, stopped early.",
        "- Held out for validation, of the rows in sample: 315",
    ):
        assert f"\n{line}\n" in f"\n{text}", line
    tables = re.findall(r"(?:\n\|.*\|)+", text)
    assert len(tables) == 4
    for table in tables:
        bars = {len(re.findall(r"(?<!\\)\|", row)) for row in table.strip().split("\n")}
        assert len(bars) == 1


def test_html_tells_the_same_holds_its_pictures_and_takes_names_for_text(tmp_path: Path) -> None:
    path = tmp_path / "card.html"
    assert write_report(path, model(), PARTS, TAKEN) == [path]
    page = Tags()
    page.feed(read(path))
    assert page.open == []
    assert len(page.pictures) == 4
    for picture in page.pictures:
        kind, _, content = picture.partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content, validate=True).startswith(PNG_MAGIC)
    places = [page.texts.index(text) for text in ("Results", "Mistakes", "Data", "Training")]
    assert places == sorted(places)
    for text in ("2,100", "a<b|c", "89.0%", "divide by 256", "0.667", "–", "0123abcd"):
        assert any(text in found for found in page.texts), text
    assert "a&lt;b|c" in read(path)


def test_a_table_without_mistakes_or_whole_epochs_has_few_pictures(tmp_path: Path) -> None:
    table = model(
        features=("a", "b", "c", "d|e"),
        image_shape=None,
        curves={name: [] for name in CURVES},
        source=Source("trees.csv", labels="labels.csv", target="kind"),
        fingerprint=None,
        stopped_early=False,
    )
    right = [part("trees.csv", 3)], taken_for(0, 1, 2)
    path = tmp_path / "card.md"
    assert write_report(path, table, *right) == [tmp_path / "card_confusion.png", path]
    text = read(path)
    assert "\nNone in these rows.\n" in text
    assert "\n- 4 inputs: a, b, c, d\\|e\n" in text
    assert "\n- Trained on: `trees.csv`, classes from `labels.csv`\n" in text
    assert "\n0 epochs.\n" in text
    assert "SHA-256" not in text
    write_report(tmp_path / "card.html", table, *right)
    assert "None in these rows." in read(tmp_path / "card.html")


def test_the_ten_surest_mistakes_are_listed(tmp_path: Path) -> None:
    write_report(tmp_path / "card.md", model(), [part("Test", 15)], taken_for(*[1, 2, 0] * 5))
    rows = re.findall(r"\n\| (\d+) \| .* \| .* \| .*% \|", read(tmp_path / "card.md"))
    assert rows == [str(row) for row in range(10)]


@pytest.mark.parametrize("end", ["md", "html"])
def test_a_part_of_the_data_tells_its_rows_as_they_are_in_all(tmp_path: Path, end: str) -> None:
    path = tmp_path / f"card.{end}"
    tested = part("Test", 3)._replace(rows=np.array([40, 70, 20]))
    curves = {name: [0.5] for name in CURVES}
    write_report(path, model(curves=curves), [PARTS[0], tested], taken_for(0, 0, 2))
    text = read(path)
    assert "row of all data, from 0" in text
    assert re.search("(<tr><td[^>]*>|\n\\| )70[ <]", text)  # the second, which is the mistake
    assert "1 epoch, stopped early." in text


@pytest.mark.parametrize("end", ["md", "html"])
def test_the_epoch_that_was_kept_and_what_was_held_out_are_told(tmp_path: Path, end: str) -> None:
    settings = model().settings | {"early_stopping": as_json(Patience(1))}
    curves = {name: [0.5, 0.75, 0.5, 0.5] for name in CURVES}
    source = Source("trees.csv", target="kind", drop=("id", "note"), test_fraction=0.25)
    path = tmp_path / f"card.{end}"
    found = model(settings=settings, curves=curves, source=source)
    write_report(path, found, PARTS, TAKEN)
    text = read(path)
    assert "4 epochs, stopped early; the parameters are those of epoch 2, the best on" in text
    assert "Column of the classes: kind" in text
    assert "Columns that are not used: id, note" in text
    assert "held out for the test: 0.25" in text


def test_what_is_no_report_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"--report must end in .html or .md, got card.pdf"):
        check_report(Path("card.pdf"))
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"this needs jinja2 .*manual-nn\[train\]"):
        check_report(Path("card.md"))
