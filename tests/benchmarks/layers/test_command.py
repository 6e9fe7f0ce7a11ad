"""The command measures, keeps what it has found, and writes the pages."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from benchmarks.layers import __main__ as command
from benchmarks.layers import pages, proofs, timings
from manual_nn.layers import rms_norm
from manual_nn.layers.rms_norm import RMSNorm
from reference.layers import rms_norm as twin
from tests.support.layer_proof import Subject


def test_it_renews_what_it_is_asked_for_and_keeps_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(command.FIGURES.read_text("utf-8"))
    monkeypatch.setattr(command, "FIGURES", tmp_path / "layers.json")
    monkeypatch.setattr(pages, "LAYERS", tmp_path)
    before = {"relu": found["relu"], "squared_error": found["squared_error"]}
    (tmp_path / "layers.json").write_text(json.dumps(before), "utf-8")
    for name in before:
        (tmp_path / f"{name}.md").write_text(f"# {name}\n", "utf-8")
    arguments = ["--layers", "squared_error", "--parts", "speed", "--rounds", "2"]
    assert command.main(arguments) == 0
    after = json.loads((tmp_path / "layers.json").read_text("utf-8"))
    assert after["relu"] == before["relu"]
    assert after["squared_error"]["proof"] == before["squared_error"]["proof"]
    speed = after["squared_error"]["speed"]
    assert speed["fields"] == ["error"]
    assert speed["kept"]["ours"] == 4 * 512 * 768
    over = {part: set(one["over"]["ours"]) for part, one in speed["timings"].items()}
    assert over == dict.fromkeys(("forward", "backward", "both"), {*speed["kept"]} - {"ours"})
    assert capsys.readouterr().out.count("[squared_error](squared_error.py)") == 1
    for name in before:
        assert "\n| both | " in (tmp_path / f"{name}.md").read_text("utf-8")


def test_both_passes_take_the_sum_of_their_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    def interleave(
        calls: dict[str, object], rounds: int, *, threads: int
    ) -> dict[str, list[float]]:
        assert threads == 1
        return {name: [3.0 if "JAX" in name else 1.0] * rounds for name in calls}

    monkeypatch.setattr(timings, "interleave", interleave)
    found = timings.measure("squared_error", rounds=2)["timings"]["both"]
    assert found["seconds"]["ours"]["median"] == 2
    assert found["over"]["ours"]["JAX"]["median"] == 3


def test_two_rounds_are_needed_for_quartiles(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--rounds", "1"])
    assert "--rounds must be at least 2" in capsys.readouterr().err


def test_the_draws_are_those_of_the_test_of_the_layer() -> None:
    drawn = proofs.draws_of("rms_norm")
    assert drawn
    assert all((one.layer, one.twin) == (rms_norm, twin) for one in drawn)
    rng = np.random.default_rng(0)
    (weight,), x = drawn[-1].subject.arguments(lambda *shape: np.ones(shape), rng)
    assert weight.shape == x.shape[-1:]


def test_a_wrong_gradient_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def off(params: Any, kept: Any, d_out: Any) -> Any:
        d_params, d_x = rms_norm.backward(params, kept, d_out)
        if d_x.dtype == np.float32:
            d_x *= d_x.dtype.type(1.001)
        return d_params, d_x

    layer = ModuleType("off")
    layer.__dict__.update(forward=rms_norm.forward, backward=off)
    subject = Subject(lambda draw, _: (RMSNorm(draw(4)), draw(3, 4)), {"eps": 1e-3})
    drawn = proofs.Drawn(layer, twin, subject, seed=0)
    monkeypatch.setattr(proofs, "draws_of", lambda _: [drawn])
    found = proofs.measure("rms_norm", draws=1)
    assert found["shapes"] == 1
    assert found["cases"] == 5 * 2  # kinds of numbers, precisions
    assert 2 <= found["wrong"] <= 5
    assert found["sigmas"]["float64"] < 6
    assert 0 < found["median"]["float64"] < found["median"]["float32"] < 1e-4
