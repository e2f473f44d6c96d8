"""The inputs of a ledger entry: hashes of the months that it was computed from, and of the day's own rows."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Self

import polars as pl

from quant_assets.io.store import DatasetStore
from quant_assets.partitions import key, month_of
from quant_assets.provenance.record import MadeBy
from quant_assets.schemas import Dataset


@dataclass(frozen=True)
class DayInput:
    """One dataset that an entry depends on.

    Attributes:
        content: hash of the rows of the month's partition, which grows with every session.
        rows: hash of the day's rows; empty if they are not read.
        code: digest of the code that computed the partition.
        settings: digest of the settings that it depends on.
        all_settings: digest of all settings that can affect rows.

    """

    content: str
    rows: str
    code: str
    settings: str
    all_settings: str


@dataclass(frozen=True)
class DayInputs:
    """The inputs by dataset, upstream first."""

    of: Mapping[str, DayInput]

    @classmethod
    def parsed(cls, text: str) -> Self:
        """Parse the ledger's text."""
        return cls({name: DayInput(**found) for name, found in json.loads(text).items()})

    def __str__(self) -> str:
        return json.dumps({name: asdict(each) for name, each in self.of.items()}, separators=(",", ":"))


def day_inputs(
    store: DatasetStore,
    datasets: Iterable[Dataset],
    sector: str,
    day: date,
    rows: Mapping[str, pl.DataFrame],
) -> DayInputs:
    """The inputs from the month of a day, as stored now.

    Args:
        store: of the partitions.
        datasets: monthly ones whose partition is stored.
        sector: slug.
        day: session.
        rows: the day's rows of the datasets that are read, with the columns of the file.

    """
    place, found = key(sector, month_of(day)), {}
    for dataset in datasets:
        recorded = store.recorded(dataset, place)
        made = MadeBy.parsed(recorded.made_by)
        digests: dict[str, Any] = {"code": "", "settings": "", "all_settings": ""}
        if made is not None:
            digests = {name: getattr(made, name) for name in digests}
        day_rows = rows.get(dataset.name)
        hashed = ""
        if day_rows is not None:
            (hashed,) = store.contents(dataset, day_rows.with_columns(sector=pl.lit(sector)), [place]).values()
        found[dataset.name] = DayInput(recorded.content or "", hashed, **digests)
    return DayInputs(found)
