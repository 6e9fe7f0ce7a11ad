"""The picture: each contender's time as a multiple of the floor's, network by network."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.speed.gradients import EPOCH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of Okabe and Ito's palette, which colour-blind readers can tell apart; markers differ too.
LOOKS: dict[str, dict[str, Any]] = {
    "ours": {"color": "#D55E00", "marker": "o", "linewidth": 2.4, "zorder": 4},
    "compiled": {"color": "#56B4E9", "marker": "*", "linewidth": 2.4, "zorder": 4},
    "JAX": {"color": "#0072B2", "marker": "s"},
    "PyTorch": {"color": "#CC79A7", "marker": "^"},
    "scikit-learn": {"color": "#009E73", "marker": "D"},
    "autograd": {"color": "#E69F00", "marker": "v"},
    "row by row": {"color": "#555555", "marker": "x"},
}
WIDTH = 8.3  # inches: at 100 to the inch the width of a README


def draw_ratios(runs: Sequence[dict[str, Any]]) -> "Figure":
    """Draw a column of panels for each network, a row for each precision and number of threads.

    Args:
        runs: for each number of threads the gradients measured with it, as in the JSON file.

    Returns:
        The figure, unknown to pyplot.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415, whoever only times needs none
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415

    panels = _panels(runs)
    rows = list(dict.fromkeys(row for row, _ in panels))
    networks = list(dict.fromkeys(network for _, network in panels))
    figure = Figure(
        figsize=(WIDTH, 1.1 + 1.55 * len(rows)),
        dpi=200,
        layout=ConstrainedLayoutEngine(),
        facecolor="white",
    )
    grid = figure.subplots(len(rows), len(networks), sharex=True, sharey=True, squeeze=False)
    for (row, network), results in panels.items():
        axes = grid[rows.index(row), networks.index(network)]
        _draw(axes, results)
        axes.label_outer()
    for axes, network in zip(grid[0], networks, strict=True):
        axes.set_title(network, fontsize=8)
    for axes, row in zip(grid[:, 0], rows, strict=True):
        axes.set_ylabel(row, fontsize=8)
    figure.supxlabel("rows in the batch", fontsize=8)
    figure.supylabel("time / time of the bare matrix products", fontsize=8)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=8
    )
    return figure


def _panels(runs: Sequence[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Sort the results into panels, by what is written beside a row and above a column."""
    panels: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs:
        for result in run["gradients"]:
            if result["N"] == EPOCH:  # one point, far away from all others
                continue
            threads = f"{run['threads']} thread{'s' if run['threads'] > 1 else ''}"
            row = f"{result['dtype']}\n{threads}"
            network = "-".join(map(str, result["sizes"]))
            panels.setdefault((row, network), []).append(result)
    return panels


def _draw(axes: "Axes", results: Sequence[dict[str, Any]]) -> None:
    axes.axhline(1, color="black", linewidth=0.8, linestyle="--", label="the products alone")
    for name, look in LOOKS.items():
        points = [
            (result["N"], result["over"]["floor"][name])
            for result in results
            if name in result["over"]["floor"]
        ]
        if points:
            N, ratios = zip(*points, strict=True)
            medians = [ratio["median"] for ratio in ratios]
            axes.plot(N, medians, label=name, markersize=3.5, **({"linewidth": 1.2} | look))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    batches = [result["N"] for result in results]
    axes.set_xticks(batches, [str(N) for N in batches])
    axes.xaxis.minorticks_off()
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7)
