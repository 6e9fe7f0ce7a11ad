"""How small an error a comparison could have seen, and where it could have seen next to nothing."""

from collections.abc import Sequence

import ml_dtypes
import numpy as np

from reference.compare import Comparison, Leaf


def sensitivity(leaf: Leaf, quantile: float = 0.0) -> float:
    """Compute this quantile, over the elements, of the relative error that reaches the bound.

    The quantile 0 is the smallest relative error that is seen at all, 0.5 the median.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = leaf.bound / abs(leaf.want)
    factors = factors[leaf.want != 0]  # what is 0 has no relative error
    if not factors.size:
        return np.inf
    return float(np.quantile(factors, quantile, method="lower"))


def blind_spots(leaves: Sequence[Leaf], name: str = "gradient") -> list[str]:
    """Say where the check is nearly blind: at half of a leaf it loses half the digits or more."""
    blind = []
    for leaf in leaves:
        tiny = float(ml_dtypes.finfo(leaf.got.dtype).tiny)
        subnormal = (leaf.want != 0) & (abs(leaf.want) < tiny)
        if subnormal.any():
            blind.append(
                f"{name}{leaf.path} has {int(subnormal.sum())} elements too small for a normal "
                f"{leaf.got.dtype}, which may be flushed to 0"
            )
        if leaf.hanging.any():
            hanging = float(np.mean(leaf.hanging))
            blind.append(
                f"{hanging:.1%} of {name}{leaf.path} hangs on kinks within rounding: what is "
                "wrong there may pass as ambiguous"
            )
        if not np.isfinite(leaf.bound).all():
            continue
        if not leaf.want.any():  # every error that is a normal number shows, or
            if (leaf.bound > tiny).any():
                above = f"{leaf.bound.max():.2g}"
                blind.append(f"{name}{leaf.path} is 0: only errors above {above} show")
        elif sensitivity(leaf, 0.5) > np.sqrt(float(ml_dtypes.finfo(leaf.got.dtype).eps)):
            blind.append(
                f"at half of {name}{leaf.path} an element could be off by "
                f"{sensitivity(leaf, 0.5):.1g} of itself or more unseen"
            )
    return blind


def faults_of_ours(comparison: Comparison, name: str = "gradient") -> list[str]:
    """Say where the witnesses contradict each other.

    Either the proven bound belongs to other values than XLA's, or more than it has been measured.
    """
    found = []
    if comparison.parting:
        found.append(
            f"at {comparison.parting} elements of the {name} the proven bound is that of another "
            "value than XLA's, so that it was left out: this is a fault of the checker, please "
            "report it"
        )
    for leaf in comparison.leaves:
        if leaf.sigma is None or leaf.proven is None or leaf.got.dtype == np.float16:
            continue  # in its narrow range, what may vanish is common, and disturbed by more
        with np.errstate(invalid="ignore"):
            above = np.isfinite(leaf.sigma) & (leaf.sigma > leaf.proven)
        if above.any():
            found.append(
                f"at {int(above.sum())} elements of {name}{leaf.path} the measured rounding is "
                "above the proven bound: this is a fault of the checker, please report it"
            )
    return found
