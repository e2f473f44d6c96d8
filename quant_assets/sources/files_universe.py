"""Members of the index and sectors, as files of the `files` provider have them: which rows say something, and what."""

from datetime import date

import polars as pl

from quant_assets.errors import SourceError
from quant_assets.settings.providers import MembershipFile, SecuritiesFile
from quant_assets.sources.files_reading import MAPPING
from quant_assets.sources.files_report import FilesReport

#: The start of a membership that began before anything that is asked.
ALWAYS = date(1, 1, 1)


def membership_of(
    file: MembershipFile, rows: pl.DataFrame, report: FilesReport, *, strict: bool = True
) -> pl.DataFrame:
    """Intervals of membership, both ends included.

    Args:
        file: whose rows they are.
        rows: columns of `MEMBERSHIP` as the file has them.
        report: what is left out is counted there.
        strict: whether rows that cannot be meant are an error; otherwise they are left out.

    Returns:
        The columns of `MEMBERSHIP`, sorted by ticker and start.

    Raises:
        SourceError: a row has no start, or ends before it starts; names the ticker.

    """
    name = file.file
    rows = report.leave_out(name, rows, pl.col("ticker").is_null(), "have no ticker", "start_date")
    if file.without_start == "always":
        rows = rows.with_columns(pl.col("start_date").fill_null(ALWAYS))
    without = rows.filter(pl.col("start_date").is_null()).sort("ticker", "end_date")
    if strict and len(without):
        row = without.row(0, named=True)
        raise SourceError(
            f"{name}: ticker {row['ticker']} (end_date {row['end_date'] or 'empty'}) is a member without a start_date, "
            f"as are {len(without) - 1} other rows; write the day, or set membership.without_start: always in "
            f"{MAPPING}, which makes them members from the beginning"
        )
    backwards = rows.filter(pl.col("end_date") < pl.col("start_date")).sort("ticker", "start_date")
    if strict and len(backwards):
        row = backwards.row(0, named=True)
        raise SourceError(
            f"{name}: the membership of ticker {row['ticker']} ends on {row['end_date']}, before it starts on "
            f"{row['start_date']}, as do {len(backwards) - 1} other rows; mend the file"
        )
    if not file.end_is_member:
        rows = rows.with_columns(pl.col("end_date").dt.offset_by("-1d"))
    empty = pl.col("end_date") < pl.col("start_date")
    rows = report.leave_out(name, rows, empty, "end on the day on which they start", "ticker", "start_date")
    return rows.drop_nulls("start_date").sort("ticker", "start_date", "end_date")


def sectors_of(file: SecuritiesFile, rows: pl.DataFrame, report: FilesReport, *, strict: bool = True) -> pl.DataFrame:
    """Sector snapshots with our slugs.

    Args:
        file: whose rows they are.
        rows: `ticker`, `sector` and `known_at` as the file has them.
        report: what is left out is counted there.
        strict: whether two sectors of a ticker on a day are an error; otherwise the first by name counts.

    Returns:
        `ticker`, `sector`, `known_at`, sorted by ticker and day, which is a key.

    Raises:
        SourceError: a sector is not mapped, or a ticker has two on one day; names the ticker.

    """
    name = file.file
    for column in ("ticker", "sector", "known_at"):
        rows = report.leave_out(name, rows, pl.col(column).is_null(), f"have no {column}", "ticker")
    unknown = rows.filter(~pl.col("sector").is_in(list(file.sectors))).sort("ticker", "known_at")
    if len(unknown):
        row = unknown.row(0, named=True)
        raise SourceError(
            f"{name}: ticker {row['ticker']} has the unknown sector '{row['sector']}'; map it in {MAPPING}"
        )
    rows = rows.with_columns(pl.col("sector").replace_strict(file.sectors, return_dtype=pl.String))
    rows = rows.unique().sort("ticker", "known_at", "sector")
    twice = rows.filter(~pl.struct("ticker", "known_at").is_unique())
    if strict and len(twice):
        ticker, day = twice.select("ticker", "known_at").row(0)
        both = twice.filter((pl.col("ticker") == ticker) & (pl.col("known_at") == day))["sector"].to_list()
        raise SourceError(f"{name}: ticker {ticker} is in {' and in '.join(both)} on {day}; mend the file")
    return rows.unique(["ticker", "known_at"], keep="first", maintain_order=True)
