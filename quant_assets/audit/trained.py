"""Stored rows of `trained` datasets for a recomputation, which never trains them again, and notes on that."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath

import polars as pl

from quant_assets.audit.findings import Exempt
from quant_assets.errors import MissingPartitionError
from quant_assets.learning.model_files import LISTING
from quant_assets.partitions import describe, month_start
from quant_assets.profile import Profile


def trained_datasets(profile: Profile) -> tuple[str, ...]:
    """Names of the datasets whose rows contain the hash of an artifact."""
    return tuple(name for name, dataset in profile.datasets.items() if dataset.reproducibility == "trained")


def take_over_trained(stored: Profile, scratch: Profile) -> None:
    """Copy stored partitions of trained datasets, and the artifacts that their rows name, to a scratch storage.

    If the scratch profile ends earlier, rows that were not known by then are left out.

    Args:
        stored: the user's profile.
        scratch: the profile that reads them.

    """
    end = scratch.last_session()
    for name in trained_datasets(scratch):
        dataset, store = scratch.datasets[name], stored.store
        keys = [key for key in store.existing(dataset) if month_start(dataset.grain.parse(key)[1]) <= end]
        recorded = {key: store.recorded(dataset, key) for key in keys}
        rows = store.read(dataset, keys).filter(pl.col(dataset.known_at) <= end).collect()
        known = {key: min(found.known_through or end, end) for key, found in recorded.items()}
        made_by = {key: found.made_by or "" for key, found in recorded.items()}
        scratch.store.write(
            dataset, rows, keys, known.__getitem__, made_by.__getitem__ if all(made_by.values()) else None
        )
        take_over_artifacts(stored, scratch, rows)


def take_over_artifacts(stored: Profile, scratch: Profile, rows: pl.DataFrame, *, whole_folders: bool = False) -> None:
    """Copy the artifacts that rows name to a scratch storage.

    Args:
        stored: the user's profile.
        scratch: the profile that reads them.
        rows: of any dataset, with columns of files.
        whole_folders: whether to copy the whole folder of a file, as a manifest names other files in it.

    """
    named = {each for column in rows.columns if column.endswith("_file") for each in rows[column].drop_nulls()}
    # A listing stands for its whole folder.
    places = {each.removesuffix(f"/{LISTING}") for each in named}
    if whole_folders:
        places = {str(PurePosixPath(each).parent) for each in places}
    for place in sorted(places):
        for artifact in stored.store.artifacts(place):
            scratch.store.write_artifact(artifact, stored.store.read_artifact(artifact))


def check_stored(profile: Profile, read: Mapping[str, Collection[str]]) -> None:
    """Raise a MissingPartitionError if partitions of a trained dataset are read that are not stored."""
    for name, keys in read.items():
        gone = profile.store.missing(profile.datasets[name], keys)
        if gone:
            raise MissingPartitionError(
                f"'{name}' is never trained by a recomputation, which reads its stored partitions: "
                f"{len(gone)} of {len(keys)} are missing, {describe(gone)}; materialise them first with quant run"
            )


def said_of(read: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Notes on partitions that were taken over."""
    for name, keys in read.items():
        if keys:
            yield Exempt(
                f"{name} was not computed again: {len(keys)} stored partitions were taken over, because it is trained"
            )
