"""Holdings from one execution to the next in closed form: a session's result from the newest decisions alone.

`simulation.simulate` documents the rules.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.backtest.book_kernel import TERMS
from quant_assets.backtest.decided import TOLERANCE, Ended, Execution, Renames, delisted, symbol
from quant_assets.backtest.result import CUTS, GAINS, POSITIONS, TRADES, Outcome
from quant_assets.market.containment import Contained
from quant_assets.market.panel import FloatArray, Panel


@dataclass(frozen=True)
class _Stuck:
    """A holding without a bar at an execution: it cannot be traded and is kept.

    Attributes:
        name: symbol under which it was bought.
        row: row in the panel.
        share: share of equity at the execution.

    """

    name: str
    row: int
    share: float


@dataclass(frozen=True)
class _Segment:
    """Holdings from an execution (index 0) to the next one (last index), both included.

    Attributes:
        names: symbols under which the names were bought.
        symbols: symbols on the session of the execution.
        rows: rows in the panel.
        executed: weights of the names that could be bought.
        worth: values of the names, per 1 of equity at the execution, shape (n_names, n_sessions).
        value: total value, shape (n_sessions,).
        cash: share of equity in cash after each close.
        positions: names held after each close.
        unexplained: names held with a contained step to each close.
        gone: whether a name is no longer held, shape (n_names, n_sessions).
        sold: sales of stuck holdings after the execution: session index, symbol, share of equity before and after, and
            the price.
        drifted: share of equity of each name still held at the last index.

    """

    names: tuple[str, ...]
    symbols: tuple[str, ...]
    rows: tuple[int, ...]
    executed: dict[str, float]
    worth: FloatArray
    value: FloatArray
    cash: FloatArray
    positions: NDArray[np.int32]
    unexplained: NDArray[np.int32]
    gone: NDArray[np.bool_]
    sold: tuple[tuple[int, str, float, float, float], ...]
    drifted: dict[str, float]


class ClosedForm:
    """The result of executing decisions at closes for a flat cost.

    A month's rows depend only on the decisions of the `months` months before it.

    Args:
        executed: the executions, ascending.
        closes: panel of closes.
        doubted: contained steps.
        ended: delistings by symbol.
        renames: by old symbol.
        months: months before a month whose decisions count.

    """

    def __init__(
        self,
        executed: Sequence[Execution],
        closes: Panel,
        doubted: Contained,
        ended: Mapping[str, list[Ended]],
        renames: Renames,
        months: int,
    ) -> None:
        self._executed, self._closes, self._doubted = executed, closes, doubted
        self._ended, self._renames, self._months = ended, renames, months
        self._segments: dict[tuple[int, tuple[tuple[str, _Stuck], ...]], _Segment] = {}

    def outcome(self, start: int, cost_bps: float) -> Outcome:
        """Results of every session; those before `start` are zeros.

        Args:
            start: position of the first session of the result, the first of its month.
            cost_bps: cost of trading 1 unit, in basis points.

        """
        days = self._closes.sessions
        count = len(days)
        gross, turnover, cash, invested = np.zeros(count), np.zeros(count), np.ones(count), np.zeros(count)
        positions, unexplained = np.zeros(count, dtype=np.int32), np.zeros(count, dtype=np.int32)
        rate = cost_bps / 1e4
        trades: list[tuple[object, ...]] = []
        held_rows: list[tuple[object, ...]] = []
        gains: dict[tuple[object, str], list[float]] = {}
        months = days.astype("datetime64[M]")
        for month in np.unique(months[start:]):
            first, last = (int(np.searchsorted(months, month, side=side)) for side in ("left", "right"))
            numbers = [
                number
                for number, execution in enumerate(self._executed)
                if execution.at < last and np.datetime64(execution.as_of, "M") >= month - self._months
            ]
            held: dict[str, float] = {}
            stuck: dict[str, _Stuck] = {}
            for number in numbers:
                segment, at, until = self._segment(number, stuck)
                moved = {
                    name: (held.get(name, 0.0), segment.executed.get(name, 0.0))
                    for name in {**held, **segment.executed}
                }
                moved = {name: change for name, change in moved.items() if name not in stuck}
                if first <= at < last:
                    turnover[at] = math.fsum(abs(after - before) for before, after in moved.values())
                    trades += self._traded(at, moved, rate)
                for place, name, old, rest, price in segment.sold:
                    if first <= at + place < last:
                        day, size = days[at + place].item(), abs(rest - old)
                        turnover[at + place] += size
                        trades.append((day, name, old, rest - old, size * rate, 0.0, 0.0, price, "carried"))
                low, high = max(at, first), min(until + 1, last)
                if low < high:
                    span = slice(low - at, high - at)
                    cash[low:high], positions[low:high] = segment.cash[span], segment.positions[span]
                    ends = number + 1 == len(self._executed)  # otherwise the next one has its own execution
                    held_rows += self._held(segment, at, low, high if ends else min(high, until))
                low = max(at + 1, first)
                if low < high:
                    before, after = segment.value[low - at - 1 : high - at - 1], segment.value[low - at : high - at]
                    grown = np.ones(high - low)  # no return after everything was lost
                    gross[low:high] = np.divide(after, before, out=grown, where=before > 0.0) - 1.0
                    unexplained[low:high] = segment.unexplained[low - at : high - at]
                    invested[low:high] = 1.0 - segment.cash[low - at - 1 : high - at - 1]
                    self._gained(gains, month, segment, low - at, high - at)
                held, stuck = self._carried(number, segment, at, until)
        cost = turnover * rate
        terms = dict.fromkeys(TERMS, np.zeros(count)) | {"commission": cost}
        return Outcome(
            gross,
            cost,
            turnover,
            np.full(count, np.nan),
            cash,
            invested,
            positions,
            unexplained,
            terms,
            dict.fromkeys(CUTS, np.zeros(count)),
            pl.DataFrame(trades, schema=TRADES, orient="row").sort("date", "ticker"),
            pl.DataFrame(held_rows, schema=POSITIONS, orient="row").sort("date", "ticker"),
            pl.DataFrame(
                [(month.item(), name, math.fsum(sums)) for (month, name), sums in gains.items()],  # type: ignore[attr-defined]
                schema=GAINS,
                orient="row",
            ).sort("month", "ticker"),
        )

    def _segment(self, number: int, stuck: Mapping[str, _Stuck]) -> tuple[_Segment, int, int]:
        """The segment that begins with an execution, and its first and last session."""
        at, last = self._executed[number].at, number + 1 == len(self._executed)
        until = len(self._closes.sessions) - 1 if last else self._executed[number + 1].at
        case = (number, tuple(sorted(stuck.items(), key=lambda item: item[0])))
        if case not in self._segments:
            self._segments[case] = self._hold(self._executed[number].targets, at, until, stuck, last)
        return self._segments[case], at, until

    def _carried(
        self, number: int, segment: _Segment, at: int, until: int
    ) -> tuple[dict[str, float], dict[str, _Stuck]]:
        """The holdings at the next execution, under the symbols of that session, and those that cannot be traded."""
        days = self._closes.sessions
        held: dict[str, float] = {}
        stuck: dict[str, _Stuck] = {}
        for name, row in zip(segment.names, segment.rows, strict=True):
            if name not in segment.drifted:
                continue
            now = symbol(name, days[at].item(), days[until].item(), self._renames)
            held[now] = held.get(now, 0.0) + segment.drifted[name]
            if number + 1 < len(self._executed) and not np.isfinite(self._closes["close"][row, until]):
                stuck[now] = _Stuck(name, row, segment.drifted[name])
        return held, stuck

    def _hold(
        self, targets: Mapping[str, float], at: int, until: int, stuck: Mapping[str, _Stuck], last: bool
    ) -> _Segment:
        """Carry target weights from session `at` to `until` on the panel's closes, together with the stuck holdings."""
        closes, length = self._closes, until - at + 1
        bars = pl.DataFrame({"ticker": list(targets)}, {"ticker": pl.String}).with_columns(
            date=pl.lit(closes.sessions[at].item())
        )
        row = dict(zip(targets, closes.rows(bars).tolist(), strict=True))
        executed = {
            name: weight
            for name, weight in targets.items()
            if name not in stuck and row[name] >= 0 and np.isfinite(closes["close"][row[name], at])
        }
        frozen, invested = math.fsum(holding.share for holding in stuck.values()), math.fsum(executed.values())
        if stuck and invested > 1.0 - frozen and min(executed.values(), default=0.0) >= 0.0:
            room = max(0.0, 1.0 - frozen) / invested  # what cannot be sold cannot be spent
            executed = {name: weight * room for name, weight in executed.items()}
        names = (*executed, *(holding.name for holding in stuck.values()))
        rows = (*(row[name] for name in executed), *(holding.row for holding in stuck.values()))
        shares = (*executed.values(), *(holding.share for holding in stuck.values()))
        block = closes["close"][list(rows), at : until + 1]
        traded = np.isfinite(block)
        for i in range(len(executed), len(names)):
            earlier = closes["close"][rows[i], :at]
            block[i, 0] = earlier[np.flatnonzero(np.isfinite(earlier))[-1]]
        source = np.maximum.accumulate(np.where(np.isfinite(block), np.arange(length), 0), axis=1)
        gone = np.zeros(block.shape, dtype=bool)
        remaining = np.ones(block.shape)
        for i, name in enumerate(names):
            for start, back, loss in delisted(self._ended.get(name, []), closes.sessions[at : until + 1]):
                source[i, start:back] = source[i, start]
                gone[i, start:back] = True
                remaining[i, start:back] = 1.0 + loss
        unexplained = np.zeros(length, dtype=np.int32)
        for place, session, counted in zip(*(column.tolist() for column in self._doubted), strict=True):  # very few
            i, step = next((i for i, number in enumerate(rows) if number == place), -1), session - at
            if i >= 0 and 0 < step < length and not gone[i, step]:
                growth = block[i, step] / block[i, source[i, step - 1]]
                block[i, step:] *= (1.0 if np.isnan(counted) else 1.0 + counted) / growth
                unexplained[step] += 1
        filled = np.take_along_axis(block, source, axis=1) * remaining
        worth = np.array(shares).reshape(-1, 1) * (filled / filled[:, :1])
        idle = 1.0 - math.fsum(shares)
        paid_out = np.full(length, 0.0 if abs(idle) <= TOLERANCE else idle)
        sold = []
        order = [
            (int(np.argmax(free)), i)
            for i in range(len(executed), len(names))
            if (free := (traded[i] & ~gone[i] & (np.arange(length) < (length if last else length - 1)))).any()
        ]
        for place, i in sorted(order):
            name = list(stuck)[i - len(executed)]
            total = math.fsum([paid_out[place], *worth[:, place].tolist()])
            held = float(worth[i, place])
            goal = targets.get(name, 0.0) * total
            new = min(held, max(goal, 0.0)) if held > 0.0 else max(held, min(goal, 0.0))
            if new != held and total > 0.0:
                sold.append((place, name, held / total, new / total, float(block[i, place])))
                worth[i, place:] *= new / held
                paid_out[place:] += held - new
                gone[i, place:] |= new == 0.0
        value = np.array([math.fsum(column) for column in np.vstack([paid_out, worth]).T.tolist()])
        ruined = np.flatnonzero(value <= 0.0)
        if len(ruined) and not (worth >= 0.0).all():  # losses on shorts exceed the equity
            worth[:, ruined[0] :], value[ruined[0] :], paid_out[ruined[0] :] = 0.0, 0.0, 0.0
            gone[:, ruined[0] :] = True
        liquid = np.array(
            [math.fsum(column) for column in np.vstack([paid_out, np.where(gone, worth, 0.0)]).T.tolist()]
        )
        drifted = {name: float(worth[i, -1] / value[-1]) for i, name in enumerate(names) if not gone[i, -1]}
        cash = np.divide(liquid, value, out=np.ones(length), where=value > 0.0)
        held_names = (~gone).sum(axis=0).astype(np.int32)
        symbols = (*executed, *stuck)
        return _Segment(
            names, symbols, rows, executed, worth, value, cash, held_names, unexplained, gone, tuple(sold), drifted
        )

    def _traded(self, at: int, moved: Mapping[str, tuple[float, float]], rate: float) -> list[tuple[object, ...]]:
        closes, day = self._closes, self._closes.sessions[at].item()
        bars = pl.DataFrame({"ticker": list(moved)}, {"ticker": pl.String}).with_columns(date=pl.lit(day))
        rows = closes.rows(bars).tolist()
        return [
            (day, name, old, new - old, abs(new - old) * rate, 0.0, 0.0, _price(closes, row, at), "decision")
            for row, (name, (old, new)) in zip(rows, moved.items(), strict=True)
            if new != old
        ]

    def _held(self, segment: _Segment, at: int, low: int, high: int) -> list[tuple[object, ...]]:
        """Shares of equity after each close, under the symbols of that session."""
        days, shares = self._closes.sessions, list[tuple[object, ...]]()
        for place in range(low - at, high - at):
            if segment.value[place] > 0.0:
                day, held = days[at + place].item(), dict[str, float]()
                for i in np.flatnonzero(~segment.gone[:, place]).tolist():
                    name = symbol(segment.symbols[i], days[at].item(), day, self._renames)
                    held[name] = held.get(name, 0.0) + float(segment.worth[i, place] / segment.value[place])
                shares += [(day, name, share) for name, share in held.items() if share != 0.0]
        return shares

    @staticmethod
    def _gained(
        gains: dict[tuple[object, str], list[float]], month: np.datetime64, segment: _Segment, low: int, high: int
    ) -> None:
        """Add each name's gains of some sessions, over the value of the close before."""
        before = segment.value[low - 1 : high - 1]
        paid = {place: (name, old - new) for place, name, old, new, _ in segment.sold}
        for i, name in enumerate(segment.names):
            change = np.diff(segment.worth[i, low - 1 : high])
            for place, (sold, share) in paid.items():
                if sold == name and low <= place < high:
                    change[place - low] += share * segment.value[place]
            changes = np.divide(change, before, out=np.zeros(len(change)), where=before > 0.0)
            gains.setdefault((month, name), []).extend(changes.tolist())


def _price(closes: Panel, row: int, at: int) -> float | None:
    price = closes["close"][row, at] if row >= 0 else np.nan
    return float(price) if np.isfinite(price) else None
