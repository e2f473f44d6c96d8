"""Dataset `labels`: forward returns and the session at which each became known. The one dataset that looks ahead."""

from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import HistoryError
from quant_assets.market.calendar import last_session_to, session_number
from quant_assets.market.containment import counted_step, marks
from quant_assets.market.delistings import continued
from quant_assets.market.panel import STALE_SESSIONS, BoolArray, FloatArray, IntArray, Panel
from quant_assets.schemas import DATASETS
from quant_assets.settings.domain import LabelSettings
from quant_assets.windows.columns import member_mask

#: A delisting that became known this many sessions after the exit session still ends a label that has no price there.
DELISTING_SESSIONS = 10


def forward_sessions(settings: LabelSettings) -> int:
    """Sessions after a row's own session that its labels may depend on."""
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
    """Forward returns of the sector's members from each session with a bar, as far as they are known.

    The entry is the close `entry_lag` sessions after the row's session t; without a bar there, there is no label. The
    exit session is `horizon` sessions after the entry. A label ends in one of two ways, and never changes once it is
    known:

    - At the last close at or before the exit session, at most `STALE_SESSIONS` older and after the entry; known at the
      exit session.
    - At the last price of a delisted ticker (`delisted`) and the `delisting_return` from there on (0 where unknown), if
      the delisting became known by the exit session. One that became known up to `DELISTING_SESSIONS` later counts only
      where there is no price for the first way. Known when the delisting was. Where the entry is the last price, the
      label is the `delisting_return`, if known.

    A company that was renamed goes on under its new symbol. Where the sector has no prices of that, there is no label.

    `unexplained` marks what the rule of `market.containment` would not count, a fall as taking back a rise where the
    rise lies in the month of the row or later; so a row follows from the prices of its month on.

    Args:
        prices: dataset prices (`ticker, date, close, listed, unexplained`) of the sector from `first_day` to
            `forward_sessions` after `last_day`, in the sector or not.
        delistings: dataset delistings known in the same months.
        universe: dataset universe (`ticker, date`): the rows to give.
        settings: horizons and entry lag.
        sessions: sessions without a gap from `first_day` to `forward_sessions` after `last_day`, or to `last_known`.
        last_known: the last closed session. Labels known later are absent.
        first_day: first day to give rows for.
        last_day: last day to give rows for.

    Returns:
        Dataset labels without `sector`, sorted by ticker, date and horizon.

    Raises:
        HistoryError: `sessions` end before both the last exit session and `last_known`.

    """
    schema = DATASETS["labels"].schema
    prices, delistings = continued(marks(prices).select("ticker", "date", "close", "listed", "unexplained"), delistings)
    panel = Panel.from_long(prices, sessions, ["close", "unexplained"])
    close, unexplained, count = panel["close"], panel["unexplained"] == 1.0, len(sessions)
    asked = member_mask(panel, universe, first_day, last_day) & ~np.isnan(close)
    row, at = np.nonzero(asked)
    if not len(row):
        return pl.DataFrame(schema=schema)
    if at.max() + forward_sessions(settings) >= count and sessions[-1] < np.datetime64(last_session_to(last_known)):
        raise HistoryError(
            f"labels: the sessions end on {sessions[-1]}, before the last exit session and before {last_known}; "
            "load the months after"
        )

    # Last session with a bar at or before each session, -1 where it is older than STALE_SESSIONS.
    every = np.arange(count)
    last = np.maximum.accumulate(np.where(np.isnan(close), -1, every), axis=1)
    last[every - last > STALE_SESSIONS] = -1

    entry = at + settings.entry_lag
    entered = entry < count
    entered[entered] = ~np.isnan(close[row[entered], entry[entered]])
    tickers = np.array(panel.tickers, dtype=object)[row]
    gone, heard, payout, renamed = _next_delisting(tickers, entry, sessions, delistings)
    final = np.where(gone >= 0, last[row, np.clip(gone, 0, count - 1)], -1)
    month = sessions.astype("datetime64[M]")
    month_start = np.searchsorted(month, month)[at]
    found = []
    for horizon in settings.horizons:
        exit_session = entry + horizon
        usual = np.where(exit_session < count, last[row, np.minimum(exit_session, count - 1)], -1)
        usual[usual <= entry] = -1
        ended = (gone < exit_session) & ((final > entry) | ((final == entry) & ~np.isnan(payout)))
        delisted = ended & ((heard <= exit_session) | ((heard <= exit_session + DELISTING_SESSIONS) & (usual < 0)))
        last_price = np.where(delisted, final, usual)
        known = np.where(delisted, np.maximum(heard, final), exit_session)
        keep = entered & (last_price >= 0) & ~(delisted & renamed)
        i, start, stop = row[keep], entry[keep], last_price[keep]
        crossing = _crossing(close, unexplained, i, start, stop, month_start[keep])
        left = np.where(delisted, np.nan_to_num(payout, nan=1.0), 1.0)[keep]
        found.append(
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
        pl.concat(found).filter(pl.col("known_at") <= last_known).select(list(schema)).sort("ticker", "date", "horizon")
    )


def _crossing(
    close: FloatArray, unexplained: BoolArray, row: IntArray, start: IntArray, stop: IntArray, month_start: IntArray
) -> BoolArray:
    """Whether the way of each label crosses a step that does not count; all of shape (n_rows,), sessions by place."""
    crossing = np.zeros(len(row), dtype=np.bool_)
    for name, at in np.argwhere(unexplained).tolist():  # hardly any
        over = (row == name) & (start < at) & (at <= stop)
        for since in np.unique(month_start[over]).tolist():
            step, counted = counted_step(close[name], unexplained[name], at, since)
            if counted != step:
                crossing[over & (month_start == since)] = True
    return crossing


def _next_delisting(
    tickers: NDArray[np.object_], entry: IntArray, sessions: NDArray[np.datetime64], delistings: pl.DataFrame
) -> tuple[IntArray, IntArray, FloatArray, NDArray[np.bool_]]:
    """Of each row's first delisting from its entry on: places of its last bar and when it was known, and what it left.

    A ticker may be delisted twice: a provider's long gap counts as a delisting until the ticker trades again.

    Returns:
        Two int64 arrays of shape (n_rows,), -1 where no delisting follows; a place may lie after the last of the
        sessions. A float64 array of that shape: 1 plus the delisting return, NaN where that is unknown. A boolean
        array: whether it is a rename.

    """
    origin = session_number(sessions[:1])[0]
    known = delistings.select(
        "ticker",
        (1.0 + pl.col("delisting_return")).alias("left"),
        pl.col("successor").is_not_null().alias("renamed"),
        *(
            pl.Series(name, session_number(delistings[name].to_numpy().astype("datetime64[D]")) - origin)
            for name in ("last_session", "known_at")
        ),
    )
    rows = pl.DataFrame({"ticker": pl.Series(tickers, dtype=pl.String), "entry": entry}).with_row_index()
    matched = rows.sort("entry").join_asof(
        known.sort("last_session", "known_at"),
        left_on="entry",
        right_on="last_session",
        by="ticker",
        strategy="forward",
        coalesce=False,
        check_sortedness=False,
    )
    matched = matched.sort("index").with_columns(
        pl.col("last_session", "known_at").fill_null(-1),
        pl.col("left").fill_null(np.nan),
        pl.col("renamed").fill_null(False),
    )
    last, known_at, left, renamed = (
        matched[name].to_numpy() for name in ("last_session", "known_at", "left", "renamed")
    )
    return last, known_at, left, renamed
