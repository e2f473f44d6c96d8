"""The checkpoints of one sector, month by month: what is trained, updated, stored and told."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from quant_assets.asset_functions import Run, readable
from quant_assets.assets.training_told import importances_csv, said_of_updates, told_of
from quant_assets.assets.training_unit import train
from quant_assets.io.blocks import in_months
from quant_assets.learning.checkpoints import is_training_month
from quant_assets.learning.models import Models
from quant_assets.learning.models.base import Learner
from quant_assets.learning.trained import TrainedModel, checkpoint_rows
from quant_assets.learning.training import sampled_sessions
from quant_assets.learning.updating import Stored, against_updates, stored_fits, update_checkpoint, with_comparison
from quant_assets.partitions import month_of, shift_month
from quant_assets.schemas import CHECKPOINTS
from quant_assets.settings.domain import PredictionSettings, TrainingSettings


@dataclass(frozen=True)
class CheckpointMonths:
    """Makes the rows of a month of one sector.

    Of what an asset function is handed it takes the parts that it uses, so that these are what is recorded.

    Attributes:
        run: of the months.
        sector: slug.
        training: settings.
        predicting: settings.
        models: of the profile.
        names: columns that the models see.
        note_training: of the log of trials.
        ordered: months of a sector that are trained whatever the cadence, and why.
        features: of the windows of all months.
        labels: likewise.

    """

    run: Run
    sector: str
    training: TrainingSettings
    predicting: PredictionSettings
    models: Models
    names: tuple[str, ...]
    note_training: Callable[[str, Sequence[TrainedModel]], None]
    ordered: Callable[[str], Mapping[str, str]]
    features: pl.LazyFrame
    labels: pl.LazyFrame

    def trains(self, as_of: date) -> bool:
        """Whether the month of a session is a training month, or ordered."""
        beside = self.ordered(self.sector)
        return is_training_month(as_of, self.training.cadence_months) or month_of(as_of) in beside

    def trained(self, as_of: date, before: pl.DataFrame | None = None) -> pl.DataFrame:
        """Train every model, and hold those that were updated so far against a training in full.

        Args:
            as_of: session of the training.
            before: checkpoints of the month before, where there may be updates among them.

        """
        inputs, targets = self._rows(as_of)
        month, found = list[TrainedModel](), list[dict[str, Any]]()
        for name, learner in self.models.learners.items():
            given = self.training, self.predicting, learner, self.models.horizons[name], self.sector, self.names
            with tempfile.TemporaryDirectory() as folder:
                (place := Path(folder) / "trained").mkdir()
                trained = train(self.run.launcher, self.models.kinds[name], inputs, targets, as_of, *given, place)
                if before is not None and learner.updates:
                    updated = before.filter(pl.col("status") == "updated")
                    for stored in self._stored(updated, learner, Path(folder) / "stored"):
                        about = as_of, self.training, learner, stored, self.sector, self.names
                        told = against_updates(inputs, targets, *about)
                        trained = [with_comparison(item, told.get(item.horizon)) for item in trained]
                        found += [{"model": name, "horizon": each} | of for each, of in told.items()]
                self._keep(as_of, trained)
            self.note_training(self.sector, trained)
            month += trained
        rows = checkpoint_rows(month, self._place(as_of))
        ranked = {f"{row['model']}_rank_ic_{row['horizon']}": row["rank_ic"] for row in rows.iter_rows(named=True)}
        said = told_of(month) | {"trained_on_rows": rows["rows"].max()} | said_of_updates(found)
        if (because := self.ordered(self.sector).get(month_of(as_of))) is not None:
            said |= {"ordered_because": because}
        self.run.tell(self.sector, month_of(as_of), said | readable(ranked))
        self.run.tell_trainings(self.sector, month)
        return rows

    def updated(self, as_of: date, before: pl.DataFrame) -> pl.DataFrame:
        """Update the models whose settings say so, from their checkpoints of the month before.

        Args:
            as_of: session of the update.
            before: checkpoints of the month before; where there are none, nothing is updated.

        """
        month, found = list[TrainedModel](), list[dict[str, Any]]()
        inputs: tuple[pl.DataFrame, pl.DataFrame] | None = None
        for name, learner in self.models.learners.items():
            if not learner.updates:
                continue
            with tempfile.TemporaryDirectory() as folder:
                stored = list(self._stored(before, learner, Path(folder) / "stored"))
                if not stored:
                    self.run.tell_log(
                        f"{self.sector} {month_of(as_of)}: model {name} is not updated, as the month before has no "
                        f"checkpoint of it; materialise {CHECKPOINTS.name} from its last training on"
                    )
                    continue
                inputs = inputs or self._rows(as_of)
                read, names = self.run.store.read_artifact, self.names
                updated = [
                    item
                    for number, each in enumerate(stored)
                    for item in update_checkpoint(
                        *inputs, as_of, self.training, learner, each, names, Path(folder) / str(number), read
                    )
                ]
                self._keep(as_of, updated)
            month += updated
            found += [{"model": name, "horizon": item.horizon} | item.judged[-1] for item in updated]
        if month:
            self.run.tell(self.sector, month_of(as_of), said_of_updates(found))
        return checkpoint_rows(month, self._place(as_of))

    def _rows(self, as_of: date) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Features and labels of a training: the windows of all trainings together are the whole history."""
        window = in_months(shift_month(month_of(as_of), -self.training.window_months), month_of(as_of))
        days = pl.Series(sampled_sessions(as_of, self.training), dtype=pl.Date)
        sampled = window & pl.col("date").is_in(days.implode())
        features, labels = (frame.filter(sampled).drop("month").collect() for frame in (self.features, self.labels))
        return features, labels

    def _stored(self, before: pl.DataFrame, learner: Learner[Any], folder: Path) -> Sequence[Stored]:
        given = self.models.horizons[learner.name], self.names, self.run.store.read_artifact, folder
        return list(stored_fits(before, learner, *given))

    def _place(self, as_of: date) -> str:
        return f"{CHECKPOINTS.name}/{self.sector}/{month_of(as_of)}"

    def _keep(self, as_of: date, made: Sequence[TrainedModel]) -> None:
        """The files first, the rows that name them when all of them are there."""
        kept = self._place(as_of)
        for item in made:
            if item.files and item.manifest:
                for file, path in item.files.paths.items():
                    self.run.store.write_artifact_file(f"{kept}/{file}", path)
                self.run.store.write_artifact(f"{kept}/{item.manifest_name}", item.manifest)
                if not item.updated and (weights := importances_csv(item.manifest)):
                    self.run.store.write_artifact(f"{kept}/{item.importances_name}", weights)
