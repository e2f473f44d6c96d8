"""Removal of old partitions and their files from a storage, and from the list of the instance.

The ledger with its pages and registered models are never removed.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import dagster as dg

from quant_assets.dagster_internals import forget_partitions
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
        keys: in order of sector and month.
        artifacts: files below `artifacts/` that belong to them: pages, models.
        size: bytes of partitions and files.

    """

    dataset: Dataset
    keys: list[str]
    artifacts: list[str]
    size: int


def old(profile: Profile, names: Collection[str], sectors: Collection[str], before: str) -> Iterator[Old]:
    """The stored partitions before a month, dataset by dataset.

    Args:
        profile: its storage is read.
        names: datasets; those of `KEPT` are left out.
        sectors: slugs; partitions that span sectors are always included.
        before: month.

    """
    store = profile.store
    for name, dataset in profile.every_dataset.items():
        if name not in names or name in KEPT:
            continue
        keys = sorted_keys(
            key
            for key in store.existing(dataset)
            if parse_key(key)[1] < before and (parse_key(key)[0] is None or parse_key(key)[0] in sectors)
        )
        if keys:
            folders = {_folder(name, key) for key in keys}
            artifacts = [file for file in store.artifacts(name) if file.rpartition("/")[0] in folders]
            yield Old(dataset, keys, artifacts, store.size(dataset, keys, artifacts))


def remove(profile: Profile, instance: dg.DagsterInstance | None, outdated: Sequence[Old]) -> None:
    """Remove partitions: rows, then files, then the entries of the instance.

    Raises:
        InFlightError: a run is writing some of them; nothing was removed.

    """
    if instance is not None:
        refuse_in_flight(instance, (phase for group in outdated for phase in _phases(group)), "prune later")
    for group in outdated:
        profile.store.remove(group.dataset, group.keys)
        for name in group.artifacts:
            profile.store.remove_file(f"artifacts/{name}")
        if instance is not None:
            forget_partitions(instance, dg.AssetKey(group.dataset.name), group.keys)


def _phases(group: Old) -> Iterator[Phase]:
    places: dict[str | None, list[str]] = {}
    for key in group.keys:
        sector, period = parse_key(key)
        places.setdefault(sector, []).append(period)
    for sector, periods in places.items():
        yield Phase((group.dataset.name,), min(periods), max(periods), (sector,) if sector else ())


def _folder(name: str, partition_key: str) -> str:
    sector, period = parse_key(partition_key)
    return "/".join((name, *([sector] if sector else []), period))
