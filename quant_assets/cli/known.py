"""Body of `quant known`: what a dataset said at the close of a day, in the versions then in force. Writes nothing."""

from collections.abc import Iterator, Sequence
from datetime import date

import polars as pl
from rich.markup import escape
from rich.table import Table

from quant_assets.errors import MissingPartitionError, SettingsError
from quant_assets.market.calendar import last_session_to
from quant_assets.market.point_in_time import known, newest
from quant_assets.partitions import key, month_of, month_range, parse_key
from quant_assets.profile import Profile
from quant_assets.schemas import Dataset
from quant_assets.settings.sectors import SECTORS


def rows_known(
    profile: Profile, name: str, sectors: Sequence[str], as_of: date, tickers: Sequence[str], *, only_newest: bool
) -> pl.DataFrame:
    """Rows of a dataset in force at the close of `as_of`, from its first stored month on.

    Args:
        profile: whose storage is read.
        name: a dataset with a column `known_at`.
        sectors: slugs; every stored one where empty.
        as_of: day of the question.
        tickers: those to show; all where empty.
        only_newest: of each series (ticker, frequency and provider; or series_id) the newest period alone.

    Raises:
        SettingsError: the dataset has no such versions, or a name or day does not exist.
        MissingPartitionError: nothing is stored up to `as_of`, or a month between is missing or was written before it
            was over.

    """
    dataset = _versioned(profile, name)
    if as_of > profile.last_session():
        raise SettingsError(
            f"--as-of {as_of} is later than the last closed session {profile.last_session()}; choose an earlier day"
        )
    if sectors and not dataset.grain.by_sector:
        raise SettingsError(f"dataset '{name}' has no sectors; leave --sector out")
    if tickers and "ticker" not in dataset.columns:
        raise SettingsError(f"dataset '{name}' has no tickers; leave --ticker out")
    month, store = month_of(as_of), profile.store
    stored = sorted(
        (found, sector)
        for sector, found in map(dataset.grain.parse, store.existing(dataset))
        if sector is None or sector in (sectors or SECTORS)
    )
    first = {sector: found for found, sector in reversed(stored) if found <= month}
    missing = [sector for sector in sectors if sector not in first]
    if not first or missing:
        where = f" of {missing[0]}" if missing else ""
        raise MissingPartitionError(
            f"no month of '{name}'{where} up to {month} is in {store.url}; run it first with quant run --to {month}"
        )
    keys = [key(sector, each) for sector, start in first.items() for each in month_range(start, month)]
    enough = last_session_to(as_of)
    rows = store.read(dataset, keys, lambda each: min(profile.known_through(parse_key(each)[1]), enough))
    rows = rows.filter(pl.col(dataset.known_at) <= as_of)  # also which tickers the sector has
    if tickers:
        rows = rows.filter(pl.col("ticker").is_in(list(tickers)))
    found = rows.drop("month").collect()
    versions = [each for each in dataset.identity if each != "known_at"]
    period = next(each for each in versions if dataset.schema.get(each) == pl.Date)
    if only_newest:
        return newest(found, [each for each in versions if each != period], period, as_of)
    return known(found, versions, as_of)


def output(rows: pl.DataFrame, name: str, as_of: date) -> Iterator[str | Table]:
    """What the command prints: how many rows, and each."""
    yield f"{name} as known at the close of {as_of}: {len(rows)} rows"
    table = Table()
    for column, dtype in rows.schema.items():
        table.add_column(column, justify="right" if dtype.is_numeric() else "left")
    for row in rows.rows():
        table.add_row(*(escape(_text(value)) for value in row))
    yield table


def _versioned(profile: Profile, name: str) -> Dataset:
    able = [each for each, dataset in profile.datasets.items() if "known_at" in dataset.columns]
    if name not in able:
        raise SettingsError(f"'{name}' is no dataset with a column known_at; choose one of {', '.join(able)}")
    return profile.datasets[name]


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.10g}"
    return "" if value is None else str(value)
