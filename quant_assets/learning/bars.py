"""Price bars for kinds of model that read windows of bars."""

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
    """One panel for all rows, addressed by ticker and session; nothing is copied for a row.

    Attributes:
        panel: open, high, low, close, volume, adjusted like the returns, and `unexplained`, 1 where the step to the bar
            has no explanation.

    """

    panel: Panel
    _made: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, prices: pl.DataFrame, days: NDArray[np.datetime64]) -> Self:
        """The bars of some sessions.

        Args:
            prices: dataset prices of a sector; rows not known at the last session are left out.
            days: consecutive sessions up to the last one of any row, datetime64[D].

        """
        known = prices.filter(pl.col("panel_from") <= days[-1].item()) if len(days) else prices.clear()
        return cls(Panel.from_long(marks(known), days, (*OHLCV_FIELDS, "unexplained")))

    @classmethod
    def between(cls, prices: pl.DataFrame, first: date, last: date, back: int) -> Self:
        """The bars of rows from one day to another.

        Args:
            prices: as in `of`.
            first: first day of the rows.
            last: last day of the rows.
            back: length of a row's window in sessions, its own included (`Learner.bar_sessions`).

        """
        return cls.of(prices, sessions(first_session_back(first, back), last))

    def once(self, what: Hashable, make: Callable[[Panel], T]) -> T:
        """The result of `make` on the panel under the key `what`, computed at the first call."""
        if what not in self._made:
            self._made[what] = make(self.panel)
        result: T = self._made[what]
        return result


def first_session_back(day: date, back: int) -> date:
    """The first of the `back` sessions that end with the first session from a day on, within the calendar."""
    # A year has 250 sessions or more, and the longest closure took 4 of them.
    begin = max(FIRST_DAY, day - timedelta(days=back * 365 // 250 + 30))
    before = sessions(begin, day - timedelta(days=1)) if begin < day else np.empty(0, dtype="datetime64[D]")
    if back < 2 or not len(before):
        return day
    first: date = before[-min(back - 1, len(before))].item()
    return first
