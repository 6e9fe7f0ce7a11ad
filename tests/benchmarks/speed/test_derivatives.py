"""The derivatives are timed in every way that there is, and what is compiled is."""

import pytest

from benchmarks.speed import derivatives
from tests.support.bits import same_bits
from tests.support.compiled import PRODUCTS


def test_every_way_has_a_column_and_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derivatives, "PRODUCTS", {"hvp": derivatives.PRODUCTS["hvp"]})
    (result,) = derivatives.measure((6, 5, 3), 4, rounds=2, threads=1)
    cells = result.cells()
    assert cells[:3] == ["hvp", "6-5-3", "4"]
    assert len(cells) == len(derivatives.HEADINGS)
    assert all(cells)
    assert "JAX takes " in derivatives.summary([result])
    assert derivatives.summary([result]).count("compiled") == 2
    over = dict(result.timings.over)
    assert over["floor"][derivatives.XLA].median > 0
    figure = over["compiled"]["JAX"]
    for by_jax, words in ((0.5, "- hvp, 6-5-3, 4 rows: JAX / compiled 0.5, "), (2, "in none")):
        over["compiled"] = over["compiled"] | {"JAX": figure._replace(median=by_jax)}
        ahead = result._replace(timings=result.timings._replace(over=over))
        assert words in derivatives.limits([ahead])
    ways = derivatives.quantities((6, 5, 3), 4)
    assert ways["compiled"].keys() < ways["hand"].keys() == ways["JAX"].keys()
    for way in ("hand", "compiled"):  # neither allocates its results anew
        for name in ("hvp", "ggnvp"):
            run = ways[way][name]
            assert run()[0].weight is run()[0].weight
    for name in ("jvp", "hvp", "ggnvp"):
        by_itself = getattr(PRODUCTS, name)(*derivatives.inputs((6, 5, 3), 4))
        assert same_bits(ways["compiled"][name](), by_itself)
