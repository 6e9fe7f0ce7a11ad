"""Arrays of another library go into the classifier and come out of it, with NumPy's numbers."""

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import array_api_strict as xp
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.utils import get_tags
from sklearn.utils._array_api import move_estimator_to

from manual_nn import BackpropClassifier
from manual_nn.interfaces.namespaces import as_numpy, as_those_of, name_of
from reference.arrays import Array
from tests.support.bits import same_bits

# Networks here are trained for too short a time to learn anything.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X, Y, WEIGHT = RNG.normal(size=(12, 3)), np.arange(12) % 3, RNG.integers(1, 4, size=12) * 1.0
LABELS = np.array(["ash", "elm", "oak"])[Y]
ELSEWHERE = xp.Device("device1")  # whose arrays cannot be made NumPy's just so
METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")


def there(array: Array) -> Any:
    return xp.asarray(array, device=ELSEWHERE)


@pytest.fixture(autouse=True)
def dispatching(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have scikit-learn take arrays of any library."""
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    with config_context(array_api_dispatch=True):
        yield


def classifier(**parameters: Any) -> BackpropClassifier:
    return BackpropClassifier((4,), max_iter=2, random_state=0, **parameters)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("y", [Y, Y.astype(float), Y == 1, np.eye(3, dtype=int)[Y]], ids=str)
def test_results_are_numpy_s_in_the_library_and_on_the_device_of_the_rows(
    dtype: type, y: Array
) -> None:
    rows: Array = X.astype(dtype)
    want = classifier(standardize=True, early_stopping=True, validation_fraction=0.3)
    got = copy.deepcopy(want).fit(there(rows), there(y), sample_weight=there(WEIGHT))
    want.fit(rows, y, sample_weight=WEIGHT)
    for turn in range(2):
        assert same_bits(got.params_, want.params_)
        for method in METHODS:
            result, expected = getattr(got, method)(there(rows)), getattr(want, method)(rows)
            assert result.device == ELSEWHERE
            assert as_numpy(result).dtype == expected.dtype
            assert as_numpy(result).tobytes() == expected.tobytes()
        assert got.score(there(rows), there(y)) == want.score(rows, y)
        if turn == 0:
            got.partial_fit(there(rows), there(y))
            want.partial_fit(rows, y)


def test_a_stream_may_be_elsewhere_from_the_first_call_on() -> None:
    got = classifier().partial_fit(there(X), there(Y), classes=there(np.arange(3)))
    assert same_bits(got.params_, classifier().partial_fit(X, Y, classes=range(3)).params_)


def test_classes_that_are_strings_remain_numpy_s() -> None:
    fitted = classifier().fit(there(X), LABELS)
    assert isinstance(fitted.predict(there(X)), np.ndarray)
    assert set(fitted.predict(there(X))) <= set(LABELS)
    assert fitted.predict_proba(there(X)).device == ELSEWHERE


@pytest.mark.parametrize("method", METHODS)
def test_a_network_is_moved_before_it_takes_rows_from_elsewhere(method: str) -> None:
    fitted = classifier().fit(X, Y)
    said = rf"BackpropClassifier\.{method}\(\) must use the same namespace .*numpy, got array_api_"
    with pytest.raises(ValueError, match=said):
        getattr(fitted, method)(there(X))
    moved = move_estimator_to(fitted, xp, ELSEWHERE)
    assert (
        as_numpy(getattr(moved, method)(there(X))).tobytes() == getattr(fitted, method)(X).tobytes()
    )
    for rows in (X, xp.asarray(X), X.tolist()):
        with pytest.raises(ValueError, match="must use the same namespace"):
            getattr(moved, method)(rows)
    moved.partial_fit(X, Y)  # which leaves the first as it was
    assert fitted.n_iter_ == moved.n_iter_ - 1 == 2


def test_without_dispatch_there_is_numpy_alone() -> None:
    fitted = classifier().fit(there(X), there(Y))
    with config_context(array_api_dispatch=False):
        assert isinstance(fitted.predict(xp.asarray(X)), np.ndarray)
        assert name_of(xp.asarray(X)) == name_of(X) == "numpy"
        assert as_numpy(fitted) is fitted


def test_a_network_from_elsewhere_can_be_pickled() -> None:
    fitted = classifier().fit(there(X), there(Y))
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301, our own
    assert as_numpy(again.predict(there(X))).tolist() == as_numpy(fitted.predict(there(X))).tolist()


def test_what_is_no_array_of_another_library_is_left_as_it_is() -> None:
    for value in (None, X, X.tolist(), pd.DataFrame(X), sparse.csr_array(X), LABELS.tolist()):
        assert as_numpy(value) is value
        assert name_of(value) == "numpy"
        assert as_those_of(value, X) is X


def test_its_tags_say_that_it_takes_them() -> None:
    assert get_tags(classifier()).array_api_support
