"""Decided weights as they are executed: the session and symbol of each decision, and delistings."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import DatasetError, HistoryError
from quant_assets.market.calendar import first_session_from

#: Tolerance for the sum of weights above its bound.
TOLERANCE = 1e-9

#: A delisting: when it became known, when the ticker traded again (None where it did not), and its return.
Ended = tuple[date, date | None, float]

#: A rename: when it was known, and the new symbol.
Renames = Mapping[str, list[tuple[date, str]]]


@dataclass(frozen=True)
class Execution:
    """An executed decision.

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
    """The decisions executed up to the last session; a month's provisional decision is not.

    Args:
        weights: `ticker, as_of, weight`.
        as_ofs: every decision session, one for each month.
        sessions: datetime64[D] of shape (n_sessions,).
        entry_lag: sessions from decision to execution.
        renames: by old symbol.
        leverage: largest sum of a decision's weights.

    Raises:
        HistoryError: sessions or decisions do not reach far enough back, or a month in between has no decision.
        DatasetError: weights of an undeclared as_of, two of one name, or above `leverage` in total.

    """
    decided = _decisions(weights, sorted(set(as_ofs)), sessions, leverage)
    executed = []
    for as_of, targets in decided.items():
        at = int(np.searchsorted(sessions, np.datetime64(as_of))) + entry_lag
        over = first_session_from(as_of + timedelta(days=1)).month != as_of.month
        if at < len(sessions) and over:
            day = sessions[at].item()
            renamed = {symbol(name, as_of, day, renames): weight for name, weight in targets.items()}
            executed.append(Execution(as_of, at, renamed))
    return executed


def renamings(delistings: pl.DataFrame | None) -> dict[str, list[tuple[date, str]]]:
    """Renames by old symbol, of dataset delistings."""
    renames: dict[str, list[tuple[date, str]]] = {}
    if delistings is not None:
        renamed = delistings.drop_nulls("successor").select("ticker", "known_at", "successor")
        for name, known_at, successor in renamed.iter_rows():
            renames.setdefault(name, []).append((known_at, successor))
    return renames


def endings(delistings: pl.DataFrame | None) -> dict[str, list[Ended]]:
    """Delistings by symbol, of `market.delistings.continued`; one without a return counts as 0."""
    delistings_of: dict[str, list[Ended]] = {}
    if delistings is not None:
        for name, *ended in delistings.select(
            "ticker", "known_at", "trades_again", pl.col("delisting_return").fill_null(0.0)
        ).iter_rows():
            delistings_of.setdefault(name, []).append((ended[0], ended[1], ended[2]))
    return delistings_of


def delisted(ended: list[Ended], sessions: NDArray[np.datetime64]) -> list[tuple[int, int, float]]:
    """Sessions after the execution from which and up to which a name is delisted, with the return; ascending.

    The execution has index 0. A delisting that is not withdrawn is the last: later ones are another company's.
    """
    spans = []
    later = [delisting for delisting in ended if delisting[0] > sessions[0].item()]
    for known_at, back, loss in sorted(later, key=lambda delisting: delisting[0]):
        start, stop = (
            len(sessions) if day is None else int(np.searchsorted(sessions, np.datetime64(day)))
            for day in (known_at, back)
        )
        spans.append((start, stop, loss))
        if stop == len(sessions):
            break
    return [span for span in spans if span[0] < len(sessions)]


def symbol(name: str, after: date, through: date, renames: Renames) -> str:
    """The symbol on the day `through` of the name that was `name` on the day `after`."""
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
            f"the last decision is of {as_ofs[-1]}, but rows up to {last} are requested; "
            "materialise weights of the month before"
        )
    if as_ofs and np.datetime64(as_ofs[0]) < sessions[0]:
        raise HistoryError(
            f"the decision of {as_ofs[0]} is before the first session {sessions[0]}; "
            "pass the sessions from its month on"
        )
    for as_of in as_ofs:
        if as_of <= last and as_of not in calendar:
            raise DatasetError(
                f"decision session {as_of} is not among the sessions; materialise weights of that month again"
            )
    undeclared = sorted(set(weights["as_of"]) - set(as_ofs))
    if undeclared:
        raise DatasetError(
            f"weights of {undeclared[0]} do not belong to a declared decision; materialise weights of that month again"
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
