"""What holding the decided weights would have earned, session by session. A track record's figures: metrics.py."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import DatasetError, HistoryError, SettingsError
from quant_assets.market.calendar import first_session_from
from quant_assets.market.containment import Contained, contained, marks
from quant_assets.market.delistings import continued
from quant_assets.market.panel import FloatArray, Panel
from quant_assets.market.sector_return import LOOKBACK, as_known, equal_weight_returns
from quant_assets.schemas import DATASETS

_TOLERANCE = 1e-9

#: Of a delisting: when it was known, when the ticker traded again (None where it did not), and its return.
_Ended = tuple[date, date | None, float]


def lookback_months(entry_lag: int) -> int:
    """Months before a month whose weights, prices, members and delistings its rows need.

    The decision whose holdings enter the month was executed before the month began, so its as_of lies far enough back
    that `entry_lag` sessions fit in between; any m consecutive months since 1999 hold at least 20 m - 5 sessions.
    """
    return 1 + math.ceil((entry_lag + 5) / 20)


def simulate(
    weights: pl.DataFrame,
    prices: pl.DataFrame,
    sessions: NDArray[np.datetime64],
    as_ofs: Iterable[date],
    first_day: date,
    last_day: date,
    *,
    entry_lag: int,
    cost_bps: float,
    delistings: pl.DataFrame | None = None,
    benchmark_members: pl.DataFrame | None = None,
) -> pl.DataFrame:
    r"""Daily result of executing each month's decision at the close of the session `entry_lag` after its as_of.

    With target weights :math:`w_i` executed at the close of session e, prices :math:`P` and :math:`c = 1 - \sum w_i` in
    cash (which earns nothing), the value of 1 at a later session t, up to and including the next execution, is

    .. math:: V_t = c + \sum_i w_i P_{i,t} / P_{i,e}, \qquad g_t = V_t / V_{t-1} - 1.

    At the next execution the holdings, drifted to :math:`h_i = w_i P_{i,t} / (P_{i,e} V_t)`, are traded to the new
    targets: turnover :math:`u = \sum_i |w'_i - h_i|` (buys plus sells over equity), cost :math:`k = u \cdot bps / 10^4`
    of the equity at that close, net return :math:`g - k (1 + g)`. Costs are paid out of all holdings alike, so the
    targets hold exactly after them and every row follows from the prices and the last two decisions alone: a range and
    its months give the same bytes.

    Rules for what is not an ordinary trade:

    - A decision at t is executed at the close of t + entry_lag, so it earns its first return one session later.
    - An as_of without weights is a decision to hold nothing. Before the first execution everything is in cash.
    - An as_of that is not its month's last session (the running month's provisional decision) is not executed.
    - A name without a bar at the execution session is not bought: its weight stays in cash until the next execution.
      Where it was held, it is sold at its last price.
    - A holding without a bar keeps its last price. A delisted one becomes cash at its last price and `delisting_return`
      (0 where unknown) at the session on which the delisting is known (no cost, no turnover). Who lost everything with
      it earns nothing until the next execution.
    - Where that is taken back before the next execution, the holding was never sold: from the session on which it
      trades again it is held and worth its price, which gives a presumed loss back. Cash that the next execution has
      traded stays cash, and the loss stays: what was decided and booked by then was so on what was known.
    - A holding whose company was renamed is held on under the new symbol; that is no trade. Where the prices lack the
      new symbol, it is delisted.
    - A holding's step that nothing explains counts by the rule of `market.containment`: a rise earns nothing, a fall is
      lost, but not as far as it takes back a rise just before; from there on its price goes on as it does.
      `unexplained` counts such holdings.
    - A symbol that passed to another company is bought and held as the company that has it at the execution.

    Args:
        weights: `ticker, as_of, weight` (dataset weights, or portfolio_weights of all sectors).
        prices: dataset prices; the same bar may come from two sectors' panels, with the same close.
        sessions: datetime64[D], every session from `lookback_months` before first_day's month to last_day (at least).
        as_ofs: every decision session from `lookback_months` before first_day's month on, one for each month since the
            first that exists.
        first_day: first calendar day of the rows.
        last_day: last calendar day of the rows.
        entry_lag: sessions from decision to execution; 0, at the close that decided it, is look-ahead and no legal
            setting.
        cost_bps: cost of trading 1 unit, in basis points.
        delistings: dataset delistings.
        benchmark_members: dataset universe; the benchmark is `equal_weight_returns` over it.

    Returns:
        Dataset backtest, or portfolio_backtest (no `benchmark_return`) where `benchmark_members` is None, sorted by
        date. `equity` restarts at 1 with each month, so successive months compound.

    Raises:
        HistoryError: sessions or decisions do not reach far enough back, or a month's decision is missing in between.
        DatasetError: weights of an undeclared as_of, of a name twice, or above 1 in total; two closes for one bar.
        SettingsError: costs above 5000 basis points (a full rebalancing would cost more than everything).

    """
    if not 0 <= cost_bps <= 5000:
        raise SettingsError(f"backtest.cost_bps is {cost_bps}; use 0 to 5000 basis points")
    sessions = sessions[sessions <= np.datetime64(last_day)]
    start = int(np.searchsorted(sessions, np.datetime64(first_day.replace(day=1))))
    if start == 0:
        raise HistoryError(
            f"a backtest from {first_day} needs sessions of the {lookback_months(entry_lag)} months before; pass them"
        )
    decided = _decisions(weights, sorted(set(as_ofs)), sessions)
    # Identical rows are the bar of a ticker that is in two sectors' panels; different ones are refused by the panel.
    chosen = set(weights["ticker"])
    renames: dict[str, list[tuple[date, str]]] = {}
    if delistings is not None:
        for name, known_at, successor in (
            delistings.drop_nulls("successor").select("ticker", "known_at", "successor").iter_rows()
        ):
            renames.setdefault(name, []).append((known_at, successor))
            chosen.add(successor)
    bars = prices.filter(pl.col("ticker").is_in(list(chosen)))
    if delistings is not None:
        bars, delistings = continued(bars, delistings)
    bars = marks(as_known(bars)).unique()
    closes = Panel.from_long(bars, sessions, ["close", "unexplained"])
    doubted = contained(closes["close"], closes["unexplained"] == 1.0)
    executions = [
        (at, {_symbol(name, as_of, sessions[at].item(), renames): weight for name, weight in decided[as_of].items()})
        for as_of in decided
        if (at := int(np.searchsorted(sessions, np.datetime64(as_of))) + entry_lag) < len(sessions)
        and first_session_from(as_of + timedelta(days=1)).month != as_of.month
    ]
    delisted: dict[str, list[_Ended]] = {}
    if delistings is not None:
        for name, *ended in delistings.select(
            "ticker", "known_at", "trades_again", pl.col("delisting_return").fill_null(0.0)
        ).iter_rows():
            delisted.setdefault(name, []).append((ended[0], ended[1], ended[2]))
    count = len(sessions)
    gross, turnover, cash = np.zeros(count), np.zeros(count), np.ones(count)
    positions, unexplained = np.zeros(count, dtype=np.int32), np.zeros(count, dtype=np.int32)
    held: dict[str, float] = {}
    for number, (at, targets) in enumerate(executions):
        until = executions[number + 1][0] if number + 1 < len(executions) else count - 1
        segment = _hold(targets, closes, doubted, at, until, delisted)
        turnover[at] = math.fsum(
            abs(segment.executed.get(name, 0.0) - held.get(name, 0.0)) for name in {**held, **segment.executed}
        )
        grown = np.ones(until - at)  # nothing is left to earn where everything was lost
        gross[at + 1 : until + 1] = (
            np.divide(segment.value[1:], segment.value[:-1], out=grown, where=segment.value[:-1] > 0.0) - 1.0
        )
        cash[at : until + 1] = segment.cash
        positions[at : until + 1] = segment.positions
        unexplained[at + 1 : until + 1] = segment.unexplained[1:]
        held = {
            _symbol(name, sessions[at].item(), sessions[until].item(), renames): share
            for name, share in segment.drifted.items()
        }
    cost = turnover * (cost_bps / 1e4)
    net = gross - cost * (1.0 + gross)
    rows = slice(start, count)
    columns = {
        "date": sessions[rows],
        "gross_return": gross[rows],
        "cost": cost[rows],
        "net_return": net[rows],
        "turnover": turnover[rows],
        "equity": _restarting_equity(net[rows], sessions[rows]),
        "positions": positions[rows],
        "cash": cash[rows],
        "unexplained": unexplained[rows],
    }
    dataset = "portfolio_backtest"
    if benchmark_members is not None:
        dataset = "backtest"
        before = min(start, LOOKBACK)
        columns["benchmark_return"] = equal_weight_returns(prices, benchmark_members, sessions[start - before :])[
            before:
        ]
    schema = DATASETS[dataset].schema
    frame = pl.DataFrame(
        {column: pl.Series(columns[column], nan_to_null=True).cast(dtype) for column, dtype in schema.items()}
    )
    return frame.filter(pl.col("date") >= first_day)


@dataclass(frozen=True)
class _Segment:
    """Holdings from an execution (index 0) to the next one (last index), both included.

    Attributes:
        executed: weight of each name that could be bought.
        value: value of 1 at the execution, shape (n_sessions,).
        cash: share of equity in cash after each close.
        positions: names held after each close.
        unexplained: names held whose step to each close does not count as it is.
        drifted: share of equity of each name still held at the last index.

    """

    executed: dict[str, float]
    value: FloatArray
    cash: FloatArray
    positions: NDArray[np.int32]
    unexplained: NDArray[np.int32]
    drifted: dict[str, float]


def _hold(
    targets: dict[str, float],
    closes: Panel,
    doubted: Contained,
    at: int,
    until: int,
    delisted: dict[str, list[_Ended]],
) -> _Segment:
    """Carry target weights from session index `at` to `until` on the panel's closes."""
    asked = pl.DataFrame({"ticker": list(targets)}, {"ticker": pl.String}).with_columns(
        date=pl.lit(closes.sessions[at].item())
    )
    row = dict(zip(targets, closes.rows(asked).tolist(), strict=True))
    executed = {
        name: weight
        for name, weight in targets.items()
        if row[name] >= 0 and np.isfinite(closes["close"][row[name], at])
    }
    length = until - at + 1
    block = closes["close"][[row[name] for name in executed], at : until + 1]
    source = np.maximum.accumulate(np.where(np.isfinite(block), np.arange(length), 0), axis=1)
    gone = np.zeros(block.shape, dtype=bool)
    left = np.ones(block.shape)
    for i, name in enumerate(executed):
        for known, back, loss in _delisted(delisted.get(name, []), closes.sessions[at : until + 1]):
            source[i, known:back] = source[i, known]
            gone[i, known:back] = True
            left[i, known:back] = 1.0 + loss
    unexplained = np.zeros(length, dtype=np.int32)
    for place, session, counted in zip(*(each.tolist() for each in doubted), strict=True):  # hardly any
        i, step = next((i for i, name in enumerate(executed) if row[name] == place), -1), session - at
        if i >= 0 and 0 < step < length and not gone[i, step]:
            growth = block[i, step] / block[i, source[i, step - 1]]
            block[i, step:] *= (1.0 if np.isnan(counted) else 1.0 + counted) / growth
            unexplained[step] += 1
    filled = np.take_along_axis(block, source, axis=1) * left
    worth = np.array(list(executed.values())).reshape(-1, 1) * (filled / filled[:, :1])
    idle = 1.0 - math.fsum(executed.values())
    idle = 0.0 if abs(idle) <= _TOLERANCE else idle
    value = np.array([math.fsum([idle, *column]) for column in worth.T.tolist()])
    liquid = np.array([math.fsum([idle, *column]) for column in np.where(gone, worth, 0.0).T.tolist()])
    drifted = {name: float(worth[i, -1] / value[-1]) for i, name in enumerate(executed) if not gone[i, -1]}
    cash = np.divide(liquid, value, out=np.ones(length), where=value > 0.0)
    return _Segment(executed, value, cash, (~gone).sum(axis=0).astype(np.int32), unexplained, drifted)


def _delisted(delistings: list[_Ended], sessions: NDArray[np.datetime64]) -> list[tuple[int, int, float]]:
    """From and to which session after the execution a name is delisted, and its return; ascending.

    The execution has index 0. One that stands is the last: what comes after it is another company's.
    """
    found = []
    later = [each for each in delistings if each[0] > sessions[0].item()]
    for known_at, back, loss in sorted(later, key=lambda each: each[0]):
        start, stop = (
            len(sessions) if day is None else int(np.searchsorted(sessions, np.datetime64(day)))
            for day in (known_at, back)
        )
        found.append((start, stop, loss))
        if stop == len(sessions):
            break
    return [each for each in found if each[0] < len(sessions)]


def _symbol(name: str, after: date, through: date, renames: dict[str, list[tuple[date, str]]]) -> str:
    """The symbol on the day `through` of what was `name` on the day `after`."""
    for known_at, successor in sorted(renames.get(name, [])):
        if after < known_at <= through:
            return _symbol(successor, known_at, through, renames)
    return name


def _decisions(
    weights: pl.DataFrame, as_ofs: list[date], sessions: NDArray[np.datetime64]
) -> dict[date, dict[str, float]]:
    """Target weights by as_of and ticker, both ascending."""
    months = [day.year * 12 + day.month for day in as_ofs]
    if months and months[0] + len(months) - 1 != months[-1]:
        raise HistoryError(
            f"decisions from {as_ofs[0]} to {as_ofs[-1]} have no or more than one as_of in some month; "
            "materialise weights for each"
        )
    calendar = set(sessions.tolist())
    last = max(calendar)
    if months and months[-1] < last.year * 12 + last.month - 1:
        raise HistoryError(
            f"the last decision is of {as_ofs[-1]}, but rows up to {last} were asked for; "
            "materialise weights of the month before"
        )
    if as_ofs and np.datetime64(as_ofs[0]) < sessions[0]:
        raise HistoryError(
            f"the decision of {as_ofs[0]} stands before the first session {sessions[0]}; "
            "pass the sessions from its month on"
        )
    for as_of in as_ofs:
        if as_of <= last and as_of not in calendar:
            raise DatasetError(
                f"decision session {as_of} is not among the sessions; materialise weights of that month again"
            )
    strange = sorted(set(weights["as_of"]) - set(as_ofs))
    if strange:
        raise DatasetError(
            f"weights of {strange[0]} do not belong to a declared decision; materialise weights of that month again"
        )
    decided: dict[date, dict[str, float]] = {as_of: {} for as_of in as_ofs}
    for ticker, as_of, weight in weights.sort("as_of", "ticker").select("ticker", "as_of", "weight").iter_rows():
        if ticker in decided[as_of]:
            raise DatasetError(f"ticker {ticker} has two weights at {as_of}; a name belongs to one sector")
        decided[as_of][ticker] = weight
    for as_of, targets in decided.items():
        if math.fsum(targets.values()) > 1.0 + _TOLERANCE:
            raise DatasetError(
                f"weights of {as_of} sum to {math.fsum(targets.values())}, above 1; materialise them again"
            )
    return decided


def _restarting_equity(net: FloatArray, sessions: NDArray[np.datetime64]) -> FloatArray:
    """Running product of 1 + net return, from 1 at the start of each month."""
    months = sessions.astype("datetime64[M]")
    parts = [np.cumprod(1.0 + net[months == month]) for month in np.unique(months)]
    return np.concatenate(parts) if parts else net
