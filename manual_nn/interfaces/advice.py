"""What goes wrong in training without an error, in words, with a remedy.

Axes: N rows, D features, H units of a hidden layer.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from manual_nn.arrays import Array
from manual_nn.layers.dense import Params
from manual_nn.models import mlp

# Networks begin with weights for inputs of about 1; what is beyond this factor is no such input.
MAX_FACTOR = 1e3
# Where no feature is negative, chance alone has about half of the units never above 0.
MIN_DEAD = 0.75


def of_sizes(sizes: Array, names: Sequence[str] | None = None) -> str | None:
    """Say that features are of very unequal size, or all of them are huge or tiny.

    Args:
        sizes: the largest absolute value of each feature, (D,). A feature that is 0 in all rows
            does nothing, and is left out.
        names: those of the features, (D,), or None for their numbers.

    Returns:
        What is wrong, or None.

    >>> of_sizes(np.array([1680.0, 0.66, 5.0]))
    'features of X are of very unequal size: [0] reaches 1.68e+03, [1] no more than 0.66'
    """
    used = np.flatnonzero(sizes)
    if len(used) == 0:
        return None
    largest, smallest = used[sizes[used].argmax()], used[sizes[used].argmin()]
    name_of = [f"[{j}]" for j in range(len(sizes))] if names is None else names
    high = f"{name_of[largest]} reaches {sizes[largest]:.3g}"
    if sizes[largest] / MAX_FACTOR > sizes[smallest]:
        low = f"{name_of[smallest]} no more than {sizes[smallest]:.3g}"
        return f"features of X are of very unequal size: {high}, {low}"
    if sizes[largest] > MAX_FACTOR:
        return f"features of X are huge: {high}"
    if sizes[largest] < 1 / MAX_FACTOR:
        return f"features of X are tiny: none reaches more than {sizes[largest]:.3g}"
    return None


def of_dead_units(params: Params, blocks: Iterable[Array]) -> str | None:
    """Say that most units of a hidden layer are 0 for all of these rows: their gradients are 0.

    Args:
        params: the layers.
        blocks: the rows, some at a time, each (N, D).

    Returns:
        In which layer and how many, or None.

    >>> layer, last = mlp.init_params([1, 2, 2], rng=np.random.default_rng(0))
    >>> of_dead_units((layer._replace(bias=np.array([-9.0, -9.0])), last), [np.ones((3, 1))])
    '2 of 2 units of hidden layer 1 are 0 for all rows that the network was trained on'
    """
    alive = [np.zeros(bias.size, bool) for _, bias in params[:-1]]  # (H,)
    for X in blocks:
        _, (_, *a) = mlp.forward(params, X)
        for alive_l, a_l in zip(alive, a, strict=True):
            alive_l |= a_l.any(axis=0)
    for l, alive_l in enumerate(alive, start=1):
        dead = np.count_nonzero(~alive_l)
        if dead >= MIN_DEAD * alive_l.size:
            return (
                f"{dead} of {alive_l.size} units of hidden layer {l} are 0 for all rows that the "
                "network was trained on"
            )
    return None


def of_loss(before: float, after: float) -> str | None:
    """Say that training has made the loss larger.

    >>> of_loss(before=1.1, after=5.9)
    'the loss has grown in training, from 1.1 to 5.9'
    """
    if not after > before:  # nor if it is not known, NaN
        return None
    return f"the loss has grown in training, from {before:.3g} to {after:.3g}"


def of_accuracy(accuracy: float, share: float) -> str | None:
    """Say that a network is no more accurate on the rows held out than the most frequent class.

    >>> of_accuracy(0.4, share=0.4)
    'on the rows held out the network is right for 0.4, the most frequent class alone for 0.4'
    """
    if accuracy > share or share == 1:  # where all are of one class, nothing is more accurate
        return None
    return (
        f"on the rows held out the network is right for {accuracy:.3g}, the most frequent class "
        f"alone for {share:.3g}"
    )
