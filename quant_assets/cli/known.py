"""Body of `quant known`: rows of a dataset in the versions valid at the close of a day. Writes nothing."""

from collections.abc import Iterator, Sequence
from datetime import date

import polars as pl
from rich.markup import escape
from rich.table import Table

from quant_assets.errors import MissingPartitionError, UsageError
from quant_assets.market.calendar import last_session_to
from quant_assets.market.point_in_time import known, newest
from quant_assets.partitions import key, month_of, month_range, parse_key
from quant_assets.profile import Profile
from quant_assets.schemas import Dataset
from quant_assets.settings.sectors import SECTORS


def rows_known(
    profile: Profile, name: str, sectors: Sequence[str], as_of: date, tickers: Sequence[str], *, only_newest: bool
) -> pl.DataFrame:
    """Rows of a dataset that were valid at the close of `as_of`, from its first stored month on.

    Args:
        profile: its storage is read.
        name: a dataset with a column `known_at`.
        sectors: slugs; empty for all stored ones.
        as_of: day.
        tickers: empty for all.
        only_newest: only the newest period of a series (ticker, frequency and provider; or series_id).

    Raises:
        UsageError: the rows of the dataset are never revised, or a name or day does not exist.
        MissingPartitionError: nothing is stored up to `as_of`, or a month is missing or was written before its end.

    """
    dataset = _versioned(profile, name, month_of(as_of))
    if as_of > profile.last_session():
        raise UsageError(
            f"--as-of {as_of} is later than the last closed session {profile.last_session()}; choose an earlier day"
        )
    if sectors and not dataset.grain.by_sector:
        raise UsageError(f"dataset '{name}' has no sectors; leave --sector out")
    if tickers and "ticker" not in dataset.columns:
        raise UsageError(f"dataset '{name}' has no tickers; leave --ticker out")
    month, store = month_of(as_of), profile.store
    stored = sorted(
        (label, sector)
        for sector, label in map(dataset.grain.parse, store.existing(dataset))
        if sector is None or sector in (sectors or SECTORS)
    )
    first = {sector: earlier for earlier, sector in reversed(stored) if earlier <= month}
    missing = [sector for sector in sectors if sector not in first]
    if not first or missing:
        where = f" of {missing[0]}" if missing else ""
        raise MissingPartitionError(
            f"no month of '{name}'{where} up to {month} is in {store.url}; run it first with quant run --to {month}"
        )
    keys = [key(sector, later) for sector, start in first.items() for later in month_range(start, month)]
    enough = last_session_to(as_of)
    rows = store.read(dataset, keys, lambda partition: min(profile.known_through(parse_key(partition)[1]), enough))
    rows = rows.filter(pl.col(dataset.known_at) <= as_of)  # also which tickers the sector has
    if tickers:
        rows = rows.filter(pl.col("ticker").is_in(list(tickers)))
    frame = rows.drop("month").collect()
    versions = [column for column in dataset.identity if column != "known_at"]
    period = next(column for column in versions if dataset.schema.get(column) == pl.Date)
    if only_newest:
        return newest(frame, [column for column in versions if column != period], period, as_of)
    return known(frame, versions, as_of)


def output(rows: pl.DataFrame, name: str, as_of: date) -> Iterator[str | Table]:
    """The number of rows, and a table of them."""
    yield f"{name} as known at the close of {as_of}: {len(rows)} rows"
    table = Table()
    for column, dtype in rows.schema.items():
        table.add_column(column, justify="right" if dtype.is_numeric() else "left")
    for row in rows.rows():
        table.add_row(*(escape(_text(value)) for value in row))
    yield table


def _versioned(profile: Profile, name: str, month: str) -> Dataset:
    versioned = [key for key, dataset in profile.datasets.items() if "known_at" in dataset.columns]
    if name in versioned:
        return profile.datasets[name]
    named = f"quant known is for rows that are published late or revised: {', '.join(versioned)}"
    if name not in profile.every_dataset:
        raise UsageError(f"dataset '{name}' does not exist; {named}")
    assumed = "sector_assumed" in profile.every_dataset[name].columns
    but = " (where sector_assumed is true, the sector is that of the ticker's first, later snapshot)" if assumed else ""
    raise UsageError(
        f"dataset '{name}' has no revisions, so what is stored is what was known{but}: "
        f"quant show {name} -m {month} prints it; {named}"
    )


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.10g}"
    return "" if value is None else str(value)
