"""The pages say what was measured, and every layer has its figures."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.layers import pages
from benchmarks.layers.table import TABLE
from benchmarks.speed.timing import Figure

LAYERS = sorted(path.stem for path in pages.LAYERS.glob("*.py") if path.stem != "__init__")


def figures(
    both: float, *, wrong: int = 0, products: bool = False, compiled: bool = False
) -> dict[str, Any]:
    """Make up what is measured of a layer: JAX takes twice as long, PyTorch `both` times.

    What is compiled takes half of the time.
    """

    def timings(ours: float) -> dict[str, Any]:
        seconds = {"ours": ours, "JAX": 2 * ours, "PyTorch": both * ours}
        seconds |= {"products": ours / 4} if products else {}
        seconds |= {"compiled": ours / 2} if compiled else {}
        over = {
            other: {
                who: Figure(*[one / seconds[other]] * 3)._asdict()
                for who, one in seconds.items()
                if who != other
            }
            for other in seconds
        }
        return {
            "seconds": {who: Figure(one, one, one)._asdict() for who, one in seconds.items()},
            "over": over,
        }

    speed = {
        "timings": {"forward": timings(1e-3), "backward": timings(2e-3), "both": timings(3e-3)},
        "kept": {"ours": 2**19, "JAX": 3 * 2**20, "PyTorch": 0}
        | ({"compiled": 2**18} if compiled else {}),
        "fields": ["normal", "deviation"],
        "facts": {"Date": "2026-11-29", "Machine": "a"},
    }
    sigmas, median = {"float32": 1.5, "float64": 2.25}, {"float32": 3e-7, "float64": 0.0}
    proof = {"shapes": 10, "cases": 1600, "wrong": wrong, "lost": 3, "sigmas": sigmas}
    return {"speed": speed, "proof": proof | {"median": median, "facts": {"Date": "2026-11-30"}}}


def test_the_table_has_a_row_for_every_layer_and_for_nothing_else() -> None:
    assert sorted(TABLE) == LAYERS


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_has_its_figures_and_its_row_in_the_catalogue(name: str) -> None:
    text = (pages.LAYERS / f"{name}.md").read_text("utf-8")
    assert text.count(pages.BEGIN) == text.count(pages.END) == 1
    written = text.partition(pages.BEGIN)[2].partition(pages.END)[0]
    assert all(f"\n| {part} | " in written for part in ("forward", "backward", "both"))
    catalogue = (pages.LAYERS / pages.CATALOGUE).read_text("utf-8")
    assert catalogue.count(f"\n| [{name}]({name}.py) | [") == 1
    assert pages.ABOUT in catalogue
    assert pages.ABOUT.count(f"[{name}]({name}.md)") == 1


def test_a_section_takes_the_place_of_the_one_before() -> None:
    text = pages.with_section("# A\n\nText.\n", "old")
    assert text.startswith("# A\n\nText.\n\n## Figures\n\n")
    assert pages.with_section(text, "new") == text.replace("old", "new")


def test_a_section_holds_the_medians_of_both_passes() -> None:
    text = pages.section("dense", figures(0.5, products=True))
    assert "\n| pass | ours, ms | JAX / ours | PyTorch / ours | ours / products |\n" in text
    assert "\n| backward | 2 (2–2) | 2 (2–2) | 0.5 (0.5–0.5) | 4 (4–4) |\n" in text
    assert "beside the arguments: 0.5 MiB, 3 by JAX and 0 by PyTorch." in text
    assert "1.5 in float32 and 2.2 in float64" in text
    assert "of a gradient: 3e-07 or more in float32 and any in float64.\n" in text
    assert "products" not in pages.section("relu", figures(0.5))


def test_what_is_compiled_has_columns_of_its_own() -> None:
    text = pages.section("dense", figures(0.5, products=True, compiled=True))
    ratios = "JAX / ours | PyTorch / ours | JAX / compiled | PyTorch / compiled"
    products = "ours / products | compiled / products"
    assert f"\n| pass | ours, ms | compiled, ms | {ratios} | {products} |\n" in text
    cells = [f"{one} ({one}–{one})" for one in ("2", "1", "2", "0.5", "4", "1", "4", "2")]
    assert f"\n| backward | {' | '.join(cells)} |\n" in text
    assert "beside the arguments: 0.5 MiB, 0.25 compiled, 3 by JAX and 0 by PyTorch." in text
    assert pages.row("dense", figures(0.5, compiled=True))[-6:] == [
        "3",
        "2",
        "0.5",
        "1.5",
        "4",
        "1",
    ]


def test_a_layer_counts_as_fast_as_it_is_compiled() -> None:
    found = {"dense": figures(0.5), "relu": figures(0.5, compiled=True), "tanh": figures(1.5)}
    assert pages.summary_of(found).endswith(
        "PyTorch takes 0.5 to 1.5 times as long as ours: 1 of 3 layers are faster, 2 slower by "
        "more than 1.2: dense and relu. With the 1 that are compiled it takes 0.5 to 1.5 times as "
        "long as ours: 1 of 3 layers are faster, 1 slower by more than 1.2: dense."
    )


def test_the_catalogue_has_a_row_for_each_layer_and_says_what_is_slow(tmp_path: Path) -> None:
    found = {"dense": figures(0.5), "relu": figures(3.0, wrong=1), "tanh": figures(0.9)}
    for name in found:
        (tmp_path / f"{name}.md").write_text(f"# {name}\n", "utf-8")
    summary = pages.write(found, tmp_path)
    assert summary == (
        "3 layers, 4,800 cases: 1 wrong, the worst error is 2.2 sigma. PyTorch takes 0.5 to 3 "
        "times as long as ours: 1 of 3 layers are faster, 1 slower by more than 1.2: dense."
    )
    text = (tmp_path / "README.md").read_text("utf-8")
    assert summary in text
    assert "- Machine: a\n" in text
    assert "- Date: 2026-11-29; 2026-11-30\n" in text
    equations = (pages.LAYERS / "relu.md").read_text("utf-8").count(r"\tag{")
    row = f"[{equations}](relu.md) | normal, deviation | 0.5 | 10 | 1,600 | 1 | 3 | 2.2 | 3e-07"
    assert f"\n| [relu](relu.py) | {row} | 3 | 2 | 3 |  |  |  |\n" in text
    assert "| both | 3 (3–3) |" in (tmp_path / "tanh.md").read_text("utf-8")


def test_the_block_of_a_transformer_has_a_table_below_the_catalogue(tmp_path: Path) -> None:
    (tmp_path / "relu.md").write_text("# relu\n", "utf-8")
    block = figures(0.5, compiled=True)["speed"] | {"facts": {"Date": "2026-12-01"}}
    pages.write({"relu": figures(0.5)}, tmp_path, block)
    text = (tmp_path / "README.md").read_text("utf-8")
    assert "- Date: 2026-11-29; 2026-11-30; 2026-12-01\n" in text
    _, _, section = text.partition("\n## Put together: a block of a transformer\n")
    assert "\n| both | 3 (3–3) | 1.5 (1.5–1.5) | 2 (2–2) | 0.5 (0.5–0.5) | 4 (4–4) |" in section


def test_without_pytorch_nothing_is_said_of_it() -> None:
    one = figures(0.5)
    for timings in one["speed"]["timings"].values():
        del timings["over"]["ours"]["PyTorch"]
    del one["speed"]["kept"]["PyTorch"]
    assert "PyTorch" not in pages.summary_of({"relu": one})
    assert "PyTorch" not in pages.section("relu", one)
    assert pages.row("relu", one)[-6:] == ["3", "2", "", "", "", ""]
