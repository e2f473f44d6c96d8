"""Dataset `indicators`: moving average, slope, momentum, GARCH volatility and liquidity with the sector's windows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market.containment import marks
from quant_assets.market.panel import STALE_SESSIONS, Panel
from quant_assets.schemas import Column, Dataset
from quant_assets.schemas.columns import FIRST_BAR, day, price, ticker
from quant_assets.settings.domain import GarchSettings, IndicatorSettings, SectorWindows
from quant_assets.signals.garch import STATUS, GarchCounts, garch_volatility
from quant_assets.windows.columns import check_sessions, member_mask, member_rows
from quant_assets.windows.declarations import Declared, Feature, FeatureSet
from quant_assets.windows.windows import Windows


class Indicators(NamedTuple):
    """Rows of dataset indicators without `sector`, sorted by ticker and date, and counts of GARCH fits by month."""

    rows: pl.DataFrame
    garch: Mapping[str, GarchCounts]


def declared(sector_windows: SectorWindows, settings: IndicatorSettings) -> FeatureSet:
    """The indicators that are windows over the panel, all except GARCH."""
    average, slope, lag = sector_windows.moving_average, settings.slope_sessions, sector_windows.momentum_lag
    liquidity, history = settings.liquidity_sessions, settings.history_sessions
    return FeatureSet(
        [
            Feature(
                "moving_average",
                ("close",),
                average - 1,
                lambda x, w: w.mean(x["close"], average),
                "mean close of dataset prices over the `moving_average` of the sector",
                "index",
                gt=0,
            ),
            Feature(
                "ma_slope",
                ("moving_average",),
                slope + STALE_SESSIONS,
                lambda x, w: w.ratio(x["moving_average"], slope) - 1.0,
                "moving average over itself `slope_sessions` before, less 1",
            ),
            Feature(
                "momentum",
                ("close",),
                lag + STALE_SESSIONS,
                lambda x, w: w.ratio(x["close"], lag) - 1.0,
                "return over the sector's `momentum_lag` sessions",
                gt=-1,
            ),
            Feature(
                "dollar_volume",
                ("dollar_volume",),
                liquidity - 1,
                lambda x, w: w.median(x["dollar_volume"], liquidity),
                "median as-traded dollar volume over `liquidity_sessions`; "
                "null if it is unknown, which does not mean illiquid",
                "USD",
                ge=0,
            ),
            Feature(
                "history_sessions",
                ("close",),
                history - 1,
                lambda x, w: w.observed(x["close"], history),
                "sessions with a bar among the last `history_sessions` of the settings",
                "sessions",
                ge=1,
            ),
        ]
    )


def garch_indicator(settings: GarchSettings) -> Declared[GarchSettings]:
    """GARCH volatility, fitted in every month on the window that ends before the month begins."""
    return Declared(
        "garch_volatility",
        ("close",),
        settings.window + 1,  # the first return needs one session more
        settings,
        "annualised one-step-ahead GARCH(1,1) volatility",
        source="Bollerslev (1986)",
        ge=0,
    )


def unexplained_indicator(sector_windows: SectorWindows, settings: IndicatorSettings) -> Declared[int]:
    """Sessions since the last unexplained step; `compute` is the number of sessions for which it matters."""
    reach = max(sector_windows.momentum_lag, sector_windows.moving_average - 1 + settings.slope_sessions)
    return Declared(
        "unexplained_sessions",
        ("unexplained",),
        reach + STALE_SESSIONS - 1,
        reach + STALE_SESSIONS,
        "sessions since the last unexplained step of the price, if `momentum`, `moving_average` or `ma_slope` reach "
        "back to it; else null. `garch_volatility` ignores its return",
        "sessions",
        ge=0,
    )


def all_declared(settings: IndicatorSettings, sector: str | None = None) -> tuple[tuple[Declared[object], int], ...]:
    """Indicators with their lookbacks before a month's first session; without `sector`, the largest of all sectors."""
    chosen: Sequence[SectorWindows] = list(settings.windows.values()) if sector is None else [settings.windows[sector]]
    sets = [declared(windows, settings) for windows in chosen]
    garch = garch_indicator(settings.garch)
    features = [(feature, max(other.total_lookback(feature.name) for other in sets)) for feature in sets[0].features]
    unexplained = max((unexplained_indicator(windows, settings) for windows in chosen), key=lambda step: step.lookback)
    return (*features, (unexplained, unexplained.lookback), (garch, garch.lookback))


def lookback_sessions(settings: IndicatorSettings, sector: str | None = None) -> int:
    """Lookback of the indicators before a month's first session; without `sector`, the largest of all sectors."""
    return max(lookback for _, lookback in all_declared(settings, sector))


def dataset(settings: IndicatorSettings) -> Dataset:
    """Dataset `indicators`: its columns are the declared ones."""
    columns = {indicator.name: indicator.column for indicator, _ in all_declared(settings)}
    fitted_on = Column(pl.Date, "last session of the window that the GARCH parameters were fitted on", nullable=True)
    status = Column(
        pl.String,
        "why `garch_volatility` is known or not: too_young if the company has too few sessions and no gaps, "
        "too_few_bars if sessions are missing, no_fit if prices never moved or the estimate is degenerate",
        isin=STATUS,
        anchored=FIRST_BAR,  # distinguishes a young company from one without bars at the window's start
    )
    return Dataset(
        "indicators",
        "Moving average and slope, momentum and GARCH volatility with the sector's windows",
        ("ticker", "date"),
        "date",
        "date",
        {
            "ticker": ticker(),
            "date": day(),
            "close": replace(price("last price of the session, adjusted for splits and dividends"), anchored=FIRST_BAR),
        }
        | columns
        | {"moving_average": replace(columns["moving_average"], anchored=FIRST_BAR)}
        | {
            "history_sessions": replace(columns["history_sessions"], dtype=pl.Int32, nullable=False),
            "unexplained_sessions": replace(columns["unexplained_sessions"], dtype=pl.Int32),
            "garch_fitted_on": fitted_on,
            "garch_status": status,
        },
    )


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

    Null if the history is too short or too many bars are missing (the rules of `quant_assets.windows.windows`).
    `garch_volatility` and `garch_fitted_on` are null together, for the whole month, and `garch_status` gives the
    reason: fewer than `garch.min_observations` returns in the window, prices that never moved, or an estimate that does
    not count (`signals.garch`).

    Args:
        prices: dataset prices of the sector; all rows are used as history, in the sector or not.
        universe: dataset universe (`ticker, date`): the rows of the result.
        sector: slug, chooses the windows.
        settings: windows and GARCH.
        sessions: sessions without a gap from `lookback_sessions` before the month of `first_day` (or from the start of
            the history) to `last_day`.
        first_day: first day of the result.
        last_day: last day of the result.

    Raises:
        HistoryError: `sessions` leave out history that prices have.

    """
    check_sessions("indicators", prices, universe, sessions, first_day, last_day, lookback_sessions(settings, sector))
    panel = Panel.from_long(marks(prices), sessions, ["close", "dollar_volume", "unexplained"])
    windows, unexplained = Windows(sessions), unexplained_indicator(settings.windows[sector], settings)
    since = int(np.searchsorted(sessions, np.datetime64(first_day.replace(day=1))))
    values = declared(settings.windows[sector], settings).evaluate(panel.fields, windows, since=since)
    values["unexplained_sessions"] = np.ascontiguousarray(
        windows.since(panel["unexplained"], unexplained.compute)[:, since:]
    )
    garch = garch_volatility(
        panel["close"],
        sessions,
        member_mask(panel, universe, first_day, last_day),
        settings.garch,
        first_day,
        last_day,
        panel.listed,
        panel["unexplained"] == 1.0,
    )
    garch_values = {"garch_volatility": garch.volatility, "garch_status": garch.status.astype(np.float64)}
    values |= {name: np.ascontiguousarray(array[:, since:]) for name, array in garch_values.items()}
    rows = member_rows(panel.since(since), values, universe, first_day, last_day)
    month_starts = rows["date"].dt.month_start().to_numpy().astype("datetime64[D]")
    window_ends = pl.Series(sessions[np.searchsorted(sessions, month_starts) - 1], dtype=pl.Date)
    rows = rows.with_columns(
        garch_fitted_on=pl.when(pl.col("garch_volatility").is_not_null()).then(window_ends),
        garch_status=pl.Series(STATUS).gather(rows["garch_status"].cast(pl.Int32)),
        **{name: pl.col(name).cast(pl.Int32) for name in ("history_sessions", "unexplained_sessions")},
    ).select(list(dataset(settings).columns))
    return Indicators(rows, garch.by_month)
