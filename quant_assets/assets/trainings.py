"""What every asset of checkpoints does around its trainings: which months are due, files, rows, what is told."""

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

    Of what an asset function is handed it takes the parts that it uses, so that these are what is recorded.

    Args:
        run: the asset's.
        sector: slug.
        dataset: that the rows go into.
        cadence_months: between trainings.
        ordered: months beside the cadence, each with its reason.

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
        found = [day for day in self.run.decisions if self.trains(day)]
        if not found:
            self.run.tell_log(f"no training month among {', '.join(self.run.months)}: cadence_months={self._cadence}")
        return found

    def keep(self, as_of: date, made: Sequence[TrainedModel]) -> Sequence[TrainedModel]:
        """Write the files of a model; the rows that name them come when all of them are there."""
        files = dict[str, bytes | Path]()
        for item in made:
            if item.files and item.manifest and item.manifest_name:
                files |= item.files.paths
                files[item.manifest_name] = item.manifest
                if not item.updated and item.importances_name and (weights := importances_csv(item.manifest)):
                    files[item.importances_name] = weights
        # Side by side: a training of few rows would wait for the disk as long as it computes.
        self.run.store.write_artifacts({f"{self._folder(as_of)}/{name}": content for name, content in files.items()})
        self._made.setdefault(as_of, []).extend(made)
        return made

    def rows(self, as_of: date, updates: Mapping[str, Any] | None = None) -> pl.DataFrame:
        """Rows of the models that were kept, which are shown beside their partition.

        Args:
            as_of: session of the month.
            updates: what is told of updates besides.

        """
        made, month = self._made.get(as_of, []), month_of(as_of)
        rows, told = checkpoint_rows(made, self._folder(as_of)), dict(updates or {})
        if self.trains(as_of):
            ranked = {f"{row['model']}_rank_ic_{row['horizon']}": row["rank_ic"] for row in rows.iter_rows(named=True)}
            told = told_of(made) | {"trained_on_rows": rows["rows"].max()} | told
            if month in self._ordered:
                told |= {"ordered_because": self._ordered[month]}
            told |= readable(ranked)
            self.run.tell_trainings(self.sector, made)
        if told:
            self.run.tell(self.sector, month, told)
        return rows

    def _folder(self, as_of: date) -> str:
        return f"{self._dataset}/{self.sector}/{month_of(as_of)}"
