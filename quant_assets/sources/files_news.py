"""News of the `files` provider: one file of texts with the times when they were known."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import polars as pl

from quant_assets.errors import SourceError
from quant_assets.settings.providers import NewsFile
from quant_assets.sources.base import NEWS

_OPTIONAL = ("ticker", "published", "text", "publisher", "provider")
_NEEDED = tuple(name for name in NEWS if name not in _OPTIONAL)


def news_of(file: NewsFile | None, folder: Path) -> pl.DataFrame:
    """The news of a file (`NEWS`); empty without a file.

    Raises:
        SourceError: it is missing, cannot be read, lacks a column, has a row without `item`, `known_at` or `title`, or
            an item that was known before it was published; names the file and the problem.

    """
    if file is None:
        return NEWS.to_frame()
    path = folder / file.file
    try:
        given = pl.read_parquet(path, use_statistics=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SourceError(f"{path} cannot be read ({str(error).splitlines()[0][:120]}); fix files.news") from None
    missing = [name for name in _NEEDED if name not in given.columns]
    if missing:
        raise SourceError(f"{path} has no column '{missing[0]}'; news need {', '.join(_NEEDED)}")
    beside = {"published": pl.col("known_at"), "provider": pl.lit("files")}
    absent = [name for name in _OPTIONAL if name not in given.columns]
    given = given.with_columns(**{name: beside.get(name, pl.lit(None)) for name in absent})
    unzoned = [name for name in ("published", "known_at") if getattr(given.schema[name], "time_zone", None) != "UTC"]
    if unzoned:
        raise SourceError(f"{path}: '{unzoned[0]}' is {given.schema[unzoned[0]]}; it must be a moment in UTC")
    rows = given.select(list(NEWS)).cast(NEWS)
    lacking = rows.filter(pl.any_horizontal(pl.col(_NEEDED).is_null()))
    if len(lacking):
        row = lacking.row(0, named=True)
        lacks = next(name for name in _NEEDED if row[name] is None)
        shown = next((f"{name} {row[name]}" for name in ("item", "title") if row[name] is not None), "a row")
        more = f", and {len(lacking) - 1} more of {len(rows)} rows lack {' or '.join(_NEEDED)}"
        raise SourceError(
            f"{path}: {shown} has no {lacks}{more if len(lacking) > 1 else ''}; complete or remove these rows"
        )
    early = rows.filter(pl.col("published") > pl.col("known_at"))
    if len(early):
        item, published, known = early.select("item", "published", "known_at").row(0)
        raise SourceError(
            f"{path}: item {item} is known at {known}, before it was published at {published}; correct known_at"
        )
    return rows.sort("known_at", "item")


def known_news(news: pl.DataFrame, tickers: Sequence[str], start: date, through: date) -> pl.DataFrame:
    """News known on days from `start` to `through`, of these tickers or without a company."""
    asked = pl.col("ticker").is_null() | pl.col("ticker").is_in(list(tickers))
    known = pl.col("known_at").dt.date().is_between(start, through)
    return news.filter(asked, known).sort("known_at", "item", maintain_order=True)
