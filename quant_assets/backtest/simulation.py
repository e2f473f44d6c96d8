"""Returns of the decided weights, had they been held, session by session. Its figures are in metrics.py."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.backtest import book
from quant_assets.backtest.decided import endings, executions, renamings
from quant_assets.backtest.holdings import ClosedForm
from quant_assets.backtest.result import Outcome
from quant_assets.errors import HistoryError, SettingsError
from quant_assets.market.containment import contained, marks
from quant_assets.market.delistings import continued
from quant_assets.market.panel import FloatArray, Panel
from quant_assets.market.sector_return import LOOKBACK, as_known, equal_weight_returns
from quant_assets.schemas import DATASETS
from quant_assets.settings.trading import BacktestSettings

#: A flat cost at the close.
_FLAT = BacktestSettings()


def lookback_months(entry_lag: int, settings: BacktestSettings = _FLAT) -> int:
    """Months before a month whose weights, prices, members and delistings its rows need.

    In closed form a month needs the decision whose holdings enter it and the decision before, of which unsold holdings
    may remain. The earlier one was executed before the month before began, so its as_of lies far enough back that
    `entry_lag` sessions fit in between; any m consecutive months since 1999 hold at least 20 m - 5 sessions. A book
    begins in January of the year before (`book.begins`), or with the first decision of all, with one more month than
    its estimates need.
    """
    executed = math.ceil((entry_lag + 5) / 20)
    return (2 if settings.closed_form else book.months(settings) + 1) + executed


@dataclass(frozen=True)
class Simulated:
    """Rows of dataset backtest or portfolio_backtest, with the outcome behind them.

    Attributes:
        frame: the rows.
        outcome: results of `sessions`.
        sessions: datetime64[D] of shape (n_sessions,); those before the rows are zeros.

    """

    frame: pl.DataFrame
    outcome: Outcome
    sessions: NDArray[np.datetime64]


def simulate(
    weights: pl.DataFrame,
    prices: pl.DataFrame,
    sessions: NDArray[np.datetime64],
    as_ofs: Iterable[date],
    first_day: date,
    last_day: date,
    *,
    entry_lag: int,
    settings: BacktestSettings = _FLAT,
    delistings: pl.DataFrame | None = None,
    benchmark_members: pl.DataFrame | None = None,
) -> pl.DataFrame:
    r"""Daily result of executing each month's decision at the close of the session `entry_lag` after its as_of.

    With target weights :math:`w_i` executed at the close of session e, prices :math:`P` and :math:`c = 1 - \sum w_i` in
    cash (which earns nothing), the value of 1 at a later session t, up to and including the next execution, is

    .. math:: V_t = c + \sum_i w_i P_{i,t} / P_{i,e}, \qquad g_t = V_t / V_{t-1} - 1.

    At the next execution the holdings, drifted to :math:`h_i = w_i P_{i,t} / (P_{i,e} V_t)`, are traded to the new
    targets: turnover :math:`u = \sum_i |w'_i - h_i|` (buys plus sells over equity), cost :math:`k = u \cdot bps / 10^4`
    of the equity at that close, net return :math:`g - k (1 + g)`. Costs reduce all holdings in proportion, so the
    targets hold exactly after them and every row depends on the prices and the last decisions alone: a range and
    its months give the same bytes.

    Rules for special cases:

    - A decision at t is executed at the close of t + entry_lag, so it earns its first return one session later.
    - An as_of without weights is a decision to hold nothing. Before the first execution everything is in cash.
    - An as_of that is not its month's last session (the running month's provisional decision) is not executed.
    - A name without a bar at the execution session is not bought: its weight stays in cash until the next execution.
      If it was held, it cannot be sold either: it is kept, and the others share the rest of the equity. At the close
      of the first session on which it trades again, the excess over its target is sold and stays in cash until the
      next execution; if its delisting becomes known before, that settles it.
    - A holding without a bar keeps its last price. A delisted one becomes cash at its last price and `delisting_return`
      (0 where unknown) at the session on which the delisting is known (no cost, no turnover). A portfolio that lost
      everything this way earns nothing until the next execution.
    - If a delisting is withdrawn before the next execution, the holding was never sold: from the session on which it
      trades again it is worth its price, which reverses a presumed loss. Cash that the next execution has traded stays
      cash, and the loss stays: the earlier decision was made and booked on what was known then.
    - A holding whose company was renamed is kept under the new symbol; that is no trade. Where the prices lack the new
      symbol, it is delisted.
    - An unexplained step of a holding counts by the rule of `market.containment`: a rise earns nothing; a fall is lost,
      except as far as it reverses a rise just before. After the step the price moves on as quoted. `unexplained` counts
      such holdings.
    - A symbol that passed to another company is bought and held as the company that has it at the execution.
    - A weight may be negative: the proceeds of the short sale are cash, and the adjusted price charges its dividends. A
      portfolio that loses more with shorts than its equity has lost everything.

    Settings other than those of `BacktestSettings.closed_form` simulate a book instead, by the rules of
    `backtest.book`.

    Args:
        weights: `ticker, as_of, weight` (dataset weights, or portfolio_weights of all sectors).
        prices: dataset prices; the same bar may come from two sectors' panels, with the same close.
        sessions: datetime64[D], every session from `lookback_months` before first_day's month to last_day (at least).
        as_ofs: every decision session from `lookback_months` before first_day's month on, one for each month since the
            first that exists.
        first_day: first calendar day of the rows.
        last_day: last calendar day of the rows.
        entry_lag: sessions from decision to execution; 0, the close of the decision itself, is look-ahead and refused.
        settings: costs and execution; by default a flat cost at the close.
        delistings: dataset delistings.
        benchmark_members: dataset universe; the benchmark is `equal_weight_returns` over it.

    Returns:
        Dataset backtest, or portfolio_backtest (no `benchmark_return`) where `benchmark_members` is None, sorted by
        date; `index_return` is null (`benchmark.with_index` fills it). `equity` restarts at 1 with each month, so
        successive months compound.

    Raises:
        HistoryError: sessions or decisions do not reach far enough back, or a month's decision is missing in between.
        DatasetError: weights of an undeclared as_of, of a name twice, or above `leverage` in total; two closes for one
            bar.
        SettingsError: costs above 5000 basis points (a full rebalancing would cost more than everything).

    """
    return simulated(
        weights,
        prices,
        sessions,
        as_ofs,
        first_day,
        last_day,
        entry_lag=entry_lag,
        settings=settings,
        delistings=delistings,
        benchmark_members=benchmark_members,
    ).frame


def simulated(
    weights: pl.DataFrame,
    prices: pl.DataFrame,
    sessions: NDArray[np.datetime64],
    as_ofs: Iterable[date],
    first_day: date,
    last_day: date,
    *,
    entry_lag: int,
    settings: BacktestSettings = _FLAT,
    delistings: pl.DataFrame | None = None,
    benchmark_members: pl.DataFrame | None = None,
) -> Simulated:
    """`simulate`, with trades, positions, gains and the parts of the cost; see there for arguments and errors."""
    if not 0 <= settings.cost_bps <= 5000:
        raise SettingsError(f"backtest.cost_bps is {settings.cost_bps}; use 0 to 5000 basis points")
    before, as_ofs = lookback_months(entry_lag, settings), sorted(set(as_ofs))
    sessions = sessions[sessions <= np.datetime64(last_day)]
    begin = np.datetime64(first_day.replace(day=1))
    if settings.turnover.limited and as_ofs:  # before the first decision only cost estimates need data
        first = int(np.searchsorted(sessions, min(begin, np.datetime64(as_ofs[0]))))
        sessions = sessions[max(0, first - 2 * settings.estimate_sessions - LOOKBACK) :]
    start = int(np.searchsorted(sessions, begin))
    if start == 0:
        needed = "since the first decision" if settings.turnover.limited else f"of the {before} months before"
        raise HistoryError(f"a backtest from {first_day} needs sessions {needed}; pass them")
    renames = renamings(delistings)
    executed = executions(weights, as_ofs, sessions, entry_lag, renames, settings.leverage)
    if settings.closed_form:
        # A ticker in two sectors' panels has one bar; the panel refuses two different ones.
        bars, ended = _chosen(weights, prices, delistings), delistings
        if ended is not None:
            bars, ended = continued(bars, ended)
        bars = marks(as_known(bars)).unique()
        closes = Panel.from_long(bars, sessions, ["close", "unexplained"])
        doubted = contained(closes["close"], closes["unexplained"] == 1.0)
        form = ClosedForm(executed, closes, doubted, endings(ended), renames, before)
        outcome = form.outcome(start, settings.cost_bps)
    else:
        bars = _chosen(weights, prices, delistings)
        outcome = book.outcome(executed, bars, delistings, sessions, start, settings)
    net = outcome.net
    rows = slice(start, len(sessions))
    columns = {
        "date": sessions[rows],
        "gross_return": outcome.gross[rows],
        "cost": outcome.cost[rows],
        "net_return": net[rows],
        "turnover": outcome.turnover[rows],
        "equity": _restarting_equity(net[rows], sessions[rows]),
        "positions": outcome.positions_held[rows],
        "cash": outcome.cash[rows],
        "unexplained": outcome.unexplained[rows],
        "index_return": np.full(len(net[rows]), np.nan),
    }
    dataset = "portfolio_backtest"
    if benchmark_members is not None:
        dataset = "backtest"
        base = min(start, LOOKBACK)
        returns = equal_weight_returns(prices, benchmark_members, sessions[start - base :])
        columns["benchmark_return"] = returns[base:]
    schema = DATASETS[dataset].schema
    frame = pl.DataFrame(
        {column: pl.Series(columns[column], nan_to_null=True).cast(dtype) for column, dtype in schema.items()}
    )
    return Simulated(frame.filter(pl.col("date") >= first_day), outcome, sessions)


def names_of(weights: pl.DataFrame, delistings: pl.DataFrame | None) -> set[str]:
    """The names of the decisions, and the names they were renamed to: the names whose bars a simulation needs."""
    successors = set() if delistings is None else set(delistings["successor"].drop_nulls())
    return set(weights["ticker"]) | successors


def _chosen(weights: pl.DataFrame, prices: pl.DataFrame, delistings: pl.DataFrame | None) -> pl.DataFrame:
    """Bars of the names that a simulation needs (`names_of`)."""
    return prices.filter(pl.col("ticker").is_in(sorted(names_of(weights, delistings))))


def _restarting_equity(net: FloatArray, sessions: NDArray[np.datetime64]) -> FloatArray:
    """Running product of 1 + net return, from 1 at the start of each month."""
    months = sessions.astype("datetime64[M]")
    parts = [np.cumprod(1.0 + net[months == month]) for month in np.unique(months)]
    return np.concatenate(parts) if parts else net
