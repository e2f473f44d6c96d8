"""Dataset `features`: all features of each member and session."""

from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.features import fundamental, ohlcv
from quant_assets.features.cross_section import cross_sections
from quant_assets.features.library import FeatureLibrary
from quant_assets.features.macro import macro_features
from quant_assets.features.sentiment import news_features
from quant_assets.features.stepped_over import step_over
from quant_assets.market.containment import marks
from quant_assets.market.panel import FloatArray, Panel
from quant_assets.market.sector_return import equal_weight_returns
from quant_assets.schemas import OHLCV_FIELDS
from quant_assets.settings.domain import FundamentalSettings
from quant_assets.windows.columns import check_sessions, member_mask, member_rows
from quant_assets.windows.windows import Windows


def features(
    prices: pl.DataFrame,
    price_peaks: pl.DataFrame,
    fundamentals: pl.DataFrame,
    universe: pl.DataFrame,
    library: FeatureLibrary,
    settings: FundamentalSettings,
    sessions: NDArray[np.datetime64],
    first_day: date,
    last_day: date,
    sentiment: pl.DataFrame | None = None,
    macro: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Features of the sector's members at each session with a bar.

    A feature is null if its history is too short or it is not defined. A window over prices is also null if it contains
    an unexplained step of the company's price (dataset prices), so that no mean over names, rank or model uses it;
    averages with a fading memory skip the step (`features.stepped_over`). Only features that read `sector_return` and
    those of `library.cross_sections` depend on other tickers: the members of the sector at the time.

    Args:
        prices: dataset prices of the sector, every row: the earlier bars of a ticker that moved in may be before
            `sessions`.
        price_peaks: dataset price_peaks of the month before `first_day` to the month before `last_day`.
        fundamentals: dataset fundamentals, `settings.lookback_months` months before the month of `first_day`.
        universe: dataset universe (`ticker, date`) from `library.universe_lookback` sessions before the month of
            `first_day`; its rows from `first_day` to `last_day` are those of the result.
        library: the features to compute.
        settings: how long a statement is used.
        sessions: sessions without a gap from `library.price_lookback` before the month of `first_day` (or from the
            start of the history) to `last_day`.
        first_day: first day of the result.
        last_day: last day of the result.
        sentiment: dataset sentiment from `library.news_lookback` sessions before the month of `first_day`; None if the
            library has no features of news.
        macro: dataset macro from `library.macro_lookback` sessions before the month of `first_day`; None if the library
            has no features of the economy.

    Returns:
        Dataset features without `sector`, sorted by ticker and date.

    Raises:
        HistoryError: `sessions` leave out history that prices have, or a ticker's carried maximum is missing.

    """
    check_sessions("features", prices, universe, sessions, first_day, last_day, library.price_lookback(settings))
    fields = [name for name in library.windows.fields if name != "sector_return"]
    prices = marks(prices)
    panel = Panel.from_long(prices, sessions, list(dict.fromkeys((*OHLCV_FIELDS, *fields, "unexplained"))))
    since = int(np.searchsorted(sessions, np.datetime64(first_day.replace(day=1))))
    panel_since, values = panel.since(since), dict[str, FloatArray]()
    if library.peaks:
        back = max(0, since - max(feature.lookback for feature in library.peaks))
        near = panel.since(back)
        members = member_mask(near, universe, first_day, last_day)
        ratios = ohlcv.to_peak(near, prices, price_peaks, members, first_day, last_day)
        values |= {name: np.ascontiguousarray(array[:, since - back :]) for name, array in ratios.items()}
    inputs = dict(panel.fields)
    if "sector_return" in library.windows.fields:
        inputs["sector_return"] = equal_weight_returns(prices, universe, sessions)
    windows = Windows(sessions)
    results = library.windows.evaluate(inputs, windows, since=since)
    unexplained = panel["unexplained"] == 1.0
    if unexplained.any():
        step_over(results, library.windows, inputs, unexplained, sessions, since)
        straddle = {name: library.windows.straddle(name) for name in results}
        ago = windows.since(panel["unexplained"], max(straddle.values(), default=0) + 1)[:, since:]
        for name, value in results.items():
            results[name] = np.where(ago <= straddle[name], np.nan, value)
    values |= results
    rows = member_rows(panel_since, values, universe, first_day, last_day)
    values.clear()  # as large as the rows
    results.clear()
    if library.statements:
        statements = fundamental.fundamental(
            rows.select("ticker", "date"), prices, fundamentals, settings, first_day, last_day
        )
        rows = _beside(rows, statements)
    if library.news and sentiment is not None:
        rows = _beside(rows, news_features(rows, sentiment, library.news, sessions))
    if library.economy and macro is not None:
        economy = macro_features(macro, library.economy, sessions)
        rows = rows.hstack(rows.select("date").join(economy, on="date", how="left", maintain_order="left").drop("date"))
    if library.cross_sections:
        rows = _beside(rows, cross_sections(rows, library.cross_sections))
    return rows.select(list(library.dataset.columns))


def _beside(rows: pl.DataFrame, columns: pl.DataFrame) -> pl.DataFrame:
    """Join columns to the rows by ticker and date, without the copies of a join of all columns."""
    keys = ["ticker", "date"]
    return rows.hstack(rows.select(keys).join(columns, on=keys, how="left", maintain_order="left").drop(keys))
