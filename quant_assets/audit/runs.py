"""The real assets, computed in a scratch folder with the audit's source and settings. No comparison."""

import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg

from quant_assets.audit.pages import keep_shown
from quant_assets.audit.trained import check_stored, take_over_trained, trained_datasets
from quant_assets.dagster_internals import job_of_all_assets, partition_loading_context
from quant_assets.dagster_records import without_events
from quant_assets.errors import UsageError, did_you_mean
from quant_assets.graph import build_defs
from quant_assets.io.store import DatasetStore
from quant_assets.page_links import place
from quant_assets.partitions import parse_key
from quant_assets.planning.plan import Phase, Planner
from quant_assets.profile import Profile
from quant_assets.running.execute import execute_chain
from quant_assets.settings.loading import LearningSettings, Settings
from quant_assets.sources.base import Source


@dataclass
class Recomputed:
    """A profile whose storage is a scratch folder, and the partitions that have been computed there.

    Attributes:
        profile: with the scratch storage.
        stored: the user's profile, from which trained datasets are taken; None without them.
        keys: partitions that were computed, by dataset.
        taken: partitions of trained datasets that were read and not computed, by dataset.
        failures: reasons of failed runs, from `running.execute`.

    """

    profile: Profile
    stored: Profile | None = None
    keys: dict[str, set[str]] = field(default_factory=dict)
    taken: dict[str, set[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._defs = build_defs(self.profile)
        self._job = job_of_all_assets(self._defs)
        self.planner = Planner(self._defs, self.profile, stored_only=trained_datasets(self.profile))
        self._untaken = self.stored

    @classmethod
    def at(
        cls,
        folder: Path,
        settings: Settings,
        source: Source | None,
        stored: Profile | None = None,
        on_begun: Callable[[str], None] | None = None,
    ) -> "Recomputed":
        """A new scratch profile, with nothing computed.

        Args:
            folder: scratch.
            settings: of the run; its storage is replaced.
            source: the provider; None for that of the settings.
            stored: the user's profile, from which trained datasets are taken.
            on_begun: called before a computation, as `Profile.on_begun`.

        """
        # Trainings on altered inputs must not be logged.
        apart = {"storage": str(folder), "learning": LearningSettings()}
        return cls(Profile(settings.model_copy(update=apart), source, on_begun), stored)

    def compute(
        self,
        names: Sequence[str],
        sectors: Sequence[str],
        first: str,
        last: str,
        on_phase: Callable[[Phase], None] | None = None,
    ) -> None:
        """Compute assets and their upstream; finished partitions of months before the first are reused.

        A failing run ends its chain and is recorded in `failures`. Trained datasets come from the user's storage.

        Raises:
            MissingPartitionError: a trained dataset that is needed is not stored.

        """
        if self._untaken is not None:
            take_over_trained(self._untaken, self.profile)
            self._untaken = None
        plan = self.planner.plan(names, sectors, first, last)
        check_stored(self.profile, plan.stored)
        for name, keys in plan.stored.items():
            self.taken.setdefault(name, set()).update(keys)
        instance = without_events()
        with _quiet(), partition_loading_context(effective_dt=datetime.now(UTC)):
            for chain in (chain for stage in plan.stages for chain in stage):
                for phase in chain:
                    reason = execute_chain([phase], self._job, instance, checks=False, seen=self._keep)
                    if reason:
                        self.failures.append(reason)
                        break
                    for name in phase.assets:
                        self.keys.setdefault(name, set()).update(phase.keys)
                    if on_phase is not None:
                        on_phase(phase)

    def _keep(self, events: Sequence[dg.DagsterEvent]) -> None:
        """Write the metadata of the runs' partitions to disk, for another process to compare."""
        keep_shown(events, self.profile.store.url, place(self.profile.settings))

    def earliest(self, names: Sequence[str], sectors: Sequence[str], first: str, last: str) -> str:
        """First month that is computed if nothing is stored."""
        phases = self.planner.plan(names, sectors, first, last).phases
        return min((phase.first for phase in phases), default=first)

    def upstream(self, name: str) -> list[str]:
        """The assets that an asset reads, directly or through others, in topological order."""
        reached: set[str] = set()
        waiting = [name]
        while waiting:
            new = set(self.planner.reads(waiting.pop())) - reached
            reached |= new
            waiting += new
        return [asset for asset in self.planner.order if asset in reached]

    def with_sectors(self, names: Sequence[str]) -> list[str]:
        """Assets to request in an empty storage, in topological order: these, and the sector assets that they need.

        Assets that span sectors read the stored sectors and request none (`Planner.plan`). Trained datasets are left
        out, as their stored rows are used.
        """
        found, datasets = set(names), self.profile.datasets
        computed = set(datasets) - set(trained_datasets(self.profile))
        for name in names:
            for spanning in (name, *self.upstream(name)):
                if not datasets[spanning].grain.by_sector:
                    found |= {
                        each
                        for each in self.planner.reads(spanning)
                        if datasets[each].grain.by_sector and each in computed
                    }
        return [name for name in self.planner.order if name in found]

    def spans_sectors(self, name: str) -> bool:
        """Whether an asset depends on an asset that spans sectors."""
        datasets = self.profile.datasets
        spanning = [each for each in (name, *self.upstream(name)) if not datasets[each].grain.by_sector]
        return any(datasets[read].grain.by_sector for each in spanning for read in self.planner.reads(each))

    def take_over(
        self, from_: DatasetStore, finished: Mapping[str, Collection[str]], before: str, known_by: date | None
    ) -> None:
        """Link finished partitions of another scratch folder: of earlier months, and known by a day.

        Args:
            from_: their store.
            finished: their keys, by dataset.
            before: month before which they lie.
            known_by: last day that they may know; None for any.

        """
        for name, keys in finished.items():
            dataset = self.profile.datasets[name]
            for each in keys:
                if parse_key(each)[1] >= before:
                    continue
                if known_by is not None:
                    known = from_.known_through(dataset, each)
                    if known is None or known > known_by:
                        continue
                _link(from_.path(dataset, each), self.profile.store.path(dataset, each))
        # Files that rows name: a model's name is its hash, and a report is replaced as a whole.
        their_artifacts, own_artifacts = (f"{store.url}/artifacts" for store in (from_, self.profile.store))
        for folder, _, files in os.walk(their_artifacts):
            for file in files:
                if not file.startswith("."):  # another process may be writing
                    _link(f"{folder}/{file}", f"{own_artifacts}{folder.removeprefix(their_artifacts)}/{file}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Dagster's logs of the scratch runs, and restore the level afterwards."""
    logger = logging.getLogger("dagster")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def check_assets(profile: Profile, names: Sequence[str]) -> None:
    """Raise a SettingsError for an asset that does not exist."""
    unknown = [name for name in names if name not in profile.datasets]
    if unknown:
        raise UsageError(
            f"there is no asset '{unknown[0]}'{did_you_mean(unknown[0], profile.datasets)}; assets are "
            f"{', '.join(profile.datasets)}"
        )


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileExistsError:  # an artifact of two scratch folders
        return
    except FileNotFoundError:  # the folder is missing
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.link(source, target)
