"""One training of the real assets on altered features and labels, with the results of trainers and forecasters.

A trainer is any asset that reads `features` and `labels`, a forecaster any that reads a trainer's dataset and gives
`prediction`. No judgement here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from quant_assets.audit.datasets import Alter, compute, read_all, with_datasets
from quant_assets.audit.findings import Comparison
from quant_assets.audit.fitting import Fit, recorded
from quant_assets.audit.runs import Recomputed
from quant_assets.audit.stored_rows import StoredRows
from quant_assets.learning.metrics import daily_ic
from quant_assets.partitions import RunPartitions, shift_month
from quant_assets.planning.plan import Planner
from quant_assets.schemas import Dataset

#: What a trainer reads.
READ = ("features", "labels")


def learners(planner: Planner, datasets: Mapping[str, Dataset]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Datasets of trainers and of forecasters, without datasets that are never trained again."""
    reads = {name: set(planner.reads(name)) for name in datasets}
    trainers = tuple(
        name
        for name, dataset in datasets.items()
        if set(READ) <= reads[name] and "status" in dataset.columns and dataset.reproducibility == "exact"
    )
    return trainers, tuple(
        name for name in datasets if reads[name] & set(trainers) and "prediction" in datasets[name].columns
    )


@dataclass(frozen=True)
class Trained:
    """The result of one run of the trainers and forecasters.

    Attributes:
        scratch: holds their rows.
        fits: by trainer.

    """

    scratch: Recomputed
    fits: dict[str, list[Fit]]

    def trained(self, trainer: str) -> bool:
        """Whether the trainer had enough history."""
        return bool((read_all(self.scratch, trainer)["status"] == "trained").any())


@dataclass(frozen=True)
class Stage:
    """The training under test.

    Attributes:
        base: holds `features` and `labels`.
        sector: slug.
        month: of the training.
        as_of: its session.
        folder: where the altered copies go.
        trainers: names of their datasets.
        forecasters: names of their datasets.

    """

    base: Recomputed
    sector: str
    month: str
    as_of: date
    folder: Path
    trainers: tuple[str, ...]
    forecasters: tuple[str, ...]

    @classmethod
    def of(cls, base: Recomputed, sector: str, month: str, folder: Path) -> "Stage":
        """Create it; arguments as the attributes."""
        trainers, forecasters = learners(base.planner, base.profile.datasets)
        as_of = base.profile.decision_sessions(RunPartitions((sector,), (month,)))[0]
        return cls(base, sector, month, as_of, folder, trainers, forecasters)

    @property
    def horizon(self) -> int:
        """The horizon that decisions use."""
        return self.base.profile.settings.weights.horizon

    def run(
        self, name: str, altered: Mapping[str, Alter], horizon: int | None = None, *, forecasts: bool = True
    ) -> Trained:
        """Train on altered inputs, and forecast the next month.

        Args:
            name: of the scratch folder.
            altered: alterations of `features` and `labels`.
            horizon: the only one to train; None for all.
            forecasts: whether the forecasters run.

        Raises:
            RunFailedError: an asset failed.

        """
        # Only one checkpoint is trained, so the next month must not use an older one.
        settings = self.base.profile.settings
        training = settings.training.model_copy(update={"max_checkpoint_age_months": 1})
        models = {
            model: each if horizon is None else each.model_copy(update={"horizons": (horizon,)})
            for model, each in settings.models.items()
            if horizon is None or not each.horizons or horizon in each.horizons
        }
        datasets = {each: altered.get(each) for each in READ}
        settings = settings.model_copy(update={"training": training, "models": models})
        scratch = with_datasets(self.base, self.folder / name, settings, datasets)
        fits = {}
        for trainer in self.trainers:
            with recorded() as trainer_fits:
                compute(scratch, [trainer], self.sector, self.month, self.month)
            fits[trainer] = trainer_fits
        after = shift_month(self.month, 1)
        if forecasts:
            compute(scratch, list(self.forecasters), self.sector, after, after)
        return Trained(scratch, fits)

    def stored(self, run: Recomputed) -> StoredRows:
        """The rows of `features` and `labels` of a run."""
        return StoredRows.of(read_all(run, "features"), read_all(run, "labels"), self.base.profile.features.names)

    def forecast_ic(self, run: Trained, horizon: int) -> dict[tuple[str, str], pl.DataFrame]:
        """Daily IC by asset and model with the run's labels: a trainer's test slices, a forecaster's next month."""
        labels = (
            read_all(run.scratch, "labels")
            .filter(pl.col("horizon") == horizon)
            .select("ticker", "date", "forward_return")
        )
        stored = self.stored(run.scratch)
        forecasts: dict[tuple[str, str], list[pl.DataFrame]] = {}
        for name, fits in run.fits.items():
            for fit in fits:
                placed = [stored.called(each).rename({"value": "prediction"}) for each in fit.predicted]
                forecasts.setdefault((name, fit.model), []).extend(placed)
        for name in self.forecasters:
            rows = read_all(run.scratch, name).filter(pl.col("horizon") == horizon)
            for model, part in rows.group_by("model", maintain_order=True):
                forecasts[name, str(model[0])] = [part.select("ticker", "date", "prediction")]
        judged = {
            each: daily_ic(pl.concat(parts).unique(["ticker", "date"], keep="last").join(labels, on=["ticker", "date"]))
            for each, parts in forecasts.items()
            if parts
        }
        return {each: daily for each, daily in judged.items() if len(daily)}

    def comparison(
        self,
        asset: str,
        column: str,
        compared: int,
        differing: int,
        *,
        first: Sequence[Mapping[str, object]] = (),
        expected: str = "",
        found: str = "",
        cause: str = "",
    ) -> Comparison:
        """A comparison of the learning test, described by its first wrong row."""
        row = first[0] if first else {}
        if not differing:
            return Comparison(asset, "learning", self.as_of, compared=compared)
        return Comparison(
            asset,
            "learning",
            self.as_of,
            column,
            compared,
            differing,
            first_date=row.get("date", self.as_of),  # type: ignore[arg-type]
            ticker=row.get("ticker"),  # type: ignore[arg-type]
            sector=self.sector,
            key=f"ticker={row['ticker']}, date={row['date']}" if row else f"as_of={self.as_of}",
            expected=expected,
            found=found,
            cause=cause,
        )
