"""Statements of one provider's files: merging of rows, versions, and share counts as of publication."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import polars as pl

from quant_assets.errors import SourceError
from quant_assets.market.share_counts import spin_off_correction
from quant_assets.settings.providers import FundamentalFile
from quant_assets.sources.base import STATEMENTS
from quant_assets.sources.files_columns import Columns, named, optional
from quant_assets.sources.files_report import FilesReport

_FIGURES = (
    "revenue",
    "gross_profit",
    "operating_income",
    "net_income",
    "total_assets",
    "total_equity",
    "total_debt",
    "shares",
    "depreciation",
    "operating_cash_flow",
    "capital_expenditure",
    "cash",
)
_PERIOD = ("ticker", "period_end", "frequency")
_TOLD = tuple(f"told_{figure}" for figure in _FIGURES)


def statement_columns(file: FundamentalFile) -> Columns:
    """The columns of the file that are read."""
    optionally = ("form", "snapshot", "company", "restated_on", "currency", *_FIGURES)
    return named(file.columns, ("ticker", "period_end", "published")) | optional(file.columns, optionally)


class GivenStatements(NamedTuple):
    """A file and its `statement_columns`."""

    file: FundamentalFile
    rows: pl.DataFrame


def together(files: Iterable[FundamentalFile]) -> list[list[FundamentalFile]]:
    """Groups of files whose statements complete each other: of one provider, with a common frequency."""
    groups: list[list[FundamentalFile]] = []
    for file in files:
        own = [group for group in groups if any(file.covers_what(other) for other in group)]
        groups = [group for group in groups if group not in own] + [[each for group in own for each in group] + [file]]
    return groups


def versions(
    given: Sequence[GivenStatements],
    splits: pl.DataFrame | None,
    undated_after: int,
    report: FilesReport,
    *,
    strict: bool = True,
) -> pl.DataFrame:
    """Statements of the files that belong `together`, with the versions of each period numbered.

    - A day of publication on or before the end of the period is an error and counts as unknown: the statement counts
      from `undated_after` days after the end of the period.
    - Rows of one company, period, vintage and day of publication are merged, across files, unless figures differ. A
      figure without a column in one file is filled with the last one of another file of the provider.
    - Statements of a period's first vintage (the snapshot, else the filing) became known when they were published,
      those of a later vintage with it.
    - Of several companies under one ticker, the one whose symbol is the ticker counts as soon as it is known for the
      period or in the vintage, until then any other.
    - Of several statements of one period and vintage (a subsidiary files under its parent's ticker, a row is half
      empty), the complete one with the largest balance sheet counts, then the one with the largest figures, of those
      that were known.
    - A version is a statement whose figures differ from those that counted before.
    - Share counts that reflect the splits up to the snapshot are taken back to the publication.

    Args:
        given: the files.
        splits: `ticker`, `day` of a split, its `ratio` and `so_far` (product of its splits), if share counts are as of
            the snapshot; else None.
        undated_after: days.
        report: counts the rows that are left out.
        strict: whether files that contradict each other are an error.

    Returns:
        The columns of `STATEMENTS`.

    Raises:
        SourceError: two files have different figures of one publication; names ticker, period and files.

    """
    rows = pl.concat([_normalised(each, place, report) for place, each in enumerate(given)])
    frame = _with_halves(_completed(rows, given, report, strict=strict), given, undated_after)
    first_vintage = pl.col("vintage") == pl.col("vintage").min().over(_PERIOD)
    own_usable = pl.when("own").then("usable").min()
    of_another = (own_usable.over(_PERIOD) <= pl.col("usable")) | (
        own_usable.over("ticker", "vintage") <= pl.col("usable")
    )
    usable = pl.coalesce("heard", pl.col("period_end") + pl.duration(days=undated_after))
    vintage = [*_PERIOD, "vintage"]
    frame = (
        frame.with_columns(own=pl.col("company") == pl.col("ticker"))
        .with_columns(heard=pl.when(first_vintage).then("published").otherwise("vintage"), as_published=first_vintage)
        .with_columns(usable=usable)
        .filter(pl.col("own") | ~of_another.fill_null(False))
        .with_columns(complete=pl.all_horizontal(pl.col("revenue", "net_income").is_not_null()))
        .sort(
            *vintage,
            "own",
            "complete",
            "total_assets",
            "published",
            *_FIGURES,
            "company",
            descending=[False] * 4 + [True, True, True, False] + [True] * len(_FIGURES) + [False],
            nulls_last=True,
            maintain_order=True,
        )
        .with_columns(place=pl.int_range(pl.len()).over(vintage))
        .sort(*vintage, "usable", "place", nulls_last=True)
        .filter(pl.col("place") == pl.col("place").cum_min().over(vintage))
    )
    frame = frame.with_columns(shares_then="shares" if splits is None else _shares_at_publication(frame, splits))
    compared = [name for name in _FIGURES if name != "shares"]
    same_shares = ((pl.col("shares_then") / pl.col("shares_then").shift()).over(_PERIOD) - 1.0).abs() < 1e-6
    same = pl.all_horizontal(pl.col(compared).eq_missing(pl.col(compared).shift().over(_PERIOD))) & (
        same_shares.fill_null(False)
        | (pl.col("shares_then").is_null() & pl.col("shares_then").shift().over(_PERIOD).is_null())
    )
    return (
        frame.filter(pl.struct(_PERIOD).is_first_distinct() | ~same)
        .with_columns(
            published="heard",
            shares=pl.when("as_published").then("shares_then").otherwise("shares"),
            version=pl.int_range(pl.len(), dtype=pl.Int32).over(_PERIOD),
            provider=pl.lit(given[0].file.provider),
        )
        .with_columns(
            restated_on=pl.when(pl.col("restated_on") > pl.coalesce("published", "period_end")).then("restated_on")
        )
        .select(list(STATEMENTS))
    )


def _normalised(given: GivenStatements, place: int, report: FilesReport) -> pl.DataFrame:
    """Rows of one file with any figure, under common columns."""
    file, rows = given
    columns = rows.columns
    named = ("ticker", "period_end")
    rows = report.leave_out(
        file, rows, pl.any_horizontal(pl.col(*named).is_null()), "have no ticker or no end of a period", *named
    )
    rows = rows.with_columns(
        *(pl.lit(None, pl.Float64).alias(figure) for figure in _FIGURES if figure not in columns),
        frequency=pl.col("form").replace_strict(file.forms, default=None) if file.forms else pl.lit(file.frequency),
        vintage=pl.col("snapshot" if "snapshot" in columns else "published"),
        company="company" if "company" in columns else "ticker",
        restated_on=pl.col("restated_on") if "restated_on" in columns else pl.lit(None, pl.Date),
    )
    if file.forms:
        rows = report.leave_out(
            file, rows, pl.col("frequency").is_null(), "are of a form that `forms` does not name", "form"
        )
    figures = pl.col(_FIGURES)
    rows = report.leave_out(file, rows, ~pl.any_horizontal(figures.is_not_null()), "have no figure", *named)
    early, no_count = pl.col("published") <= pl.col("period_end"), pl.col("shares") <= 0.0
    strange = [
        (pl.col("company") == symbol) & pl.col("period_end").is_between(span.first, span.last)
        for symbol, span in file.not_the_member.items()
    ]
    rows = rows.filter(*(~each for each in strange))
    report.count(
        file, rows.filter(early), "were published before the end of their period; that day is not used", *named
    )
    report.count(file, rows.filter(no_count), "have a share count that is not positive", *named)
    return rows.with_columns(
        published=pl.when(pl.col("published") > pl.col("period_end")).then("published"),
        shares=pl.when(pl.col("shares") > 0.0).then("shares"),
        file=pl.lit(place),
        **{f"told_{figure}": pl.lit(figure in columns) for figure in _FIGURES},
    ).select(*_PERIOD, "company", "vintage", "published", "restated_on", "file", *_FIGURES, *_TOLD)


def _completed(
    rows: pl.DataFrame, given: Sequence[GivenStatements], report: FilesReport, *, strict: bool
) -> pl.DataFrame:
    """The rows, merged where they complete each other."""
    publication = [*_PERIOD, "company", "vintage", "published"]
    figures, told = pl.col(_FIGURES), pl.col(_TOLD)
    many = pl.len().over(publication) > 1
    differ = pl.any_horizontal(figures.drop_nulls().n_unique().over(publication) > 1)
    rows = rows.with_columns(several=many).with_columns(differ=pl.col("several") & differ)
    apart = rows.filter("differ")
    between_files = apart.filter(pl.col("file").n_unique().over(publication) > 1)
    if strict and len(between_files):
        row = between_files.sort(publication).row(0, named=True)
        names = ", ".join(each.file.file for each in given)
        raise SourceError(
            f"{names}: the files of provider '{given[0].file.provider}' have different figures of ticker "
            f"{row['ticker']} for {row['period_end']}, published {row['published'] or 'on an unknown day'}; give "
            "each file its own provider, or fix the files"
        )
    for place, each in enumerate(given):
        report.count(
            each.file,
            apart.filter(pl.col("file") == place),
            "contradict others of the same publication; of these the complete one with the largest figures counts",
            "ticker",
            "period_end",
        )
    one = (
        rows.filter(pl.col("several") & ~pl.col("differ"))
        .group_by(publication)
        .agg(pl.col("restated_on", "file").max(), figures.drop_nulls().first(), told.any())
    )
    return pl.concat(
        [rows.filter(~pl.col("several") | pl.col("differ")).drop("several", "differ"), one], how="diagonal"
    )


def _with_halves(rows: pl.DataFrame, given: Sequence[GivenStatements], undated_after: int) -> pl.DataFrame:
    """The rows, with figures that their file lacks from earlier rows of another file."""
    if len(given) > 1:
        usable = pl.coalesce("published", pl.col("period_end") + pl.duration(days=undated_after))
        vintage = ["vintage"] if "snapshot" in given[0].rows.columns else []
        company = [*_PERIOD, "company"]
        rows = rows.sort(*company, *vintage, usable, "file", nulls_last=True).with_columns(
            pl.when(told).then(figure).otherwise(pl.col(figure).forward_fill().over(company)).alias(figure)
            for figure, told in zip(_FIGURES, _TOLD, strict=True)
        )
    return rows.drop(_TOLD)


def _shares_at_publication(frame: pl.DataFrame, every: pl.DataFrame) -> pl.Series:
    """Share counts without the splits between the publication and the snapshot.

    From a later snapshot to the first one: the median ratio of a company's counts of common periods, which needs no
    price file of that time; else the splits of the price files. From there to the publication: the splits of the price
    files, except spin-offs that the counts do not reflect (`market.share_counts`).
    """
    first = pl.lit(frame["vintage"].min(), pl.Date)  # null in a file without statements
    same_company = (pl.col("company") == pl.col("company").shift()).over(_PERIOD)
    ratio = pl.when(same_company).then(pl.col("shares") / pl.col("shares").shift().over(_PERIOD))
    newest = frame.unique([*_PERIOD, "vintage"], keep="last", maintain_order=True)
    steps = (
        newest.with_columns(ratio=ratio)
        .group_by("ticker", "vintage")
        .agg(pl.col("ratio").median())
        .sort("ticker", "vintage")
    )
    steps = steps.with_columns(before=pl.coalesce(pl.col("vintage").shift().over("ticker"), first))
    steps = steps.with_columns(step=pl.coalesce("ratio", _splits_between(every, steps, "before", "vintage")))
    basis = steps.select("ticker", "vintage", basis=pl.col("step").cum_prod().over("ticker"))
    asked = frame.join(basis, on=["ticker", "vintage"], how="left", maintain_order="left").with_columns(
        day=pl.coalesce("published", "period_end"), first=first
    )
    corrected = spin_off_correction(asked, every.filter(pl.col("day") <= first))
    return asked.select(
        pl.col("shares") / pl.col("basis") / _splits_between(every, asked, "day", "first") * corrected
    ).to_series()


def _splits_between(splits: pl.DataFrame, frame: pl.DataFrame, after: str, through: str) -> pl.Series:
    """New shares per old one by the splits after one day and up to another, in either order."""
    asked = frame.select("ticker", after=after, through=through).with_row_index()
    for name in ("after", "through"):
        asked = (
            asked.sort("ticker", name)
            .join_asof(splits, left_on=name, right_on="day", by="ticker", strategy="backward", check_sortedness=False)
            .drop("day", "ratio")
            .rename({"so_far": f"splits_{name}"})
        )
    ratio = pl.col("splits_through").fill_null(1.0) / pl.col("splits_after").fill_null(1.0)
    return asked.sort("index").select(ratio).to_series()
