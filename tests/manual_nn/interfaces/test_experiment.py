"""A training run divides, scales and trains as documented, from one seed."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from manual_nn.files.data_sets import Dataset, split_validation
from manual_nn.files.scaling import fit_scaling
from manual_nn.interfaces.experiment import Settings, prepare, start_training
from manual_nn.models.mlp import init_params
from manual_nn.training.early_stopping import EarlyStopping
from manual_nn.training.loop import train
from tests.support.bits import same_bits


def tiny(image_shape: tuple[int, ...] | None = (2, 5)) -> Dataset:
    """Make data that a network learns in no time."""
    X, y = np.eye(10).repeat(4, axis=0) * 3, np.arange(10).repeat(4)
    return Dataset("tiny", X, y, X, y, tuple("0123456789"), image_shape=image_shape)


QUICK = Settings(hidden=(), epochs=3, early_stopping=None, dtype="float64")


def test_a_training_shows_no_progress_and_resumes_nothing_unless_asked_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "checkpoint.npz"
    results = start_training(prepare(tiny(), QUICK), QUICK)
    assert [len(result.history) for result in results] == [1, 2, 3]
    assert capsys.readouterr() == ("", "")
    list(start_training(prepare(tiny(), QUICK), QUICK, checkpoint=path))
    with pytest.raises(FileExistsError):
        list(start_training(prepare(tiny(), QUICK), QUICK, checkpoint=path))
    prepared = prepare(tiny(), QUICK)
    assert len(list(start_training(prepared, QUICK, checkpoint=path, resume=True))) == 1


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", ["divide", "standardise"])
def test_one_generator_draws_the_split_the_parameters_and_the_batches(seed: int, kind: str) -> None:
    dataset = tiny()
    settings = dataclasses.replace(
        QUICK, hidden=(3,), batch_size=5, seed=seed, scaling=kind, validation_fraction=0.3
    )
    prepared = prepare(dataset, settings)
    *_, got = start_training(prepared, settings)
    rng = np.random.default_rng(seed)
    X, y, X_val, y_val = split_validation(dataset.X_train, dataset.y_train, fraction=0.3, rng=rng)
    scaling = fit_scaling(kind, X)  # by the rows trained on alone
    assert X_val is not None
    want = train(
        init_params([10, 3, 10], rng=rng),
        scaling.apply(X, dtype=np.float64),
        y,
        scaling.apply(X_val, dtype=np.float64),
        y_val,
        batch_size=5,
        epochs=3,
        early_stopping=None,
        rng=rng,
    )
    assert prepared.scaling.as_json() == scaling.as_json()
    assert got.history == want.history
    assert same_bits(got.params, want.params)


def test_images_are_divided_and_others_standardised_unless_something_else_is_said() -> None:
    assert prepare(tiny(), QUICK).scaling.kind == "divide"
    assert prepare(tiny(None), QUICK).scaling.kind == "standardise"
    assert prepare(tiny(), dataclasses.replace(QUICK, scaling="none")).scaling.kind == "none"


def test_there_may_be_no_rows_to_validate_with() -> None:
    settings = dataclasses.replace(QUICK, validation_fraction=0)
    prepared = prepare(tiny(), settings)
    assert (len(prepared.X_train), prepared.X_val, prepared.y_val) == (40, None, None)
    *_, last = start_training(prepared, settings)
    assert (len(last.history), last.history.val_loss) == (3, [])


def test_a_width_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match="each width of hidden must be at least 1, got 0"):
        prepare(tiny(), dataclasses.replace(QUICK, hidden=(5, 0)))


def test_the_settings_are_those_of_the_documented_results_and_stay_so() -> None:
    settings = Settings(
        hidden=(256,),
        batch_size=32,
        learning_rate=0.1,
        weight_decay=1e-4,
        epochs=30,
        early_stopping=EarlyStopping(),
        validation_fraction=0.15,
        scaling=None,
        seed=0,
        dtype="float32",
    )
    assert settings == Settings()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.seed = 1  # type: ignore[misc] # on purpose
