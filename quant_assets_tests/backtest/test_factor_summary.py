"""Tear sheets: means over sessions, Newey-West errors by month, years, and the market over its sectors."""

import math
from datetime import date

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.backtest.factor_summary import (
    least_months,
    market_rows,
    newey_west_lags,
    significant_t,
    standard_errors,
    summaries,
)
from quant_assets.partitions import month_end, month_range
from quant_assets.schemas import DATASETS

MONTHS = month_range("2015-07", "2018-12")


def monthly(
    months: list[str] = MONTHS, seed: int = 2, factors: tuple[str, ...] = ("a", "b", "c")
) -> tuple[pl.DataFrame, dict]:
    """Dataset factor_statistics made from ICs by session, and these ICs by (factor, horizon) and month."""
    rng = np.random.default_rng(seed)
    rows, sessions = [], {}
    for factor in factors:
        for horizon in (1, 20):
            for month in months:
                ics = rng.normal(0.02, 0.2, rng.integers(15, 24))
                sessions.setdefault((factor, horizon), {})[month] = ics
                counts = dict.fromkeys(
                    ("ic_sessions", "quantile_sessions", "turnover_sessions", "rank_sessions"), len(ics)
                )
                quantiles = {f"quantile_{number}": 0.01 * rng.normal() for number in range(1, 6)}
                turnover = {"top_turnover": 0.3, "bottom_turnover": 0.2, "rank_autocorrelation": rng.random()}
                head = {"as_of": month_end(month), "kind": "feature", "factor": factor, "horizon": horizon}
                rows.append(
                    head | counts | {"names": 20.0, "ic": ics.mean(), "ic_std": ics.std()} | quantiles | turnover
                )
    return pl.DataFrame(rows, schema=DATASETS["factor_statistics"].schema), sessions


def test_means_weigh_each_session_the_same() -> None:
    frame, sessions = monthly()
    (sheet,) = summaries(frame, [month_end("2018-12")], 24)
    row = sheet.rows.filter(pl.col("factor") == "b", pl.col("horizon") == 20).row(0, named=True)
    ics = np.concatenate([sessions["b", 20][month] for month in MONTHS[-24:]])
    assert row["months"] == 24
    assert row["ic_sessions"] == len(ics)
    assert row["ic"] == pytest.approx(ics.mean(), abs=1e-15)
    assert row["ic_std"] == pytest.approx(ics.std(ddof=1), abs=1e-13)
    part = frame.filter(pl.col("factor") == "b", pl.col("horizon") == 20).sort("as_of").tail(24)
    assert row["quantile_4"] == pytest.approx(
        np.average(part["quantile_4"], weights=part["quantile_sessions"]), abs=1e-15
    )
    assert row["ic_t"] == pytest.approx(row["ic"] / row["ic_standard_error"])
    years = {
        year: mean
        for factor, horizon, year, mean in sheet.by_year.select("factor", "horizon", "year", "ic").iter_rows()
        if (factor, horizon) == ("b", 20)
    }
    assert years == {
        year: pytest.approx(np.concatenate([sessions["b", 20][m] for m in MONTHS if m.startswith(str(year))]).mean())
        for year in (2017, 2018)
    }


def test_the_error_is_the_long_hand_sum() -> None:
    frame, sessions = monthly()
    (sheet,) = summaries(frame, [month_end("2018-12")], 120)
    row = sheet.rows.filter(pl.col("factor") == "a", pl.col("horizon") == 20).row(0, named=True)
    ics = list(sessions["a", 20].values())
    mean, count, months = np.concatenate(ics).mean(), sum(map(len, ics)), len(ics)
    sums = [(each - mean).sum() for each in ics]
    lags = newey_west_lags(20)
    assert lags == 3
    total = sum(max(0.0, 1 - abs(i - j) / (lags + 1)) * sums[i] * sums[j] for i in range(months) for j in range(months))
    assert row["ic_standard_error"] == pytest.approx(math.sqrt(total * months / (months - 1)) / count, rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("horizon", [1, 5, 20, 60])
@pytest.mark.parametrize("months", ["least", 60, 120])
def test_noise_with_overlapping_outcomes_is_seldom_significant(horizon: int, months: int | str) -> None:
    """About one of twenty series of noise counts as significant, at the shortest history that has a t too."""
    months = least_months(horizon) if isinstance(months, str) else months
    rng, trials = np.random.default_rng(horizon), 2000
    shocks = rng.normal(size=(months * 21 + horizon, trials))
    walk = np.cumsum(np.vstack([np.zeros(trials), shocks]), axis=0)
    sums = (walk[horizon : horizon + months * 21] - walk[: months * 21]).reshape(months, 21, trials).sum(axis=1)
    deviations = sums - sums.mean(axis=0)
    t = sums.sum(axis=0) / standard_errors(deviations, newey_west_lags(horizon)) / math.sqrt(months / (months - 1))
    assert 0.035 < (np.abs(t) >= significant_t(horizon, months)).mean() < 0.08


def test_too_few_months_have_no_error() -> None:
    for months, horizons in ((11, []), (12, [1]), (14, [1]), (15, [1, 20])):
        frame, _ = monthly(MONTHS[:months])
        (sheet,) = summaries(frame, [month_end(MONTHS[months - 1])], 120)
        assert sheet.rows["ic"].null_count() == 0
        assert sheet.rows.filter(pl.col("ic_t").is_not_null())["horizon"].unique().sort().to_list() == horizons


@pytest.mark.parametrize("factors", [("a",), ("a", "b", "c")])
def test_a_range_of_decisions_equals_each_alone(factors: tuple[str, ...]) -> None:
    frame, _ = monthly(factors=factors)
    frame = frame.filter(pl.col("horizon") == 1)
    frame = frame.filter((pl.col("factor") != "c") | (pl.col("as_of") > date(2018, 3, 1)))  # a factor that comes later
    decisions = [month_end(month) for month in MONTHS[10:]]
    for sheet in summaries(frame, decisions, 18):
        known = frame.filter(pl.col("as_of") <= sheet.as_of)
        first = known["as_of"].unique().sort()[-18:][0]
        (alone,) = summaries(known.filter(pl.col("as_of") >= first), [sheet.as_of], 18)
        assert_frame_equal(alone.rows, sheet.rows, check_exact=True)
        assert_frame_equal(alone.by_year, sheet.by_year, check_exact=True)


def test_one_factor_alone_gives_the_bits_that_it_gives_among_others() -> None:
    frame, _ = monthly(factors=("a", "b"))
    frame = frame.filter(pl.col("horizon") == 1)
    ours = pl.col("factor") == "a"
    (among,), (alone,) = (summaries(each, [month_end("2018-12")], 120) for each in (frame, frame.filter(ours)))
    assert_frame_equal(alone.rows, among.rows.filter(ours), check_exact=True)
    assert_frame_equal(alone.by_year, among.by_year.filter(ours), check_exact=True)


def test_nothing_gives_nothing() -> None:
    (sheet,) = summaries(pl.DataFrame(schema=DATASETS["factor_statistics"].schema), [date(2018, 12, 31)], 12)
    assert sheet.rows.is_empty()
    assert sheet.by_year.is_empty()
    assert market_rows(sheet.rows.with_columns(sector=pl.lit("it"))).is_empty()


def test_the_market_weighs_sectors_by_names_and_sessions() -> None:
    frame, _ = monthly(factors=("a",))
    (sheet,) = summaries(frame, [month_end("2018-12")], 24)
    row = sheet.rows.filter(pl.col("horizon") == 1)
    changed = {
        "energy": (0.10, 3.0, 30.0, 500),
        "it": (-0.02, -2.5, 60.0, 400),
        "financials": (0.02, 2.05, 0.0, 100),
        "re": (None, None, None, 0),
        "utilities": (0.01, None, 20.0, 100),
    }
    sheets = pl.concat(
        row.with_columns(
            sector=pl.lit(sector),
            ic=pl.lit(ic, pl.Float64),
            ic_t=pl.lit(t, pl.Float64),
            names=pl.lit(names, pl.Float64),
            ic_sessions=pl.lit(sessions, pl.Int32),
            quantile_1=pl.lit(0.0),
            quantile_5=pl.lit(None if sector == "utilities" else ic, pl.Float64),
        )
        for sector, (ic, t, names, sessions) in changed.items()
    )
    (found,) = market_rows(sheets.sample(fraction=1.0, shuffle=True, seed=1)).rows(named=True)
    assert found["sectors"] == 4
    assert found["ic"] == pytest.approx((0.10 * 15_000 - 0.02 * 24_000 + 0.01 * 2_000) / 41_000)
    assert found["spread"] == pytest.approx((0.10 * 15_000 - 0.02 * 24_000) / 39_000)
    assert (found["lowest_ic"], found["highest_ic"]) == (-0.02, 0.10)
    assert found["positive_sectors"] == 3
    assert found["significant_sectors"] == 2, "of either sign; with 24 months it takes 2.08"
    (turned,) = market_rows(sheets.filter(pl.col("sector") == "energy").with_columns(-pl.col("ic", "ic_t"))).rows(
        named=True
    )
    assert turned["significant_sectors"] == 1
