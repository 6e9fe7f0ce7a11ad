"""A model's file holds what it takes to use it, and what is wrong in it is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import manual_nn
from manual_nn.files.models import CURVES, Model, load_model, save_model
from manual_nn.files.parameters import load_params, save_params
from manual_nn.files.scaling import fit_scaling
from manual_nn.files.sources import Source
from tests.support.bits import same_bits
from tests.support.cases import each

MODEL = Model(
    manual_nn.init_params([6, 4, 3], rng=np.random.default_rng(0), dtype=np.float32),
    fit_scaling("standardise", np.random.default_rng(0).normal(size=(5, 6))),
    classes=("ash", "elm", "oak"),
    features=tuple("abcdef"),
    image_shape=(2, 3),
    source=Source("flowers.csv", target="kind", drop=("id",), image_shape=(2, 3)),
    fingerprint="0123",
    settings={"epochs": 2, "scaling": None},
    curves={name: [0.5, 0.25] for name in CURVES},
    stopped_early=True,
)


@pytest.mark.parametrize(
    "model", [MODEL, MODEL._replace(features=None, image_shape=None, fingerprint=None)]
)
def test_what_is_saved_is_loaded(tmp_path: Path, model: Model) -> None:
    save_model(tmp_path / "model.npz", model)
    loaded = load_model(tmp_path / "model.npz")
    assert same_bits(loaded.params, model.params)
    assert loaded.scaling.as_json() == model.scaling.as_json()
    assert loaded[2:] == model[2:]


@each(
    ("changes", "reason"),
    [
        ({"classes": None}, "classes must be 3 different names, got None"),
        ({"classes": ["a", "b"]}, "classes must be 3 different names"),
        ({"classes": ["a", "b", "a"]}, "classes must be 3 different names"),
        ({"classes": ["a", "b", 1]}, "classes must be 3 different names"),
        ({"features": ["a"]}, "features must be 6 different names"),
        ({"image_shape": [6, 2]}, r"image_shape must be sides that fit 6 inputs, got \[6, 2\]"),
        ({"image_shape": [2.0, 3]}, "image_shape must be sides"),
        ({"image_shape": [-2, -3]}, "image_shape must be sides"),
        ({"image_shape": 6}, "image_shape must be sides"),
        ({"settings": []}, "settings must be a JSON object"),
        ({"curves": {"train_loss": []}}, "curves must be train_loss, train_acc"),
        ({"curves": {name: [1] for name in MODEL.curves}}, "train_loss must be a list of numbers"),
        ({"stopped_early": 1}, "stopped_early must be true or false"),
        ({"fingerprint": 1}, "fingerprint must be a string"),
        ({"scaling": {}}, "scaling must have"),
        ({"source": {}}, "source must have"),
    ],
)
def test_wrong_metadata_are_named(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    path = tmp_path / "model.npz"
    save_model(path, MODEL)
    params, facts = load_params(path)
    save_params(path, params, **facts | changes)
    with pytest.raises(ValueError, match=f"model.npz: wrong metadata: {reason}"):
        load_model(path)


def test_other_files_of_parameters_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    save_params(path, MODEL.params, scaling=MODEL.scaling.as_json())
    with pytest.raises(ValueError, match=r"model.npz: .* there is no classes, .*`manual-nn train`"):
        load_model(path)
    save_params(path, MODEL.params, checkpoint={})
    with pytest.raises(ValueError, match=r"model.npz: it is a checkpoint, not a model"):
        load_model(path)
