"""Common work of the assets of checkpoints: due months, files, rows and metadata of their trainings."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from quant_assets.asset_functions import Run, readable
from quant_assets.assets.training_told import importances_csv, told_of
from quant_assets.learning.checkpoints import is_training_month
from quant_assets.learning.trained import TrainedModel, checkpoint_rows
from quant_assets.partitions import month_of


class Trainings:
    """The trainings of one sector in a run.

    It takes only the needed parts of an asset function's arguments, so that provenance records only these.

    Args:
        run: the asset's.
        sector: slug.
        dataset: that the rows go into.
        cadence_months: between trainings.
        ordered: months outside the cadence, with their reasons.

    """

    def __init__(self, run: Run, sector: str, dataset: str, cadence_months: int, ordered: Mapping[str, str]) -> None:
        self.run, self.sector, self._dataset, self._cadence = run, sector, dataset, cadence_months
        self._ordered = ordered
        self._made: dict[date, list[TrainedModel]] = {}

    def trains(self, as_of: date) -> bool:
        """Whether the month of a session is a training month, or ordered."""
        return is_training_month(as_of, self._cadence) or month_of(as_of) in self._ordered

    def due(self) -> list[date]:
        """Sessions of the trainings among the run's decisions."""
        due_days = [day for day in self.run.decisions if self.trains(day)]
        if not due_days:
            self.run.tell_log(f"no training month among {', '.join(self.run.months)}: cadence_months={self._cadence}")
        return due_days

    def keep(self, as_of: date, trained: Sequence[TrainedModel]) -> Sequence[TrainedModel]:
        """Write the files of a model; rows that name them follow once all exist."""
        files = dict[str, bytes | Path]()
        for item in trained:
            if item.files and item.manifest and item.manifest_name:
                files |= item.files.paths
                files[item.manifest_name] = item.manifest
                if not item.updated and item.importances_name and (weights := importances_csv(item.manifest)):
                    files[item.importances_name] = weights
        # In parallel: a small training would wait for the disk as long as it computes.
        self.run.store.write_artifacts({f"{self._folder(as_of)}/{name}": content for name, content in files.items()})
        self._made.setdefault(as_of, []).extend(trained)
        return trained

    def rows(self, as_of: date, updates: Mapping[str, Any] | None = None) -> pl.DataFrame:
        """Rows of the kept models, with metadata of their partition.

        Args:
            as_of: session of the month.
            updates: additional metadata of updates.

        """
        trained, month = self._made.get(as_of, []), month_of(as_of)
        rows, metadata = checkpoint_rows(trained, self._folder(as_of)), dict(updates or {})
        if self.trains(as_of):
            ranked = {f"{row['model']}_rank_ic_{row['horizon']}": row["rank_ic"] for row in rows.iter_rows(named=True)}
            metadata = told_of(trained) | {"trained_on_rows": rows["rows"].max()} | metadata
            if month in self._ordered:
                metadata |= {"ordered_because": self._ordered[month]}
            metadata |= readable(ranked)
            self.run.tell_trainings(self.sector, trained)
        if metadata:
            self.run.tell(self.sector, month, metadata)
        return rows

    def _folder(self, as_of: date) -> str:
        return f"{self._dataset}/{self.sector}/{month_of(as_of)}"
