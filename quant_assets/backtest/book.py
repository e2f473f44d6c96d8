"""A book of holdings and cash with itemised costs, simulated session by session over the prices of a panel.

Rules, in addition to those of `simulation.simulate`
----------------------------------------------------
- Targets are shares of the equity after the costs of trading to them, at the price of the trade.
- Orders that cannot be traded (no bar, a halt, the participation limit, no cash because a sale is halted) are carried:
  they are traded on later sessions to the same share of the equity then, until the next rebalancing.
- Long-only, cash never becomes negative: buys without cash wait for the sales that pay for them.
- A delisted holding becomes cash at its last price and `delisting_return` once that is known, and is settled at the
  next rebalancing; a delisting that is withdrawn before has no effect.
- `capital` is the size of the book at all times. It determines impact and participation, with estimates from the
  sessions before (`portfolio.trading_costs`). A name without an estimate gets the median of the names traded with it;
  if none has one, impact is 0 and there is no limit.
- With `turnover.limited`, all trades of a session are cut in proportion to its largest turnover, or to the rest of the
  year's; the cut part waits for the next rebalancing. Trades that are too small are not made, and the proceeds that
  small sales would have brought are not spent. The first purchase is no exception.
- Fees and interest accrue for each calendar day of the nights that a position is held, at a 365th of the yearly rate:
  the borrow fee on the value of shorts, less the rebate on as much of it as there is cash, and financing on negative
  cash. Proceeds of short sales are cash that can buy longs: no collateral is locked.
- Prices are total returns: dividends are reinvested by longs and paid by shorts. The term `short_dividends` is that
  part of the return; it is not part of the cost.

Where a book begins
-------------------
A book depends on its own past, but a month must not depend on which months are computed with it. The months of a year
therefore come from a book that begins with cash at the first execution of the year before (`begins`), at least twelve
months earlier: its first purchases and carried orders no longer matter.

With `turnover.limited` they always matter: where a limit binds, holdings go back to the first purchase. Every month
then comes from one book that begins with cash at the first execution of all, and reads the whole history.
"""

import math
from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.backtest.book_kernel import BACK, BECOMES, DELISTED, TERMS, Carried, carried
from quant_assets.backtest.decided import Execution
from quant_assets.backtest.result import CUTS, GAINS, POSITIONS, TRADES, Outcome
from quant_assets.market.containment import contained, marks
from quant_assets.market.delistings import continued, with_corrections
from quant_assets.market.panel import FloatArray, IntArray, Panel
from quant_assets.portfolio.trading_costs import daily_volatility, half_spread, median_dollar_volume
from quant_assets.settings.trading import BacktestSettings, TurnoverSettings
from quant_assets.windows.windows import Windows

#: Number of months that covers the whole of any history.
_WHOLE = 1200


def months(settings: BacktestSettings) -> int:
    """Months before a month that its book reaches back: from December to January of the year before, with estimates.

    All months with `turnover.limited`. An estimate may be as old as its window is long, so that two windows and the
    session itself are needed; any m consecutive months since 1999 hold at least 20 m - 5 sessions.
    """
    if settings.turnover.limited:
        return _WHOLE
    return 23 + math.ceil((2 * settings.estimate_sessions + 6) / 20)


_FIELDS = ("close", "open", "high", "low", "dollar_volume", "close_unadjusted", "split_factor", "unexplained")


def begins(day: date) -> date:
    """The first day of the book that gives the rows of a day, except with `turnover.limited`."""
    return date(day.year - 1, 1, 1)


def outcome(
    executed: Sequence[Execution],
    bars: pl.DataFrame,
    delistings: pl.DataFrame | None,
    sessions: NDArray[np.datetime64],
    start: int,
    settings: BacktestSettings,
) -> Outcome:
    """Results of every session from `start` on; those before are zeros.

    Args:
        executed: the executions, ascending.
        bars: rows of dataset prices; missing columns count as unknown.
        delistings: dataset delistings.
        sessions: datetime64[D] of shape (n_sessions,).
        start: position of the first session of the result, the first of its month.
        settings: costs and execution.

    """
    recent = bars.filter(pl.col("panel_from") <= pl.col("date")) if "panel_from" in bars.columns else bars
    fields = [name for name in (*_FIELDS, "ticker", "date", "listed") if name in recent.columns]
    recent = marks(recent.select(fields)).unique()
    names = [name for name in _FIELDS if name in recent.columns]
    panel = Panel.from_long(recent, sessions, names)
    market = _Market(panel, sessions, bars, delistings, settings)
    if settings.turnover.limited:
        since = min([start, *(execution.at for execution in executed[:1])])
        return _joined([market.run(executed, since, start, len(sessions))], start)
    years = sessions.astype("datetime64[Y]")
    parts = []
    for year in np.unique(years[start:]):
        first = max(start, int(np.searchsorted(years, year)))
        last = int(np.searchsorted(years, year, side="right"))
        since = int(np.searchsorted(sessions, np.datetime64(begins(sessions[first].item()))))
        parts.append(market.run(executed, since, first, last))
    return _joined(parts, start)


class _Market:
    """A panel, the costs estimated from it, and the events of its names.

    A run depends only on its own sessions and those of two windows of estimates before.
    """

    def __init__(
        self,
        panel: Panel,
        sessions: NDArray[np.datetime64],
        bars: pl.DataFrame,
        delistings: pl.DataFrame | None,
        settings: BacktestSettings,
    ) -> None:
        self.panel, self.sessions, self.settings = panel, sessions, settings
        self.price = self._execution()
        self.doubted = contained(panel["close"], panel["unexplained"] == 1.0)
        self.dividend = self._dividends()
        self.events, self.event_values = _events(panel, sessions, bars, delistings)
        self.half: FloatArray | None = None
        self.impact: FloatArray | None = None
        self.limit: FloatArray | None = None
        self.rates = (settings.cost_bps / 1e4, 0.0, 0.0, 0.0)
        self._costs()

    def _field(self, name: str) -> FloatArray:
        field = self.panel.fields.get(name)
        return np.full(self.panel.shape, np.nan) if field is None else field

    def _execution(self) -> FloatArray:
        close, first = self.panel["close"], self._field("open")
        if self.settings.execution == "close":
            return close
        first = np.where(np.isfinite(first), first, close)
        if self.settings.execution == "open":
            return first
        high, low = (np.where(np.isfinite(row), row, close) for row in (self._field("high"), self._field("low")))
        return (first + high + low + close) / 4.0

    def _costs(self) -> None:
        """Rates of the settings, and estimates where a setting requires them."""
        settings, close = self.settings, self.panel["close"]
        windows, window = Windows(self.sessions), settings.estimate_sessions
        volume = np.empty(0)
        if settings.participation is not None or (settings.costs == "itemised" and settings.impact > 0.0):
            volume = median_dollar_volume(self._field("dollar_volume"), windows, window)
        if settings.participation is not None:
            self.limit = settings.participation * volume / settings.capital
        if settings.costs == "flat":
            return
        commission, borrow, rebate, financing = (
            rate / 1e4
            for rate in (settings.commission_bps, settings.borrow_bps, settings.rebate_bps, settings.financing_bps)
        )
        self.rates = (commission, borrow, rebate, financing)
        self.half = np.full(close.shape, settings.half_spread_bps / 1e4)
        if settings.spread != "fixed":
            high, low = self._field("high"), self._field("low")
            spread = half_spread(settings.spread, high, low, close, windows, window)
            self.half = np.where(np.isfinite(spread), spread, self.half)
        if settings.impact > 0.0:
            volatility = daily_volatility(close, self.panel["unexplained"], windows, window)
            with np.errstate(divide="ignore", invalid="ignore"):
                self.impact = settings.impact * volatility * np.sqrt(settings.capital / volume)

    def _dividends(self) -> FloatArray:
        """Dividend over the close before: the adjusted price's gain less the traded one's; 0 where unknown."""
        close, traded = self.panel["close"], self._field("close_unadjusted") * self._field("split_factor")
        yields = np.zeros(close.shape)
        with np.errstate(invalid="ignore", divide="ignore"):
            yields[:, 1:] = close[:, 1:] / close[:, :-1] - traded[:, 1:] / traded[:, :-1]
        return np.where(np.isfinite(yields) & (yields > 1e-9), yields, 0.0)

    def run(self, executed: Sequence[Execution], since: int, first: int, last: int) -> Outcome:
        """The sessions from `first` to before `last` of a book that begins at `since`."""
        settings, span = self.settings, slice(since, last)
        days = self.sessions[span]
        mine = [execution for execution in executed if since <= execution.at < last]
        target, decision = np.zeros((len(mine), len(self.panel.tickers))), np.full(last - since, -1)
        for number, execution in enumerate(mine):
            rows = pl.DataFrame({"ticker": list(execution.targets)}, {"ticker": pl.String}).with_columns(
                date=pl.lit(self.sessions[execution.at].item())
            )
            for row, weight in zip(self.panel.rows(rows).tolist(), execution.targets.values(), strict=True):
                if row >= 0:
                    target[number, row] = weight
            decision[execution.at - since] = number
        traded = _rebalancing(decision, days, settings.rebalancing)
        months = days.astype("datetime64[M]").astype(np.int64)
        nights = np.diff(days.astype(np.int64), prepend=days[:1].astype(np.int64)).astype(np.float64)
        within = (self.events[:, 0] >= since) & (self.events[:, 0] < last)
        factor, doubts = self._contained(since, last)
        filled = [_filled(estimates, span, target, decision) for estimates in (self.impact, self.limit)]
        result = carried(
            (self.price[:, span] * factor).T,
            (self.panel["close"][:, span] * factor).T,
            target,
            traded,
            half=None if self.half is None else self.half[:, span].T,
            impact=None if filled[0] is None else np.where(np.isfinite(filled[0]), filled[0], 0.0),
            limit=None if filled[1] is None else np.where(np.isfinite(filled[1]), filled[1], np.inf),
            dividend=self.dividend[:, span].T,
            days=nights,
            month=months - months[0],
            events=self.events[within] - np.array([since, 0, 0, 0]),
            event_values=self.event_values[within],
            doubts=doubts,
            rates=self.rates,
            limits=_limits(settings.turnover),
            year=days.astype("datetime64[Y]").astype(np.int64),
            at_close=settings.execution == "close",
            long_only=settings.leverage <= 1.0,
        )
        return _told(result, self.panel.tickers, days, first - since, decision >= 0, traded)

    def _contained(self, since: int, last: int) -> tuple[FloatArray, IntArray]:
        """Factors on the prices where steps are contained, and these steps' sessions and rows."""
        close = self.panel["close"][:, since:last]
        factor, steps = np.ones(close.shape), []
        for row, session, counted in zip(*(column.tolist() for column in self.doubted), strict=True):  # very few
            at = session - since
            bars = np.flatnonzero(np.isfinite(close[row, : max(at, 0)]))
            if 0 < at < last - since and len(bars):  # otherwise it was not held across the step
                factor[row, at:] *= (
                    (1.0 if np.isnan(counted) else 1.0 + counted) * close[row, bars[-1]] / close[row, at]
                )
                steps.append((at, row))
        return factor, np.array(sorted(steps), dtype=np.int64).reshape(-1, 2)


def _filled(values: FloatArray | None, span: slice, target: FloatArray, decision: IntArray) -> FloatArray | None:
    """Estimates of a run, (n_sessions, n_names): a missing one is the median of the names traded with it."""
    if values is None:
        return None
    filled = np.ascontiguousarray(values[:, span].T)
    places = np.flatnonzero(decision >= 0)
    for number, place in enumerate(places):
        until = places[number + 1] if number + 1 < len(places) else len(decision)
        rows = np.flatnonzero((target[max(number - 1, 0) : number + 1] != 0.0).any(axis=0))
        part = filled[place:until, rows]
        observed = np.isfinite(part)
        some = observed.any(axis=1) & ~observed.all(axis=1)
        if some.any():
            middle = np.full(len(part), np.nan)
            middle[some] = np.nanmedian(part[some], axis=1)
            filled[place:until, rows] = np.where(observed, part, middle[:, None])
    return filled


def _limits(turnover: TurnoverSettings) -> tuple[float, float, float]:
    """The kernel's limits."""
    return (turnover.max_turnover, turnover.annual, turnover.min_trade) if turnover.limited else (math.inf, math.inf, 0)


def _rebalancing(decision: IntArray, days: NDArray[np.datetime64], rebalancing: str) -> IntArray:
    """The decision traded to at each session: a new one, and in between the newest once a week or a day."""
    if rebalancing == "month":
        return decision
    newest = np.maximum.accumulate(decision)
    if rebalancing == "day":
        return newest
    week = (days.astype(np.int64) + 3) // 7  # weeks begin on Monday: 1970-01-01 was a Thursday
    opens = np.diff(week, prepend=week[:1] - 1) > 0
    return np.where(opens | (decision >= 0), newest, -1)


def _events(
    panel: Panel, sessions: NDArray[np.datetime64], bars: pl.DataFrame, delistings: pl.DataFrame | None
) -> tuple[IntArray, FloatArray]:
    """Delistings, their withdrawals, and renames, by session."""
    events: list[tuple[int, int, int, int, float]] = []
    if delistings is None or delistings.is_empty():
        return np.empty((0, 4), np.int64), np.empty(0)
    closes = bars.select(pl.selectors.by_name("ticker", "date", "close", "listed", "panel_from", require_all=False))
    unresolved = set(continued(closes, delistings)[1].drop_nulls("successor").select("ticker", "last_session").rows())
    rows = with_corrections(delistings).unique(["ticker", "last_session"], maintain_order=True)
    last = sessions[-1].item()
    for event in rows.filter(pl.col("known_at").is_between(sessions[0].item(), last)).iter_rows(named=True):
        at = int(np.searchsorted(sessions, np.datetime64(event["known_at"])))
        row = _row(panel, event["ticker"], event["last_session"])
        if row < 0:
            continue
        if event["successor"] is not None and (event["ticker"], event["last_session"]) not in unresolved:
            new = _row(panel, event["successor"], event["known_at"])
            old_close, new_close = (
                _close(closes, event[name], event["last_session"], event["known_at"])
                for name in ("ticker", "successor")
            )
            if new >= 0 and old_close is not None and new_close is not None:
                events.append((at, row, BECOMES, new, old_close / new_close))
                continue
        loss = event["delisting_return"]
        events.append((at, row, DELISTED, row, 0.0 if loss is None else loss))
        back = event["trades_again"]
        if back is not None and back <= last:
            events.append((int(np.searchsorted(sessions, np.datetime64(back))), row, BACK, row, 0.0))
    events.sort()
    table = np.array(events, dtype=np.float64).reshape(-1, 5)
    return table[:, :4].astype(np.int64), table[:, 4].copy()


def _row(panel: Panel, ticker: str, day: date) -> int:
    return int(panel.rows(pl.DataFrame({"ticker": [ticker], "date": [day]}, {"ticker": pl.String, "date": pl.Date}))[0])


def _close(closes: pl.DataFrame, ticker: str, day: date, known: date) -> float | None:
    rows = closes.filter((pl.col("ticker") == ticker) & (pl.col("date") == day))
    if "panel_from" in rows.columns:
        rows = rows.filter(pl.col("panel_from") <= known)
    return float(rows["close"][0]) if len(rows) else None


def _told(
    result: Carried,
    tickers: tuple[str, ...],
    days: NDArray[np.datetime64],
    first: int,
    fresh: NDArray[np.bool_],
    decision: IntArray,
) -> Outcome:
    """The kernel's results from session `first` on, with names and dates."""
    names = np.array(tickers, dtype=object)
    new = result.traded[:, 0] >= first
    at, row = result.traded[new].T
    why = np.where(fresh[at], "decision", np.where(decision[at] >= 0, "rebalancing", "carried"))
    columns = dict(
        zip(("held", "traded", "commission", "half_spread", "impact", "price"), result.trades[new].T, strict=True)
    )
    trades = pl.DataFrame(
        {"date": days[at], "ticker": names[row].tolist(), **columns, "reason": why.tolist()},
        schema_overrides={"ticker": pl.String, "reason": pl.String},
    )
    recent = result.kept[:, 0] >= first
    at, row = result.kept[recent].T
    positions = pl.DataFrame(
        {"date": days[at], "ticker": names[row].tolist(), "weight": result.weights[recent]},
        schema_overrides={"ticker": pl.String},
    )
    months = np.unique(days.astype("datetime64[M]"))
    month, row = np.nonzero(result.gains)
    gains = pl.DataFrame(
        {
            "month": months[month].astype("datetime64[D]"),
            "ticker": names[row].tolist(),
            "gain": result.gains[month, row],
        },
        schema_overrides={"ticker": pl.String},
    ).filter(pl.col("month") >= pl.lit(days[first].item()).dt.month_start())
    rows, years = slice(first, None), days.astype("datetime64[Y]")
    spent = [np.cumsum(result.turnover[years == year]) for year in np.unique(years)]
    return Outcome(
        result.gross[rows],
        result.cost[rows],
        result.turnover[rows],
        np.concatenate(spent)[rows],
        result.cash[rows],
        np.concatenate([[0.0], 1.0 - result.cash[:-1]])[rows],
        result.positions[rows].astype(np.int32),
        result.unexplained[rows].astype(np.int32),
        {name: result.terms[rows, place] for place, name in enumerate(TERMS)},
        {name: result.cut[rows, place] for place, name in enumerate(CUTS)},
        trades.select(list(TRADES)).cast(dict(TRADES)).sort("date", "ticker"),  # type: ignore[arg-type]
        positions.select(list(POSITIONS)).cast(dict(POSITIONS)).sort("date", "ticker"),  # type: ignore[arg-type]
        gains.select(list(GAINS)).cast(dict(GAINS)).sort("month", "ticker"),  # type: ignore[arg-type]
    )


def _joined(outcomes: Sequence[Outcome], start: int) -> Outcome:
    """Outcomes one after the other, with zeros before the first."""

    def series(name: str, before: float) -> FloatArray:
        values = [getattr(part, name) for part in outcomes]
        return np.concatenate([np.full(start, before, dtype=values[0].dtype), *values])

    terms = {name: np.concatenate([np.zeros(start), *(part.terms[name] for part in outcomes)]) for name in TERMS}
    return Outcome(
        series("gross", 0.0),
        series("cost", 0.0),
        series("turnover", 0.0),
        series("spent", 0.0),
        series("cash", 1.0),
        series("invested", 0.0),
        series("positions_held", 0),  # type: ignore[arg-type]
        series("unexplained", 0),  # type: ignore[arg-type]
        terms,
        {name: np.concatenate([np.zeros(start), *(part.cut[name] for part in outcomes)]) for name in CUTS},
        *(pl.concat([getattr(part, name) for part in outcomes]) for name in ("trades", "positions", "gains")),
    )
