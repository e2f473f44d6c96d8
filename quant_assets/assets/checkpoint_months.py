"""The checkpoints of one sector, month by month: trainings, and updates from the previous month."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from quant_assets.assets.training_told import said_of_updates
from quant_assets.assets.training_unit import train
from quant_assets.assets.trainings import Trainings
from quant_assets.io.blocks import in_months
from quant_assets.learning.models import Models
from quant_assets.learning.models.base import Learner
from quant_assets.learning.trained import TrainedModel
from quant_assets.learning.training import sampled_sessions
from quant_assets.learning.updating import Stored, against_updates, stored_fits, update_checkpoint, with_comparison
from quant_assets.partitions import month_of, shift_month
from quant_assets.schemas import CHECKPOINTS
from quant_assets.settings.domain import PredictionSettings, TrainingSettings


@dataclass(frozen=True)
class CheckpointMonths:
    """Computes the rows of a month of one sector.

    It takes only the needed parts of an asset function's arguments, so that provenance records only these.

    Attributes:
        trainings: the trainings of the sector in the run.
        training: settings.
        predicting: settings.
        models: of the profile.
        names: columns of the model inputs.
        note_training: of the log of trials.
        features: of the windows of all months.
        labels: likewise.

    """

    trainings: Trainings
    training: TrainingSettings
    predicting: PredictionSettings
    models: Models
    names: tuple[str, ...]
    note_training: Callable[[str, Sequence[TrainedModel]], None]
    features: pl.LazyFrame
    labels: pl.LazyFrame

    def trained(self, as_of: date, before: pl.DataFrame | None = None) -> pl.DataFrame:
        """Train every model, and compare updated models with a full training.

        Args:
            as_of: session of the training.
            before: checkpoints of the previous month, if some may be updates.

        """
        inputs, targets = self._rows(as_of)
        sector, judged = self.trainings.sector, list[dict[str, Any]]()
        for name in self.models.of(CHECKPOINTS.name):
            learner = self.models.learners[name]
            options = self.training, self.predicting, learner, self.models.horizons[name], sector, self.names
            with tempfile.TemporaryDirectory() as folder:
                (target := Path(folder) / "trained").mkdir()
                trained = train(
                    self.trainings.run.launcher, self.models.kinds[name], inputs, targets, as_of, *options, target
                )
                if before is not None and learner.updates:
                    updated = before.filter(pl.col("status") == "updated")
                    for stored in self._stored(updated, learner, Path(folder) / "stored"):
                        options_of_update = as_of, self.training, learner, stored, sector, self.names
                        comparisons = against_updates(inputs, targets, *options_of_update)
                        trained = [with_comparison(item, comparisons.get(item.horizon)) for item in trained]
                        judged += [{"model": name, "horizon": each} | of for each, of in comparisons.items()]
                self.note_training(sector, self.trainings.keep(as_of, trained))
        return self.trainings.rows(as_of, said_of_updates(judged))

    def updated(self, as_of: date, before: pl.DataFrame) -> pl.DataFrame:
        """Update the models with this setting from their checkpoints of the previous month.

        Args:
            as_of: session of the update.
            before: checkpoints of the previous month; without any, nothing is updated.

        """
        judged = list[dict[str, Any]]()
        inputs: tuple[pl.DataFrame, pl.DataFrame] | None = None
        run, sector = self.trainings.run, self.trainings.sector
        for name in self.models.of(CHECKPOINTS.name):
            learner = self.models.learners[name]
            if not learner.updates:
                continue
            with tempfile.TemporaryDirectory() as folder:
                stored = list(self._stored(before, learner, Path(folder) / "stored"))
                if not stored:
                    run.tell_log(
                        f"{sector} {month_of(as_of)}: model {name} is not updated, as the month before has no "
                        f"checkpoint of it; materialise {CHECKPOINTS.name} from its last training on"
                    )
                    continue
                inputs = inputs or self._rows(as_of)
                updated = [
                    item
                    for number, fit in enumerate(stored)
                    for item in update_checkpoint(
                        *inputs,
                        as_of,
                        self.training,
                        learner,
                        fit,
                        self.names,
                        Path(folder) / str(number),
                        run.store.read_artifact,
                    )
                ]
                self.trainings.keep(as_of, updated)
            judged += [{"model": name, "horizon": item.horizon} | item.judged[-1] for item in updated]
        return self.trainings.rows(as_of, said_of_updates(judged) if judged else None)

    def _rows(self, as_of: date) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Features and labels in the window of one training."""
        window = in_months(shift_month(month_of(as_of), -self.training.window_months), month_of(as_of))
        days = pl.Series(sampled_sessions(as_of, self.training), dtype=pl.Date)
        sampled = window & pl.col("date").is_in(days.implode())
        features, labels = (frame.filter(sampled).drop("month").collect() for frame in (self.features, self.labels))
        return features, labels

    def _stored(self, before: pl.DataFrame, learner: Learner[Any], folder: Path) -> Sequence[Stored]:
        options = self.models.horizons[learner.name], self.names, self.trainings.run.store.read_artifact, folder
        return list(stored_fits(before, learner, *options))
