"""Grains: how a dataset is partitioned, the format of keys and folders, and the rows of a key.

Only this module knows the syntax of keys. Dagster's partition definitions are in `partitions`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import polars as pl

from quant_assets.errors import SettingsError, UsageError, did_you_mean
from quant_assets.settings.sectors import SECTORS

#: Separator of the parts of a key, as in Dagster.
_BETWEEN = "|"


def check_sector(sector: str) -> str:
    """Return the slug, or raise a SettingsError that lists the eleven."""
    if sector not in SECTORS:
        raise UsageError(
            f"sector '{sector}' does not exist{did_you_mean(sector, SECTORS)}; choose one of {', '.join(SECTORS)}"
        )
    return sector


@dataclass(frozen=True)
class Period:
    """The length of partitions.

    Attributes:
        name: of the folder level, of the column of a loaded frame, and of Dagster's dimension.
        pattern: of `strftime`.
        written: the pattern for messages.
        shape: regular expression that a label matches.
        every: its length in Polars' notation.

    """

    name: str
    pattern: str
    written: str
    shape: str
    every: str

    def of(self, day: date) -> str:
        """Label of the period that holds a day."""
        return day.strftime(self.pattern)

    def label(self, column: str) -> pl.Expr:
        """Label of each row's period, by a date column."""
        return pl.col(column).dt.strftime(self.pattern)

    def check(self, label: str) -> str:
        """Return the label, or raise a SettingsError that says how to write one."""
        if not re.fullmatch(self.shape, label):
            raise UsageError(
                f"{self.name} '{label}' is not a {self.name}; write it as {self.written}, "
                f"for example {self.of(date(2024, 6, 14))}"
            )
        return label


MONTH = Period("month", "%Y-%m", "YYYY-MM", r"\d{4}-(0[1-9]|1[0-2])", "1mo")
DAY = Period("day", "%Y-%m-%d", "YYYY-MM-DD", r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])", "1d")


def period_of(label: str) -> Period:
    """The period length of a label; for an invalid label a month, whose check then raises an error."""
    return DAY if re.fullmatch(DAY.shape, label) else MONTH


def check_month(month: str) -> str:
    """Return the label of a month, or raise a SettingsError."""
    return MONTH.check(month)


def check_order(first: str, last: str) -> None:
    """Raise a UsageError if the first of two months is later than the last."""
    if first > last:
        raise UsageError(f"the first month {first} is later than the last month {last}; swap --from and --to")


@dataclass(frozen=True)
class Grain:
    """The partitioning of a dataset: by period, and by sector or for the whole market.

    Attributes:
        period: month or day.
        by_sector: whether sectors have their own partitions.

    """

    period: Period
    by_sector: bool

    @property
    def name(self) -> str:
        """For people: `sector × month`, `month`."""
        return f"sector × {self.period.name}" if self.by_sector else self.period.name

    @property
    def example(self) -> str:
        """A key, for messages."""
        return self.key(self.period.of(date(2016, 6, 14)), "healthcare" if self.by_sector else None)

    @property
    def head(self) -> tuple[str, ...]:
        """Columns of a frame to be written that are not in its file: the sector, if any."""
        return ("sector",) if self.by_sector else ()

    @property
    def levels(self) -> tuple[str, ...]:
        """Levels of folders, outermost first; a loaded frame has them as its first columns."""
        return (*self.head, self.period.name)

    def key(self, period: str, sector: str | None = None) -> str:
        """Partition key: `2024-06|healthcare`, in Dagster's order of dimensions, or `2024-06`.

        Raises:
            SettingsError: the period or sector is not valid, or the sector does not fit the grain.

        """
        if self.by_sector != bool(sector):
            raise SettingsError(f"a partition by {self.name} has {'a' if self.by_sector else 'no'} sector")
        parts = (self.period.check(period), *((check_sector(sector),) if sector else ()))
        return _BETWEEN.join(parts)

    def keys(self, periods: Iterable[str], sectors: Iterable[str] = ()) -> list[str]:
        """Keys of periods: of each sector, or of the whole market if the grain has no sectors."""
        return [self.key(period, sector) for sector in (sectors if self.by_sector else (None,)) for period in periods]

    def parse(self, key: str) -> tuple[str | None, str]:
        """Sector (None without sectors) and period of a key.

        Raises:
            SettingsError: it is not a key of this grain.

        """
        period, _, sector = key.partition(_BETWEEN)
        if self.by_sector != bool(sector):
            raise SettingsError(f"'{key}' is not a partition by {self.name}; write {self.example}")
        if period in SECTORS and sector not in SECTORS:
            raise SettingsError(f"'{key}' has the sector first; write '{self.key(self.period.check(sector), period)}'")
        return (check_sector(sector) if sector else None), self.period.check(period)

    def placed(self, key: str) -> dict[str, str]:
        """Values of the levels, for folders and columns."""
        sector, period = self.parse(key)
        return dict(zip(self.levels, (*((sector,) if sector else ()), period), strict=True))

    def folder(self, key: str) -> str:
        """Folder of a partition below that of its dataset: `sector=healthcare/month=2024-06`."""
        return "/".join(f"{level}={value}" for level, value in self.placed(key).items())

    @property
    def folders(self) -> str:
        """Glob of the partition folders: `sector=*/month=*`."""
        return "/".join(f"{level}=*" for level in self.levels)

    def key_at(self, path: str) -> str:
        """Key of the partition of a path that contains its folder."""
        values = dict(part.split("=", 1) for part in path.split("/") if "=" in part)
        return self.key(values[self.period.name], values["sector"] if self.by_sector else None)

    def of_rows(self, dated_by: str) -> pl.Expr:
        """Key of each row's partition, from its date column and sector."""
        parts = (self.period.label(dated_by), *map(pl.col, self.head))
        return pl.concat_str(*parts, separator=_BETWEEN)

    def holds(self, key: str) -> pl.Expr:
        """Whether a row of a loaded frame is in a partition."""
        return pl.all_horizontal(pl.col(level) == value for level, value in self.placed(key).items())


SECTOR_MONTHLY = Grain(MONTH, by_sector=True)
MONTHLY = Grain(MONTH, by_sector=False)
SECTOR_DAILY = Grain(DAY, by_sector=True)
DAILY = Grain(DAY, by_sector=False)


def grain_of(key: str) -> Grain:
    """The grain of a key; by month for an invalid key, whose parsing then raises an error."""
    period, _, sector = key.partition(_BETWEEN)
    return Grain(period_of(period), by_sector=bool(sector))


def labels_of(keys: Iterable[str]) -> Mapping[str | None, list[str]]:
    """Periods of the keys by sector (None without sectors), in their order."""
    labels: dict[str | None, list[str]] = {}
    for key in keys:
        sector, period = _parsed(key)
        labels.setdefault(sector, []).append(period)
    return labels


@lru_cache(maxsize=1 << 17)
def _parsed(key: str) -> tuple[str | None, str]:
    """Sector and period of a key of any grain. Cached, as all inputs of all assets parse the same keys."""
    return grain_of(key).parse(key)
