"""Every layer is among the losses that mistakes are planted in."""

import jax
import numpy as np

from benchmarks.soundness.layer_losses import LAYERS, WITH_OPTIONS
from benchmarks.soundness.losses import Draw
from tests.support.cases import each
from tests.support.project import ROOT


def test_the_layers_are_those_of_manual_nn() -> None:
    layers = {path.stem for path in (ROOT / "reference" / "layers").glob("[!_]*.py")}
    assert set(LAYERS) == layers


@each("name", LAYERS | WITH_OPTIONS)
def test_every_layer_is_differentiated_with_respect_to_its_places(name: str) -> None:
    function, arguments, places = (LAYERS | WITH_OPTIONS)[name]
    args = arguments(Draw(np.random.default_rng(0), "normal"))
    gradients = jax.eval_shape(jax.grad(function, places), *args)
    assert [g.shape for g in gradients] == [args[place].shape for place in places]
