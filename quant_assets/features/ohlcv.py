"""The 25 OHLCV features: prices, volume and their means, each over the ticker's running maximum of that quantity.

The running maxima are carried from month to month in dataset `price_peaks`. A maximum is exact whatever its parts,
so the features need no more history than the longest mean.
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

    `lookback` is a mean's window and a month in which no maximum was carried yet.
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
    """Name and values of each of `OHLCV_QUANTITIES` over a panel of `OHLCV_FIELDS`, one at a time."""
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
        prices: dataset prices since the start of the profile, every row, in the sector or not.
        sessions: sessions without a gap from the profile's start to the last `as_of`.
        as_ofs: decision sessions, ascending.

    Returns:
        Dataset price_peaks without `sector`, sorted by ticker and as_of. A mean is null where no window was complete so
        far, what is of the open where there was none.

    Raises:
        HistoryError: an `as_of` is not among the sessions, or prices begin before them.

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
    """Maximum of each row up to each of these columns, which are ascending: of the stretches between them first."""
    if not len(columns):
        return values[:, :0]
    starts = np.concatenate([[0], columns[:-1] + 1])
    return np.fmax.accumulate(np.fmax.reduceat(values[:, : columns[-1] + 1], starts, axis=1), axis=1)


def to_peak(
    panel: Panel, prices: pl.DataFrame, price_peaks: pl.DataFrame, members: BoolArray, first_day: date, last_day: date
) -> dict[str, FloatArray]:
    """Each quantity over its running maximum so far: the carried one of the month before and what the panel adds since.

    A ticker without a carried row entered the sector's panel in this very month (or the profile starts with it):
    `prices` then hold all its bars, those before the panel's first session too, and its maximum is computed from them.

    Args:
        panel: `OHLCV_FIELDS`, the longest `lookback` of `FEATURES` before the month of `first_day`.
        prices: the rows that the panel was made from, none left out.
        price_peaks: dataset price_peaks of the month before `first_day` to the month before `last_day`.
        members: bool of the panel's shape, the rows that are asked for.
        first_day: first day of the range.
        last_day: last day of the range.

    Returns:
        Name of each of `FEATURES` to float64 of the panel's shape, at most 1; NaN outside the range, where the quantity
        is missing and where the maximum is 0.

    Raises:
        HistoryError: a ticker has bars of earlier months and no carried maximum.

    """
    sessions = panel.sessions
    month = sessions.astype("datetime64[M]")
    inside = (sessions >= np.datetime64(first_day)) & (sessions <= np.datetime64(last_day))
    by_month = price_peaks.with_columns(month=pl.col("as_of").dt.month_start()).partition_by(
        "month", as_dict=True, include_key=False
    )
    parts = []
    for this in np.unique(month[inside]):
        start, stop = int(np.searchsorted(month, this)), int(np.searchsorted(month, this, side="right"))
        asked = np.flatnonzero(members[:, start:stop].any(axis=1))
        month_before = (this - 1).astype("datetime64[D]").item()
        as_of, carried = _carried(panel, prices, by_month.get((month_before,), price_peaks.clear()), this.item(), asked)
        # Usually the month's start; a carried maximum may be older where it was written while its month was running.
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
    panel: Panel, prices: pl.DataFrame, rows: pl.DataFrame, month_start: date, asked: IntArray
) -> tuple[date | None, Mapping[str, FloatArray]]:
    """The `as_of` of the month before (None where nothing is carried), and each ticker's maxima before the month.

    Args:
        panel: as for `to_peak`.
        prices: as for `to_peak`.
        rows: price_peaks of the month before.
        month_start: first day of the month.
        asked: rows of the panel that are members in the month.

    Returns:
        The second part maps a quantity to float64 of shape (n_tickers,), NaN where there is none.

    """
    companies = pl.DataFrame(panel.companies(), {"ticker": pl.String, "listed": pl.Date}, orient="row")
    carried = companies.join(rows, on=["ticker", "listed"], how="left", maintain_order="left")
    without = carried[asked].filter(pl.col("as_of").is_null()).select("ticker", "listed")
    if len(without):
        history = prices.filter(pl.col("date") < month_start).join(
            without, on=["ticker", "listed"], how="semi", maintain_order="left"
        )
    else:
        history = prices.clear()  # the usual case: the whole history need not be looked through for each month
    forgotten = history.filter(pl.col("panel_from") < month_start)
    if forgotten.height:
        raise HistoryError(
            f"features: {forgotten['ticker'][0]} has bars before {month_start:%Y-%m} but no price_peaks at the end of "
            "the month before; materialise price_peaks of that month"
        )
    maxima = {name: carried[name].to_numpy().copy() for name in OHLCV_QUANTITIES}
    if history.height:
        first = history["date"].sort()[0].replace(day=1)  # a mean is a function of its whole month
        moved = Panel.from_long(history, calendar.sessions(first, month_start), OHLCV_FIELDS)
        row_of = {company: row for row, company in enumerate(companies.iter_rows())}
        places = [row_of[company] for company in moved.companies()]
        for name, values in quantities(moved):
            maxima[name][places] = np.fmax.reduce(values, axis=1)
    return (rows["as_of"][0] if rows.height else None), maxima
