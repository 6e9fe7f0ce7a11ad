"""The picture of a comparison: error over bound of each element, a panel for each array.

A matrix is a picture of its own, a vector a row of bars. An array of more axes is cut into the
matrices of its last two, which stand one below the other. Above all stands what the check says, and
below all the source of the loss may stand, with what is wrong in red.
"""

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from reference.arrays import Array
from reference.compare import Leaf, Verdict
from reference.diagnosis.codes import Mark
from reference.diagnosis.where import in_words
from reference.source import Shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap, LogNorm
    from matplotlib.figure import Figure

PANELS = 12  # at most
CELLS = 96  # across a panel: larger leaves are shown by the worst of each block
MATRICES = 32  # whose edges are drawn, at most
NAMED = 12  # of them, at most
COLOURS = "RdBu_r"
COLOURS_OF_MARKS = {Mark.WRONG: "firebrick", Mark.DOWNSTREAM: "darkorange", Mark.RIGHT: "navy"}
LINE, TEXT = 0.15, 8.0  # inches: the height of a line of the source, and the width of all
SCALE = 1e3  # times the bound is as red as can be, and 1 / SCALE of it as blue
BEYOND = 2.5  # times as far go the axes of bars, so that the shortest is seen
MARGIN = 0.01  # of a vector's length, so that its last bar is not below the frame
UNKNOWN = "darkgrey"  # elements that cannot be compared
NO_ERROR = "no error", "no error elsewhere"
WIDTH_OF_TITLE = 48  # characters, above a panel
WIDTH_OF_CHARACTER = 0.075  # inches, of what stands above all


def draw(leaves: Sequence[Leaf], said: Sequence[str], source: Sequence[Shown] = ()) -> "Figure":
    """Draw a panel for each leaf, of a dozen at most, and the source; needs matplotlib.

    Args:
        leaves: the worst first.
        said: what the check says, a line or paragraph each.
        source: the lines of the loss.
    """
    order = ["The worst array first."] if len(leaves) > 1 else []
    if len(leaves) > PANELS:
        order = [f"The worst {PANELS} of {len(leaves)} arrays, the worst first."]
    leaves = leaves[:PANELS]
    from matplotlib import colormaps  # noqa: PLC0415, needed for pictures alone
    from matplotlib.cm import ScalarMappable  # noqa: PLC0415
    from matplotlib.colors import LogNorm  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    columns = 2 if len(leaves) in {2, 4} else min(len(leaves), 3)
    rows = -(-len(leaves) // columns)
    heights = [3.2 * rows] + [LINE * (len(source) + 2)] * bool(source)
    width = max(3.6 * columns + 0.8, TEXT) if source else 3.6 * columns + 0.8
    characters = int(width / WIDTH_OF_CHARACTER)
    lines = [line for part in (*said, *order) for line in textwrap.wrap(part, characters)]
    height = sum(heights) + LINE * (len(lines) + 1)
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    figure.suptitle("\n".join(lines), fontsize=9, parse_math=False)
    parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)
    (above, *below), *_ = parts.T
    panels = above.subplots(rows, columns, squeeze=False).flatten()
    for axes in panels[len(leaves) :]:
        axes.set_axis_off()
    cmap = colormaps[COLOURS].with_extremes(bad=UNKNOWN)
    norm = LogNorm(1 / SCALE, SCALE)
    colours = ScalarMappable(norm, cmap)
    for axes, leaf in zip(panels, leaves, strict=False):
        title = [f"{leaf.path or 'gradient'}: {leaf.verdict.value}"]
        title += [line for part in _worst(leaf) for line in textwrap.wrap(part, WIDTH_OF_TITLE)]
        axes.set_title("\n".join(title), fontsize=8, parse_math=False)
        axes.tick_params(labelsize=7)
        if leaf.want.ndim < 2:
            _bars(axes, leaf, colours)
        else:
            _image(axes, leaf, norm, cmap)
    bar = above.colorbar(colours, ax=list(panels), shrink=0.8, extend="both")
    bar.ax.tick_params(labelsize=7)
    bar.set_label("error / bound (red: beyond the bound)", fontsize=8)
    for part in below:
        _source(part.add_subplot(), source)
    return figure


def _worst(leaf: Leaf) -> Iterator[str]:
    """Say how many elements are wrong, and which, and how far off the worst is."""
    if leaf.verdict == Verdict.MISMATCH:
        which = in_words(leaf.wrong)
        count = f"{int(leaf.wrong.sum()):,} of {leaf.wrong.size:,} wrong"
        yield f"{count}: {which}" if which else count
    if unknown := int((~np.isfinite(leaf.bound)).sum()):
        yield f"{unknown:,} of {leaf.bound.size:,} not comparable (grey)"
    if unknown == leaf.bound.size:
        return
    worst = leaf.ratio[leaf.worst_index]
    at = f", at {','.join(map(str, leaf.worst_index))}" if leaf.worst_index else ""
    yield f"error / bound up to {worst:.2g}{at}" if worst else NO_ERROR[bool(unknown)]


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
    cells, _, (wide, starts) = _blocks(_ratios(leaf).reshape(1, -1))
    size, lowest = leaf.ratio.size, 1 / SCALE / BEYOND
    axes.bar(
        starts - 0.5,
        np.nan_to_num(cells[0], nan=SCALE) - lowest,
        width=np.diff([*starts, size]),
        bottom=lowest,
        align="edge",
        color=colours.to_rgba(np.ma.masked_invalid(cells[0])),
        edgecolor="grey",
        linewidth=0.3,
    )
    axes.axhline(1.0, color="black", linewidth=0.8)
    aside = 0.5 + MARGIN * size
    axes.set(yscale="log", ylim=(lowest, SCALE * BEYOND), xlim=(-aside, size - 1 + aside))
    powers = range(-3, 4)
    signs = {-3: r"\leq", 3: r"\geq"}  # what is beyond is drawn as high
    axes.set_yticks(
        [10.0**power for power in powers],
        [f"${signs.get(power, '')}10^{{{power}}}$" for power in powers],
    )
    blocks = f"; a bar is the worst of {'' if size % wide == 0 else 'up to '}{wide}"
    _labelled(axes, x=f"element{blocks if wide > 1 else ''}", y="error / bound (line: the bound)")
    _whole(axes.xaxis, size)


def _image(axes: "Axes", leaf: Leaf, norm: "LogNorm", cmap: "Colormap") -> None:
    """Draw a matrix, or several, one below the other."""
    shape = leaf.ratio.shape
    matrix = _ratios(leaf).reshape(-1, shape[-1])
    cells, (high, _), (wide, _) = _blocks(matrix)
    height, width = matrix.shape
    axes.imshow(
        cells,
        norm=norm,
        cmap=cmap,
        aspect="auto",
        interpolation="nearest",
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    )
    rows, columns = "row", "column"
    if len(shape) > 2:
        rows = f"matrices of {shape[-2]} {'row' if shape[-2] == 1 else 'rows'} each, by their index"
    if high * wide > 1:
        up_to = "" if height % high == width % wide == 0 else "up to "
        columns += f"; a cell is the worst of {up_to}{high} x {wide}"
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


def _ratios(leaf: Leaf) -> Array:
    """Give what is drawn of each element: as far as the scale goes, NaN where nothing is known."""
    return np.where(np.isfinite(leaf.bound), np.clip(leaf.ratio, 1 / SCALE, SCALE), np.nan)


def _blocks(matrix: Array) -> tuple[Array, tuple[int, Array], tuple[int, Array]]:
    """Take the largest of each block, as many blocks as fit, so that nothing wrong is lost.

    Returns:
        The largest; of the rows, and then of the columns, how many a block has at most, and which
        is the first of each.
    """
    sides = []
    for axis, size in enumerate(matrix.shape):
        count = min(size, CELLS)
        starts = np.arange(count) * size // count  # all as large, but for one
        matrix = np.fmax.reduceat(matrix, starts, axis=axis)
        sides.append((-(-size // count), starts))
    rows, columns = sides
    return matrix, rows, columns
