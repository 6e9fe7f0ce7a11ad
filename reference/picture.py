"""The picture of a comparison: error over bound of each element, a panel for each array."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from reference.arrays import Array
from reference.compare import Leaf

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = 12  # at most
CELLS = 96  # across a panel: larger leaves are shown by the worst of each block
SCALE = 1e3  # times the bound is as red as can be, and 1 / SCALE of it as blue


def draw(leaves: Sequence[Leaf]) -> "Figure":
    """Draw a panel for each leaf, of a dozen at most; needs matplotlib."""
    leaves = leaves[:PANELS]
    from matplotlib.colors import LogNorm  # noqa: PLC0415, needed for pictures alone
    from matplotlib.figure import Figure  # noqa: PLC0415

    columns = 2 if len(leaves) in {2, 4} else min(len(leaves), 3)
    rows = -(-len(leaves) // columns)
    figure = Figure(figsize=(3.6 * columns + 0.8, 3.2 * rows), dpi=150, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in panels[len(leaves) :]:
        axes.set_axis_off()
    norm = LogNorm(1 / SCALE, SCALE)
    for axes, leaf in zip(panels, leaves, strict=False):
        cells, (high, wide) = _blocks(leaf.ratio)
        height, width = _as_matrix(leaf.ratio).shape
        image = axes.imshow(
            cells,
            norm=norm,
            cmap="RdBu_r",
            aspect="auto",
            interpolation="nearest",
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        )
        blocks = f", blocks of {high} x {wide}" if high * wide > 1 else ""
        axes.set_title(f"{leaf.path or 'gradient'}: {leaf.verdict.value}{blocks}", fontsize=9)
        axes.tick_params(labelsize=7)
        for axis, size in ((axes.xaxis, width), (axes.yaxis, height)):
            axis.get_major_locator().set_params(integer=True)
            if size == 1:  # there is nothing to count
                axis.set_ticks([])
    bar = figure.colorbar(image, ax=list(panels), shrink=0.8)
    bar.set_label("error / bound (red: beyond the bound)")
    return figure


def _as_matrix(ratio: Array) -> Array:
    """Show a vector as a row, and more than two axes with the last one across."""
    return ratio.reshape(-1, ratio.shape[-1]) if ratio.ndim else ratio.reshape(1, 1)


def _blocks(ratio: Array) -> tuple[Array, tuple[int, int]]:
    """Take the largest of each block, as many blocks as fit, so that nothing wrong is lost."""
    matrix = np.clip(_as_matrix(ratio), 1 / SCALE, SCALE)  # what is infinite is not drawn
    sides = tuple(-(-size // CELLS) for size in matrix.shape)
    for axis, side in enumerate(sides):
        starts = range(0, matrix.shape[axis], side)
        matrix = np.maximum.reduceat(matrix, starts, axis=axis)
    return matrix, (sides[0], sides[1])
