"""The dense panel (tickers x sessions) for kernels, built from long frames.

Windows count sessions, not rows: a halted ticker has a missing session, so a value depends only on the last w sessions
and is the same whether one month or twenty years are computed. Missing is NaN inside a panel, null outside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import DatasetError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

#: A session without a bar may use a close of up to this many sessions before it.
STALE_SESSIONS = 5


@dataclass(frozen=True)
class Panel:
    """A dense panel.

    Attributes:
        tickers: sorted symbols; a symbol of several companies appears once per company.
        sessions: datetime64[D] of shape (n_sessions,), ascending, without a gap in the calendar.
        fields: float64 arrays of shape (n_tickers, n_sessions), C-contiguous, NaN without a bar.
        listed: datetime64[D] of shape (n_tickers,), the first session of the row's company; None if unknown.

    """

    tickers: tuple[str, ...]
    sessions: NDArray[np.datetime64]
    fields: Mapping[str, FloatArray]
    listed: NDArray[np.datetime64] | None = None

    @classmethod
    def from_long(cls, frame: pl.DataFrame, sessions: NDArray[np.datetime64], fields: Sequence[str]) -> "Panel":
        """Spread a long frame (`ticker`, `date`, fields) over the sessions; rows before the first session are left out.

        Raises:
            DatasetError: a row's date is not a session, or two rows share a ticker and date.

        """
        if len(sessions):
            frame = frame.filter(pl.col("date").is_between(sessions[0].item(), sessions[-1].item()))
        else:
            frame = frame.clear()
        company = ["ticker", "listed"] if "listed" in frame.columns else ["ticker"]
        rows = frame.select(company).unique().sort(company)
        tickers = tuple(rows["ticker"].to_list())
        listed = rows["listed"].to_numpy().astype("datetime64[D]") if "listed" in rows.columns else None
        if len(set(tickers)) == len(tickers):
            row = (
                frame["ticker"].cast(pl.Enum(tickers)).to_physical().to_numpy()
                if tickers
                else np.empty(0, dtype=np.int64)
            )
        else:
            row = frame.join(rows.with_row_index(), on=company, how="left", maintain_order="left")["index"].to_numpy()
        days = frame["date"].to_numpy().astype("datetime64[D]")
        column = np.searchsorted(sessions, days)
        unknown = sessions[column] != days if len(days) else np.empty(0, dtype=bool)
        if unknown.any():
            bar = frame.row(int(np.flatnonzero(unknown)[0]), named=True)
            raise DatasetError(f"ticker {bar['ticker']}: {bar['date']} is not an XNYS session; quarantine the bar")
        cell = row.astype(np.int64) * len(sessions) + column
        if len(cell) and np.bincount(cell).max() > 1:  # 200 times faster than np.unique on 4 million rows
            repeated = frame.filter(frame.select(*company, "date").is_duplicated()).row(0, named=True)
            raise DatasetError(f"ticker {repeated['ticker']} has two rows on {repeated['date']}; a panel needs one")
        spread = {}
        for name in fields:
            values = np.full(len(tickers) * len(sessions), np.nan)
            values[cell] = frame[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
            spread[name] = values.reshape(len(tickers), len(sessions))
        return cls(tickers, sessions, spread, listed)

    def __getitem__(self, name: str) -> FloatArray:
        return self.fields[name]

    @property
    def shape(self) -> tuple[int, int]:
        """(n_tickers, n_sessions)."""
        return len(self.tickers), len(self.sessions)

    def since(self, start: int) -> "Panel":
        """The sessions from a position on."""
        if start == 0:
            return self
        fields = {name: np.ascontiguousarray(values[:, start:]) for name, values in self.fields.items()}
        return Panel(self.tickers, self.sessions[start:], fields, self.listed)

    def companies(self) -> list[tuple[str, date | None]]:
        """Symbol and first session of each row's company."""
        return list(
            zip(self.tickers, [None] * len(self.tickers) if self.listed is None else self.listed.tolist(), strict=True)
        )

    def rows(self, pairs: pl.DataFrame) -> NDArray[np.int64]:
        """The panel row of each (`ticker`, `date`), -1 if there is none.

        Of a symbol's companies, the newest one listed by that date counts, else the first.
        """
        order = pl.DataFrame({"ticker": pl.Series(self.tickers, dtype=pl.String)}).with_row_index("row")
        if len(set(self.tickers)) == len(self.tickers):
            matches = pairs.select("ticker").join(order, on="ticker", how="left", maintain_order="left")
        else:
            first = pl.col("ticker").is_first_distinct()
            order = order.with_columns(
                since=pl.when(first).then(pl.lit(date.min)).otherwise(pl.Series(self.listed, dtype=pl.Date))
            )
            matches = pairs.select("ticker", "date").with_row_index().sort("date")
            matches = matches.join_asof(
                order.sort("since"), left_on="date", right_on="since", by="ticker", check_sortedness=False
            ).sort("index")
        return matches["row"].cast(pl.Int64).fill_null(-1).to_numpy()
