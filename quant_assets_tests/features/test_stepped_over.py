"""Features after an unexplained step of the price: which values are null, for how long, and which skip the step."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.features import fundamental
from quant_assets.features.features import features
from quant_assets.features.library import FeatureLibrary, ready_made
from quant_assets.market.panel import STALE_SESSIONS
from quant_assets.partitions import month_end, month_range, month_start
from quant_assets.settings.domain import FundamentalSettings

SETTINGS = FundamentalSettings()
DECLARED = [
    feature
    for name in ("core", "alpha158")
    for feature in ready_made(name)
    if not isinstance(feature, fundamental.StatementFeature) and type(feature).__name__ == "Feature"
]
LIBRARY = FeatureLibrary({"windows": DECLARED})
FADING = {
    "rsi_14", "macd", "macd_signal", "macd_histogram", "ema_distance_10", "ema_distance_20", "plus_di_14",
    "minus_di_14", "adx_14", "atr_14", "gap_over_atr_14", "range_over_atr_14",
}  # fmt: skip
PRICES = pl.col("open", "high", "low", "close")
NAME = pl.col("ticker") == "T01"


@pytest.fixture(scope="module")
def compute(load):
    def run(market, prices: pl.DataFrame, first: str, last: str) -> pl.DataFrame:
        loaded, universe, days = load(
            market._replace(prices=prices), first, last, LIBRARY.price_lookback(SETTINGS), LIBRARY.universe_lookback
        )
        nothing = pl.DataFrame()
        return features(
            loaded, nothing, nothing, universe, LIBRARY, SETTINGS, days, month_start(first), month_end(last)
        )

    return run


def _risen(prices: pl.DataFrame, steps: dict[date, float]) -> pl.DataFrame:
    """T01's prices times a factor from each day on, which is marked."""
    prices = prices.with_columns(unexplained=pl.lit(False))
    for day, factor in steps.items():
        since = NAME & (pl.col("date") >= day)
        prices = prices.with_columns(
            pl.when(since).then(PRICES * factor).otherwise(PRICES),
            unexplained=pl.col("unexplained") | (NAME & (pl.col("date") == day)),
        )
    return prices


def _without_steps(prices: pl.DataFrame) -> pl.DataFrame:
    """T01's bars but the marked ones, with the prices before each multiplied so that its step has no return."""
    own = prices.filter(NAME).sort("date")
    close, marked = own["close"].to_numpy(), own["unexplained"].to_numpy()
    step = np.where(marked[1:], close[1:] / close[:-1], 1.0)
    later = np.append(np.cumprod(step[::-1])[::-1], 1.0)
    own = own.with_columns(PRICES * pl.Series(later)).filter(~pl.Series(marked))
    return pl.concat([prices.filter(~NAME), own]).sort("ticker", "date").with_columns(unexplained=pl.lit(False))


@pytest.mark.parametrize(
    "steps",
    [
        {date(2020, 8, 12): 75.0},
        {date(2020, 8, 12): 0.25},
        {date(2020, 8, 12): 20.0, date(2020, 8, 13): 0.05},
        {date(2020, 8, 3): 5.0, date(2020, 9, 24): 0.2},  # on a month's first session, and a second one much later
    ],
    ids=["rise", "fall", "there and back", "two"],
)
def test_an_average_that_fades_steps_over_it(steps, market, compute, identical) -> None:
    prices = _risen(market.prices, steps)
    months = month_range("2020-07", "2020-12")
    stepped = compute(market, prices, months[0], months[-1]).filter(NAME)
    expected = compute(market, _without_steps(prices), months[0], months[-1]).filter(NAME)
    assert set(LIBRARY.windows.fading) == FADING
    last = max(steps)
    compared = stepped.join(expected, on=["ticker", "date"], suffix="_expected")
    assert compared.height == stepped.height - len(steps)
    for name in LIBRARY.windows.fading:
        assert stepped.filter(pl.col("date") == last)[name].null_count() == 1, name
        after = compared.filter(pl.col("date") > last)
        unknown = LIBRARY.windows.straddle(name)
        assert unknown <= 1 + STALE_SESSIONS, name
        null = (after[f"{name}_expected"].is_null() | (pl.int_range(len(after), eager=True) < unknown)).alias(name)
        assert after[name].is_null().equals(null), name
        assert null.sum() <= unknown + 7, "two bars in succession are more holes than a span of 9 sessions may have"
        values, references = (after[column_name].filter(~null).to_numpy() for column_name in (name, f"{name}_expected"))
        np.testing.assert_allclose(values, references, 1e-9, 1e-11, err_msg=name)
    alone = [compute(market, prices, month, month).filter(NAME) for month in months]
    identical(pl.concat(alone).sort("ticker", "date"), stepped)
    before = pl.col("date") < min(steps)
    untouched = compute(market, market.prices, months[0], months[-1]).filter(NAME, before)
    of_sector = [name for name, column in LIBRARY.dataset.columns.items() if column.across]
    identical(stepped.filter(before).drop(of_sector), untouched.drop(of_sector))
    until = min(steps)
    cut = compute(market, prices.filter(pl.col("date") <= until), months[0], until.strftime("%Y-%m"))
    identical(cut.filter(NAME).drop(of_sector), stepped.filter(pl.col("date") <= until).drop(of_sector))


def test_every_window_that_holds_the_step_is_unknown_and_no_other_value_is_touched_by_it(market, compute) -> None:
    """After the sessions that a feature declares, it has its value without the step."""
    day = date(2019, 3, 13)
    prices = _risen(market.prices, {day: 75.0})
    stepped = compute(market, prices, "2019-03", "2020-08").filter(NAME, pl.col("date") >= day)
    plain = compute(market, market.prices, "2019-03", "2020-08").filter(NAME, pl.col("date") >= day)
    own = [name for name, column in LIBRARY.dataset.columns.items() if not column.across]
    ago = np.searchsorted(market.days, stepped["date"].to_numpy()) - np.searchsorted(market.days, np.datetime64(day))
    for name in set(own) & set(LIBRARY.names) - FADING:
        unknown = pl.Series(ago <= LIBRARY.windows.straddle(name))
        assert stepped[name].is_null().equals((unknown | plain[name].is_null()).alias(name)), name
        values, expected = (rows[name].filter(~unknown).to_numpy() for rows in (stepped, plain))
        np.testing.assert_allclose(values, expected, 1e-7, 1e-9, err_msg=name)
