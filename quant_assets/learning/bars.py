"""The bars that rows of a model lie in, for kinds that read windows of them; what a kind makes of one is its own."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Self, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.market.calendar import sessions
from quant_assets.market.containment import marks
from quant_assets.market.panel import Panel
from quant_assets.schemas import OHLCV_FIELDS
from quant_assets.settings.domain import FIRST_DAY

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Bars:
    """One panel for all rows; a row's place in it is its ticker and session, and nothing is copied for a row.

    Attributes:
        panel: open, high, low, close, volume, as adjusted as the returns, and `unexplained`, 1 where a step that
            nothing explains leads to the bar.

    """

    panel: Panel
    _made: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, prices: pl.DataFrame, days: NDArray[np.datetime64]) -> Self:
        """The bars of some sessions.

        Args:
            prices: dataset prices of a sector; what was not known at the last session is left out.
            days: sessions without a gap, up to the last one that any row is of, datetime64[D].

        """
        known = prices.filter(pl.col("panel_from") <= days[-1].item()) if len(days) else prices.clear()
        return cls(Panel.from_long(marks(known), days, (*OHLCV_FIELDS, "unexplained")))

    @classmethod
    def between(cls, prices: pl.DataFrame, first: date, last: date, back: int) -> Self:
        """The bars of rows from one day to another.

        Args:
            prices: as of `of`.
            first: first day of the rows.
            last: last day of them.
            back: sessions up to a row's own that are there (`Learner.bar_sessions`).

        """
        return cls.of(prices, sessions(first_session_back(first, back), last))

    def once(self, what: Hashable, make: Callable[[Panel], T]) -> T:
        """What a kind makes of the panel, made when it is asked for the first time."""
        if what not in self._made:
            self._made[what] = make(self.panel)
        found: T = self._made[what]
        return found


def first_session_back(day: date, back: int) -> date:
    """The first of the `back` sessions up to the first one from a day on, as far as the calendar reaches."""
    # A year has 250 sessions or more, and the longest closure took 4 of them.
    begin = max(FIRST_DAY, day - timedelta(days=back * 365 // 250 + 30))
    before = sessions(begin, day - timedelta(days=1)) if begin < day else np.empty(0, dtype="datetime64[D]")
    if back < 2 or not len(before):
        return day
    found: date = before[-min(back - 1, len(before))].item()
    return found
