"""Macro vintages and crypto candles in the view: as they stood on a day, and null from when they were withdrawn."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from quant_assets.collectors.binance import Binance
from quant_assets.collectors.coinbase import Coinbase
from quant_assets.collectors.fred import Fred
from quant_assets.collectors.view import view
from quant_assets.market.calendar import sessions
from quant_assets.market.macro import as_known
from quant_assets.settings.collecting import CollectingSettings
from quant_assets_tests.collectors.test_view_companies import BEGUN, END, LATER, START, append, settings, source

__all__ = ["settings"]
PERIOD = date(2025, 10, 1)


def of_series(settings: CollectingSettings) -> CollectingSettings:
    fred = settings.fred.model_copy(update={"series": ("GDP",)})
    binance = settings.binance.model_copy(update={"pairs": ("BTC-USDT",)})
    coinbase = settings.coinbase.model_copy(update={"pairs": ("BTC-USDT",)})
    return settings.model_copy(update={"fred": fred, "binance": binance, "coinbase": coinbase})


def value(released: date, told: float | None, **more: Any) -> dict[str, Any]:
    return {"series_id": "GDP", "period": PERIOD, "released": released, "value": told, **more}


def test_a_vintage_counts_from_its_release_and_a_withdrawn_value_is_null(settings: CollectingSettings) -> None:
    wanted = of_series(settings)
    days = [date(2026, 1, 29), date(2026, 2, 26), date(2026, 6, 4)]
    append(wanted, Fred, BEGUN, observations=[value(days[0], 1.0), value(days[1], 1.5)])
    append(wanted, Fred, BEGUN, observations=[value(days[1], 9.0, series_id="UNWANTED")])
    withdrawn = datetime(2026, 6, 4, 22, tzinfo=UTC)
    append(wanted, Fred, withdrawn, observations=[value(days[2], None)])
    rows = list(zip(days, [1.0, 1.5, None], strict=True))
    found = source(wanted, END)
    assert found.macro(END.date()).select("series_id", "released", "value").rows() == [("GDP", *each) for each in rows]
    assert found.macro(days[1] - timedelta(days=1))["value"].to_list() == [1.0]
    known = as_known(found.macro(END.date()), sessions(START, END.date()))
    assert known.select("known_at", "value").rows() == rows
    assert source(wanted, withdrawn).macro(END.date())["value"].to_list() == [1.0, 1.5]


def test_a_vintage_that_was_fetched_late_was_not_known_before(settings: CollectingSettings) -> None:
    """And one that comes after a later one is known by nobody any more."""
    wanted = of_series(settings)
    append(wanted, Fred, BEGUN, observations=[value(date(2026, 1, 29), 1.0)])
    append(wanted, Fred, LATER, observations=[value(date(2026, 4, 20), 3.0)])
    append(wanted, Fred, LATER + timedelta(days=2), observations=[value(date(2026, 4, 10), 2.0)])
    found = source(wanted, END).macro(END.date())
    assert found.select("released", "value").rows() == [(date(2026, 1, 29), 1.0), (LATER.date(), 3.0)]


def test_a_release_of_before_the_profile_that_was_withdrawn_before_it_is_none(settings: CollectingSettings) -> None:
    wanted = of_series(settings)
    gone = [value(date(2025, 11, 3), 1.0), value(date(2025, 12, 3), None)]
    append(wanted, Fred, BEGUN, observations=gone)
    known = as_known(source(wanted, END).macro(END.date()), sessions(START, END.date()))
    assert known.is_empty()


def test_candles_of_each_venue_are_known_when_their_day_of_utc_is_over(settings: CollectingSettings) -> None:
    wanted = of_series(settings)
    prices = {"open": 1.0, "high": 3.0, "low": 1.0, "close": 2.0, "volume": 5.0}
    for venue in (Binance, Coinbase):
        one = {"pair": "BTC-USDT", "venue": venue.name, "date": START, **prices}
        append(wanted, venue, BEGUN, candles=[one, {**one, "pair": "ETH-USDT"}])
    append(
        wanted,
        Binance,
        LATER,
        candles=[{"pair": "BTC-USDT", "venue": "binance", "date": START, **prices, "close": 2.5}],
    )
    found = source(wanted, END).macro(END.date())
    assert found.select("series_id", "period", "released", "value").rows() == [
        ("BTC-USDT@binance", START, START + timedelta(days=1), 2.0),
        ("BTC-USDT@binance", START, LATER.date(), 2.5),
        ("BTC-USDT@coinbase", START, START + timedelta(days=1), 2.0),
    ]
    candles = pl.read_parquet(view(wanted, END) / "crypto.parquet")
    assert candles.select("venue", "close").rows() == [("binance", 2.5), ("coinbase", 2.0)]
    assert pl.read_parquet(view(wanted, LATER) / "crypto.parquet")["close"].to_list() == [2.0, 2.0]
