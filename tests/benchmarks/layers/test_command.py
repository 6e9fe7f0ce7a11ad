"""The command measures, keeps what it has found, and writes the pages."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks.layers import __main__ as command
from benchmarks.layers import pages, proofs, timings
from manual_nn.layers import rms_norm


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


def test_a_wrong_gradient_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """At two of the shapes that the layer's own test draws, none of them of one element."""
    drawn = [one for one in proofs.draws_of("rms_norm") if one.layer is rms_norm][:2]
    assert len(drawn) == 2
    monkeypatch.setattr(proofs, "draws_of", lambda _: drawn)
    right = proofs.measure("rms_norm", draws=1)
    assert right["shapes"] == 2
    assert right["cases"] == 2 * 5 * 2
    assert right["wrong"] == 0
    assert 0 < right["median"]["float64"] < right["median"]["float32"] < 1e-4

    def off(params: Any, kept: Any, d_out: Any) -> Any:
        d_params, d_x = rms_norm.backward(params, kept, d_out)
        return d_params, d_x * d_x.dtype.type(1.001)

    layer = ModuleType("off")
    layer.__dict__.update(forward=rms_norm.forward, backward=off)
    monkeypatch.setattr(proofs, "draws_of", lambda _: [one._replace(layer=layer) for one in drawn])
    assert proofs.measure("rms_norm", draws=1)["wrong"] > 0
