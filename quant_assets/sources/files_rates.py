"""Exchange rates of the `files` provider, and conversion of statements.

- Balance sheet figures (assets, equity, debt): the rate of the last day of the period, or the one before it.
- Flows over a period (revenue, profits): the mean of the period's daily rates. With monthly rates as above.
- A monthly rate is used once its month is over.

A rate counts as known on its day (or at the end of its month). No rate after the period's end is used, and statements
are known only later, so none depends on a rate published after it. IAS 21 (39, 40) and ASC 830 translate so.
"""

from datetime import timedelta
from typing import NamedTuple

import polars as pl

from quant_assets.errors import SourceError
from quant_assets.settings.economy import RatesFile
from quant_assets.settings.providers import FundamentalFile
from quant_assets.sources.files_columns import MAPPING

#: Figures over a period, and figures of its last day. Share counts have no currency.
FLOWS = (
    "revenue",
    "gross_profit",
    "operating_income",
    "net_income",
    "depreciation",
    "operating_cash_flow",
    "capital_expenditure",
)
BALANCE = ("total_assets", "total_equity", "total_debt", "cash")

#: Most days without a daily rate in a period or at its end: the longest holidays have eight or nine.
_HOLIDAYS = 10
#: Largest age in days of the rate of the last complete month.
_MONTH = 31
#: Most days between monthly rates: a quarterly rate would be taken for one of its first month.
_MONTHS_APART = 45
_BACK = {"quarterly": "-3mo", "annual": "-12mo"}
_PAIR = ("from", "to")


class Rates(NamedTuple):
    """The rates of a file.

    Attributes:
        file: their entry in the settings.
        rows: `from`, `to`, `date` (on which the rate is known) and `rate`, sorted by these; missing pairs get the
            inverse of the opposite pair.

    """

    file: RatesFile
    rows: pl.DataFrame


def rates_of(file: RatesFile, rows: pl.DataFrame, *, strict: bool = True) -> Rates:
    """The rates of a file.

    Args:
        file: their entry in the settings.
        rows: `date`, `from`, `to` and `rate`.
        strict: whether impossible rates are an error.

    Raises:
        SourceError: a rate is not positive, two rates of a day differ, or rates are too rare; names pair and day.

    """
    rows = rows.drop_nulls().filter(pl.col("from") != pl.col("to"))
    if strict:
        _refuse(file, rows)
    if file.frequency == "monthly":
        rows = rows.with_columns(pl.col("date").dt.month_end())
    rows = rows.select(*_PAIR, "date", "rate")
    back = rows.select(pl.col("to").alias("from"), pl.col("from").alias("to"), "date", rate=1.0 / pl.col("rate"))
    key = [*_PAIR, "date"]
    return Rates(file, pl.concat([rows, back]).unique(key, keep="first", maintain_order=True).sort(key))


def _refuse(file: RatesFile, rows: pl.DataFrame) -> None:
    def named(wrong: pl.DataFrame, what: str) -> SourceError:
        row = wrong.sort(*_PAIR, "date").row(0, named=True)
        return SourceError(f"{file.file}: {row['from']} to {row['to']} of {row['date']} {what}")

    wrong = rows.filter(~((pl.col("rate") > 0.0) & pl.col("rate").is_finite()))
    if len(wrong):
        raise named(wrong, "is not above zero; fix the file")
    twice = rows.filter(pl.col("rate").n_unique().over(*_PAIR, "date") > 1)
    if len(twice):
        raise named(twice, f"has several rates; fix the file, or its columns in {MAPPING}")
    gaps = rows.unique([*_PAIR, "date"]).sort(*_PAIR, "date")
    gaps = gaps.with_columns(gap=pl.col("date").diff().over(_PAIR).dt.total_days().median().over(_PAIR))
    most = _HOLIDAYS if file.frequency == "daily" else _MONTHS_APART
    rare = gaps.filter(pl.col("gap") > most)
    if len(rare):
        remedy = "write frequency: monthly, or give daily ones" if file.frequency == "daily" else "give monthly ones"
        apart = "day" if file.frequency == "daily" else "month"
        raise named(rare, f"and later has no rate a {apart}; {remedy} ({MAPPING})")


def converted(file: FundamentalFile, rows: pl.DataFrame, rates: Rates) -> pl.DataFrame:
    """Statements with their figures in the currency `of_prices`.

    Args:
        file: of the statements.
        rows: with `period_end`, and `currency` and `of_prices`, which differ.
        rates: for the conversion.

    Returns:
        The rows in their order, and `without_rate`: whether a figure lacks its rate.

    """
    frequency = pl.col("form").replace_strict(file.forms, default=None) if file.forms else pl.lit(file.frequency)
    asked = rows.with_columns(frequency=frequency.cast(pl.String)).with_row_index("__row")
    pair = {"currency": "from", "of_prices": "to"}
    periods = asked.select("currency", "of_prices", "period_end", "frequency").unique().rename(pair)
    at_end = _at_end(periods, rates)
    over = _over_period(periods, rates.rows) if rates.file.frequency == "daily" else at_end.rename({"at_end": "over"})
    key = [*_PAIR, "period_end", "frequency"]
    known = periods.join(at_end, on=key, how="left", nulls_equal=True).join(over, on=key, how="left", nulls_equal=True)
    found = asked.join(
        known,
        left_on=["currency", "of_prices", "period_end", "frequency"],
        right_on=key,
        how="left",
        nulls_equal=True,
    ).sort("__row")
    kinds = dict.fromkeys(FLOWS, "over") | dict.fromkeys(BALANCE, "at_end")
    rate = {name: kind for name, kind in kinds.items() if name in rows.columns}
    lacks = [pl.col(name).is_not_null() & pl.col(kind).is_null() for name, kind in rate.items()]
    return found.with_columns(
        *(pl.col(name) * pl.col(kind) for name, kind in rate.items()),
        # Statements of other periods are left out for that reason.
        without_rate=pl.any_horizontal(pl.lit(False), *lacks) & pl.col("frequency").is_not_null(),
    ).select(*rows.columns, "without_rate")


def _at_end(periods: pl.DataFrame, rates: Rates) -> pl.DataFrame:
    """The rate of the last day of each period, `at_end`; of an earlier day if that day has none."""
    oldest = _HOLIDAYS if rates.file.frequency == "daily" else _MONTH
    return (
        periods.drop_nulls("period_end")
        .sort("period_end")
        .join_asof(
            rates.rows.sort("date").rename({"rate": "at_end"}),
            left_on="period_end",
            right_on="date",
            by=list(_PAIR),
            strategy="backward",
            tolerance=f"{oldest}d",
            check_sortedness=False,
        )
        .select(*periods.columns, "at_end")
    )


def _over_period(periods: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """The mean of the rates of each period, `over`; null if more than some holidays are missing."""
    length = pl.col("frequency").replace_strict(_BACK, default=None, return_dtype=pl.String)
    spans = periods.drop_nulls().with_columns(first=pl.col("period_end").dt.offset_by("1d").dt.offset_by(length))
    matched = spans.join_where(
        rows.rename({"from": "of", "to": "into"}),
        pl.col("from") == pl.col("of"),
        pl.col("to") == pl.col("into"),
        pl.col("date").is_between(pl.col("first"), pl.col("period_end")),
    ).sort(*periods.columns, "date")
    before, after = pl.col("date").min() - pl.col("first").min(), pl.col("period_end").max() - pl.col("date").max()
    longest = pl.max_horizontal(before, after, pl.col("date").diff().max())
    return (
        matched.group_by(periods.columns, maintain_order=True)
        .agg(over=pl.col("rate").mean(), longest=longest)
        .filter(pl.col("longest") <= timedelta(days=_HOLIDAYS))
        .drop("longest")
    )
