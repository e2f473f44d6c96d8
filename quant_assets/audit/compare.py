"""Comparison of two computations of a dataset, bit by bit: which columns differ, where first, and by how much.

The dataset's schema decides what is compared, so a new dataset or feature needs no change here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from quant_assets.schemas import Column, Dataset

#: Relative tolerance below which a number has settled, in units of itself or of its column's root mean square for the
#: ticker. Rounding errors that grow in a fitted model stay below it: 1e-8 in GARCH.
SETTLED = 1e-6

#: In place of a column name: the order of the stored rows differs.
ORDER = "order of rows"

_ROW, _SIZE = "__row", "__size"


@dataclass(frozen=True)
class Difference:
    """How one column differs.

    Attributes:
        column: its name; None for rows that are in only one of the two.
        rows: the rows that differ: the key columns, `expected`, `found`, sorted by day.
        days: the distinct days of all compared rows, ascending.
        compared: number of rows compared.
        deviation: largest relative difference; None for a column without numbers.

    """

    column: str | None
    rows: pl.DataFrame
    days: pl.Series
    compared: int
    deviation: float | None = None


@dataclass(frozen=True)
class Compared:
    """One dataset, compared.

    Attributes:
        rows: number of rows compared.
        differences: one per column that differs, in the order of the schema; rows without a counterpart first.
        settled: with a tolerance, the deviation of columns that are within it without being equal.

    """

    rows: int
    differences: list[Difference] = field(default_factory=list)
    settled: dict[str, float] = field(default_factory=dict)


def compare(
    dataset: Dataset,
    expected: pl.DataFrame,
    found: pl.DataFrame,
    columns: Mapping[str, Column] | None = None,
    *,
    rows_may_differ: bool = False,
    tolerance: float = 0.0,
) -> Compared:
    """Compare two frames of a dataset.

    Args:
        dataset: schema of both frames.
        expected: rows of the dataset, `sector` included at sector grain, in any order.
        found: the same columns, in any order.
        columns: those that must agree [default: all that are not part of the key].
        rows_may_differ: whether rows that are in only one of the two are ignored.
        tolerance: of numbers, relative to the number or to the column's root mean square for the ticker; 0 for equal
            bits. Null, NaN and infinity equal only themselves.

    """
    by = dataset.identity
    sides = [frame.with_columns(pl.int_range(pl.len()).over(by).alias(_ROW)) for frame in (expected, found)]
    joined = (
        sides[0]
        .with_columns(__there=True)
        .join(
            sides[1].with_columns(__here=True),
            on=[*by, _ROW],
            how="full",
            coalesce=True,
            nulls_equal=True,
            suffix="__found",
        )
    )
    joined = joined.sort(dataset.dated_by, *by, _ROW)
    days = joined[dataset.dated_by].drop_nulls().unique().sort()
    both = joined.filter(pl.col("__there") & pl.col("__here"))
    result = Compared(len(joined))
    alone = joined.filter(pl.col("__there").is_null() | pl.col("__here").is_null())
    if len(alone) and not rows_may_differ:
        shown = alone.select(
            *dict.fromkeys([*by, dataset.dated_by]),
            expected=pl.when(pl.col("__there").is_null()).then(pl.lit("no row")).otherwise(pl.lit("row")),
            found=pl.when(pl.col("__here").is_null()).then(pl.lit("no row")).otherwise(pl.lit("row")),
        )
        result.differences.append(Difference(None, shown, days, len(joined)))
    for name in columns if columns is not None else dataset.columns:
        if name in by or name not in expected.columns:
            continue
        value, other = pl.col(name), pl.col(f"{name}__found")
        number, numeric = dataset.columns[name].dtype.is_float(), dataset.columns[name].dtype.is_numeric()
        same = value.eq_missing(other)
        if number:
            bits_as = pl.UInt64 if dataset.columns[name].dtype == pl.Float64 else pl.UInt32
            bits = value.reinterpret(dtype=bits_as).eq_missing(other.reinterpret(dtype=bits_as))
            same = bits | (value.is_nan() & other.is_nan()).fill_null(False)
        unequal = both.with_columns(_size(dataset, name)).filter(~same) if numeric and tolerance else both.filter(~same)
        if unequal.is_empty():
            continue
        deviation = _deviation(unequal, name) if numeric else None
        if numeric and tolerance:
            unequal = unequal.filter(_apart(name, tolerance))
            if unequal.is_empty():
                result.settled[name] = deviation or 0.0
                continue
            deviation = _deviation(unequal, name)
        shown = unequal.select(*dict.fromkeys([*by, dataset.dated_by]), expected=value, found=other)
        result.differences.append(Difference(name, shown, days, len(both), deviation))
    return result


def stored_otherwise(dataset: Dataset, expected: pl.DataFrame, found: pl.DataFrame) -> Difference | None:
    """The rows that two frames with the same keys have in another order; None if the order is the same.

    Datasets are stored sorted by their key. `compare` sorts, so only this function sees the stored order.

    Args:
        dataset: schema of both frames.
        expected: rows in stored order.
        found: rows in stored order.

    """
    by = dataset.identity
    if len(expected) != len(found):
        return None
    keys = [
        frame.select(
            pl.concat_str([pl.col(name).cast(pl.String).fill_null("-") for name in by], separator=" ")
        ).to_series()
        for frame in (expected, found)
    ]
    moved = keys[0] != keys[1]
    if not moved.any():
        return None
    rows = expected.select(*dict.fromkeys([*by, dataset.dated_by]), expected=keys[0], found=keys[1]).filter(moved)
    days = expected[dataset.dated_by].unique().sort()
    return Difference(ORDER, rows.sort(dataset.dated_by, maintain_order=True), days, len(expected))


def known_rows(
    dataset: Dataset, rows: pl.DataFrame, cut: date | None, decisions: set[date] | None = None
) -> pl.DataFrame:
    """Rows that were known at the close of a day.

    Args:
        dataset: schema of the rows.
        rows: any rows of it.
        cut: the day; None for all rows.
        decisions: for a dataset of decisions, the sessions that both computations decide at. A decision in the middle
            of a month is provisional, and replaced when the month is over.

    """
    if cut is not None:
        rows = rows.filter(pl.col(dataset.known_at) <= cut)
    if decisions is not None and dataset.dated_by == "as_of":
        rows = rows.filter(pl.col("as_of").is_in(sorted(decisions)))
    return rows


def known_by_name(dataset: Dataset, rows: pl.DataFrame, days: Mapping[str, date]) -> pl.DataFrame:
    """Rows that were known at the close of their ticker's (or macro series') own day; all rows if it has no day."""
    name = next((column for column in dataset.key if column in ("ticker", "series_id")), None)
    if name is None:
        return rows
    day = pl.col(name).replace_strict(list(days), pl.Series(list(days.values()), dtype=pl.Date), default=None)
    return rows.filter((pl.col(dataset.known_at) <= day).fill_null(True))


def rows_after(dataset: Dataset, rows: pl.DataFrame, start: date) -> pl.DataFrame:
    """Rows whose key dates are all after the first session of a history.

    Rows of the first session also hold what was known before it.
    """
    dates = [name for name in dataset.key if dataset.columns[name].dtype == pl.Date]
    return rows.filter(pl.all_horizontal(pl.col(name) > start for name in dates)) if dates else rows


def _size(dataset: Dataset, name: str) -> pl.Expr:
    """Root mean square of a column over the finite values of the same ticker or series.

    Differences of values near 0 are relative to it.
    """
    value = pl.col(name).cast(pl.Float64)
    square = (pl.when(value.is_finite()).then(value) ** 2).mean().sqrt()
    # Per ticker or series: a rate of 1 must not settle because another series has values of 3e9.
    among = [
        column
        for column in dataset.identity
        if column not in dataset.columns or dataset.columns[column].dtype != pl.Date
    ]
    return (square.over(among) if among else square).fill_null(0.0).alias(_SIZE)


def _apart(name: str, tolerance: float) -> pl.Expr:
    """Whether two unequal values differ by more than the tolerance; always if one of them is not finite."""
    value, other = pl.col(name).cast(pl.Float64), pl.col(f"{name}__found").cast(pl.Float64)
    finite = value.is_finite().fill_null(False) & other.is_finite().fill_null(False)
    return ~finite | ((value - other).abs() > tolerance * pl.max_horizontal(value.abs(), other.abs(), _SIZE))


def _deviation(unequal: pl.DataFrame, name: str) -> float | None:
    value, other = pl.col(name).cast(pl.Float64), pl.col(f"{name}__found").cast(pl.Float64)
    size = pl.max_horizontal(value.abs(), other.abs(), *([_SIZE] if _SIZE in unequal.columns else []))
    largest = unequal.select(((value - other).abs() / size).fill_nan(None).max()).item()
    return None if largest is None else float(largest)
