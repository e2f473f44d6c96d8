"""Weights that depend on the sessions before: every optimiser and book, bulk and single, turnover, what is refused."""

from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.errors import HistoryError, InfeasibleError
from quant_assets.market.calendar import decision_sessions, sessions
from quant_assets.portfolio.book import TOTALS
from quant_assets.portfolio.history import History, lookback_sessions, needs_history, needs_previous
from quant_assets.portfolio.optimisers import OPTIMISERS
from quant_assets.portfolio.weights import sector_weights
from quant_assets.settings.weights import ConstraintSettings, CovarianceSettings, WeightSettings

FIRST, LAST = date(2015, 1, 2), date(2016, 6, 30)
DAYS = sessions(FIRST, LAST)
AS_OFS = decision_sessions(date(2016, 3, 1), LAST)
NAMES = [f"N{at:02d}" for at in range(16)]
ESTIMATE = CovarianceSettings(sessions=120, min_observations=40)


def _market() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Prices, universe and indicators of sixteen names, one of which is listed late and one has holes."""
    rng = np.random.default_rng(1)
    common = rng.normal(0.0, 0.01, len(DAYS))
    parts = []
    for at, name in enumerate(NAMES):
        steps = common * rng.uniform(0.6, 1.4) + rng.normal(0.0002, rng.uniform(0.005, 0.02), len(DAYS))
        there = np.ones(len(DAYS), dtype=bool)
        there[: len(DAYS) - 80 if at == 3 else 0] = False
        if at == 5:
            there[40::7] = False
        close, days = 50.0 * np.exp(np.cumsum(steps)), pl.Series(DAYS[there], dtype=pl.Date)
        parts.append(
            pl.DataFrame({"date": days}).with_columns(
                ticker=pl.lit(name), panel_from="date", close=pl.Series(close[there]), unexplained=pl.lit(False)
            )
        )
    prices = pl.concat(parts)
    universe = prices.select("ticker", "date")
    volatility = pl.Series(rng.uniform(0.1, 0.5, len(prices)))
    volume = pl.col("ticker").str.slice(1).cast(pl.Int64) * 1e5 + 1e5
    indicators = universe.with_columns(garch_volatility=volatility, dollar_volume=volume.cast(pl.Float64))
    return prices, universe, indicators


PRICES, UNIVERSE, INDICATORS = _market()


def _decisions() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Candidates of both sides at each decision, and predictions."""
    rng = np.random.default_rng(2)
    candidates, predictions = [], []
    for as_of in AS_OFS:
        order = rng.permutation(len(NAMES)).tolist()
        sides = ["long"] * 7 + ["short"] * 6
        chosen = [NAMES[at] for at in order[: len(sides)]]
        rows = {"ticker": chosen, "as_of": [as_of] * len(sides), "candidate_type": sides}
        candidates.append(pl.DataFrame(rows).with_columns(composite_score=pl.Series(rng.normal(size=len(sides)))))
        said = {"ticker": chosen, "date": [as_of] * len(sides), "prediction": rng.normal(0.01, 0.03, len(sides))}
        predictions.append(
            pl.DataFrame(said).with_columns(horizon=pl.lit(20), confidence=pl.Series(rng.uniform(0, 1, len(sides))))
        )
    return pl.concat(candidates), pl.concat(predictions)


CANDIDATES, PREDICTIONS = _decisions()


def history(first: int = 0, last: date = LAST) -> History:
    days = DAYS[first : int(np.searchsorted(DAYS, np.datetime64(last), side="right"))]
    since = pl.col("date").is_between(days[0].item(), last)
    return History(*(each.filter(since) for each in (PRICES, UNIVERSE, INDICATORS)), days)


def decided(
    as_ofs: list[date], before: History | None = None, previous: pl.DataFrame | None = None, **more: Any
) -> pl.DataFrame:
    given = WeightSettings(**{"covariance": ESTIMATE, "max_weight": 0.6, **more})
    return sector_weights(CANDIDATES, PREDICTIONS, INDICATORS, as_ofs, given, before or history(), previous)


@pytest.mark.parametrize("book", TOTALS)
@pytest.mark.parametrize("method", OPTIMISERS)
def test_every_optimiser_fills_every_book(method: str, book: str) -> None:
    found = decided(AS_OFS[-1:], method=method, book=book)
    longs, shorts = (found.filter(pl.col("weight") > 0.0), found.filter(pl.col("weight") < 0.0))
    assert longs["weight"].sum() == pytest.approx(TOTALS[book][0][0], abs=1e-9)
    sold = -shorts["weight"].sum()
    assert TOTALS[book][1][0] - 1e-9 <= sold <= TOTALS[book][1][1] + 1e-9
    assert found["weight"].abs().max() <= 0.6 + 1e-9
    sides = CANDIDATES.filter(pl.col("as_of") == AS_OFS[-1])
    for side, rows in (("long", longs), ("short", shorts)):
        assert set(rows["ticker"]) <= set(sides.filter(pl.col("candidate_type") == side)["ticker"])
    assert sorted(found["rank"]) == [*range(1, len(found) + 1)]
    if len(shorts):
        assert longs["rank"].max() < shorts["rank"].min()
    if book == "beta_neutral":
        window = history().window(found["ticker"].to_list(), AS_OFS[-1], 120)
        betas = history().betas(window, 40)
        assert float(betas @ found["weight"].to_numpy()) == pytest.approx(0.0, abs=2e-6)
        assert np.ptp(betas) > 0.3


@pytest.mark.parametrize("estimator", ["dcc", "constant_correlation", "exponential", "factor", "sample"])
@pytest.mark.parametrize("method", ["equal_risk_contribution", "minimum_variance"])
def test_a_range_equals_its_months_byte_for_byte(method: str, estimator: str) -> None:
    more = {"method": method, "covariance": ESTIMATE.model_copy(update={"estimator": estimator}), "book": "130_30"}
    bulk = decided(AS_OFS, **more)
    needed = lookback_sessions(WeightSettings(**more))
    singles = []
    for as_of in AS_OFS:
        begin = int(np.searchsorted(DAYS, np.datetime64(as_of.replace(day=1)))) - needed
        singles.append(decided([as_of], history(begin, as_of), **more))
    assert bulk.equals(pl.concat(singles).sort("ticker", "as_of"))


def test_what_depends_on_the_decision_before_walks_the_months() -> None:
    more = {"method": "mean_variance", "turnover_penalty": 0.2, "constraints": ConstraintSettings(max_turnover=0.5)}
    bulk = decided(AS_OFS, **more)
    previous, singles = None, []
    for as_of in AS_OFS:
        previous = decided([as_of], history(0, as_of), previous, **more)
        singles.append(previous)
    assert bulk.equals(pl.concat(singles).sort("ticker", "as_of"))
    assert not bulk.equals(decided(AS_OFS, method="mean_variance", turnover_penalty=0.0))


def test_realised_turnover_is_within_its_cap_against_drifted_holdings() -> None:
    cap = 0.4
    limits = ConstraintSettings(max_turnover=cap, infeasible="cash")
    found = decided(AS_OFS, method="equal", constraints=limits)
    before = history()
    for earlier, later in pairwise(AS_OFS):
        held = dict(found.filter(pl.col("as_of") == earlier).select("ticker", "weight").iter_rows())
        now = dict(found.filter(pl.col("as_of") == later).select("ticker", "weight").iter_rows())
        drifted = before.drifted(held, earlier, later, 1)
        assert sum(drifted.values()) == pytest.approx(1.0, abs=1e-9)
        assert drifted != pytest.approx(held, abs=1e-4)
        traded = sum(abs(now.get(name, 0.0) - drifted.get(name, 0.0)) for name in {*now, *drifted})
        assert traded <= cap + 1e-6
        assert traded == pytest.approx(cap, abs=1e-4), "the candidates change by more than that"
        assert sum(now.values()) == pytest.approx(1.0, abs=1e-4)
    kept = found.filter(pl.col("score").is_null())
    assert len(kept)
    assert kept["volatility"].null_count() == 0


def test_names_that_left_the_sector_are_sold_and_are_an_error_where_that_is_too_much() -> None:
    previous = pl.DataFrame({"ticker": ["GONE", "N00"], "as_of": [AS_OFS[0]] * 2, "weight": [0.6, 0.4]})
    gone = PRICES.filter(pl.col("ticker") == "N01").with_columns(ticker=pl.lit("GONE"))
    before = History(pl.concat([PRICES, gone]), UNIVERSE, INDICATORS, DAYS)
    limits = ConstraintSettings(max_turnover=0.2, infeasible="error")
    with pytest.raises(InfeasibleError, match=r"max_turnover 0.2: names that have left the sector .* weigh 0\.[56]"):
        decided(AS_OFS[1:2], before, previous, method="equal", constraints=limits)
    loose = limits.model_copy(update={"infeasible": "cash"})
    found = decided(AS_OFS[1:2], before, previous, method="equal", constraints=loose)
    assert found["ticker"].to_list() == ["N00"], "nothing more is traded"


def test_prices_after_the_decision_change_nothing() -> None:
    as_of = AS_OFS[1]
    later = pl.when(pl.col("date") > as_of).then(pl.col("close") * 3.0).otherwise("close")
    altered = History(PRICES.with_columns(close=later), UNIVERSE, INDICATORS, DAYS)
    for method in ("equal_risk_contribution", "mean_cvar"):
        estimate = ESTIMATE.model_copy(update={"estimator": "dcc"})
        told = decided([as_of], method=method, covariance=estimate, book="beta_neutral")
        assert told.equals(decided([as_of], altered, method=method, covariance=estimate, book="beta_neutral"))


def test_bars_that_a_ticker_brought_along_count_from_its_move_on() -> None:
    moved = PRICES.with_columns(
        panel_from=pl.when(pl.col("ticker") == "N00")
        .then(pl.max_horizontal("date", pl.lit(AS_OFS[2])))
        .otherwise("date")
    )
    before = History(moved, UNIVERSE, INDICATORS, DAYS)
    assert np.isnan(before.window(["N00"], AS_OFS[1], 100).returns).all()
    assert np.isfinite(before.window(["N00"], AS_OFS[2], 100).returns).all()


def test_a_window_that_was_cut_off_is_an_error_and_one_without_earlier_prices_is_short() -> None:
    days = DAYS[250:]
    with pytest.raises(HistoryError, match="load the declared lookback"):
        History(PRICES, UNIVERSE, INDICATORS, days).window(["N00"], AS_OFS[0], 120)
    recent = (each.filter(pl.col("date") >= days[0].item()) for each in (PRICES, UNIVERSE, INDICATORS))
    assert len(History(*recent, days).window(["N00"], AS_OFS[0], 120).returns) < 120


def test_no_name_may_be_more_of_its_volume_than_the_limit() -> None:
    limits = ConstraintSettings(max_volume_share=0.1, capital=1e6, infeasible="cash")
    found = decided(AS_OFS[-1:], method="equal", constraints=limits)
    volumes = dict(INDICATORS.filter(pl.col("date") == AS_OFS[-1]).select("ticker", "dollar_volume").iter_rows())
    for name, weight in found.select("ticker", "weight").iter_rows():
        assert weight * 1e6 <= 0.1 * volumes[name] + 1e-3
    assert found["weight"].sum() < 1.0
    with pytest.raises(InfeasibleError, match="max_volume_share"):
        decided(AS_OFS[-1:], method="equal", constraints=limits.model_copy(update={"infeasible": "error"}))


def test_what_an_optimiser_needs_is_read_and_nothing_else() -> None:
    assert not needs_history(WeightSettings())
    assert lookback_sessions(WeightSettings()) == 0
    assert not needs_history(WeightSettings(method="equal", book="dollar_neutral"))
    assert needs_history(WeightSettings(method="equal", book="beta_neutral"))
    assert lookback_sessions(WeightSettings(method="minimum_variance")) > 252
    assert lookback_sessions(WeightSettings(constraints=ConstraintSettings(max_turnover=1.0))) < 90
    assert needs_previous(WeightSettings(method="mean_variance"))
    assert not needs_previous(WeightSettings(method="mean_variance", turnover_penalty=0.0))
    with pytest.raises(HistoryError, match="minimum_variance"):
        sector_weights(CANDIDATES, PREDICTIONS, INDICATORS, AS_OFS, WeightSettings(method="minimum_variance"))


def test_a_composite_score_is_a_forecast_of_little_skill() -> None:
    none = PREDICTIONS.clear()
    given = CANDIDATES, none, INDICATORS, AS_OFS[-1:]
    weak, strong = (
        sector_weights(*given, WeightSettings(method="maximum_sharpe", skill=skill, covariance=ESTIMATE), history())
        for skill in (0.0, 0.05)
    )
    least = sector_weights(*given, WeightSettings(method="minimum_variance", covariance=ESTIMATE), history())
    assert weak["weight"].to_list() == pytest.approx(least["weight"].to_list(), abs=1e-9)
    assert not strong.equals(weak)


def test_a_holding_without_a_bar_has_become_cash() -> None:
    start, end = AS_OFS[0], AS_OFS[1]
    stopped = PRICES.filter((pl.col("ticker") != "N00") | (pl.col("date") <= start + timedelta(days=5)))
    before = History(stopped, UNIVERSE, INDICATORS, DAYS)
    found = before.drifted({"N00": 0.5, "N01": 0.5, "NONE": 0.2}, start, end, 1)
    assert set(found) == {"N01"}
    close = {
        name: PRICES.filter((pl.col("ticker") == name) & pl.col("date").is_between(start, end)).sort("date")["close"]
        for name in ("N00", "N01")
    }
    last = stopped.filter(pl.col("ticker") == "N00").sort("date")["close"][-1]
    worth = 0.5 * close["N01"][-1] / close["N01"][1]
    # The name that could not be bought stayed in cash: as much was left as had not been spent.
    total = worth + 0.5 * last / close["N00"][1]
    assert found["N01"] == pytest.approx(worth / total, rel=1e-12)
