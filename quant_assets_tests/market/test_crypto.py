"""Crypto-currencies at sessions' closes: no data of the session's own UTC day, weekends in one return."""

from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from quant_assets.errors import DatasetError
from quant_assets.market.calendar import sessions
from quant_assets.market.crypto import at_sessions, sleeve_returns

DAYS = sessions(date(2024, 6, 26), date(2024, 7, 9))  # an early close on 3 July, none on the 4th


def bars_of(first: date, closes: dict[str, list[float | None]]) -> pl.DataFrame:
    rows = [
        (name, first + timedelta(days=place), close)
        for name, values in closes.items()
        for place, close in enumerate(values)
        if close is not None
    ]
    return pl.DataFrame(rows, schema={"ticker": pl.String, "date": pl.Date, "close": pl.Float64}, orient="row")


def test_a_sessions_value_is_the_close_of_the_utc_day_before() -> None:
    bars = bars_of(date(2024, 6, 20), {"BTC-USD": [float(day) for day in range(20, 41)]})
    result = at_sessions(bars, DAYS)
    assert result["date"].to_list() == DAYS.tolist()
    assert all(row["bar"] == row["date"] - timedelta(days=1) for row in result.iter_rows(named=True))
    changed = bars.with_columns(close=pl.when(pl.col("date") >= date(2024, 7, 3)).then(99.0).otherwise("close"))
    until = pl.col("date") <= date(2024, 7, 3)
    assert at_sessions(changed, DAYS).filter(until).equals(result.filter(until))
    assert not at_sessions(changed, DAYS).equals(result)


def test_a_gap_is_bridged_for_four_days_and_no_longer() -> None:
    bars = bars_of(date(2024, 6, 25), {"BTC-USD": [1.0, *[None] * 9, 2.0, 2.0, 2.0]})
    result = dict(at_sessions(bars, DAYS).select("date", "value").iter_rows())
    assert date(2024, 6, 28) in result
    assert date(2024, 7, 1) not in result
    assert result[date(2024, 7, 8)] == 2.0


def test_returns_hold_weekends_and_never_compare_two_symbols() -> None:
    first = date(2024, 6, 20)
    btc = [100.0 * 1.01**place for place in range(20)]
    usdt = [None] * 12 + [3.0 * value for value in btc[12:]]
    eth = [50.0] * 20
    bars = bars_of(first, {"BTC-USD": btc, "BTCUSDT": usdt, "ETH-USD": eth})
    coins = {"BTC": ("BTCUSDT", "BTC-USD"), "ETH": ("ETHUSDT", "ETH-USD")}
    result = sleeve_returns(bars, coins, DAYS)
    nights = [(later - earlier).days for earlier, later in pairwise(DAYS.tolist())]
    assert np.isnan(result[0])
    assert result[1:] == pytest.approx([(1.01**night - 1.0) / 2.0 for night in nights])
    assert sleeve_returns(bars, {"DOGE": ("DOGE-USD",)}, DAYS).tolist() == pytest.approx(
        [np.nan] * len(DAYS), nan_ok=True
    )


def test_a_day_twice_or_a_close_of_nothing_is_refused() -> None:
    bars = bars_of(date(2024, 6, 20), {"BTC-USD": [1.0, 2.0]})
    with pytest.raises(DatasetError, match="BTC-USD has two bars on 2024-06-20"):
        at_sessions(pl.concat([bars, bars.head(1)]), DAYS)
    with pytest.raises(DatasetError, match=r"BTC-USD has a close of 0\.0 on 2024-06-21"):
        at_sessions(bars.with_columns(close=pl.Series([1.0, 0.0])), DAYS)
