from collections.abc import Callable
from datetime import date

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.market import calendar
from quant_assets.market.quarantine import judge
from quant_assets.market.steps import STEP, with_steps

Make = Callable[..., pl.DataFrame]
DAYS = calendar.sessions(date(2020, 1, 1), date(2020, 12, 31))


def _steps(bars: pl.DataFrame) -> pl.DataFrame:
    return with_steps(judge(bars, DAYS))


def test_a_step_holds_splits_and_dividends_of_prices_as_traded(make_bars: Make) -> None:
    bars = make_bars(DAYS[:3], [100.0, 52.0, 26.0], split_ratio=[1.0, 2.0, 1.0], dividend=[3.0, 1.0, 0.0])
    result = _steps(bars)
    assert result["previous"].to_list() == [-1, 0, 1]
    np.testing.assert_allclose(result["growth"], [np.nan, 1.06, 0.5], rtol=1e-15)
    np.testing.assert_allclose(result["level"], [1.0, 1.06, 0.53], rtol=1e-15)
    np.testing.assert_allclose(result["shares"], [np.nan, 2.0, 1.0])
    np.testing.assert_allclose(result["cash"], [np.nan, 2.0, 0.0])  # on each share after the split


def test_adjusted_closes_already_hold_them(make_bars: Make) -> None:
    bars = make_bars(DAYS[:2], [100.0, 52.0], split_ratio=[1.0, 2.0], dividend=[0.0, 1.0], adjustment="total_return")
    result = _steps(bars)
    assert result["growth"][1] == 0.52
    assert result.select("shares", "cash").row(1) == (2.0, 1.0)


def test_closes_adjusted_for_splits_alone_hold_them_but_no_dividends(make_bars: Make) -> None:
    # As traded: 100, then two for one, 51 and a dividend of 1, then 26 and two for one with a dividend of 0.5.
    traded = make_bars(DAYS[:3], [100.0, 51.0, 26.0], split_ratio=[1.0, 2.0, 2.0], dividend=[0.0, 1.0, 0.5])
    adjusted = make_bars(
        DAYS[:3],
        [25.0, 25.5, 26.0],
        split_ratio=[1.0, 2.0, 2.0],
        dividend=[0.0, 0.5, 0.5],
        adjustment="split_adjusted",
    )
    result = _steps(adjusted)
    np.testing.assert_allclose(result["growth"][1:], [26.0 / 25.0, 26.5 / 25.5], rtol=1e-15)
    np.testing.assert_allclose(result["growth"], _steps(traded)["growth"], rtol=1e-15)
    assert result["shares"][1:].to_list() == [2.0, 2.0]
    # Those of a refused bar are of the same shares, however many splits follow.
    lost = adjusted.with_columns(volume=pl.when(pl.col("date") == DAYS[1].item()).then(-1.0).otherwise("volume"))
    assert _steps(lost)["growth"][2] == pytest.approx((26.0 + 1.0) / 25.0)


def test_events_of_a_refused_bar_are_carried_and_a_repeated_row_pays_once(make_bars: Make) -> None:
    bars = make_bars(
        DAYS[:4], [100.0, 50.0, 25.0, 25.0], split_ratio=[1.0, 2.0, 2.0, 1.0], dividend=[0.0, 3.0, 1.0, 0.0]
    )
    refused = pl.col("date") == DAYS[1].item()
    bars = bars.with_columns(high=pl.when(refused).then(1.0).otherwise("high"))
    result = _steps(pl.concat([bars, bars.filter(pl.col("date") == DAYS[2].item())]))
    kept = result.filter(pl.col("reason").is_null())
    assert kept["previous"].to_list() == [-1, 0, 2]  # the refused bar stands between
    np.testing.assert_allclose(kept["growth"][1:], [(4 * 25.0 + 6.0 + 4.0) / 100.0, 1.0])
    assert np.isnan(
        result.filter(pl.col("reason").is_not_null()).select("shares", "cash", "growth", "level").to_numpy()
    ).all()


def test_each_provider_and_ticker_goes_its_own_way(make_bars: Make) -> None:
    one = make_bars(DAYS[:5], [10.0, 11.0, 12.0, 13.0, 14.0])
    other = make_bars(DAYS[:5], [20.0, None, 30.0, 40.0, 50.0], precedence=3, provider="other")
    second = one.with_columns(
        ticker=pl.lit("B"), close=pl.col("close") * 1.5, open=None, high=pl.col("high") * 1.5, low=pl.col("low") * 1.5
    )
    second = second.with_columns(open="close")
    together = _steps(pl.concat([second, other, one]))
    for ticker, provider, alone in (("A", "raw", one), ("A", "other", other), ("B", "raw", second)):
        mine = together.filter((pl.col("ticker") == ticker) & (pl.col("provider") == provider))
        assert_frame_equal(mine.drop("previous"), _steps(alone).drop("previous"), check_exact=True)
        assert together["date"].gather(mine["previous"][1:]).to_list() == alone["date"].to_list()[:-1]
    assert set(STEP) < set(together.columns)
