"""Assets computed from altered stored datasets, for controls that alter data inside the graph. No comparison."""

from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path

import polars as pl

from quant_assets.audit.runs import Recomputed
from quant_assets.running.execute import RunFailedError
from quant_assets.settings.loading import Settings

Alter = Callable[[pl.DataFrame], pl.DataFrame]


def read_all(run: Recomputed, name: str) -> pl.DataFrame:
    """Every partition of a dataset in a scratch folder."""
    dataset, store = run.profile.datasets[name], run.profile.store
    return store.read(dataset, store.existing(dataset)).collect()


def with_datasets(
    base: Recomputed, folder: Path, settings: Settings, datasets: Mapping[str, Alter | None]
) -> Recomputed:
    """A new scratch folder with some datasets of another one.

    Args:
        base: where the datasets are.
        folder: the new one.
        settings: of the new one.
        datasets: names to copy, with the alteration; None copies unaltered rows.

    """
    run, store = Recomputed.at(folder, settings, base.profile.provider), base.profile.store
    for name, alter in datasets.items():
        dataset, rows = base.profile.datasets[name], read_all(base, name)
        known = {key: store.known_through(dataset, key) or date.max for key in store.existing(dataset)}
        run.profile.store.write(dataset, rows if alter is None else alter(rows), known, known.__getitem__)
    return run


def compute(run: Recomputed, names: list[str], sector: str, first: str, last: str) -> None:
    """Compute assets of a sector, or of the market, for the months.

    Raises:
        RunFailedError: an asset failed.

    """
    run.compute(names, [sector], first, last)
    if run.failures:
        raise RunFailedError("\n".join(run.failures))
