"""Returns and betas of the selected names and the drift of holdings, from the sessions before a decision."""

import math
from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import HistoryError
from quant_assets.market.containment import REVERSAL_SESSIONS, counted, marks
from quant_assets.market.panel import STALE_SESSIONS, FloatArray, IntArray, Panel
from quant_assets.market.sector_return import equal_weight_returns
from quant_assets.portfolio.covariances import Window
from quant_assets.portfolio.optimisers import optimiser
from quant_assets.settings.weights import WeightSettings

#: Sessions before the first return of a window that this return depends on.
_BASE = 2 + STALE_SESSIONS + REVERSAL_SESSIONS


def needs_previous(settings: WeightSettings) -> bool:
    """Whether a decision depends on the decision before."""
    penalised = settings.method == "mean_variance" and settings.turnover_penalty > 0.0
    return penalised or settings.constraints.max_turnover is not None


def needs_betas(settings: WeightSettings) -> bool:
    """Whether the names' betas are used."""
    limits = settings.constraints
    return settings.book == "beta_neutral" or limits.min_beta is not None or limits.max_beta is not None


def needs_history(settings: WeightSettings) -> bool:
    """Whether a decision depends on sessions before its own."""
    return optimiser(settings).needs_covariance or needs_betas(settings) or needs_previous(settings)


def lookback_sessions(settings: WeightSettings) -> int:
    """Sessions before a month's first session that its decision may depend on; 0 without such a dependence."""
    if not needs_history(settings):
        return 0
    windowed = optimiser(settings).needs_covariance or needs_betas(settings)
    # A decision of the month before may lie at its first session, where the exchange's calendar has a gap.
    return _BASE + (settings.covariance.sessions if windowed else 45)


class History:
    """The sessions before some decisions.

    Every figure depends only on the window that ends with its decision, so several decisions at once get the same
    figures as one alone.

    Args:
        prices: dataset prices of the sector.
        universe: dataset universe of the sector.
        indicators: dataset indicators; of the whole window where the covariance needs volatilities.
        sessions: datetime64[D], without a gap, from `lookback_sessions` before the first decision's month on.

    """

    def __init__(
        self,
        prices: pl.DataFrame,
        universe: pl.DataFrame,
        indicators: pl.DataFrame,
        sessions: NDArray[np.datetime64],
    ) -> None:
        self._sessions = sessions
        self._cut_off = not prices.filter(pl.col("date") < sessions[0].item()).is_empty() if len(sessions) else False
        seen = (pl.col("panel_from") - pl.date(1970, 1, 1)).dt.total_days()
        frame = marks(prices).with_columns(seen=seen)
        self._panel = Panel.from_long(frame, sessions, ["close", "unexplained", "seen"])
        self._returns = _returns(self._panel)
        self._sector = equal_weight_returns(prices, universe, sessions)
        volatility = indicators.select("ticker", "date", "garch_volatility")
        self._volatility = Panel.from_long(volatility, sessions, ["garch_volatility"])

    def _end(self, as_of: date) -> int:
        end = int(np.searchsorted(self._sessions, np.datetime64(as_of), side="right"))
        if end == 0 or self._sessions[end - 1] != np.datetime64(as_of):
            raise HistoryError(f"the decision session {as_of} is not among the sessions; pass those up to it")
        return end

    def _rows(self, tickers: Sequence[str], day: date) -> IntArray:
        bars = pl.DataFrame({"ticker": list(tickers)}, {"ticker": pl.String}).with_columns(date=pl.lit(day))
        return self._panel.rows(bars)

    def window(self, tickers: Sequence[str], as_of: date, sessions: int, *, volatility: bool = False) -> Window:
        """The returns of some names over the sessions up to a decision, as they were known then.

        A bar from before a ticker moved into the sector counts from that move on.

        Args:
            tickers: the names.
            as_of: the decision.
            sessions: length of the window; shorter where history begins later.
            volatility: whether the window includes volatilities.

        """
        end = self._end(as_of)
        start = max(end - sessions, 0)
        if self._cut_off and end - sessions < _BASE:
            raise HistoryError(
                f"the decision of {as_of} needs {sessions + _BASE} sessions, {end} are in the panel, and prices have "
                "those before; load the declared lookback"
            )
        rows = self._rows(tickers, as_of)
        observed = self._panel["seen"][rows, start:end] <= float(np.datetime64(as_of).astype(np.int64))
        returns = np.where((rows >= 0)[:, None] & observed, self._returns[rows, start:end], np.nan)
        forecast = self._forecast(tickers, start, end) if volatility else None
        ahead = self._forecast(tickers, end, end + 1)[:, 0]
        return Window(
            np.ascontiguousarray(returns.T),
            self._sector[start:end],
            None if forecast is None else np.ascontiguousarray(forecast.T),
            ahead,
        )

    def _forecast(self, tickers: Sequence[str], start: int, end: int) -> FloatArray:
        """Volatilities forecast for some sessions, at the close before each: (n_names, n)."""
        order = {name: at for at, name in enumerate(self._volatility.tickers)}
        result = np.full((len(tickers), end - start), np.nan)
        for at, name in enumerate(tickers):
            if name in order and end > 1:
                first = max(start, 1)
                result[at, first - start :] = self._volatility["garch_volatility"][order[name], first - 1 : end - 1]
        return result

    def betas(self, window: Window, min_observations: int) -> FloatArray:
        """Beta of each name to the sector's equal-weight return over a window; 1, the sector's, with too few returns.

        Returns:
            float64 of shape (n_names,).

        """
        market, result = window.sector, np.ones(window.returns.shape[1])
        for at, column in enumerate(window.returns.T):
            both = np.isfinite(column) & np.isfinite(market)
            away = market[both] - market[both].mean() if both.any() else market[both]
            if both.sum() >= min_observations and (away**2).sum() > 0.0:
                result[at] = float((away * column[both]).sum() / (away**2).sum())
        return result

    def drifted(self, held: dict[str, float], decided: date, as_of: date, entry_lag: int) -> dict[str, float]:
        """Weights decided at one session, moved by prices up to another, as shares of the portfolio's value then.

        As in the simulation, names are bought at the close `entry_lag` sessions after the decision. A name without a
        bar there is not bought; a name without a bar in the last sessions has become cash.

        Args:
            held: weights by ticker.
            decided: their decision session.
            as_of: session to which the weights drift.
            entry_lag: sessions from decision to execution.

        """
        entry, end = self._end(decided) - 1 + entry_lag, self._end(as_of)
        if entry >= end:
            return dict(held)
        bought = self._sessions[entry].item()
        rows = self._rows(list(held), bought)
        worth: dict[str, float] = {}
        rest = [1.0]
        for (name, weight), row in zip(held.items(), rows.tolist(), strict=True):
            price = self._panel["close"][row, entry] if row >= 0 else np.nan
            if not np.isfinite(price):
                continue
            path = self._panel["close"][row, entry:end]
            traded = np.flatnonzero(np.isfinite(path))
            rest.append(-weight)
            value = weight * float(path[traded[-1]] / price)
            if len(path) - 1 - traded[-1] <= STALE_SESSIONS:
                worth[name] = value
            else:
                rest.append(value)
        total = math.fsum([*rest, *worth.values()])
        return {name: value / total for name, value in worth.items()} if total > 0.0 else {}


def _returns(panel: Panel) -> FloatArray:
    """Counted return of each bar, from the last bar of the `STALE_SESSIONS` sessions up to the session before."""
    close = panel["close"]
    result = np.full(close.shape, np.nan)
    if close.shape[1] > 1:
        every = np.arange(close.shape[1])
        last = np.maximum.accumulate(np.where(np.isnan(close), -1, every), axis=1)[:, :-1]
        near = (last >= 0) & (every[:-1] - last <= STALE_SESSIONS)
        base = np.where(near, np.take_along_axis(close, np.maximum(last, 0), axis=1), np.nan)
        result[:, 1:] = close[:, 1:] / base - 1.0
    return counted(result, close, panel["unexplained"] == 1.0)
