"""Running the real graph in tests: a profile on a folder of its own, an ephemeral instance, what it wrote, and how two
of them compare."""

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.audit.asset import audit_assets, audit_checks
from quant_assets.dagster_internals import partition_loading_context
from quant_assets.dagster_records import without_events
from quant_assets.graph import build_defs
from quant_assets.page_links import place
from quant_assets.partitions import key, month_range
from quant_assets.planning.plan import Phase, Planner
from quant_assets.profile import Profile
from quant_assets.schemas import Dataset
from quant_assets.settings.loading import Settings, load_settings

PROJECT = Path(__file__).resolve().parents[1]

#: Windows short enough for a test; everything else is as the profiles have it.
SMALL: dict[str, Any] = {
    "indicators": {
        "windows": {"cons_staples": {"moving_average": 10, "momentum_lag": 20}},
        "garch": {"window": 130, "min_observations": 100},
        "history_sessions": 120,
    },
    "candidates": {"min_history_sessions": 60},
    "fundamentals": {"lookback_months": 15},
    "training": {"cadence_months": 3, "window_months": 9, "min_rows": 500},
    # One kind: what holds for all of them is tested apart from the graph.
    "models": {
        "lightgbm": {"parameters": {"min_data_in_leaf": 20}},
        "linear": None,
        "xgboost": None,
        "random_forest": None,
    },
    "regime": {
        "drawdown_sessions": 60,
        "markov": {"window": 60, "min_observations": 40, "cadence_months": 1},
    },
    "risk": {
        "window": 80,
        "min_observations": 60,
        "paths": 1_000,
        "history_months": 6,
        "episodes": {
            "autumn": {"first": date(2023, 9, 1), "last": date(2023, 10, 27)},
            "spring": {"first": date(2024, 2, 12), "last": date(2024, 3, 14)},
        },
    },
    "report": {"history_months": 6},
}


def demo_datasets() -> dict[str, Dataset]:
    """Every dataset as the settings in conf/ make it."""
    return Profile(load_settings("demo")).datasets


def every_definition(settings: Settings) -> dg.Definitions:
    """The definitions of a profile as its code location has them, the audit among them."""
    return build_defs(settings, on_demand=audit_assets, checks=audit_checks)


@dataclass(frozen=True)
class Graph:
    """The assets of a profile."""

    settings: Settings
    #: Metadata that was recorded with each partition, by asset and key; the last run counts.
    told: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def at(cls, storage: Path, profile: str = "demo", **overrides: Any) -> "Graph":
        return cls(load_settings(profile, **{**SMALL, **overrides, "storage": str(storage)}))

    @cached_property
    def profile(self) -> Profile:
        return Profile(self.settings)

    @property
    def datasets(self) -> dict[str, Dataset]:
        return self.profile.datasets

    @cached_property
    def defs(self) -> dg.Definitions:
        return every_definition(self.settings)

    @cached_property
    def planner(self) -> Planner:
        return Planner(self.defs, self.profile)

    def materialise(
        self, names: Sequence[str], *, tags: dict[str, str] | None = None, partition_key: str | None = None
    ) -> None:
        job = self.defs.resolve_implicit_global_asset_job_def().get_subset(
            asset_selection={dg.AssetKey(name) for name in names}
        )
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        # One effective time, as the command has it: else Dagster lists the partition keys anew for every event.
        with partition_loading_context(effective_dt=datetime.now(UTC)):
            result = job.execute_in_process(
                instance=without_events(), tags=tags, partition_key=partition_key, run_config=quiet
            )
        assert result.success
        for event in result.all_events:
            if event.is_step_materialization:
                made = event.step_materialization_data.materialization
                shown = {name: value.value for name, value in made.metadata.items()}
                self.told[made.asset_key.path[-1], str(made.partition)] = shown

    def run(self, sectors: Sequence[str], first: str, last: str) -> list[Phase]:
        """Every asset with its warm-up, as `quant run` does it, in this process."""
        phases = self.planner.plan(self.planner.order, sectors, first, last).phases
        for phase in phases:
            self.materialise(phase.assets, tags=phase.range_tags)
        return phases

    def again_month_by_month(self, sector: str, first: str, last: str) -> int:
        """Delete every partition of a sector's months and compute each in a run of its own; returns how many were
        deleted."""
        root, months, deleted = Path(self.profile.store.url), month_range(first, last), 0
        for name, dataset in self.datasets.items():
            for month in months:
                Path(self.profile.store.path(dataset, key(sector if dataset.grain.by_sector else None, month))).unlink()
                shutil.rmtree(root / "artifacts" / name / sector / month, ignore_errors=True)
                deleted += 1
        # Labels read later months' prices, so the market comes first; the months go backwards to show that their order
        # is of no matter.
        by_sector = [name for name in self.planner.order if self.datasets[name].grain.by_sector]
        assets = self.defs.resolve_asset_graph()
        early = [
            [name for name in by_sector if assets.get(dg.AssetKey(name)).group_name == group]
            for group in ("market", "signals")
        ]
        early.append(["lightgbm_checkpoint"])
        rest = [name for name in by_sector if all(name not in names for names in early)]
        for names in early:
            for month in reversed(months):
                self.materialise(names, partition_key=key(sector, month))
        by_month = [name for name in self.planner.order if not self.datasets[name].grain.by_sector]
        for month in months:
            self.materialise(rest, partition_key=key(sector, month))
        for month in months:
            self.materialise(by_month, partition_key=month)
        return deleted

    def metadata(self, months: Collection[str]) -> dict[tuple[str, str, str], Any]:
        """What the web UI shows of the partitions of some months, by asset, partition key and name.

        Without what is named as a fact of the run, and without Dagster's own; addresses without the storage's part.
        """
        url, links = self.profile.store.url, place(self.settings)
        return {
            (asset, partition, name): value.replace(url, "").replace(links, "") if isinstance(value, str) else value
            for (asset, partition), shown in self.told.items()
            if partition.partition("|")[0] in months
            for name, value in shown.items()
            if not name.endswith("_of_run") and not name.startswith("dagster/")
        }

    def files(self) -> dict[str, bytes]:
        """Every file written, by path below the profile's storage."""
        root = Path(self.profile.store.url)
        return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}

    def read(self, name: str) -> pl.DataFrame:
        """Every partition of a dataset."""
        dataset = self.datasets[name]
        return self.profile.store.read(dataset, self.profile.store.existing(dataset)).collect()


#: Pictures and texts, which only the newest months of a run have; what they show is of the partition.
OF_THE_NEWEST = {"report", "selection", "strongest_factors", "sql", "columns_from"}


def compare_metadata(expected: dict[tuple[str, str, str], Any], found: dict[tuple[str, str, str], Any]) -> None:
    """Assert that two runs tell the same of the same partitions."""
    assert {each for each in expected.keys() ^ found.keys() if each[2] not in OF_THE_NEWEST} == set()
    assert {each: (value, found[each]) for each, value in expected.items() if found.get(each, value) != value} == {}


def compare_known_by(cut: date, truth: Graph, found: Graph) -> dict[str, int]:
    """Assert that of every dataset the two have the same rows known by `cut`, in the partitions that both wrote.

    Returns:
        The number of rows compared, by dataset.

    """
    compared = {}
    for name, dataset in truth.datasets.items():
        known = pl.col(dataset.known_at) <= cut
        expected, given = truth.read(name).filter(known), found.read(name).filter(known)
        # Not the rows' months: of a dataset with few rows, a month in which only one of the two has any would be left
        # out.
        written = truth.profile.store.existing(dataset) & found.profile.store.existing(dataset)
        partition = dataset.grain.of_rows(dataset.dated_by)
        expected, given = (frame.filter(partition.is_in(sorted(written))) for frame in (expected, given))
        if dataset.dated_by == "as_of":
            # The running month's provisional decision is one that the finished month replaces.
            given = given.filter(pl.col("as_of").is_in(expected["as_of"].unique().to_list()))
        order = [column for column in ("sector", *dataset.key) if column in expected.columns]
        assert expected.sort(order).equals(given.sort(order)), f"{name} differs"
        compared[name] = len(expected)
    return compared
