"""What an entry of the ledger follows from: hashes of the months that it was made from, and of the day's own rows."""

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
    """One dataset that an entry follows from.

    Attributes:
        content: hash of the rows of the month's partition, which grows with every session.
        rows: hash of the day's rows; empty where they are not read.
        code: digest of the code that made the partition.
        settings: digest of the settings that it depends on.
        all_settings: digest of all settings from which rows can follow.

    """

    content: str
    rows: str
    code: str
    settings: str
    all_settings: str


@dataclass(frozen=True)
class DayInputs:
    """All of them, by dataset, upstream first."""

    of: Mapping[str, DayInput]

    @classmethod
    def parsed(cls, text: str) -> Self:
        """From what the ledger holds."""
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
    """What is stored of the month of a day now.

    Args:
        store: of the partitions.
        datasets: by month, of which the partition is there.
        sector: slug.
        day: session.
        rows: of the datasets that are read, the day's rows with the columns of the file.

    """
    place, found = key(sector, month_of(day)), {}
    for dataset in datasets:
        recorded = store.recorded(dataset, place)
        made = MadeBy.parsed(recorded.made_by)
        told: dict[str, Any] = {"code": "", "settings": "", "all_settings": ""}
        if made is not None:
            told = {name: getattr(made, name) for name in told}
        own = rows.get(dataset.name)
        hashed = ""
        if own is not None:
            (hashed,) = store.contents(dataset, own.with_columns(sector=pl.lit(sector)), [place]).values()
        found[dataset.name] = DayInput(recorded.content or "", hashed, **told)
    return DayInputs(found)
