"""`manual_nn` and `reference` are twins: the same names, signatures and parameters."""

import inspect
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import manual_nn
import reference
from tests.support.cases import each

# What one of the two has alone; whatever else is public in one must be in the other.
WITHOUT_TWIN = {
    manual_nn: {
        # training, and the row-by-row witness
        "Adam",
        "AdamW",
        "Convergence",
        "CosineSchedule",
        "EarlyStopping",
        "History",
        "OptimizerState",
        "Patience",
        "SGD",
        "TrainingDiverged",
        "TrainingResult",
        "Workspace",
        "rowwise",
        "train",
    },
    reference: {
        # the comparison, the rounding-error bounds, and the check of anybody's gradient
        "Bounded",
        "Cause",
        "Code",
        "Comparer",
        "Comparison",
        "GradientReport",
        "Leaf",
        "Rounding",
        "Traced",
        "Verdict",
        "check_autograd_function",
        "check_custom_rule",
        "check_gradient",
        "check_hvp",
        "check_jvp",
        "check_layer",
        "check_vjp",
        "register_rule",
        "rules",
    },
}

TWINS = sorted(set(manual_nn.__all__) - WITHOUT_TWIN[manual_nn])


def parameters_of(function: Any) -> list[tuple[str, Any, Any]]:
    parameters = inspect.signature(function).parameters.values()
    return [(parameter.name, parameter.kind, parameter.default) for parameter in parameters]


def test_every_public_name_has_a_twin_or_is_a_stated_exception() -> None:
    assert set(TWINS) == set(reference.__all__) - WITHOUT_TWIN[reference]


@pytest.mark.parametrize("package", [manual_nn, reference], ids=lambda package: package.__name__)
def test_every_exception_is_public_in_its_package_alone(package: ModuleType) -> None:
    (other,) = set(WITHOUT_TWIN) - {package}
    assert set(package.__all__) >= WITHOUT_TWIN[package]
    assert not set(other.__all__) & WITHOUT_TWIN[package]


@pytest.mark.parametrize("package", [manual_nn, reference], ids=lambda package: package.__name__)
def test_public_names_are_sorted_and_exist(package: ModuleType) -> None:
    assert list(package.__all__) == sorted(package.__all__)
    assert all(hasattr(package, name) for name in package.__all__)


@each("name", TWINS)
def test_twins_have_the_same_signature(name: str) -> None:
    assert parameters_of(getattr(manual_nn, name)) == parameters_of(getattr(reference, name))


@each("name", sorted({"Dense"} ^ set(TWINS)))
def test_twins_share_no_code(name: str) -> None:
    assert getattr(manual_nn, name) is not getattr(reference, name)
    assert getattr(manual_nn, name).__module__.startswith("manual_nn.")
    assert getattr(reference, name).__module__.startswith("reference.")


def test_the_parameters_are_the_same_pytree() -> None:
    assert manual_nn.Dense is reference.Dense


def test_rowwise_has_the_signature_of_loss_and_grad_but_for_what_goes_row_by_row_anyway() -> None:
    rowwise = parameters_of(manual_nn.rowwise.loss_and_grad)
    batched = parameters_of(manual_nn.loss_and_grad)
    assert rowwise == [part for part in batched if part[0] not in {"chunk_size", "workspace"}]


@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 2**32 - 1),
)
@example(sizes=[784, 256, 10], dtype=np.float32, seed=0)
@example(sizes=[668, 1], dtype=np.float64, seed=0)  # (2 / 669) ** 0.5 is not sqrt(2 / 669)
@example(sizes=[1, 2, 1336], dtype=np.float64, seed=0)  # the same of 4 / 1338
def test_init_params_draws_the_same_bits(
    sizes: Sequence[int], dtype: npt.DTypeLike, seed: int
) -> None:
    rng, reference_rng = np.random.default_rng(seed), np.random.default_rng(seed)
    params = manual_nn.init_params(sizes, rng=rng, dtype=dtype)
    reference_params = reference.init_params(sizes, rng=reference_rng, dtype=dtype)
    assert type(params) is type(reference_params)
    for layer, reference_layer in zip(params, reference_params, strict=True):
        assert type(layer) is type(reference_layer)
        for array, reference_array in zip(layer, map(np.asarray, reference_layer), strict=True):
            assert array.dtype == reference_array.dtype == dtype
            assert array.shape == reference_array.shape
            assert array.tobytes() == reference_array.tobytes()
    assert rng.bit_generator.state == reference_rng.bit_generator.state
