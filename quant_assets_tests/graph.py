"""Running the real graph in tests: a profile on a folder of its own, an ephemeral instance, and what it wrote."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.definitions import build_defs
from quant_assets.profile import Profile
from quant_assets.running.plan import Phase, Planner
from quant_assets.schemas import DATASETS
from quant_assets.settings import Settings, load_settings

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
    "training": {"window_months": 9, "min_rows": 500, "lightgbm": {"min_data_in_leaf": 20}},
    "regime": {"drawdown_sessions": 60},
    "report": {"history_months": 6},
}


@dataclass(frozen=True)
class Graph:
    """The assets of a profile."""

    settings: Settings

    @classmethod
    def at(cls, storage: Path, profile: str = "demo", **overrides: Any) -> "Graph":
        return cls(load_settings(profile, **{**SMALL, **overrides, "storage": str(storage)}))

    @cached_property
    def profile(self) -> Profile:
        return Profile(self.settings)

    @cached_property
    def defs(self) -> dg.Definitions:
        return build_defs(self.settings)

    @cached_property
    def planner(self) -> Planner:
        return Planner(self.defs, self.profile)

    def materialise(self, names: Sequence[str], *, tags: dict[str, str] | None = None, partition_key: str | None = None) -> None:
        job = self.defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection={dg.AssetKey(name) for name in names})
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        with dg.DagsterInstance.ephemeral() as instance:
            result = job.execute_in_process(instance=instance, tags=tags, partition_key=partition_key, run_config=quiet)
        assert result.success

    def run(self, sectors: Sequence[str], first: str, last: str) -> list[Phase]:
        """Every asset with its warm-up, as `quant run` does it, in this process."""
        phases = [p for sector in sectors for p in self.planner.sector_phases(self.planner.order, sector, first, last)]
        phases += self.planner.month_phases(self.planner.order, first, last)
        for phase in phases:
            self.materialise(phase.assets, tags=phase.range_tags)
        return phases

    def files(self) -> dict[str, bytes]:
        """Every file written, by path below the profile's storage."""
        root = Path(self.profile.store.url)
        return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}

    def read(self, name: str) -> pl.DataFrame:
        """Every partition of a dataset."""
        dataset = DATASETS[name]
        return self.profile.store.read(dataset, self.profile.store.existing(dataset)).collect()
