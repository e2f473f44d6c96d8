"""An index beside a backtest: its returns at sessions, what it lacks, and what a result is against it."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.backtest.benchmark import INDEX_UNITS, against_index, benchmark_rows, with_index
from quant_assets.backtest.metrics import since_first_execution
from quant_assets.errors import SettingsError, SourceError
from quant_assets.market.calendar import sessions
from quant_assets.schemas import DATASETS

DAYS = sessions(date(2023, 1, 3), date(2023, 6, 30))
RETURNS = 0.01 * np.random.default_rng(3).standard_normal(len(DAYS))
CLOSES = pl.DataFrame({"ticker": "IDX", "date": DAYS, "close": 100.0 * np.cumprod(1.0 + RETURNS)})
MAY = DAYS[(np.datetime64("2023-05-01") <= DAYS) & (np.datetime64("2023-06-01") > DAYS)]


def test_returns_are_from_the_session_before_and_a_month_equals_its_part_of_a_range() -> None:
    whole = benchmark_rows(CLOSES.sample(fraction=1.0, shuffle=True, seed=1), "IDX", DAYS)
    assert whole.schema == DATASETS["benchmark"].schema
    assert whole["index_return"][0] is None
    assert whole["index_return"][1:].to_list() == pytest.approx(RETURNS[1:])
    assert benchmark_rows(CLOSES, "IDX", MAY).equals(whole.filter(pl.col("date").dt.month() == 5))
    before = sessions(date(2022, 11, 1), date(2022, 12, 30))
    assert benchmark_rows(CLOSES, "IDX", before).is_empty(), "it had not begun"


def test_a_series_that_lacks_a_session_or_is_not_there_is_an_error_with_its_remedy() -> None:
    gap = CLOSES.filter(~pl.col("date").is_in([date(2023, 5, 10), date(2023, 5, 11)]))
    with pytest.raises(
        SourceError, match=r"IDX has no close on 2023-05-10 and 1 more session up to 2023-05-11 .*files"
    ):
        benchmark_rows(gap, "IDX", MAY)
    assert len(benchmark_rows(gap, "IDX", DAYS[np.datetime64("2023-05-10") > DAYS]))
    lost = CLOSES.filter(pl.col("date") != date(2023, 4, 28))
    with pytest.raises(SourceError, match="no close on 2023-04-28"):  # of which May's first return would be
        benchmark_rows(lost, "IDX", MAY)
    with pytest.raises(SourceError, match="no close on 2023-06-30"):
        benchmark_rows(CLOSES.filter(pl.col("date") < date(2023, 6, 30)), "IDX", DAYS)
    with pytest.raises(SettingsError, match=r"'SPX', which the provider does not have .* choose one of IDX"):
        benchmark_rows(CLOSES, "SPX", MAY)
    with pytest.raises(SettingsError, match=r"name their file in files\.indices"):
        benchmark_rows(CLOSES.clear(), "IDX", MAY)


def test_alpha_and_beta_are_those_that_were_planted() -> None:
    noise = np.random.default_rng(4).standard_normal(len(DAYS))
    design = np.column_stack([np.ones(len(DAYS) - 1), RETURNS[1:]])
    noise[1:] -= design @ np.linalg.lstsq(design, noise[1:], rcond=None)[0]  # exactly unexplained
    net = 0.0004 + 1.3 * RETURNS + 0.002 * noise
    backtest = pl.DataFrame(
        {"date": DAYS, "gross_return": net, "net_return": net, "turnover": 0.1, "positions": 5, "index_return": None},
        schema_overrides={"index_return": pl.Float64},
    )
    found = against_index(with_index(backtest, benchmark_rows(CLOSES, "IDX", DAYS)))
    assert list(found) == list(INDEX_UNITS)
    assert found["index_beta"] == pytest.approx(1.3, abs=1e-10)
    assert found["index_alpha"] == pytest.approx(252 * 0.0004, abs=1e-10)
    active = (net - RETURNS)[1:]
    assert found["index_tracking_error"] == pytest.approx(active.std(ddof=1) * np.sqrt(252))
    assert found["index_information_ratio"] == pytest.approx(active.mean() / active.std(ddof=1) * np.sqrt(252))
    assert found["index_return"] == pytest.approx(np.prod(1.0 + RETURNS[1:]) - 1.0)
    assert found["index_sessions"] == len(DAYS) - 1
    assert set(against_index(with_index(backtest, None)).values()) == {None}


def test_the_session_of_the_first_execution_is_not_held_against_the_index() -> None:
    net = np.where(np.arange(len(DAYS)) > 20, 0.001, 0.0)
    turnover = np.where(np.arange(len(DAYS)) == 20, 1.0, 0.0)
    rows = pl.DataFrame({"date": DAYS, "gross_return": net, "net_return": net, "turnover": turnover})
    rows = rows.with_columns(positions=(pl.col("date") >= DAYS[20].item()).cast(pl.Int32), index_return=0.5)
    track = since_first_execution(rows)
    assert track["date"][0] == DAYS[20].item()
    assert track["index_return"][:2].to_list() == [None, 0.5]
