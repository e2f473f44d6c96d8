"""Comparison of the partitions that the Dagster instance lists with the stored ones, and repair of the instance.

They differ after a storage was copied, moved or cleared manually, or if an instance had records of two storages.
Partitions are never written or deleted here: the storage is right.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import dagster as dg

from quant_assets.dagster_internals import (
    DATA_VERSION_TAG,
    MULTIDIMENSIONAL_PARTITION_PREFIX,
    forget_partitions,
    report_materialisations,
)
from quant_assets.io.manager import data_version
from quant_assets.io.store import DatasetStore, sorted_keys
from quant_assets.partitions import parse_key
from quant_assets.schemas import Dataset

_READERS = 8  # parallel reads of file footers


@dataclass(frozen=True)
class Difference:
    """Differences of an asset; partition keys in order of sector and month."""

    dataset: Dataset
    #: Stored, and not known to the instance.
    unlisted: list[str]
    #: Listed by the instance, and not in the storage.
    missing: list[str]


def differences(
    instance: dg.DagsterInstance | None,
    stored: Mapping[str, Collection[str]],
    datasets: Mapping[str, Dataset],
    sectors: Collection[str],
) -> Iterator[Difference]:
    """The assets on which instance and storage differ, in the order of the graph.

    Args:
        instance: None without an instance, which lists nothing.
        stored: keys of the stored partitions, by dataset.
        datasets: to compare.
        sectors: to compare, in addition to partitions that span sectors.

    """
    for name, dataset in datasets.items():
        listed = set() if instance is None else instance.get_materialized_partitions(dg.AssetKey(name))
        unlisted, missing = (
            sorted_keys(key for key in keys if parse_key(key)[0] in {*sectors, None})
            for keys in (set(stored[name]) - listed, listed - set(stored[name]))
        )
        if unlisted or missing:
            yield Difference(dataset, unlisted, missing)


def report(instance: dg.DagsterInstance, store: DatasetStore, differing: Sequence[Difference]) -> None:
    """Report stored partitions that the instance does not know, with the hashes recorded in their files.

    All have one timestamp, so that Dagster takes none of them for newer than another.

    Raises:
        DatasetError: a file cannot be read; names it.

    """
    now = time.time()
    for difference in differing:

        def materialisation(key: str, dataset: Dataset = difference.dataset) -> dg.AssetMaterialization:
            sector, month = parse_key(key)
            dimensions = {} if sector is None else {"month": month, "sector": sector}
            tags = {f"{MULTIDIMENSIONAL_PARTITION_PREFIX}{name}": value for name, value in dimensions.items()}
            recorded = store.recorded(dataset, key)
            if recorded.content is not None:
                tags[DATA_VERSION_TAG] = data_version({key: recorded.content})
            metadata = {} if recorded.known_through is None else {"known_through": str(recorded.known_through)}
            return dg.AssetMaterialization(dataset.name, "found in the storage", metadata, partition=key, tags=tags)

        with ThreadPoolExecutor(_READERS) as pool:
            report_materialisations(instance, list(pool.map(materialisation, difference.unlisted)), now)


def forget(instance: dg.DagsterInstance, differing: Sequence[Difference]) -> None:
    """Make the instance list what the storage lacks as not materialised; runs and their logs stay."""
    for difference in differing:
        if difference.missing:
            forget_partitions(instance, dg.AssetKey(difference.dataset.name), difference.missing)
