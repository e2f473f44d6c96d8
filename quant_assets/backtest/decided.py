"""Decided weights as they are executed: which decision at which session, under which symbol, and what was delisted."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import DatasetError, HistoryError
from quant_assets.market.calendar import first_session_from

#: What the sum of weights may exceed its bound by.
TOLERANCE = 1e-9

#: Of a delisting: when it was known, when the ticker traded again (None where it did not), and its return.
Ended = tuple[date, date | None, float]

#: Of a symbol: when it was renamed, and into what.
Renames = Mapping[str, list[tuple[date, str]]]


@dataclass(frozen=True)
class Execution:
    """One decision that is executed.

    Attributes:
        as_of: session of the decision.
        at: position of the session at which it is executed.
        targets: weight by symbol on that session.

    """

    as_of: date
    at: int
    targets: dict[str, float]


def executions(
    weights: pl.DataFrame,
    as_ofs: Iterable[date],
    sessions: NDArray[np.datetime64],
    entry_lag: int,
    renames: Renames,
    leverage: float,
) -> list[Execution]:
    """The decisions that are executed up to the last session; a month's provisional one is not.

    Args:
        weights: `ticker, as_of, weight`.
        as_ofs: every decision session, one for each month.
        sessions: datetime64[D] of shape (n_sessions,).
        entry_lag: sessions from decision to execution.
        renames: by old symbol.
        leverage: largest sum of a decision's weights.

    Raises:
        HistoryError: sessions or decisions do not reach far enough back, or a month's decision is missing in between.
        DatasetError: weights of an undeclared as_of, of a name twice, or above `leverage` in total.

    """
    decided = _decisions(weights, sorted(set(as_ofs)), sessions, leverage)
    found = []
    for as_of, targets in decided.items():
        at = int(np.searchsorted(sessions, np.datetime64(as_of))) + entry_lag
        over = first_session_from(as_of + timedelta(days=1)).month != as_of.month
        if at < len(sessions) and over:
            day = sessions[at].item()
            renamed = {symbol(name, as_of, day, renames): weight for name, weight in targets.items()}
            found.append(Execution(as_of, at, renamed))
    return found


def renamings(delistings: pl.DataFrame | None) -> dict[str, list[tuple[date, str]]]:
    """Renames by old symbol, of dataset delistings."""
    found: dict[str, list[tuple[date, str]]] = {}
    if delistings is not None:
        renamed = delistings.drop_nulls("successor").select("ticker", "known_at", "successor")
        for name, known_at, successor in renamed.iter_rows():
            found.setdefault(name, []).append((known_at, successor))
    return found


def endings(delistings: pl.DataFrame | None) -> dict[str, list[Ended]]:
    """Delistings by symbol, of `market.delistings.continued`; one without a return counts as 0."""
    found: dict[str, list[Ended]] = {}
    if delistings is not None:
        for name, *ended in delistings.select(
            "ticker", "known_at", "trades_again", pl.col("delisting_return").fill_null(0.0)
        ).iter_rows():
            found.setdefault(name, []).append((ended[0], ended[1], ended[2]))
    return found


def delisted(ended: list[Ended], sessions: NDArray[np.datetime64]) -> list[tuple[int, int, float]]:
    """From and to which session after the execution a name is delisted, and its return; ascending.

    The execution has index 0. One that stands is the last: what comes after it is another company's.
    """
    found = []
    later = [each for each in ended if each[0] > sessions[0].item()]
    for known_at, back, loss in sorted(later, key=lambda each: each[0]):
        start, stop = (
            len(sessions) if day is None else int(np.searchsorted(sessions, np.datetime64(day)))
            for day in (known_at, back)
        )
        found.append((start, stop, loss))
        if stop == len(sessions):
            break
    return [each for each in found if each[0] < len(sessions)]


def symbol(name: str, after: date, through: date, renames: Renames) -> str:
    """The symbol on the day `through` of what was `name` on the day `after`."""
    for known_at, successor in sorted(renames.get(name, [])):
        if after < known_at <= through:
            return symbol(successor, known_at, through, renames)
    return name


def _decisions(
    weights: pl.DataFrame, as_ofs: list[date], sessions: NDArray[np.datetime64], leverage: float
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
        if math.fsum(targets.values()) > leverage + TOLERANCE:
            raise DatasetError(
                f"weights of {as_of} sum to {math.fsum(targets.values())}, above {leverage:g}; materialise them again, "
                "or let the book borrow (backtest.leverage)"
            )
    return decided
