"""A track record month by month, computed from the month before and the month's sessions, never from the start."""

import math
from dataclasses import dataclass, fields, replace
from datetime import date
from typing import Any, Self

import polars as pl

from quant_assets.backtest.metrics import sharpe_of, since_first_execution, volatility_of


@dataclass(frozen=True)
class Track:
    """State of a track record after some sessions.

    Attributes:
        since: its first session, that of the first execution.
        sessions: their number.
        mean_return: mean of the net returns.
        squared_deviations: sum of their squared deviations from the mean.
        equity: value of 1 at the start.
        peak_equity: its highest value so far, the 1 at the start included.
        max_drawdown: largest loss so far against the highest value before it, as a positive fraction.

    """

    since: date
    sessions: int = 0
    mean_return: float = 0.0
    squared_deviations: float = 0.0
    equity: float = 1.0
    peak_equity: float = 1.0
    max_drawdown: float = 0.0

    @classmethod
    def stored(cls, rows: pl.DataFrame) -> Self | None:
        """The state stored in the rows of a month; None where no track record has begun."""
        row: dict[str, Any] = rows.row(0, named=True) if len(rows) else {"since": None}
        return None if row["since"] is None else cls(**{field.name: row[field.name] for field in fields(cls)})

    def after(self, returns: list[float]) -> Self:
        """The track after further sessions' net returns; means and deviations by Chan, Golub and LeVeque (1983)."""
        if not returns:
            return self
        equity, peak, worst = self.equity, self.peak_equity, self.max_drawdown
        for value in returns:
            equity *= 1.0 + value
            peak = max(peak, equity)
            worst = max(worst, 1.0 - equity / peak)
        count, total = len(returns), self.sessions + len(returns)
        mean = math.fsum(returns) / count
        apart = mean - self.mean_return
        return replace(
            self,
            sessions=total,
            mean_return=self.mean_return + apart * (count / total),
            squared_deviations=self.squared_deviations
            + math.fsum((value - mean) ** 2 for value in returns)
            + apart**2 * (self.sessions * count / total),
            equity=equity,
            peak_equity=peak,
            max_drawdown=worst,
        )

    def figures(self) -> dict[str, float | None]:
        """Total return, annualised volatility, Sharpe ratio and drawdown, as `metrics` defines them."""
        volatility = volatility_of(self.squared_deviations, self.sessions)
        return {
            "total_return": self.equity - 1.0,
            "annualised_volatility": volatility,
            "sharpe": sharpe_of(self.mean_return, volatility),
            "drawdown": 1.0 - self.equity / self.peak_equity,
        }


def continued(before: pl.DataFrame, backtest: pl.DataFrame, as_of: date | None) -> pl.DataFrame:
    """A month of the track record.

    Args:
        before: rows of the month before, with the state of the track; without rows it begins anew.
        backtest: rows of dataset backtest or portfolio_backtest, of the month at least.
        as_of: decision session of the month; None where it has no closed session yet.

    Returns:
        One row of dataset track_record with the columns of `before`; all but `sessions` are null until the first
        execution. No row without `as_of`.

    """
    if as_of is None:
        return before.clear()
    rows = backtest.filter(pl.col("date").is_between(as_of.replace(day=1), as_of)).sort("date")
    track = Track.stored(before)
    if track is None:
        rows = since_first_execution(rows)
        track = Track(rows["date"][0]) if len(rows) else None
    row: dict[str, Any] = {"as_of": as_of, "sessions": 0}
    if track is not None:
        track = track.after(rows["net_return"].to_list())
        row |= vars(track) | track.figures()
    return pl.DataFrame({name: [row.get(name)] for name in before.columns}, schema=before.schema)
