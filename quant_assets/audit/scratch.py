"""A profile on a folder of its own: its real assets computed there, and again from inputs that were altered. No comparison here.

Used by the controls whose alteration is of a dataset in the middle of the graph, such as labels or weights.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from pathlib import Path

import dagster as dg
import polars as pl

from quant_assets.definitions import build_defs
from quant_assets.errors import QuantError
from quant_assets.profile import Profile
from quant_assets.running.plan import Planner
from quant_assets.settings import Settings

Alter = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True)
class Scratch:
    """A profile whose storage is a temporary folder."""

    profile: Profile

    @classmethod
    def of(cls, profile: Profile, folder: Path) -> "Scratch":
        """The same profile, on the same source, with its partitions in `folder`."""
        return cls(replace(profile, settings=profile.settings.model_copy(update={"storage": str(folder)})))

    @cached_property
    def defs(self) -> dg.Definitions:
        """The profile's real assets."""
        return build_defs(self.profile)

    @cached_property
    def reads(self) -> dict[str, frozenset[str]]:
        """Which datasets each asset reads."""
        found = {}
        for definition in self.defs.assets or ():
            if isinstance(definition, dg.AssetsDefinition):
                for spec in definition.specs:
                    found[spec.key.path[-1]] = frozenset(dep.asset_key.path[-1] for dep in spec.deps)
        return found

    def compute(self, names: Sequence[str], sector: str, first: str, last: str) -> None:
        """Materialise assets of a sector, or of the market, for the months, with whatever their windows need before.

        Raises:
            QuantError: an asset failed.

        """
        planner = Planner(self.defs, self.profile)
        for phase in [*planner.sector_phases(names, sector, first, last), *planner.month_phases(names, first, last)]:
            self.materialise(phase.assets, tags=phase.range_tags)

    def materialise(self, names: Iterable[str], *, tags: Mapping[str, str] | None = None, partition: str | None = None) -> None:
        """Materialise assets in this process, without a trace in any Dagster instance.

        Raises:
            QuantError: an asset failed.

        """
        job = self.defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection={dg.AssetKey(name) for name in names})
        logging.getLogger("dagster").setLevel(logging.CRITICAL)
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        with dg.DagsterInstance.ephemeral() as instance:
            done = job.execute_in_process(
                instance=instance, tags=dict(tags or {}), partition_key=partition, run_config=quiet, raise_on_error=False
            )
        for event in done.all_events:
            if event.is_step_failure:
                error = event.step_failure_data.error
                cause = error.cause if error and error.cause else error
                raise QuantError(f"{event.step_key} failed in an audit: {' '.join(str(cause.message if cause else 'no reason').split())}")

    def read(self, name: str, keys: Iterable[str] | None = None) -> pl.DataFrame:
        """Partitions of a dataset, by default every one."""
        dataset, store = self.profile.datasets[name], self.profile.store
        return store.read(dataset, store.existing(dataset) if keys is None else keys).collect()

    def give(self, other: "Scratch", names: Iterable[str], altered: Mapping[str, Alter]) -> None:
        """Write every partition of datasets into another scratch, some of them altered."""
        store = self.profile.store
        for name in names:
            dataset = self.profile.datasets[name]
            keys = store.existing(dataset)
            known: dict[str, date | None] = {each: store.known_through(dataset, each) for each in keys}
            rows = self.read(name, keys)
            rows = altered[name](rows) if name in altered else rows
            other.profile.store.write(dataset, rows, keys, lambda each, known=known: known[each] or date.max)  # type: ignore[misc]


def as_profile(of: Profile | Settings) -> Profile:
    """The profile of settings."""
    return of if isinstance(of, Profile) else Profile(of)
