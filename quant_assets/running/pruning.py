"""Removal of old partitions from a storage, with the files that they name, and from what the instance lists.

What was said (the ledger and its pages) and registered models are never removed.
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
        dataset: theirs.
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
        profile: whose storage is looked at.
        names: datasets; those of `KEPT` are left out.
        sectors: slugs; what spans sectors is among it whatever they are.
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
            artifacts = [each for each in store.artifacts(name) if each.rpartition("/")[0] in folders]
            yield Old(dataset, keys, artifacts, store.size(dataset, keys, artifacts))


def remove(profile: Profile, instance: dg.DagsterInstance | None, found: Sequence[Old]) -> None:
    """Remove partitions: their rows, then the files that they name, then what the instance lists.

    Raises:
        InFlightError: a run is writing some of them; nothing was removed then.

    """
    if instance is not None:
        refuse_in_flight(instance, (phase for each in found for phase in _phases(each)), "prune later")
    for each in found:
        profile.store.remove(each.dataset, each.keys)
        for name in each.artifacts:
            profile.store.remove_file(f"artifacts/{name}")
        if instance is not None:
            forget_partitions(instance, dg.AssetKey(each.dataset.name), each.keys)


def _phases(each: Old) -> Iterator[Phase]:
    places: dict[str | None, list[str]] = {}
    for key in each.keys:
        sector, period = parse_key(key)
        places.setdefault(sector, []).append(period)
    for sector, periods in places.items():
        yield Phase((each.dataset.name,), min(periods), max(periods), (sector,) if sector else ())


def _folder(name: str, partition_key: str) -> str:
    sector, period = parse_key(partition_key)
    return "/".join((name, *([sector] if sector else []), period))
