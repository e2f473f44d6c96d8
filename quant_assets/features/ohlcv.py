"""The 25 OHLCV features: prices, volume and their means, each over the ticker's running maximum of that quantity.

Dataset `price_peaks` carries the running maxima from month to month. A maximum of partial maxima is exact, so the
features need no more history than the longest mean.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import HistoryError
from quant_assets.market import calendar
from quant_assets.market.panel import BoolArray, FloatArray, IntArray, Panel
from quant_assets.schemas import DATASETS, OHLCV_FIELDS, OHLCV_MEANS, OHLCV_QUANTITIES, ohlcv_quantity
from quant_assets.windows.declarations import Declared
from quant_assets.windows.windows import MONTH_SESSIONS, Windows


@dataclass(frozen=True, eq=False)
class PeakFeature(Declared[str]):
    """One of `OHLCV_QUANTITIES`, named by `compute`, over its running maximum so far.

    `lookback` is a mean's window and one month without a carried maximum.
    """


FEATURES: tuple[PeakFeature, ...] = tuple(
    PeakFeature(
        f"{ohlcv_quantity(field, sessions)}_to_peak",
        (field,),
        sessions - 1 + MONTH_SESSIONS,
        ohlcv_quantity(field, sessions),
        f"{ohlcv_quantity(field, sessions).replace('_', ' ')} over its running maximum so far",
        ge=0,
        le=1,
    )
    for sessions in OHLCV_MEANS
    for field in OHLCV_FIELDS
)


def quantities(panel: Panel) -> Iterator[tuple[str, FloatArray]]:
    """Yield name and values of each of `OHLCV_QUANTITIES` over a panel of `OHLCV_FIELDS`."""
    windows = Windows(panel.sessions)
    for sessions in OHLCV_MEANS:
        for field in OHLCV_FIELDS:
            yield (
                ohlcv_quantity(field, sessions),
                panel[field] if sessions == 1 else windows.mean(panel[field], sessions),
            )


def peaks(prices: pl.DataFrame, sessions: NDArray[np.datetime64], as_ofs: Sequence[date]) -> pl.DataFrame:
    """Highest value so far of each quantity at each `as_of`, from the whole history.

    A ticker appears from the session on which it entered the sector's panel (the first `panel_from`), with all its bars
    up to then.

    Args:
        prices: dataset prices since the start of the profile, all rows, in the sector or not.
        sessions: sessions without a gap from the profile's start to the last `as_of`.
        as_ofs: decision sessions, ascending.

    Returns:
        Dataset price_peaks without `sector`, sorted by ticker and as_of. A mean is null if no window was complete so
        far, a value of the open if there was no open.

    Raises:
        HistoryError: an `as_of` is not among the sessions, or prices start before them.

    """
    missing = [day for day in as_ofs if np.datetime64(day) not in sessions]
    if missing:
        raise HistoryError(
            f"price_peaks: {missing[0]} is not among the sessions; pass every session up to the last as_of"
        )
    early = prices.filter(pl.col("date") < sessions[0].item()) if len(sessions) else prices
    if early.height:
        raise HistoryError(
            f"price_peaks: {early['ticker'][0]} has bars before the first session; "
            "pass the sessions since the first bar"
        )
    panel = Panel.from_long(prices, sessions, OHLCV_FIELDS)
    columns = np.searchsorted(sessions, np.array(as_ofs, dtype="datetime64[D]"))
    entered = prices.group_by("ticker", "listed").agg(entered=pl.col("panel_from").min())
    frame = pl.DataFrame(
        {
            "ticker": pl.Series(np.repeat(np.array(panel.tickers, dtype=object), len(as_ofs)), dtype=pl.String),
            "as_of": pl.Series(list(as_ofs) * len(panel.tickers), dtype=pl.Date),
            "listed": pl.Series([listed for _, listed in panel.companies() for _ in as_ofs], dtype=pl.Date),
            "row": pl.Series(np.repeat(np.arange(len(panel.tickers)), len(as_ofs)), dtype=pl.Int64),
        }
        | {
            name: pl.Series(_highest_until(values, columns).ravel(), nan_to_null=True, dtype=pl.Float64)
            for name, values in quantities(panel)
        }
    )
    newest = pl.Series(panel.rows(frame.select("ticker", date="as_of"))) == frame["row"]
    known = (
        frame.filter(newest)
        .join(entered, on=["ticker", "listed"])
        .filter(pl.col("entered") <= pl.col("as_of"), pl.col("close").is_not_null())
    )
    return known.select(list(DATASETS["price_peaks"].columns)).sort("ticker", "as_of")


def _highest_until(values: FloatArray, columns: IntArray) -> FloatArray:
    """Maximum of each row up to each of these ascending columns, from the maxima between them."""
    if not len(columns):
        return values[:, :0]
    starts = np.concatenate([[0], columns[:-1] + 1])
    return np.fmax.accumulate(np.fmax.reduceat(values[:, : columns[-1] + 1], starts, axis=1), axis=1)


def to_peak(
    panel: Panel, prices: pl.DataFrame, price_peaks: pl.DataFrame, members: BoolArray, first_day: date, last_day: date
) -> dict[str, FloatArray]:
    """Each quantity over its running maximum so far, from the maximum carried from the month before and the panel.

    A ticker without a carried row entered the sector's panel in this month (or the profile starts with it): `prices`
    then have all its bars, also those before the panel's first session, and its maximum is computed from them.

    Args:
        panel: `OHLCV_FIELDS`, from the longest `lookback` of `FEATURES` before the month of `first_day`.
        prices: all rows from which the panel was built.
        price_peaks: dataset price_peaks of the month before `first_day` to the month before `last_day`.
        members: bool of the panel's shape, the requested rows.
        first_day: first day of the range.
        last_day: last day of the range.

    Returns:
        float64 of the panel's shape, at most 1, by name of the feature; NaN outside the range, if the quantity is
        missing and if the maximum is 0.

    Raises:
        HistoryError: a ticker has bars in earlier months but no carried maximum.

    """
    sessions = panel.sessions
    month = sessions.astype("datetime64[M]")
    inside = (sessions >= np.datetime64(first_day)) & (sessions <= np.datetime64(last_day))
    by_month = price_peaks.with_columns(month=pl.col("as_of").dt.month_start()).partition_by(
        "month", as_dict=True, include_key=False
    )
    parts = []
    for first in np.unique(month[inside]):
        start, stop = int(np.searchsorted(month, first)), int(np.searchsorted(month, first, side="right"))
        member_rows = np.flatnonzero(members[:, start:stop].any(axis=1))
        month_before = (first - 1).astype("datetime64[D]").item()
        as_of, carried = _carried(
            panel, prices, by_month.get((month_before,), price_peaks.clear()), first.item(), member_rows
        )
        # Usually the month's start; earlier if the carried maximum was written before its month's end.
        begin = start if as_of is None else int(np.searchsorted(sessions, np.datetime64(as_of), side="right"))
        parts.append((start, stop, begin, carried))
    names = {feature.compute: feature.name for feature in FEATURES}
    result = {}
    for name, values in quantities(panel):
        ratio = np.full(panel.shape, np.nan)
        for start, stop, begin, carried in parts:
            peak = np.fmax(np.fmax.accumulate(values[:, begin:stop], axis=1), carried[name][:, None])[
                :, start - begin :
            ]
            with np.errstate(invalid="ignore"):  # a volume of 0 over a peak of 0 is missing
                ratio[:, start:stop] = values[:, start:stop] / peak
        ratio[:, ~inside] = np.nan
        result[names[name]] = ratio
    return result


def _carried(
    panel: Panel, prices: pl.DataFrame, rows: pl.DataFrame, month_start: date, member_rows: IntArray
) -> tuple[date | None, Mapping[str, FloatArray]]:
    """The `as_of` of the month before (None if nothing is carried), and the tickers' maxima before the month.

    Args:
        panel: as for `to_peak`.
        prices: as for `to_peak`.
        rows: price_peaks of the month before.
        month_start: first day of the month.
        member_rows: rows of the panel that are members in the month.

    Returns:
        The second part maps a quantity to float64 of shape (n_tickers,), NaN if there is none.

    """
    companies = pl.DataFrame(panel.companies(), {"ticker": pl.String, "listed": pl.Date}, orient="row")
    carried = companies.join(rows, on=["ticker", "listed"], how="left", maintain_order="left")
    without = carried[member_rows].filter(pl.col("as_of").is_null()).select("ticker", "listed")
    if len(without):
        history = prices.filter(pl.col("date") < month_start).join(
            without, on=["ticker", "listed"], how="semi", maintain_order="left"
        )
    else:
        history = prices.clear()  # the usual case, without a search of the whole history
    missing = history.filter(pl.col("panel_from") < month_start)
    if missing.height:
        raise HistoryError(
            f"features: {missing['ticker'][0]} has bars before {month_start:%Y-%m} but no price_peaks at the end of "
            "the month before; materialise price_peaks of that month"
        )
    maxima = {name: carried[name].to_numpy().copy() for name in OHLCV_QUANTITIES}
    if history.height:
        first = history["date"].sort()[0].replace(day=1)  # a mean depends on its whole month
        history_panel = Panel.from_long(history, calendar.sessions(first, month_start), OHLCV_FIELDS)
        row_of = {company: row for row, company in enumerate(companies.iter_rows())}
        places = [row_of[company] for company in history_panel.companies()]
        for name, values in quantities(history_panel):
            maxima[name][places] = np.fmax.reduce(values, axis=1)
    return (rows["as_of"][0] if rows.height else None), maxima
