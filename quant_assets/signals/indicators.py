"""Dataset `indicators`: moving average, slope, momentum, GARCH volatility and liquidity with the sector's windows."""

from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market.panel import STALE_SESSIONS, Panel
from quant_assets.schemas import DATASETS
from quant_assets.settings import IndicatorSettings, SectorWindows
from quant_assets.signals import windows
from quant_assets.signals.columns import PanelColumn, check_sessions, evaluate, member_mask, member_rows
from quant_assets.signals.garch import GarchCounts, garch_volatility


class Indicators(NamedTuple):
    """Rows of dataset indicators without `sector`, sorted by ticker and date, and how many GARCH fits they took."""

    rows: pl.DataFrame
    garch: GarchCounts


def declared(sector_windows: SectorWindows, settings: IndicatorSettings) -> tuple[PanelColumn, ...]:
    """The indicators that are windows over the panel; GARCH has a calendar of its own."""
    average, slope, lag = sector_windows.moving_average, settings.slope_sessions, sector_windows.momentum_lag
    liquidity, history = settings.liquidity_sessions, settings.history_sessions
    return (
        PanelColumn("moving_average", ("close",), average - 1, lambda x: windows.mean(x["close"], average)),
        PanelColumn(
            "ma_slope",
            ("close",),
            average - 1 + slope + STALE_SESSIONS,
            lambda x: windows.lagged_ratio(windows.mean(x["close"], average), slope) - 1.0,
        ),
        PanelColumn("momentum", ("close",), lag + STALE_SESSIONS, lambda x: windows.lagged_ratio(x["close"], lag) - 1.0),
        PanelColumn("dollar_volume", ("dollar_volume",), liquidity - 1, lambda x: windows.median(x["dollar_volume"], liquidity)),
        PanelColumn("history_sessions", ("close",), history - 1, lambda x: windows.observed_sessions(x["close"], history)),
    )


def lookback_sessions(settings: IndicatorSettings, sector: str | None = None) -> int:
    """Sessions before a month's first one that its indicators may depend on; the most over all sectors without `sector`."""
    chosen: Iterable[SectorWindows] = settings.windows.values() if sector is None else (settings.windows[sector],)
    # The GARCH window ends before the month begins and takes one session more for the base of its first return.
    return max([settings.garch.window + 1, *(column.lookback for each in chosen for column in declared(each, settings))])


def indicators(
    prices: pl.DataFrame,
    universe: pl.DataFrame,
    sector: str,
    settings: IndicatorSettings,
    sessions: NDArray[np.datetime64],
    first_day: date,
    last_day: date,
) -> Indicators:
    """Indicators of the sector's members at each session with a bar.

    Null where history is too short or too many bars are missing (the rules of `quant_assets.signals.windows`). `garch_volatility` and
    `garch_fitted_on` are null together, through the whole month: fewer than `garch.min_observations` returns in the window, prices
    that never moved, or a search that did not converge.

    Args:
        prices: dataset prices of the sector; every row serves as history, in the sector or not.
        universe: dataset universe (`ticker, date`): the rows to give.
        sector: slug, chooses the windows.
        settings: windows and GARCH.
        sessions: sessions without a gap from `lookback_sessions` before the month of `first_day` (or from where history
            begins) to `last_day`.
        first_day: first day to give rows for.
        last_day: last day to give rows for.

    Raises:
        HistoryError: `sessions` leave out history that prices have.

    """
    check_sessions("indicators", prices, universe, sessions, first_day, last_day, lookback_sessions(settings, sector))
    panel = Panel.from_long(prices, sessions, ["close", "dollar_volume"])
    values = evaluate(declared(settings.windows[sector], settings), panel.fields)
    garch = garch_volatility(
        panel["close"], sessions, member_mask(panel, universe, first_day, last_day), settings.garch, first_day, last_day
    )
    rows = member_rows(panel, values | {"garch_volatility": garch.volatility}, universe, first_day, last_day)
    month_starts = rows["date"].dt.month_start().to_numpy().astype("datetime64[D]")
    window_ends = pl.Series(sessions[np.searchsorted(sessions, month_starts) - 1], dtype=pl.Date)
    rows = rows.with_columns(
        garch_fitted_on=pl.when(pl.col("garch_volatility").is_not_null()).then(window_ends),
        history_sessions=pl.col("history_sessions").cast(pl.Int32),
    ).select(list(DATASETS["indicators"].columns))
    return Indicators(rows, garch.counts)
