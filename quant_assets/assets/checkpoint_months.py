"""The checkpoints of one sector, month by month: what is trained and what is updated from the month before."""

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
    """Makes the rows of a month of one sector.

    Of what an asset function is handed it takes the parts that it uses, so that these are what is recorded.

    Attributes:
        told: the trainings of the sector in the run.
        training: settings.
        predicting: settings.
        models: of the profile.
        names: columns that the models see.
        note_training: of the log of trials.
        features: of the windows of all months.
        labels: likewise.

    """

    told: Trainings
    training: TrainingSettings
    predicting: PredictionSettings
    models: Models
    names: tuple[str, ...]
    note_training: Callable[[str, Sequence[TrainedModel]], None]
    features: pl.LazyFrame
    labels: pl.LazyFrame

    def trained(self, as_of: date, before: pl.DataFrame | None = None) -> pl.DataFrame:
        """Train every model, and hold those that were updated so far against a training in full.

        Args:
            as_of: session of the training.
            before: checkpoints of the month before, where there may be updates among them.

        """
        inputs, targets = self._rows(as_of)
        sector, found = self.told.sector, list[dict[str, Any]]()
        for name in self.models.of(CHECKPOINTS.name):
            learner = self.models.learners[name]
            given = self.training, self.predicting, learner, self.models.horizons[name], sector, self.names
            with tempfile.TemporaryDirectory() as folder:
                (place := Path(folder) / "trained").mkdir()
                trained = train(self.told.run.launcher, self.models.kinds[name], inputs, targets, as_of, *given, place)
                if before is not None and learner.updates:
                    updated = before.filter(pl.col("status") == "updated")
                    for stored in self._stored(updated, learner, Path(folder) / "stored"):
                        about = as_of, self.training, learner, stored, sector, self.names
                        told = against_updates(inputs, targets, *about)
                        trained = [with_comparison(item, told.get(item.horizon)) for item in trained]
                        found += [{"model": name, "horizon": each} | of for each, of in told.items()]
                self.note_training(sector, self.told.keep(as_of, trained))
        return self.told.rows(as_of, said_of_updates(found))

    def updated(self, as_of: date, before: pl.DataFrame) -> pl.DataFrame:
        """Update the models whose settings say so, from their checkpoints of the month before.

        Args:
            as_of: session of the update.
            before: checkpoints of the month before; where there are none, nothing is updated.

        """
        found = list[dict[str, Any]]()
        inputs: tuple[pl.DataFrame, pl.DataFrame] | None = None
        run, sector = self.told.run, self.told.sector
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
                    for number, each in enumerate(stored)
                    for item in update_checkpoint(
                        *inputs,
                        as_of,
                        self.training,
                        learner,
                        each,
                        self.names,
                        Path(folder) / str(number),
                        run.store.read_artifact,
                    )
                ]
                self.told.keep(as_of, updated)
            found += [{"model": name, "horizon": item.horizon} | item.judged[-1] for item in updated]
        return self.told.rows(as_of, said_of_updates(found) if found else None)

    def _rows(self, as_of: date) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Features and labels of a training: the windows of all trainings together are the whole history."""
        window = in_months(shift_month(month_of(as_of), -self.training.window_months), month_of(as_of))
        days = pl.Series(sampled_sessions(as_of, self.training), dtype=pl.Date)
        sampled = window & pl.col("date").is_in(days.implode())
        features, labels = (frame.filter(sampled).drop("month").collect() for frame in (self.features, self.labels))
        return features, labels

    def _stored(self, before: pl.DataFrame, learner: Learner[Any], folder: Path) -> Sequence[Stored]:
        given = self.models.horizons[learner.name], self.names, self.told.run.store.read_artifact, folder
        return list(stored_fits(before, learner, *given))
