"""Dataset `labels`: forward returns and when they became known; the only dataset that looks ahead."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import HistoryError
from quant_assets.market.calendar import last_session_to, session_number
from quant_assets.market.containment import counted_step, marks
from quant_assets.market.delistings import PRESUMED, continued
from quant_assets.market.panel import STALE_SESSIONS, BoolArray, FloatArray, IntArray, Panel
from quant_assets.schemas import DATASETS
from quant_assets.settings.domain import LabelSettings
from quant_assets.windows.columns import member_mask

#: A delisting known up to this many sessions after the exit session still ends a label without a price there.
DELISTING_SESSIONS = 10


def forward_sessions(settings: LabelSettings) -> int:
    """Sessions after a row's own session on which its labels may depend."""
    return settings.entry_lag + max(settings.horizons) + DELISTING_SESSIONS


def labels(
    prices: pl.DataFrame,
    delistings: pl.DataFrame,
    universe: pl.DataFrame,
    settings: LabelSettings,
    sessions: NDArray[np.datetime64],
    last_known: date,
    first_day: date,
    last_day: date,
) -> pl.DataFrame:
    """Known forward returns of the sector's members from each session with a bar.

    The entry is the close `entry_lag` sessions after the row's session t; without a bar there, there is no label. The
    exit session is `horizon` sessions after the entry. A label ends in one of two ways, and never changes once it is
    known:

    - At the last close at or before the exit session, at most `STALE_SESSIONS` older and after the entry; known at the
      exit session.
    - At the last price of a delisted ticker (`delisted`), followed by the `delisting_return` (0 if unknown), if the
      delisting became known by the exit session, or up to `DELISTING_SESSIONS` later if the first way has no price.
      Known when the delisting was. If the entry is the last price, the label is the `delisting_return`, if known.

    A presumed delisting (`market.delistings.PRESUMED`) may turn out wrong, so its label waits as long as labels look
    ahead: it is known `DELISTING_SESSIONS` after the exit session. If the ticker trades again by then, the label ends
    in the first way (known on that day, if that is after the exit session), or there is none, as in a halt.

    A renamed company continues under its new symbol. If the sector has no prices of that symbol, there is no label.

    `unexplained` marks labels over a step that does not count as it is by the rule of `market.containment`; a fall
    reverses a rise only if the rise is in the month of the row or later, so that a row needs no earlier prices.

    Args:
        prices: dataset prices (`ticker, date, close, listed, unexplained`) of the sector from `first_day` to
            `forward_sessions` after `last_day`, in the sector or not.
        delistings: dataset delistings known in the same months.
        universe: dataset universe (`ticker, date`): the rows of the result.
        settings: horizons and entry lag.
        sessions: sessions without a gap from `first_day` to `forward_sessions` after `last_day`, or to `last_known`.
        last_known: the last closed session. Labels known later are absent.
        first_day: first day of the result.
        last_day: last day of the result.

    Returns:
        Dataset labels without `sector`, sorted by ticker, date and horizon.

    Raises:
        HistoryError: `sessions` end before both the last exit session and `last_known`.

    """
    schema = DATASETS["labels"].schema
    # After a rename, the old symbol's closes continue for its positions but are no rows of the universe.
    own = universe.join(prices, on=["ticker", "date"], how="semi")
    prices, delistings = continued(marks(prices).select("ticker", "date", "close", "listed", "unexplained"), delistings)
    panel = Panel.from_long(prices, sessions, ["close", "unexplained"])
    close, unexplained, count = panel["close"], panel["unexplained"] == 1.0, len(sessions)
    rows = member_mask(panel, own, first_day, last_day) & ~np.isnan(close)
    row, at = np.nonzero(rows)
    if not len(row):
        return pl.DataFrame(schema=schema)
    if at.max() + forward_sessions(settings) >= count and sessions[-1] < np.datetime64(last_session_to(last_known)):
        raise HistoryError(
            f"labels: the sessions end on {sessions[-1]}, before the last exit session and before {last_known}; "
            "load the months after"
        )

    # Last session with a bar at or before each session, -1 if it is older than STALE_SESSIONS.
    positions = np.arange(count)
    last = np.maximum.accumulate(np.where(np.isnan(close), -1, positions), axis=1)
    last[positions - last > STALE_SESSIONS] = -1

    entry = at + settings.entry_lag
    entered = entry < count
    entered[entered] = ~np.isnan(close[row[entered], entry[entered]])
    tickers = np.array(panel.tickers, dtype=object)[row]
    ends = _Ends.of(delistings, sessions)
    at_entry = ends.first_after(tickers, entry)
    month = sessions.astype("datetime64[M]")
    month_start = np.searchsorted(month, month)[at]
    parts = []
    for horizon in settings.horizons:
        exit_session = entry + horizon
        waits_until = exit_session + DELISTING_SESSIONS
        usual = np.where(exit_session < count, last[row, np.minimum(exit_session, count - 1)], -1)
        usual[usual <= entry] = -1
        end = ends.standing(at_entry, exit_session)
        gone, heard, payout, again = (values[end] for values in (ends.gone, ends.heard, ends.left, ends.trades_again))
        final = np.where(gone >= 0, last[row, np.clip(gone, 0, count - 1)], -1)
        ended = (gone >= 0) & (gone < exit_session) & ((final > entry) | ((final == entry) & ~np.isnan(payout)))
        counts = ended & ((heard <= exit_session) | ((heard <= waits_until) & (usual < 0)))
        delisted = counts & (again > waits_until)
        last_price = np.where(delisted, final, usual)
        stated = np.maximum(heard, final)
        known = np.where(delisted, np.where(ends.presumed[end], waits_until, stated), exit_session)
        known = np.where(counts & ~delisted, np.maximum(again, exit_session), known)
        keep = entered & (last_price >= 0) & ~(delisted & ends.renamed[end]) & (known < count)
        i, start, stop = row[keep], entry[keep], last_price[keep]
        crossing = _crossing(close, unexplained, i, start, stop, month_start[keep])
        left = np.where(delisted, np.nan_to_num(payout, nan=1.0), 1.0)[keep]
        parts.append(
            pl.DataFrame(
                {
                    "ticker": pl.Series(tickers[keep], dtype=pl.String),
                    "date": pl.Series(sessions[at[keep]], dtype=pl.Date),
                    "horizon": pl.Series(np.full(len(i), horizon), dtype=pl.Int32),
                    "forward_return": close[i, stop] / close[i, start] * left - 1.0,
                    "entry_date": pl.Series(sessions[start], dtype=pl.Date),
                    "exit_date": pl.Series(sessions[stop], dtype=pl.Date),
                    "known_at": pl.Series(sessions[known[keep]], dtype=pl.Date),
                    "delisted": delisted[keep],
                    "unexplained": crossing,
                }
            )
        )
    return (
        pl.concat(parts).filter(pl.col("known_at") <= last_known).select(list(schema)).sort("ticker", "date", "horizon")
    )


def _crossing(
    close: FloatArray, unexplained: BoolArray, row: IntArray, start: IntArray, stop: IntArray, month_start: IntArray
) -> BoolArray:
    """Whether each label spans a step that does not count; arrays of shape (n_rows,), sessions by position."""
    crossing = np.zeros(len(row), dtype=np.bool_)
    for name, at in np.argwhere(unexplained).tolist():  # hardly any
        over = (row == name) & (start < at) & (at <= stop)
        for since in np.unique(month_start[over]).tolist():
            step, counted = counted_step(close[name], unexplained[name], at, since)
            if counted != step:
                crossing[over & (month_start == since)] = True
    return crossing


@dataclass(frozen=True)
class _Ends:
    """Delistings in order of ticker and last session; the last element means none.

    Attributes:
        tickers: object array of shape (n + 1,).
        gone: int64, position of the last session, -1 for none; positions may be outside of the sessions.
        heard: int64, position of the session at which it was known.
        trades_again: int64, position of the session at which it was taken back, very large if it was not.
        left: float64, 1 plus the delisting return, NaN if that is unknown.
        renamed: bool, whether it is a rename.
        presumed: bool, whether no provider stated it.

    """

    tickers: NDArray[np.object_]
    gone: IntArray
    heard: IntArray
    trades_again: IntArray
    left: FloatArray
    renamed: BoolArray
    presumed: BoolArray

    @classmethod
    def of(cls, delistings: pl.DataFrame, sessions: NDArray[np.datetime64]) -> "_Ends":
        """From `delistings.continued`."""
        rows = delistings.sort("ticker", "last_session", "known_at")
        origin = session_number(sessions[:1])[0]

        def places(name: str) -> IntArray:
            days = rows[name].fill_null(date.max).to_numpy().astype("datetime64[D]")
            return np.append(session_number(days) - origin, -1)

        never = np.iinfo(np.int64).max
        return cls(
            np.array([*rows["ticker"].to_list(), None], dtype=object),
            places("last_session"),
            places("known_at"),
            np.where(np.append(rows["trades_again"].is_null().to_numpy(), True), never, places("trades_again")),
            np.append(1.0 + rows["delisting_return"].fill_null(np.nan).to_numpy(), np.nan),
            np.append(rows["successor"].is_not_null().to_numpy(), False),
            np.append(rows["rule"].is_in(PRESUMED).to_numpy(), False),
        )

    def first_after(self, tickers: NDArray[np.object_], entry: IntArray) -> IntArray:
        """Position of each row's first delisting from its entry on; int64 of shape (n_rows,)."""
        none = len(self.gone) - 1
        rows = pl.DataFrame({"ticker": pl.Series(tickers, dtype=pl.String), "entry": entry}).with_row_index()
        known = pl.DataFrame({"ticker": pl.Series(self.tickers[:-1], dtype=pl.String), "gone": self.gone[:-1]})
        matched = rows.sort("entry").join_asof(
            known.with_row_index("end").sort("gone", "end"),
            left_on="entry",
            right_on="gone",
            by="ticker",
            strategy="forward",
            check_sortedness=False,
        )
        return matched.sort("index")["end"].cast(pl.Int64).fill_null(none).to_numpy()

    def standing(self, first: IntArray, exit_session: IntArray) -> IntArray:
        """Position of the first delisting from `first` on that was not taken back by the exit session."""
        end = first.copy()
        while (wrong := np.flatnonzero(self.trades_again[end] <= exit_session)).size:
            after = end[wrong] + 1
            end[wrong] = np.where(self.tickers[after] == self.tickers[end[wrong]], after, len(self.gone) - 1)
        return end
