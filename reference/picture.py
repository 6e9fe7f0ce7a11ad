"""The picture of a comparison: error over bound of each element, a panel for each array.

A matrix is a picture of its own, a vector a row of bars. An array of more axes is cut into the
matrices of its last two, which stand one below the other. Below all the source of the loss may
stand, with what is wrong in red.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from reference.arrays import Array
from reference.compare import Leaf
from reference.diagnosis.codes import Mark
from reference.source import Shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

PANELS = 12  # at most
CELLS = 96  # across a panel: larger leaves are shown by the worst of each block
MATRICES = 32  # whose edges are drawn, at most
NAMED = 12  # of them, at most
COLOURS = "RdBu_r"
COLOURS_OF_MARKS = {Mark.WRONG: "firebrick", Mark.DOWNSTREAM: "darkorange", Mark.RIGHT: "navy"}
LINE, TEXT = 0.15, 8.0  # inches: the height of a line of the source, and the width of all
SCALE = 1e3  # times the bound is as red as can be, and 1 / SCALE of it as blue


def draw(leaves: Sequence[Leaf], source: Sequence[Shown] = ()) -> "Figure":
    """Draw a panel for each leaf, of a dozen at most, and the source; needs matplotlib."""
    leaves = leaves[:PANELS]
    from matplotlib.cm import ScalarMappable  # noqa: PLC0415, needed for pictures alone
    from matplotlib.colors import LogNorm  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    columns = 2 if len(leaves) in {2, 4} else min(len(leaves), 3)
    rows = -(-len(leaves) // columns)
    heights = [3.2 * rows] + [LINE * (len(source) + 2)] * bool(source)
    width = max(3.6 * columns + 0.8, TEXT) if source else 3.6 * columns + 0.8
    figure = Figure(figsize=(width, sum(heights)), dpi=150, layout="constrained")
    parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)
    (above, *below), *_ = parts.T
    panels = above.subplots(rows, columns, squeeze=False).flatten()
    for axes in panels[len(leaves) :]:
        axes.set_axis_off()
    norm = LogNorm(1 / SCALE, SCALE)
    colours = ScalarMappable(norm, COLOURS)
    for axes, leaf in zip(panels, leaves, strict=False):
        axes.set_title(f"{leaf.path or 'gradient'}: {leaf.verdict.value}", fontsize=9)
        axes.tick_params(labelsize=7)
        if leaf.want.ndim < 2:
            _bars(axes, leaf, colours)
        else:
            _image(axes, leaf, norm)
    bar = above.colorbar(colours, ax=list(panels), shrink=0.8)
    bar.set_label("error / bound (red: beyond the bound)")
    for part in below:
        _source(part.add_subplot(), source)
    return figure


def _source(axes: "Axes", source: Sequence[Shown]) -> None:
    """Write the lines of the loss, each in the colour of its mark."""
    axes.set_axis_off()
    for number, line in enumerate(source):
        axes.text(
            0,
            1 - (number + 1) / (len(source) + 1),
            str(line),
            color=COLOURS_OF_MARKS[line.mark] if line.mark else "black",
            family="monospace",
            fontsize=7,
            parse_math=False,
            transform=axes.transAxes,
        )


def _bars(axes: "Axes", leaf: Leaf, colours: "ScalarMappable") -> None:
    """Draw a vector, or a number, as bars that stand out where they are beyond the bound."""
    cells, (_, wide) = _blocks(leaf.ratio.reshape(1, -1))
    size = leaf.ratio.size
    first = wide * np.arange(cells.size)
    axes.bar(
        first - 0.5,
        cells[0] - 1 / SCALE,
        width=np.minimum(wide, size - first),
        bottom=1 / SCALE,
        align="edge",
        color=colours.to_rgba(cells[0]),
        edgecolor="grey",
        linewidth=0.3,
    )
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set(yscale="log", ylim=(1 / SCALE, SCALE), xlim=(-0.5, size - 0.5))
    blocks = f"; a bar is the worst of {wide}" if wide > 1 else ""
    _labelled(axes, x=f"element{blocks}", y="error / bound (line: the bound)")
    _whole(axes.xaxis, size)


def _image(axes: "Axes", leaf: Leaf, norm: "LogNorm") -> None:
    """Draw a matrix, or several, one below the other."""
    shape = leaf.ratio.shape
    matrix = leaf.ratio.reshape(-1, shape[-1])
    cells, (high, wide) = _blocks(matrix)
    height, width = matrix.shape
    axes.imshow(
        cells,
        norm=norm,
        cmap=COLOURS,
        aspect="auto",
        interpolation="nearest",
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    )
    rows, columns = "row", "column"
    if len(shape) > 2:
        rows = f"matrices of {shape[-2]} {'row' if shape[-2] == 1 else 'rows'} each, by their index"
    if high * wide > 1:
        columns += f"; a cell is the worst of {high} x {wide}"
    _labelled(axes, x=columns, y=rows)
    _whole(axes.xaxis, width)
    if len(shape) > 2:
        _matrices(axes, shape)
    else:
        _whole(axes.yaxis, height)


def _matrices(axes: "Axes", shape: tuple[int, ...]) -> None:
    """Draw a line between matrices that stand one below the other, and tell which some are."""
    *outer, height, _ = shape
    count = int(np.prod(outer))
    for edge in range(height, count * height if count <= MATRICES else 0, height):
        axes.axhline(edge - 0.5, color="black", linewidth=0.8)
    named = range(0, count, -(-count // NAMED))
    indices = [np.unravel_index(number, outer) for number in named]
    axes.set_yticks(
        [height * (number + 0.5) - 0.5 for number in named],
        [f"[{','.join(map(str, index))}]" for index in indices],
    )


def _labelled(axes: "Axes", **labels: str) -> None:
    for axis, text in labels.items():
        getattr(axes, f"set_{axis}label")(text, fontsize=7)


def _whole(axis: "Axis", size: int) -> None:
    """Put ticks at whole numbers, and none where there is nothing to count."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    if size == 1:
        axis.set_ticks([])


def _blocks(matrix: Array) -> tuple[Array, tuple[int, int]]:
    """Take the largest of each block, as many blocks as fit, so that nothing wrong is lost."""
    matrix = np.clip(matrix, 1 / SCALE, SCALE)  # what is infinite is not drawn
    sides = tuple(-(-size // CELLS) for size in matrix.shape)
    for axis, side in enumerate(sides):
        starts = range(0, matrix.shape[axis], side)
        matrix = np.maximum.reduceat(matrix, starts, axis=axis)
    return matrix, (sides[0], sides[1])
