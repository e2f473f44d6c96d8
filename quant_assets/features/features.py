"""Dataset `features`: the OHLCV, technical and fundamental features of each member and session, side by side."""

from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.features import fundamental, ohlcv, technical
from quant_assets.market.panel import Panel
from quant_assets.market.sector_return import equal_weight_returns
from quant_assets.schemas import DATASETS, OHLCV_FIELDS
from quant_assets.settings import FundamentalSettings
from quant_assets.signals.columns import check_sessions, evaluate, member_mask, member_rows


def price_lookback_sessions(settings: FundamentalSettings) -> int:
    """Sessions before a month's first one whose prices the features may depend on."""
    return max(ohlcv.LOOKBACK, fundamental.price_sessions(settings), *(column.lookback for column in technical.TECHNICAL))


def universe_lookback_sessions() -> int:
    """Sessions before a month's first one whose members the features may depend on."""
    return technical.universe_sessions()


def features(
    prices: pl.DataFrame,
    price_peaks: pl.DataFrame,
    fundamentals: pl.DataFrame,
    universe: pl.DataFrame,
    settings: FundamentalSettings,
    sessions: NDArray[np.datetime64],
    first_day: date,
    last_day: date,
) -> pl.DataFrame:
    """Features of the sector's members at each session with a bar.

    A feature is null where its history is too short, or where it is not defined. Only `beta_120` depends on other tickers: on
    those that were members of the sector at the time.

    Args:
        prices: dataset prices of the sector, every row: the earlier bars of a ticker that moved in may lie before `sessions`.
        price_peaks: dataset price_peaks of the month before `first_day` to the month before `last_day`.
        fundamentals: dataset fundamentals, `settings.lookback_months` months before the month of `first_day`.
        universe: dataset universe (`ticker, date`) from `universe_lookback_sessions` before the month of `first_day`; its rows from
            `first_day` to `last_day` are the rows to give.
        settings: how long a statement is used.
        sessions: sessions without a gap from `price_lookback_sessions` before the month of `first_day` (or from where history
            begins) to `last_day`.
        first_day: first day to give rows for.
        last_day: last day to give rows for.

    Returns:
        Dataset features without `sector`, sorted by ticker and date.

    Raises:
        HistoryError: `sessions` leave out history that prices have, or a ticker's carried maximum is missing.

    """
    check_sessions("features", prices, universe, sessions, first_day, last_day, price_lookback_sessions(settings))
    panel = Panel.from_long(prices, sessions, OHLCV_FIELDS)
    members = member_mask(panel, universe, first_day, last_day)
    values = ohlcv.to_peak(panel, prices, price_peaks, members, first_day, last_day)
    values |= evaluate(technical.TECHNICAL, technical.inputs(panel, equal_weight_returns(prices, universe, sessions)))
    rows = member_rows(panel, values, universe, first_day, last_day)
    statements = fundamental.fundamental(rows.select("ticker", "date"), prices, fundamentals, settings, first_day, last_day)
    return rows.join(statements, on=["ticker", "date"], how="left").select(list(DATASETS["features"].columns)).sort("ticker", "date")
