"""Write the figures to the layers' pages, and the catalogue that has a row for each of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.layers.block import ROW
from benchmarks.layers.table import TABLE
from benchmarks.tables import page

COMMAND = "python -m benchmarks.layers"
LAYERS = Path(__file__).parents[2] / "manual_nn" / "layers"
CATALOGUE = "README.md"
BEGIN = f"<!-- what follows is written by {COMMAND} -->"
END = "<!-- end of what it writes -->"
MIB = 2**20
ANY = 1e-30  # below which a relative error is one of less than the smallest normal number
LIMIT = 1.2  # times as long as PyTorch, up to which a layer is as fast
Found: TypeAlias = Mapping[str, Any]

TITLE = "The layers"
ABOUT = """\
Each layer has one file with both passes, the backward right below the forward. The page beside it
derives every line, says what the passes keep and cost, and lists the mistakes that people make. A
twin in [`reference/layers/`](../../reference/layers) defines the layer for JAX.

- To begin with: [dense](dense.md), [relu](relu.md) and
  [softmax_cross_entropy](softmax_cross_entropy.md), of which [a classifier](../models/mlp.py) is
  made.
- Activations: [leaky_relu](leaky_relu.md), [sigmoid](sigmoid.md), [tanh](tanh.md),
  [gelu](gelu.md), [silu](silu.md), [swiglu](swiglu.md), [softmax](softmax.md).
- Losses: [binary_cross_entropy](binary_cross_entropy.md), [squared_error](squared_error.md),
  [huber](huber.md).
- Normalisations: [layer_norm](layer_norm.md), [rms_norm](rms_norm.md),
  [batch_norm](batch_norm.md), [group_norm](group_norm.md).
- For images: [convolution](convolution.md), [transposed_convolution](transposed_convolution.md),
  [max_pool](max_pool.md), [average_pool](average_pool.md).
- For sequences: [embedding](embedding.md), [rope](rope.md), [attention](attention.md),
  [blockwise_attention](blockwise_attention.md), [lstm](lstm.md), [gru](gru.md).
- Around other layers: [residual](residual.md), [dropout](dropout.md),
  [mixture_of_experts](mixture_of_experts.md)."""
LEGEND = """
- *equations*: how many are derived.
- *keeps*: what the forward pass leaves for the backward pass, and the MiB that this takes beside
  the arguments, which are not copied.
- *cases*: draws of numbers of all kinds in float32 and float64, at shapes and options that the test
  of the layer draws. *wrong*: at how many of them an output or a gradient is farther from JAX's
  than the proven bound allows, by which the test decides. *lost*: at how many it is within the
  bound, but farther than rounding in JAX's operations strays by measurement: the formula loses
  digits that autodiff keeps. *sigma*: the worst error of the others, in measured standard
  deviations of rounding.
- *sees*: the relative error that is noticed at half of the elements of a float32 gradient, the
  median over cases and arrays.
- *ms*: both passes, at a usual size, in float32, on one thread; then how many times as long jitted
  JAX (of the twin) and eager PyTorch take: above 1 they are slower. The page of each layer has the
  passes apart, with the spread.
- *compiled ms*: likewise, where Numba compiles the passes,
  [`manual_nn.compiled.layers`](../compiled/layers): `from manual_nn.compiled.layers import softmax`
  in the place of `from manual_nn.layers import softmax` chooses them. They take the same arguments,
  and are proven at the same draws."""
HEADINGS = (
    *("layer", "equations", "keeps", "MiB", "shapes", "cases", "wrong", "lost", "sigma", "sees"),
    *("ms", "JAX / ours", "PyTorch / ours", "compiled ms", "JAX / compiled", "PyTorch / compiled"),
)
OURS = ("ours", "compiled")


def write(found: Found, folder: Path, block: Found | None = None) -> str:
    """Write the section of each layer's page and the catalogue, and give the figures' summary.

    The catalogue ends with the transformer's block, if that was timed.
    """
    for name, figures in found.items():
        place = folder / f"{name}.md"
        place.write_text(with_section(place.read_text("utf-8"), section(name, figures)), "utf-8")
    summary = summary_of(found)
    head = [HEADINGS, ["---", "---:", "---", *["---:"] * (len(HEADINGS) - 3)]]
    body = f"{table([*head, *(row(name, figures) for name, figures in found.items())])}\n{LEGEND}"
    if block is not None:
        body += "\n\n## Put together: a block of a transformer\n\n"
        body += speed_section(ROW.size, block)
    facts = facts_of(found, block)
    figures = f"## Figures\n\n{summary}"
    (folder / CATALOGUE).write_text(page(TITLE, ABOUT, figures, facts, body), "utf-8")
    return summary


def with_section(text: str, section: str) -> str:
    """Put the section in the place of the old one, or at the end of a page that has none."""
    if BEGIN not in text:
        return f"{text.rstrip()}\n\n## Figures\n\n{BEGIN}\n\n{section}\n\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{after}"


def section(name: str, figures: Found) -> str:
    """Lay out what was found of one layer."""
    speed, proof = figures["speed"], figures["proof"]
    sigmas = [f"{proof['sigmas'][dtype]:.2g} in {dtype}" for dtype in proof["sigmas"]]
    sees = [
        f"{seen_from(error)}{' or more' if error > ANY else ''} in {dtype}"
        for dtype, error in proof["median"].items()
    ]
    return f"""\
{speed_section(TABLE[name].size, speed)}
Of {proof["cases"]:,} cases at {proof["shapes"]} shapes {proof["wrong"]:,} are wrong and {
        proof["lost"]:,} lose digits; the worst error of the
others is, in sigma, {in_words(sigmas)}. Relative errors seen at half of the elements
of a gradient: {in_words(sees)}.
Words, versions and machine: [the catalogue]({CATALOGUE})."""


def speed_section(size: str, speed: Found) -> str:
    """Lay out what both passes take and keep at a size."""
    ours = [who for who in OURS if who in speed["kept"]]
    others = [who for who in speed["kept"] if who not in OURS]
    ratios = [(who, one) for one in ours for who in others]
    products = "products" in speed["timings"]["forward"]["seconds"]
    ratios += [(one, "products") for one in ours if products]
    headings = [*(f"{one}, ms" for one in ours), *(f"{who} / {one}" for who, one in ratios)]
    rows = [["pass", *headings], ["---", *["---:"] * len(headings)]]
    for part, timings in speed["timings"].items():
        cells = [spread(timings["seconds"][one], 1e3) for one in ours]
        cells += [spread(timings["over"][one][who]) for who, one in ratios]
        rows.append([part, *cells])
    kept = [f"{mib(speed['kept'][who])} compiled" for who in ours[1:]]
    kept += [f"{mib(speed['kept'][who])} by {who}" for who in others]
    return f"""\
{size}; float32, one thread. Medians (quartiles); where a ratio is above 1, the other is slower{
        ", and *products* are the bare products of matrices" if products else ""
    }.

{table(rows)}

Kept for the backward pass beside the arguments: {mib(speed["kept"]["ours"])} MiB, {
        in_words(kept)
    }."""


def spread(figure: Mapping[str, float], factor: float = 1.0) -> str:
    """Write a median with its quartiles."""
    lower, median, upper = (factor * figure[key] for key in ("lower", "median", "upper"))
    return f"{median:.3g} ({lower:.3g}–{upper:.3g})"


def seen_from(error: float) -> str:
    """Write a relative error; where nothing rounds, the smallest number that differs is seen."""
    return f"{error:.1g}" if error > ANY else "any"


def mib(size: float) -> str:
    """Write a number of bytes in MiB."""
    return f"{size / MIB:.2g}" if size else "0"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows, of which the first two are the head."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def row(name: str, figures: Found) -> list[str]:
    """Lay out the row of a layer."""
    speed, proof = figures["speed"], figures["proof"]
    both = speed["timings"]["both"]
    equations = (LAYERS / f"{name}.md").read_text("utf-8").count(r"\tag{")
    return [
        f"[{name}]({name}.py)",
        f"[{equations}]({name}.md)",
        ", ".join(speed["fields"]),
        mib(speed["kept"]["ours"]),
        str(proof["shapes"]),
        f"{proof['cases']:,}",
        f"{proof['wrong']:,}",
        f"{proof['lost']:,}",
        f"{max(proof['sigmas'].values()):.2g}",
        seen_from(proof["median"]["float32"]),
        *(cell for one in OURS for cell in times_of(both, one)),
    ]


def times_of(both: Found, one: str) -> list[str]:
    """Say what both passes take, and how many times as long JAX and PyTorch do."""
    if one not in both["seconds"]:
        return ["", "", ""]
    ratios = [both["over"][one].get(who) for who in ("JAX", "PyTorch")]
    return [
        f"{1e3 * both['seconds'][one]['median']:.3g}",
        *(f"{ratio['median']:.3g}" if ratio else "" for ratio in ratios),
    ]


def facts_of(found: Found, block: Found | None = None) -> dict[str, str]:
    """Say what the figures depend on: once, or every version that a part of them depends on."""
    parts = [figures[part] for figures in found.values() for part in ("speed", "proof")]
    facts: dict[str, list[str]] = {}
    for part in [*parts, *([] if block is None else [block])]:
        for key, value in part["facts"].items():
            facts.setdefault(key, []).append(value)
    return {key: "; ".join(dict.fromkeys(values)) for key, values in facts.items()}


def summary_of(found: Found) -> str:
    """Say in two sentences what was found."""
    proofs = [figures["proof"] for figures in found.values()]
    worst = max(max(proof["sigmas"].values()) for proof in proofs)
    text = (
        f"{len(found)} layers, {sum(proof['cases'] for proof in proofs):,} cases: "
        f"{sum(proof['wrong'] for proof in proofs):,} wrong, the worst error is {worst:.2g} sigma."
    )
    ratios = over_ours(found, "PyTorch", ("ours",))
    if not ratios:
        return text
    text = f"{text} PyTorch takes {compared(ratios)}."
    compiled = sum("compiled" in figures["speed"]["kept"] for figures in found.values())
    if not compiled:
        return text
    ratios = over_ours(found, "PyTorch", OURS)
    return f"{text} With the {compiled} that are compiled it takes {compared(ratios)}."


def compared(ratios: Mapping[str, float]) -> str:
    """Say how ratios to our time lie, by layer."""
    slow = [name for name, ratio in ratios.items() if ratio < 1 / LIMIT]
    return (
        f"{min(ratios.values()):.2g} to {max(ratios.values()):.2g} times as long as ours: "
        f"{sum(ratio > 1 for ratio in ratios.values())} of {len(ratios)} layers are faster, "
        f"{len(slow)} slower by more than {LIMIT}{f': {in_words(slow)}' if slow else ''}"
    )


def over_ours(found: Found, who: str, ours: Sequence[str]) -> dict[str, float]:
    """Give how many times as long somebody takes for both passes, by layer.

    As ours it is the last of `ours` that there is.
    """
    ratios = {}
    for name, figures in found.items():
        over = figures["speed"]["timings"]["both"]["over"]
        one = [one for one in ours if one in over][-1]
        if who in over[one]:
            ratios[name] = over[one][who]["median"]
    return ratios


def in_words(names: Sequence[str]) -> str:
    """List names."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
