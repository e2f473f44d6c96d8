"""Features of the economy, from dataset `macro`: as they were known at the session's close, the same for all tickers.

A model that compares the tickers of one session learns nothing from them alone; trees combine them with features of the
ticker. Null where the newest observation was known too long ago, or the series is absent.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.windows.declarations import Declared

#: Sessions after which the newest observation counts no more: a month's release that a closed government delays by six
#: weeks still does.
FRESH = 66
#: The same for the observation of a year before it.
_YEAR_AGO = 360


@dataclass(frozen=True, eq=False)
class MacroFeature(Declared[pl.Expr]):
    """A figure of the economy.

    `inputs` are series of dataset `macro`, or `NAME_year_ago` for the period twelve months before the newest one.
    `compute` reads columns of these names, over all sessions in order: the value of the newest period in the vintage
    known at the session's close. `lookback` counts the sessions before the row's own: `FRESH`, more with `shift`.
    """


def _change(name: str, series: str, sessions: int, what: str, unit: str) -> MacroFeature:
    return MacroFeature(
        name,
        (series,),
        FRESH + sessions,
        pl.col(series) - pl.col(series).shift(sessions),
        f"change of {what} as known over {sessions} sessions",
        unit,
    )


def _growth(name: str, series: str, what: str) -> MacroFeature:
    return MacroFeature(
        name,
        (series, f"{series}_year_ago"),
        _YEAR_AGO,
        pl.col(series) / pl.col(f"{series}_year_ago") - 1.0,
        f"growth of {what} over the twelve months up to the newest period known",
        gt=-1.0,
    )


FEATURES: tuple[MacroFeature, ...] = (
    MacroFeature("macro_yield_10y", ("DGS10",), FRESH, pl.col("DGS10"), "ten-year Treasury yield", "percent"),
    _change("macro_yield_10y_change_63", "DGS10", 63, "the ten-year Treasury yield", "percentage points"),
    MacroFeature(
        "macro_term_spread",
        ("DGS10", "FEDFUNDS"),
        FRESH,
        pl.col("DGS10") - pl.col("FEDFUNDS"),
        "ten-year Treasury yield less the federal funds rate",
        "percentage points",
        source="Estrella and Mishkin (1998), Review of Economics and Statistics 80, p. 46; there with the bill rate",
    ),
    MacroFeature(
        "macro_implied_volatility",
        ("VIXCLS",),
        FRESH,
        pl.col("VIXCLS"),
        "volatility index VIX",
        "percent",
        gt=0.0,
    ),
    _change("macro_implied_volatility_change_21", "VIXCLS", 21, "the volatility index VIX", "percentage points"),
    MacroFeature(
        "macro_unemployment_change_12m",
        ("UNRATE", "UNRATE_year_ago"),
        _YEAR_AGO,
        pl.col("UNRATE") - pl.col("UNRATE_year_ago"),
        "change of the unemployment rate over the twelve months up to the newest period known",
        "percentage points",
    ),
    _growth("macro_inflation_12m", "CPIAUCSL", "the consumer price index"),
    _growth("macro_industrial_production_12m", "INDPRO", "industrial production"),
)


def macro_features(
    macro: pl.DataFrame, features: Sequence[MacroFeature], sessions: NDArray[np.datetime64]
) -> pl.DataFrame:
    """Macro features of sessions, each from the observations known in the sessions of its lookback alone.

    Args:
        macro: dataset `macro`, from the longest lookback before the first session asked for on.
        features: the features to compute.
        sessions: datetime64[D] without a gap, from that lookback (or from the start of the history) to the last session
            asked for.

    Returns:
        `date` and the features, one row per session; the first sessions lack history that was left out.

    """
    inputs = dict.fromkeys(name for feature in features for name in feature.inputs)
    frame = pl.DataFrame({"date": pl.Series(sessions, dtype=pl.Date)}).with_row_index("_session")
    known = macro.join(frame.rename({"date": "known_at", "_session": "_known"}), on="known_at")
    for name in inputs:
        series = name.removesuffix("_year_ago")
        own = known.filter(pl.col("series_id") == series)
        # Of what became known at one session, only the newest period can be the newest known.
        latest = own.sort("period").unique("_known", keep="last", maintain_order=True)
        newest = _seen(latest, FRESH, len(sessions), ())
        values = newest if series == name else _year_before(own, newest, len(sessions))
        column = values.select("_session", pl.col("value").alias(name))
        frame = frame.join(column, on="_session", how="left", maintain_order="left")
    computed = [feature.compute.alias(feature.name) for feature in features]
    return frame.select("date", *(pl.when(each.is_finite()).then(each) for each in computed))


def _seen(rows: pl.DataFrame, sessions: int, total: int, by: Iterable[str]) -> pl.DataFrame:
    """Per session and `by` the newest period, in the vintage known last, of those known in the `sessions` up to it.

    Its value is null where it has been withdrawn.
    """
    until = pl.min_horizontal(pl.col("_known") + sessions, pl.lit(total))
    return (
        rows.with_columns(_session=pl.int_ranges("_known", until, dtype=pl.UInt32))
        .explode("_session")
        .sort("_session", "period", "_known")
        .unique(["_session", *by], keep="last", maintain_order=True)
    )


def _year_before(rows: pl.DataFrame, newest: pl.DataFrame, total: int) -> pl.DataFrame:
    """Value of the period twelve months before the newest one, in the vintage known by each session."""
    wanted = newest.select("_session", period=pl.col("period").dt.offset_by("-12mo"))
    # A revision of the whole history is a row for each of its periods: those that nobody asks for are left out first.
    asked = rows.filter(pl.col("period").is_in(wanted["period"].unique().implode()))
    return wanted.join(_seen(asked, _YEAR_AGO, total, ("period",)), on=["_session", "period"], how="left")
