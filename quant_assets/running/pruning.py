"""Removal of old partitions and their files from a storage, and from the list of the instance.

The ledger with its pages and registered models are never removed.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from quant_assets.dagster_internals import forget_partitions
from quant_assets.errors import SettingsError
from quant_assets.io.store import sorted_keys
from quant_assets.partitions import parse_key
from quant_assets.planning.plan import Phase
from quant_assets.profile import Profile
from quant_assets.running.conflicts import refuse_in_flight
from quant_assets.schemas import LIVE, Dataset

#: Datasets that are never pruned.
KEPT = frozenset(dataset.name for dataset in LIVE)


@dataclass(frozen=True)
class Old:
    """Partitions of a dataset before a month.

    Attributes:
        dataset: of the partitions.
        keys: of the stored rows, in order of sector and month.
        artifacts: files below `artifacts/` by partition: pages, models. After an interrupted removal a partition may
            have files and no rows.
        size: bytes of rows and files.

    """

    dataset: Dataset
    keys: list[str]
    artifacts: Mapping[str, list[str]]
    size: int

    @property
    def partitions(self) -> list[str]:
        """Keys of the partitions with rows or files, in order."""
        return sorted_keys({*self.keys, *self.artifacts})

    @property
    def files(self) -> list[str]:
        """Names of all artifacts."""
        return [file for files in self.artifacts.values() for file in files]


def old(profile: Profile, names: Collection[str], sectors: Collection[str], before: str) -> Iterator[Old]:
    """The stored partitions before a month, dataset by dataset.

    Args:
        profile: its storage is read.
        names: datasets, those of `KEPT` are left out; empty for all.
        sectors: slugs; empty for all. If some are given, datasets that span sectors are left out unless named, because
            other sectors need them.
        before: month.

    """
    store = profile.store
    for name, dataset in profile.every_dataset.items():
        if name in KEPT or (names and name not in names) or (sectors and not names and not dataset.grain.by_sector):
            continue

        def chosen(key: str) -> bool:
            sector, period = parse_key(key)
            return period < before and (sector is None or not sectors or sector in sectors)

        keys = sorted_keys(filter(chosen, store.existing(dataset)))
        artifacts: dict[str, list[str]] = {}
        for file in store.artifacts(name):
            key = _partition_of(dataset, file)
            if key is not None and chosen(key):
                artifacts.setdefault(key, []).append(file)
        if keys or artifacts:
            files = [file for group in artifacts.values() for file in group]
            yield Old(dataset, keys, artifacts, store.size(dataset, keys, files))


def remove(profile: Profile, instance: dg.DagsterInstance | None, outdated: Sequence[Old]) -> None:
    """Remove partitions: the entries of the instance, then rows, then the files that they name.

    The same call completes an interrupted removal.

    Raises:
        InFlightError: a run is writing some of them; nothing was removed.

    """
    if instance is not None:
        refuse_in_flight(instance, (phase for group in outdated for phase in _phases(group)), "prune later")
    for group in outdated:
        if instance is not None:
            forget_partitions(instance, dg.AssetKey(group.dataset.name), group.partitions)
        profile.store.remove(group.dataset, group.keys)
        for name in group.files:
            profile.store.remove_file(f"artifacts/{name}")


def _phases(group: Old) -> Iterator[Phase]:
    places: dict[str | None, list[str]] = {}
    for key in group.partitions:
        sector, period = parse_key(key)
        places.setdefault(sector, []).append(period)
    for sector, periods in places.items():
        yield Phase((group.dataset.name,), min(periods), max(periods), (sector,) if sector else ())


def _partition_of(dataset: Dataset, file: str) -> str | None:
    """Key of the partition of an artifact, by its folder `<dataset>/<sector>/<period>/…`; None if it has none."""
    *folders, _ = file.split("/")[1:]
    depth = len(dataset.grain.levels)
    if len(folders) < depth:
        return None
    try:
        return dataset.grain.key(folders[depth - 1], folders[0] if dataset.grain.by_sector else None)
    except SettingsError:
        return None
