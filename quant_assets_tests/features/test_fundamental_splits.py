"""Market value after an unflagged split: repaired, undone, or only marked."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.features.fundamental import fundamental, price_sessions
from quant_assets.market.adjustment import adjust
from quant_assets.market.bars import company_bars
from quant_assets.market.calendar import sessions
from quant_assets.partitions import month_end, month_range, month_start, shift_month
from quant_assets.settings.domain import BarSettings, FundamentalSettings
from quant_assets.sources.base import DELISTINGS
from quant_assets_tests.synthetic_bars import make_bars
from quant_assets_tests.synthetic_statements import as_fundamentals, statement

SETTINGS = FundamentalSettings()
DAYS = sessions(date(2018, 1, 2), date(2018, 9, 28))
AT = 60
DAY = DAYS[AT].item()
YIELDS = ("earnings_yield", "book_to_market")


def _statement(known_at: date, shares: float) -> dict[str, object]:
    figures = {"net_income": 5e6, "total_equity": 2e7, "shares": shares}
    return statement(date(2017, 12, 31), known_at, "annual", **figures)


def _answers(path: list[float], *statements: dict[str, object], volumes: list[float] | None = None) -> pl.DataFrame:
    """Fundamental features at each session, of a close of 50 times `path` from session `AT` on."""
    factors = [1.0] * AT + path + path[-1:] * (len(DAYS) - AT - len(path))
    traded = [1e6] * AT + (volumes or [1e6 / factor for factor in path])
    traded += traded[-1:] * (len(DAYS) - len(traded))
    bars = make_bars(DAYS, [50.0 * factor for factor in factors], volume=pl.Series(traded))
    prices = adjust(
        company_bars(bars, DELISTINGS.to_frame(), DAYS, BarSettings()).series.with_columns(
            in_sector=pl.lit(True), panel_from=pl.col("date")
        )
    )
    rows = prices.select("ticker", "date")
    result = fundamental(rows, prices, as_fundamentals(list(statements)), SETTINGS, DAYS[0].item(), DAYS[-1].item())
    months = month_range("2018-01", "2018-09")
    alone = []
    for month in months:
        first, last = month_start(month), month_end(month)
        start = DAYS[max(0, int(np.searchsorted(DAYS, np.datetime64(first))) - price_sessions(SETTINGS))].item()
        loaded = prices.filter(pl.col("date").is_between(start, last))
        of_month = rows.filter(pl.col("date").is_between(first, last))
        oldest = month_start(shift_month(month, -SETTINGS.lookback_months))
        known = [row for row in statements if oldest <= row["known_at"] <= last]  # type: ignore[operator]
        alone.append(fundamental(of_month, loaded, as_fundamentals(known), SETTINGS, first, last))
    assert pl.concat(alone).sort("date").equals(result.sort("date")), "a month alone, which knows nothing later"
    return result.sort("date")


@pytest.mark.parametrize("ratio", [2.0, 4.0, 0.1])
def test_a_repaired_split_multiplies_the_shares(ratio: float) -> None:
    result = _answers([1.0 / ratio], _statement(date(2018, 2, 20), 1e6))
    valued = result.filter(pl.col("date") >= date(2018, 2, 20))
    for name, expected in zip(YIELDS, (5e6 / 50e6, 2e7 / 50e6), strict=True):
        assert valued[name].to_list() == pytest.approx([expected] * len(valued)), name


def test_what_a_reversal_takes_back_leaves_the_shares_as_stated() -> None:
    result = _answers([0.25, 0.25, 0.25, 1.0], _statement(date(2018, 2, 20), 1e6))
    valued = result.filter(pl.col("date") >= date(2018, 2, 20))
    assert valued["book_to_market"].to_list() == pytest.approx([2e7 / 50e6] * len(valued))


@pytest.mark.parametrize(
    ("path", "doubted"),
    [
        (70.6, True),  # 1:75, and a day's move
        (0.31, True),  # 3:1, by the price alone
        (1 / 3.25, True),  # too far from 3:1 to be repaired, near enough to be one
        (3.4, False),  # neither three nor four times
        (1 / 3.45, False),
    ],
)
def test_a_marked_step_like_a_split_makes_market_value_unknown_until_the_next_statement(
    path: float, doubted: bool
) -> None:
    known, again = date(2018, 2, 20), date(2018, 8, 14)
    result = _answers([path], _statement(known, 1e6), _statement(again, 2e6), volumes=[9e6])
    before = result.filter(pl.col("date").is_between(known, DAY, closed="left"))
    between = result.filter(pl.col("date").is_between(DAY, again, closed="left"))
    after = result.filter(pl.col("date") >= again)
    for name, value in zip(YIELDS, (5e6, 2e7), strict=True):
        assert before[name].to_list() == pytest.approx([value / 50e6] * len(before)), name
        expected = [None if doubted else pytest.approx(value / (50e6 * path))] * len(between)
        assert between[name].to_list() == expected, name
        assert after[name].to_list() == pytest.approx([value / (100e6 * path)] * len(after)), name
    assert between["return_on_equity"].null_count() == 0, "ratios of statements alone stay"


def test_a_newer_statement_without_shares_does_not_end_the_doubt() -> None:
    newer = statement(date(2018, 3, 31), date(2018, 5, 10), total_equity=3e7)
    result = _answers([70.6], _statement(date(2018, 2, 20), 1e6), newer, volumes=[9e6])
    late = result.filter(pl.col("date") >= date(2018, 5, 10))
    assert late["book_to_market"].null_count() == len(late)
