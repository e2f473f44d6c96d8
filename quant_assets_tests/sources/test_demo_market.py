"""The returns of the simulated market: tails, clustering, and the planted signal, found where it is and absent where
not."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.market import calendar
from quant_assets.settings.providers import DemoSettings
from quant_assets.sources.demo_draws import FloatArray
from quant_assets.sources.demo_events import ORIGIN, WARM_UP
from quant_assets.sources.demo_market import HALF_LIFE, Market, simulate
from quant_assets.sources.demo_reports import statements

END, HORIZON = date(2026, 10, 30), 20


@pytest.fixture(scope="module")
def world() -> Market:
    return simulate(DemoSettings(), calendar.sessions(WARM_UP, END))


@pytest.fixture(scope="module")
def without_signal() -> Market:
    return simulate(DemoSettings(signal_strength=0.0), calendar.sessions(WARM_UP, END))


@pytest.fixture(scope="module")
def returns(world: Market) -> FloatArray:
    """Log returns of the tickers that never crash, from the first bar on."""
    kept = world.schedule.crash >= len(world.sessions)
    return world.log_return[np.searchsorted(world.sessions, np.datetime64(ORIGIN)) :, kept]


def autocorrelation(values: FloatArray, lag: int) -> float:
    centred = values - values.mean(axis=0)
    return float(((centred[lag:] * centred[:-lag]).mean(axis=0) / centred.var(axis=0)).mean())


def test_returns_have_the_size_of_stock_returns(returns: FloatArray) -> None:
    annual = returns.std(axis=0) * np.sqrt(252)
    assert 0.2 < np.median(annual) < 0.3
    assert 0.1 < annual.min() < annual.max() < 0.6
    assert 0.09 < returns.mean(axis=1).std() * np.sqrt(252) < 0.2
    assert 0.25 < np.median(np.corrcoef(returns.T)[np.triu_indices(returns.shape[1], 1)]) < 0.5


def test_returns_have_fat_tails_and_clustered_volatility(returns: FloatArray) -> None:
    centred = returns - returns.mean(axis=0)
    kurtosis = (centred**4).mean(axis=0) / centred.var(axis=0) ** 2
    assert np.median(kurtosis) > 4
    assert (kurtosis > 3.3).mean() > 0.95
    assert autocorrelation(np.abs(returns), 1) > 0.08
    assert autocorrelation(np.abs(returns), 20) > 0.04
    assert abs(autocorrelation(returns, 1)) < 0.05
    shuffled = np.random.default_rng(0).permuted(np.abs(returns), axis=0)
    assert abs(autocorrelation(shuffled, 1)) < 0.01


def test_characteristic_moves_slowly_with_unit_variance(world: Market) -> None:
    assert 0.9 < world.characteristic.std() < 1.1
    ahead = np.corrcoef(world.characteristic[:-HALF_LIFE].ravel(), world.characteristic[HALF_LIFE:].ravel())[0, 1]
    assert 0.4 < ahead < 0.6


def known_return_on_equity(world: Market) -> FloatArray:
    """Net income of the last four quarters over equity as known at each close, shape (n_sessions, n_tickers)."""
    given = (
        statements(world).filter(pl.col("version") == 0, pl.col("published").is_not_null()).sort("ticker", "period_end")
    )
    four = given.with_columns(
        value=pl.col("net_income").rolling_sum(4).over("ticker") / pl.col("total_equity"),
        ticker=pl.col("ticker").cast(pl.Enum(world.tickers)),
    )
    rows = pl.DataFrame({"date": world.sessions}).join(pl.DataFrame({"ticker": world.tickers}), how="cross")
    rows = rows.with_columns(pl.col("date").cast(pl.Date), pl.col("ticker").cast(pl.Enum(world.tickers)))
    # Strictly before the session: published on the day before at the latest.
    known = rows.sort("date").join_asof(
        four.sort("published"),
        left_on="date",
        right_on="published",
        by="ticker",
        allow_exact_matches=False,
        check_sortedness=False,
    )
    return known.sort("date", "ticker")["value"].to_numpy().reshape(len(world.sessions), len(world.tickers))


def rank_ics(world: Market, score: FloatArray, sectors: list[str] | None = None) -> FloatArray:
    """Rank IC within each sector, every 20 sessions, against the return from t+1 to t+21; shape (n_dates,
    n_sectors)."""
    total = np.cumsum(world.log_return, axis=0)
    first, found = int(np.searchsorted(world.sessions, np.datetime64(ORIGIN))), []
    names = np.array(world.sectors)
    for t in range(first, len(world.sessions) - HORIZON - 1, HORIZON):
        forward = total[t + 1 + HORIZON] - total[t + 1]
        usable = world.traded[t] & np.isfinite(score[t])
        row = []
        for sector in sectors or list(dict.fromkeys(world.sectors)):
            chosen = usable & (names == sector)
            ranks = [values[chosen].argsort().argsort() for values in (score[t], forward)]
            row.append(np.corrcoef(*ranks)[0, 1])
        found.append(row)
    return np.array(found)


def mean_and_error(ics: FloatArray) -> tuple[float, float]:
    return float(ics.mean()), float(ics.std() / np.sqrt(ics.size))


def test_planted_signal_is_found_with_the_documented_strength(world: Market) -> None:
    mean, error = mean_and_error(rank_ics(world, world.characteristic))
    assert mean == pytest.approx(0.373, abs=0.01), "restate the figure in the docstring of DemoSource"
    assert error < 0.01
    mean, error = mean_and_error(rank_ics(world, known_return_on_equity(world)))
    assert mean == pytest.approx(0.266, abs=0.01), "restate the figure in the docstring of DemoSource"
    # Two sectors over four years are enough to see it, in published figures alone.
    mean, error = mean_and_error(rank_ics(world, known_return_on_equity(world), ["healthcare", "it"])[-50:])
    assert mean > 6 * error


def test_signal_shows_a_little_in_past_returns(world: Market, without_signal: Market) -> None:
    for market, expected in ((world, True), (without_signal, False)):
        total = np.cumsum(market.log_return, axis=0)
        past = np.full_like(total, np.nan)
        past[120:] = total[120:] - total[:-120]
        mean, error = mean_and_error(rank_ics(market, past))
        assert (mean > 6 * error) is expected
        assert expected or abs(mean) < 2 * error


def test_without_strength_nothing_is_planted(without_signal: Market) -> None:
    for score in (without_signal.characteristic, known_return_on_equity(without_signal)):
        mean, error = mean_and_error(rank_ics(without_signal, score))
        assert abs(mean) < 2 * error
        assert error < 0.01


def test_strength_changes_nothing_but_the_expected_return(world: Market, without_signal: Market) -> None:
    assert np.array_equal(world.characteristic, without_signal.characteristic)
    assert np.array_equal(world.traded, without_signal.traded)
    planted = np.diff(world.log_return - without_signal.log_return, axis=0)
    drift = DemoSettings().signal_strength * np.diff(world.characteristic, axis=0)
    # The characteristic at the close of t - 1 drives the return of t.
    assert np.allclose(planted[1:], drift[:-1], atol=1e-12)


def test_shuffled_characteristic_predicts_nothing(world: Market) -> None:
    order = np.random.default_rng(1).permutation(len(world.tickers))
    mean, error = mean_and_error(rank_ics(world, world.characteristic[:, order]))
    assert abs(mean) < 3 * error
