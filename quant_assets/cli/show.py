"""Body of `quant show`: rows of a stored dataset on the screen or in a file, and Python code that reads the same."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl
from rich.markup import escape
from rich.table import Table

from quant_assets.cli.screen import counted, show
from quant_assets.cli.stored import refuse_known_later
from quant_assets.errors import MissingPartitionError, SettingsError, UsageError, did_you_mean
from quant_assets.grains import MONTH
from quant_assets.profile import Profile
from quant_assets.schemas import Dataset

#: Output formats.
FORMATS = ("table", "csv", "json", "parquet")
#: Default number of rows of a table.
_ROWS = 20
#: A longer text is folded where it has words.
_SENTENCE = 40


@dataclass(frozen=True)
class Query:
    """Selection of rows of a dataset.

    Attributes:
        sectors: slugs; empty for all stored ones.
        first, last: months; None for the newest stored month.
        tickers: empty for all.
        columns: in this order; empty for all.
        limit: most rows; 0 for all, None for 20 in a table and all in a file.

    """

    sectors: Sequence[str] = ()
    first: str | None = None
    last: str | None = None
    tickers: Sequence[str] = ()
    columns: Sequence[str] = ()
    limit: int | None = None


@dataclass(frozen=True)
class Rows:
    """Selected rows of a dataset.

    Attributes:
        dataset: of the rows.
        keys: of the partitions that are read.
        frame: not collected yet, without a limit.

    """

    dataset: Dataset
    keys: list[str]
    frame: pl.LazyFrame


def rows_of(profile: Profile, name: str, query: Query) -> Rows:
    """Find the partitions and rows of a query.

    Raises:
        UsageError: the dataset or a column does not exist, or the dataset has no sectors or tickers to select.
        SettingsError: the profile has no such month and none is stored.
        MissingPartitionError: nothing is stored for these sectors and months.

    """
    dataset = profile.every_dataset.get(name)
    if dataset is None:
        raise UsageError(
            f"there is no dataset '{name}'{did_you_mean(name, profile.every_dataset)}; choose one of "
            f"{', '.join(profile.every_dataset)}"
        )
    if query.sectors and not dataset.grain.by_sector:
        raise UsageError(f"dataset '{name}' has no sectors of its own; leave --sector out")
    if query.tickers and "ticker" not in dataset.columns:
        raise UsageError(f"dataset '{name}' has no column ticker; leave --ticker out")
    unknown = [column for column in query.columns if column not in dataset.loaded_schema]
    if unknown:
        raise UsageError(
            f"dataset '{name}' has no column {unknown[0]}; choose among {', '.join(dataset.loaded_schema)}"
        )
    latest = query.last or profile.last_month()
    placed = sorted(
        (sector or "", period)
        for sector, period in map(dataset.grain.parse, profile.store.existing(dataset))
        if period[:7] <= latest and (not query.sectors or sector in query.sectors)
    )
    if query.first is not None:
        placed = [part for part in placed if part[1][:7] >= query.first]
    elif query.last is not None:
        placed = [part for part in placed if part[1][:7] == query.last]
    else:
        newest = max((period for _, period in placed), default="")
        placed = [part for part in placed if part[1] == newest]
    if not placed:
        profile.check_months(query.first or latest, latest)  # of no other month can a run be advised
        of = f" of {', '.join(query.sectors)}" if query.sectors else ""
        months = f" from {query.first} to {latest}" if query.first else f" for {latest}" if query.last else ""
        sector = f" --sector {query.sectors[0]}" if query.sectors else ""
        raise MissingPartitionError(
            f"nothing of '{name}'{of}{months} is in {profile.store.url}; quant status shows what is there, and "
            f"quant run --profile {profile.settings.profile}{sector} --to {latest} computes it",
            partial(profile.store.existing, dataset),
        )
    keys = [dataset.grain.key(period, sector or None) for sector, period in placed]
    refuse_known_later(profile, dataset, keys)
    frame = profile.store.read(dataset, keys)
    # In the order of the folders, as other programs read the files.
    frame = frame.sort(dataset.grain.levels, maintain_order=True)
    if query.tickers:
        frame = frame.filter(pl.col("ticker").is_in(list(query.tickers)))
    return Rows(dataset, keys, frame.select(query.columns or pl.all()))


def written(rows: Rows, form: str, out: Path | None, limit: int | None) -> None:
    """Print rows, or write them into a file.

    Raises:
        SettingsError: the format is Parquet and there is no file name, or the file exists.

    """
    if out is not None and out.exists():
        raise SettingsError(f"{out} exists; choose another --out, or remove it first")
    if form == "parquet" and out is None:
        raise UsageError("--format parquet is not for the screen; add --out FILE")
    most = _ROWS if limit is None and form == "table" and out is None else (limit or None)
    frame = rows.frame.collect()
    shown = frame if most is None else frame.head(most)
    if form == "parquet" and out is not None:
        shown.write_parquet(out)
    elif form == "table":
        _tell(_table(shown), _keys(rows.dataset, shown), out)
    else:
        text = shown.write_csv() if form == "csv" else f"{shown.write_json()}\n"
        if out is None:
            sys.stdout.write(text)
        else:
            out.write_text(text, encoding="utf-8")
    if out is not None:
        show(f"written: {out}, {counted(len(shown), 'row')}")
    elif form == "table":
        of = f"{len(shown):,} of " if len(shown) < len(frame) else ""
        number = f"{of}{counted(len(frame), 'row')}"
        hint = "; --limit 0 shows all of them" if len(shown) < len(frame) else ""
        show(f"{rows.dataset.name}, {counted(len(rows.keys), 'partition')}: {number}{hint}")


def python(profile: Profile, rows: Rows, query: Query) -> str:
    """Three lines of Python that read the same rows."""
    period = rows.dataset.grain.period.name
    levels = ", ".join(f'"{level}": pl.String' for level in rows.dataset.grain.levels)
    parsed = [rows.dataset.grain.parse(partition) for partition in rows.keys]
    periods = sorted({label for _, label in parsed})
    tests = [f'pl.col("{period}") >= "{periods[0]}"', f'pl.col("{period}") <= "{periods[-1]}"']
    if query.sectors:
        tests.append(f'pl.col("sector").is_in({sorted({sector for sector, _ in parsed if sector})!r})')
    if query.tickers:
        tests.append(f'pl.col("ticker").is_in({list(query.tickers)!r})')
    columns = list(query.columns) or list(rows.dataset.loaded_schema)
    head = f".head({query.limit})" if query.limit else ""
    files = f"{profile.store.url}/{rows.dataset.name}/**/part-0.parquet"
    return "\n".join(
        [
            "import polars as pl",
            f"rows = pl.scan_parquet({files!r}, hive_partitioning=True, hive_schema={{{levels}}})",
            f"print(rows.filter({', '.join(tests)}).select({columns!r}){head}.collect())",
        ]
    )


def _keys(dataset: Dataset, shown: pl.DataFrame) -> list[str]:
    """Columns that tell the shown rows apart."""
    levels = [name for name in dataset.grain.levels if name in shown.columns and shown[name].n_unique() > 1]
    return [*levels, *(name for name in dataset.key if name in shown.columns)]


def _tell(table: Table, keys: Sequence[str], out: Path | None) -> None:
    if out is None:
        show(table, keys)
        return
    from rich.console import Console

    with out.open("x", encoding="utf-8") as file:
        Console(file=file, width=10_000).print(table)


def _table(frame: pl.DataFrame) -> Table:
    table = Table()
    for column in frame.iter_columns():
        texts = [_text(value) for value in column]
        sentences = any(len(text) > _SENTENCE and " " in text for text in texts)
        table.add_column(
            escape(column.name),
            justify="right" if column.dtype.is_numeric() else "left",
            overflow="fold" if sentences else "ellipsis",
        )
    for row in frame.rows():
        table.add_row(*(escape(_text(value)) for value in row))
    return table


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)


def check_format(form: str) -> str:
    """Return the name of a format, or raise a SettingsError."""
    if form not in FORMATS:
        raise UsageError(f"--format {form} does not exist; choose one of {', '.join(FORMATS)}")
    return form


def check_month(label: str | None) -> str | None:
    """Return the label of a month, or raise a SettingsError."""
    return None if label is None else MONTH.check(label)
