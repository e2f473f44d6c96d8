"""A book of holdings and cash with itemised costs, carried session by session over the prices of a panel.

Rules, beside those of `simulation.simulate`
--------------------------------------------
- Targets are shares of the equity that is left after the costs of trading to them, at the price of the trade.
- What cannot be traded (no bar, a halt, the participation limit, cash that a halted sale does not bring) is carried: it
  is traded on later sessions to the same share of the equity of then, until the next rebalancing.
- Long-only, cash never becomes negative: buys that cannot be paid for wait for the sales that pay them.
- A delisted holding is cash at its last price and `delisting_return` once that is known, and is settled at the next
  rebalancing: a delisting that is taken back before was none.
- `capital` is the size of the book at all times. Impact and participation go by it, and by estimates of the sessions
  before (`portfolio.trading_costs`). A name without an estimate counts as the median of those that are traded with it;
  without any, impact is 0 and there is no limit.
- With `turnover.limited`, all trades of a session are cut in proportion to its largest turnover, or to what the year's
  has left; what is cut is left to the next rebalancing. Trades that are too small are not made, and what small sales
  would have freed is not spent. The first purchase is no exception.
- Fees and interest accrue for each calendar day of the nights that a holding is held, at a 365th of the yearly rate:
  the borrow fee on what shorts are worth, less the rebate on as much of it as there is cash, and financing on negative
  cash. What is sold short is cash that longs may be bought with: no collateral is locked.
- Prices are total returns: dividends are reinvested by longs and paid by shorts. The term `short_dividends` tells how
  much of the return that was; it is no part of the cost.

Where a book begins
-------------------
A book depends on its own past, and a month must not depend on which months are computed with it. So the months of a
year come from a book that begins with cash at the first execution of the year before (`begins`), at least twelve months
before any of them: what it cost to buy in, and what was carried then, is long over.

Under `turnover.limited` nothing is ever over: where a limit binds, what is held goes back to the first purchase. There
every month comes from one book that begins with cash at the first execution of all, and reads the whole history.
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

#: Months that reach back to the first decision of any history.
_WHOLE = 1200


def months(settings: BacktestSettings) -> int:
    """Months before a month that its book reaches back: from December to January of the year before, with estimates.

    Under `turnover.limited` all of them. An estimate may be as old as its window is long, so that two windows and the
    session itself lie before; any m consecutive months since 1999 hold at least 20 m - 5 sessions.
    """
    if settings.turnover.limited:
        return _WHOLE
    return 23 + math.ceil((2 * settings.estimate_sessions + 6) / 20)


_FIELDS = ("close", "open", "high", "low", "dollar_volume", "close_unadjusted", "split_factor", "unexplained")


def begins(day: date) -> date:
    """The first day of the book that gives the rows of a day, but under `turnover.limited`."""
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
        bars: rows of dataset prices; columns that are missing count as not known.
        delistings: dataset delistings.
        sessions: datetime64[D] of shape (n_sessions,).
        start: position of the first session that is wanted, the first of its month.
        settings: costs and execution.

    """
    known = bars.filter(pl.col("panel_from") <= pl.col("date")) if "panel_from" in bars.columns else bars
    fields = [name for name in (*_FIELDS, "ticker", "date", "listed") if name in known.columns]
    known = marks(known.select(fields)).unique()
    names = [name for name in _FIELDS if name in known.columns]
    panel = Panel.from_long(known, sessions, names)
    market = _Market(panel, sessions, bars, delistings, settings)
    if settings.turnover.limited:
        since = min([start, *(each.at for each in executed[:1])])
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
    """A panel, what costs are estimated from it, and what happened to its names.

    What a run takes of it follows from its own sessions and those of two windows of estimates before.
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
        found = self.panel.fields.get(name)
        return np.full(self.panel.shape, np.nan) if found is None else found

    def _execution(self) -> FloatArray:
        close, first = self.panel["close"], self._field("open")
        if self.settings.execution == "close":
            return close
        first = np.where(np.isfinite(first), first, close)
        if self.settings.execution == "open":
            return first
        high, low = (np.where(np.isfinite(each), each, close) for each in (self._field("high"), self._field("low")))
        return (first + high + low + close) / 4.0

    def _costs(self) -> None:
        """Rates of the settings, and estimates where a setting asks for them."""
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
            each / 1e4
            for each in (settings.commission_bps, settings.borrow_bps, settings.rebate_bps, settings.financing_bps)
        )
        self.rates = (commission, borrow, rebate, financing)
        self.half = np.full(close.shape, settings.half_spread_bps / 1e4)
        if settings.spread != "fixed":
            high, low = self._field("high"), self._field("low")
            found = half_spread(settings.spread, high, low, close, windows, window)
            self.half = np.where(np.isfinite(found), found, self.half)
        if settings.impact > 0.0:
            volatility = daily_volatility(close, self.panel["unexplained"], windows, window)
            with np.errstate(divide="ignore", invalid="ignore"):
                self.impact = settings.impact * volatility * np.sqrt(settings.capital / volume)

    def _dividends(self) -> FloatArray:
        """Dividend over the close before: what the adjusted price gains beyond the traded one; 0 where unknown."""
        close, traded = self.panel["close"], self._field("close_unadjusted") * self._field("split_factor")
        found = np.zeros(close.shape)
        with np.errstate(invalid="ignore", divide="ignore"):
            found[:, 1:] = close[:, 1:] / close[:, :-1] - traded[:, 1:] / traded[:, :-1]
        return np.where(np.isfinite(found) & (found > 1e-9), found, 0.0)

    def run(self, executed: Sequence[Execution], since: int, first: int, last: int) -> Outcome:
        """The sessions from `first` to before `last` of a book that begins at `since`."""
        settings, span = self.settings, slice(since, last)
        days = self.sessions[span]
        mine = [each for each in executed if since <= each.at < last]
        target, decision = np.zeros((len(mine), len(self.panel.tickers))), np.full(last - since, -1)
        for number, each in enumerate(mine):
            asked = pl.DataFrame({"ticker": list(each.targets)}, {"ticker": pl.String}).with_columns(
                date=pl.lit(self.sessions[each.at].item())
            )
            for row, weight in zip(self.panel.rows(asked).tolist(), each.targets.values(), strict=True):
                if row >= 0:
                    target[number, row] = weight
            decision[each.at - since] = number
        traded = _rebalancing(decision, days, settings.rebalancing)
        months = days.astype("datetime64[M]").astype(np.int64)
        nights = np.diff(days.astype(np.int64), prepend=days[:1].astype(np.int64)).astype(np.float64)
        within = (self.events[:, 0] >= since) & (self.events[:, 0] < last)
        factor, doubts = self._contained(since, last)
        filled = [_filled(each, span, target, decision) for each in (self.impact, self.limit)]
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
        """What prices are multiplied with where steps do not count as they are, and these steps' sessions and rows."""
        close = self.panel["close"][:, since:last]
        factor, found = np.ones(close.shape), []
        for row, session, counted in zip(*(each.tolist() for each in self.doubted), strict=True):  # hardly any
            at = session - since
            bars = np.flatnonzero(np.isfinite(close[row, : max(at, 0)]))
            if 0 < at < last - since and len(bars):  # else it was not held across the step
                factor[row, at:] *= (
                    (1.0 if np.isnan(counted) else 1.0 + counted) * close[row, bars[-1]] / close[row, at]
                )
                found.append((at, row))
        return factor, np.array(sorted(found), dtype=np.int64).reshape(-1, 2)


def _filled(values: FloatArray | None, span: slice, target: FloatArray, decision: IntArray) -> FloatArray | None:
    """Estimates of a run, (n_sessions, n_names): a missing one is the median of the names that are traded with it."""
    if values is None:
        return None
    found = np.ascontiguousarray(values[:, span].T)
    places = np.flatnonzero(decision >= 0)
    for number, place in enumerate(places):
        until = places[number + 1] if number + 1 < len(places) else len(decision)
        rows = np.flatnonzero((target[max(number - 1, 0) : number + 1] != 0.0).any(axis=0))
        part = found[place:until, rows]
        known = np.isfinite(part)
        some = known.any(axis=1) & ~known.all(axis=1)
        if some.any():
            middle = np.full(len(part), np.nan)
            middle[some] = np.nanmedian(part[some], axis=1)
            found[place:until, rows] = np.where(known, part, middle[:, None])
    return found


def _limits(turnover: TurnoverSettings) -> tuple[float, float, float]:
    """The kernel's limits."""
    return (turnover.max_turnover, turnover.annual, turnover.min_trade) if turnover.limited else (math.inf, math.inf, 0)


def _rebalancing(decision: IntArray, days: NDArray[np.datetime64], rebalancing: str) -> IntArray:
    """Which decision is traded to at each session: a new one, and between two the newest once a week or a day."""
    if rebalancing == "month":
        return decision
    newest = np.maximum.accumulate(decision)
    if rebalancing == "day":
        return newest
    week = (days.astype(np.int64) + 3) // 7  # from Monday on: 1970-01-01 was a Thursday
    opens = np.diff(week, prepend=week[:1] - 1) > 0
    return np.where(opens | (decision >= 0), newest, -1)


def _events(
    panel: Panel, sessions: NDArray[np.datetime64], bars: pl.DataFrame, delistings: pl.DataFrame | None
) -> tuple[IntArray, FloatArray]:
    """Delistings, those that were taken back, and renames, by session."""
    found: list[tuple[int, int, int, int, float]] = []
    if delistings is None or delistings.is_empty():
        return np.empty((0, 4), np.int64), np.empty(0)
    closes = bars.select(pl.selectors.by_name("ticker", "date", "close", "listed", "panel_from", require_all=False))
    unresolved = set(continued(closes, delistings)[1].drop_nulls("successor").select("ticker", "last_session").rows())
    rows = with_corrections(delistings).unique(["ticker", "last_session"], maintain_order=True)
    last = sessions[-1].item()
    for each in rows.filter(pl.col("known_at").is_between(sessions[0].item(), last)).iter_rows(named=True):
        at = int(np.searchsorted(sessions, np.datetime64(each["known_at"])))
        row = _row(panel, each["ticker"], each["last_session"])
        if row < 0:
            continue
        if each["successor"] is not None and (each["ticker"], each["last_session"]) not in unresolved:
            new = _row(panel, each["successor"], each["known_at"])
            old_close, new_close = (
                _close(closes, each[name], each["last_session"], each["known_at"]) for name in ("ticker", "successor")
            )
            if new >= 0 and old_close is not None and new_close is not None:
                found.append((at, row, BECOMES, new, old_close / new_close))
                continue
        loss = each["delisting_return"]
        found.append((at, row, DELISTED, row, 0.0 if loss is None else loss))
        back = each["trades_again"]
        if back is not None and back <= last:
            found.append((int(np.searchsorted(sessions, np.datetime64(back))), row, BACK, row, 0.0))
    found.sort()
    table = np.array(found, dtype=np.float64).reshape(-1, 5)
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
    kept = result.kept[:, 0] >= first
    at, row = result.kept[kept].T
    positions = pl.DataFrame(
        {"date": days[at], "ticker": names[row].tolist(), "weight": result.weights[kept]},
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
        values = [getattr(each, name) for each in outcomes]
        return np.concatenate([np.full(start, before, dtype=values[0].dtype), *values])

    terms = {name: np.concatenate([np.zeros(start), *(each.terms[name] for each in outcomes)]) for name in TERMS}
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
        {name: np.concatenate([np.zeros(start), *(each.cut[name] for each in outcomes)]) for name in CUTS},
        *(pl.concat([getattr(each, name) for each in outcomes]) for name in ("trades", "positions", "gains")),
    )
