"""What every asset of checkpoints does around its trainings: which months are due, files, rows, what is told."""

from collections.abc import Mapping, Sequence
from datetime import date

import polars as pl

from quant_assets.asset_functions import Run, readable
from quant_assets.assets.training_told import importances_csv, told_of
from quant_assets.learning.checkpoints import checkpoint_rows, is_training_month
from quant_assets.learning.training import TrainedModel
from quant_assets.partitions import month_of
from quant_assets.settings.domain import TrainingSettings


class Trainings:
    """The trainings of one sector in a run.

    Args:
        run: the asset's.
        sector: slug.
        dataset: that the rows go into.
        settings: cadence.
        ordered: months beside the cadence, each with its reason.

    """

    def __init__(
        self, run: Run, sector: str, dataset: str, settings: TrainingSettings, ordered: Mapping[str, str]
    ) -> None:
        self._run, self._sector, self._dataset, self._settings = run, sector, dataset, settings
        self._ordered = ordered
        self._trained: dict[date, list[TrainedModel]] = {}

    def due(self) -> list[date]:
        """Sessions of the trainings among the run's decisions."""
        cadence = self._settings.cadence_months
        found = [
            day for day in self._run.decisions if is_training_month(day, cadence) or month_of(day) in self._ordered
        ]
        if not found:
            self._run.tell_log(f"no training month among {', '.join(self._run.months)}: cadence_months={cadence}")
        return found

    def keep(self, as_of: date, trained: Sequence[TrainedModel]) -> Sequence[TrainedModel]:
        """Write the files of a model; the rows that name them come when all of them are there."""
        store, kept = self._run.store, self._folder(as_of)
        for item in trained:
            if item.files and item.manifest:
                for file, path in item.files.paths.items():
                    store.write_artifact_file(f"{kept}/{file}", path)
                store.write_artifact(f"{kept}/{item.manifest_name}", item.manifest)
                if weights := importances_csv(item.manifest):
                    store.write_artifact(f"{kept}/{item.importances_name}", weights)
        self._trained.setdefault(as_of, []).extend(trained)
        return trained

    def rows(self, as_of: date) -> pl.DataFrame:
        """Rows of the models that were kept, which are shown beside their partition."""
        trained, month = self._trained.get(as_of, []), month_of(as_of)
        rows = checkpoint_rows(trained, self._folder(as_of))
        ranked = {f"{row['model']}_rank_ic_{row['horizon']}": row["rank_ic"] for row in rows.iter_rows(named=True)}
        told = told_of(trained) | {"trained_on_rows": rows["rows"].max()}
        if month in self._ordered:
            told |= {"ordered_because": self._ordered[month]}
        self._run.tell(self._sector, month, told | readable(ranked))
        self._run.tell_trainings(self._sector, trained)
        return rows

    def _folder(self, as_of: date) -> str:
        return f"{self._dataset}/{self._sector}/{month_of(as_of)}"
