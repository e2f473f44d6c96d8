"""What every optimiser of the registry must do, and how another one is used."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.errors import SettingsError
from quant_assets.portfolio import optimisers
from quant_assets.portfolio.optimisers import OPTIMISERS, Optimiser
from quant_assets.portfolio.weights import sector_weights
from quant_assets.settings.weights import WeightSettings

JUNE = date(2016, 6, 30)


def chosen(count: int, volatility: np.ndarray | None = None) -> pl.DataFrame:
    """Names as an optimiser gets them."""
    rng = np.random.default_rng(count)
    scores = pl.Series(np.sort(rng.normal(size=count))[::-1])
    known = pl.Series(volatility if volatility is not None else rng.uniform(0.05, 0.9, count))
    return pl.DataFrame({"ticker": [f"T{i:02d}" for i in range(count)], "as_of": [JUNE] * count}).with_columns(
        score=scores, prediction=scores, composite_score=scores, volatility=known.cast(pl.Float64)
    )


@pytest.mark.parametrize("count", [1, 2, 10, 60])
@pytest.mark.parametrize("method", OPTIMISERS)
def test_weights_are_positive_sum_to_one_and_follow_the_names(method: str, count: int) -> None:
    settings, names = WeightSettings(method=method), chosen(count)
    weights = OPTIMISERS[method](names, settings)
    assert weights.shape == (count,)
    assert (weights > 0).all()
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    order = np.random.default_rng(1).permutation(count)
    np.testing.assert_allclose(OPTIMISERS[method](names[order], settings), weights[order], rtol=1e-12)


@pytest.mark.parametrize("method", OPTIMISERS)
def test_without_any_volatility_there_are_weights(method: str) -> None:
    nothing = chosen(4).with_columns(volatility=pl.lit(None, pl.Float64))
    weights = OPTIMISERS[method](nothing, WeightSettings(method=method))
    assert np.isfinite(weights).all()
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)


def test_the_setting_chooses_and_the_cap_comes_after(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_rank(chosen: pl.DataFrame, settings: WeightSettings) -> np.ndarray:
        assert chosen["ticker"].to_list() == ["C", "B", "A"], "best first"
        return np.array([0.6, 0.3, 0.1])

    registered: dict[str, Optimiser] = {**OPTIMISERS, "by_rank": by_rank}
    monkeypatch.setattr(optimisers, "OPTIMISERS", registered)
    keys = {"ticker": ["A", "B", "C"], "as_of": [JUNE] * 3}
    candidates = pl.DataFrame({**keys, "candidate_type": ["long"] * 3, "composite_score": [1.0, 2.0, 3.0]})
    predictions = pl.DataFrame(
        schema={"ticker": pl.String, "date": pl.Date, "horizon": pl.Int32, "prediction": pl.Float64}
    )
    indicators = pl.DataFrame({"ticker": ["A"], "date": [JUNE], "garch_volatility": [0.2]})
    settings = WeightSettings(method="by_rank", max_weight=0.5)
    found = sector_weights(candidates, predictions, indicators, [JUNE], settings).sort("rank")
    assert found["ticker"].to_list() == ["C", "B", "A"]
    assert found["weight"].to_list() == pytest.approx([0.5, 0.375, 0.125])


def test_an_unknown_method_names_those_there_are() -> None:
    with pytest.raises(SettingsError, match=r"weights\.method: .*'best'; choose among inverse_volatility"):
        optimisers.optimiser("best")
