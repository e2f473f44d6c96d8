"""The stock Transformer in the graph: encoders pre-trained on the whole market, checkpoints fine-tuned by sector."""

import tempfile
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import dagster as dg
import polars as pl

from quant_assets.asset_functions import Run, Setting, readable
from quant_assets.assets.declare import Asset, declared, read
from quant_assets.assets.pretraining_unit import Pretrained, pretrain
from quant_assets.assets.training_unit import train
from quant_assets.assets.trainings import Trainings
from quant_assets.io.blocks import in_months
from quant_assets.learning.checkpoints import is_training_month
from quant_assets.learning.model_files import verified
from quant_assets.learning.models import Models
from quant_assets.learning.models.base import Learner
from quant_assets.learning.training import sampled_sessions
from quant_assets.learning.transformer.parameters import Encoder
from quant_assets.learning.transformer.published import Manifest
from quant_assets.partitions import all_sectors, lookback, market, month_of, months_covering, shift_month
from quant_assets.profile import Profile
from quant_assets.runtime.devices import POOL
from quant_assets.schemas import TRANSFORMER_CHECKPOINTS, TRANSFORMER_PRETRAINED
from quant_assets.settings.domain import PredictionSettings, TrainingSettings
from quant_assets.training_orders import TrainingOrders
from quant_assets.trial_log import TrialLog

#: Months after its own in which an encoder may be used: twice the longest cadence.
ENCODER_MONTHS = 24


def transformer_trainings(profile: Profile) -> list[dg.AssetsDefinition]:
    """The assets that train models of kind `transformer`."""
    training, models = profile.settings.training, profile.models
    history = max(_pretraining(models.learners[name]).window_months for name in models.of(TRANSFORMER_CHECKPOINTS.name))
    bars = months_covering(models.bar_sessions)
    window = read(lookback(training.window_months))
    return declared(
        profile,
        "learning",
        # Missing sectors and months are not computed for it: the market is the stored data.
        Asset(
            TRANSFORMER_PRETRAINED.name,
            transformer_pretrained,
            {"prices": read(all_sectors(history + bars), absent="stored")},
            kinds=["torch"],
            pool=POOL,
        ),
        Asset(
            TRANSFORMER_CHECKPOINTS.name,
            transformer_checkpoint,
            {
                "features": window,
                "labels": window,
                "prices": read(lookback(training.window_months + bars)),
                TRANSFORMER_PRETRAINED.name: read(market(ENCODER_MONTHS), absent="stored"),
            },
            kinds=["torch"],
            pool=POOL,
        ),
    )


def _pretraining(learner: Learner[Any]) -> Any:
    return learner.parameters.pretraining


def transformer_pretrained(
    run: Run, seed: Annotated[int, Setting("training.seed")], models: Models, prices: pl.LazyFrame
) -> pl.DataFrame:
    """Pre-train an encoder of each model in the months of its cadence, on the bars of all stored sectors."""
    parts = [pl.DataFrame(schema=TRANSFORMER_PRETRAINED.schema)]
    for as_of in run.decisions:
        for name in models.of(TRANSFORMER_CHECKPOINTS.name):
            learner = models.learners[name]
            pretraining = _pretraining(learner)
            if not pretraining.cadence_months or not is_training_month(as_of, pretraining.cadence_months):
                continue
            if learner.parameters.encoder is not None:
                run.tell_log(f"model {name} begins from an encoder of its own: none is pre-trained")
                continue
            month = month_of(as_of)
            back = pretraining.window_months + months_covering(learner.bar_sessions)
            bars = prices.filter(in_months(shift_month(month, -back), month)).drop("month").collect()
            kept, states = f"{TRANSFORMER_PRETRAINED.name}/{month}", run.states("pretrained", "market", as_of, name)
            with tempfile.TemporaryDirectory() as folder:
                pretrained = pretrain(
                    run.launcher, models.kinds[name], bars, as_of, learner, seed, Path(folder), states, run.tell_log
                )
            if pretrained.content is not None and pretrained.manifest is not None:
                run.store.write_artifact(f"{kept}/{pretrained.file_name}", pretrained.content)
                run.store.write_artifact(f"{kept}/{pretrained.manifest_name}", pretrained.manifest)
            figures = {
                f"{name}_{each}": value.isoformat() if isinstance(value, date) else value
                for each, value in pretrained.facts.items()
            }
            run.tell(None, month, readable(figures))
            parts.append(_row(as_of, name, kept, pretrained))
    return pl.concat(parts)


def _row(as_of: date, name: str, kept: str, pretrained: Pretrained) -> pl.DataFrame:
    trained = pretrained.content is not None
    row: dict[str, Any] = {
        "as_of": as_of,
        "model": name,
        "status": "trained" if trained else "too_little_history",
        "stage": "encoder",
        "model_version": pretrained.version,
        "model_file": f"{kept}/{pretrained.file_name}" if trained else None,
        "model_sha256": pretrained.sha256,
        "manifest_file": f"{kept}/{pretrained.manifest_name}" if trained else None,
        "manifest_sha256": pretrained.manifest_sha256,
        **pretrained.facts,
    }
    return pl.DataFrame([row], schema=TRANSFORMER_PRETRAINED.schema, orient="row")


def transformer_checkpoint(
    run: Run,
    sector: str,
    training: TrainingSettings,
    predicting: PredictionSettings,
    models: Models,
    trials: TrialLog,
    orders: TrainingOrders,
    features: pl.LazyFrame,
    labels: pl.LazyFrame,
    prices: pl.LazyFrame,
    transformer_pretrained: pl.LazyFrame,
) -> pl.DataFrame:
    """Fine-tune each model on the sector's returns, from the newest encoder that knows nothing later."""
    if run.order is not None:
        orders.note(sector, *run.order, TRANSFORMER_CHECKPOINTS.name)
    beside = orders.months(sector, TRANSFORMER_CHECKPOINTS.name)
    trainings = Trainings(run, sector, TRANSFORMER_CHECKPOINTS.name, training.cadence_months, beside)
    parts, encoders = [pl.DataFrame(schema=TRANSFORMER_CHECKPOINTS.schema)], transformer_pretrained.collect()
    for as_of in trainings.due():
        month = month_of(as_of)
        begin = shift_month(month, -training.window_months)
        sampled = pl.col("date").is_in(pl.Series(sampled_sessions(as_of, training), dtype=pl.Date).implode())
        frames = features.select("month", "ticker", "date"), labels
        window = in_months(begin, month) & sampled
        inputs, targets = (frame.filter(window).drop("month").collect() for frame in frames)
        for name in models.of(TRANSFORMER_CHECKPOINTS.name):
            bars = in_months(shift_month(begin, -months_covering(models.learners[name].bar_sessions)), month)
            with tempfile.TemporaryDirectory() as folder:
                learner = _begun(run, models.learners[name], encoders, as_of, Path(folder))
                found = train(
                    run.launcher,
                    models.kinds[name],
                    inputs,
                    targets,
                    as_of,
                    training,
                    predicting,
                    learner,
                    models.horizons[name],
                    sector,
                    (),
                    Path(folder) / "trained",
                    prices=prices.filter(bars).drop("month").collect(),
                    kept=run.states(TRANSFORMER_CHECKPOINTS.name, sector, as_of, name),
                    tell=run.tell_log,
                )
                trials.note_training(sector, trainings.keep(as_of, found))
        parts.append(trainings.rows(as_of))
    return pl.concat(parts)


def _begun(run: Run, learner: Any, encoders: pl.DataFrame, as_of: date, folder: Path) -> Learner[Any]:
    """The learner with the newest stored encoder of its model up to a session; unchanged if it has its own."""
    (folder / "trained").mkdir()
    if learner.parameters.encoder is not None:
        return learner  # type: ignore[no-any-return]
    known = encoders.filter(
        (pl.col("model") == learner.name) & (pl.col("as_of") <= as_of) & (pl.col("status") == "trained")
    ).sort("as_of")
    if known.is_empty():
        run.tell_log(f"model {learner.name}: no encoder up to {as_of} is stored; it is trained from scratch")
        return learner  # type: ignore[no-any-return]
    row = known.row(-1, named=True)
    manifest = verified("manifest of an encoder", run.store.read_artifact(row["manifest_file"]), row["manifest_sha256"])
    path = folder / "encoder.ckpt"
    path.write_bytes(run.store.read_artifact(row["model_file"]))
    run.tell_log(f"model {learner.name}: begins from the encoder of {row['as_of']}, version {row['model_version']}")
    begun: Learner[Any] = learner.beginning_from(
        Encoder(path=str(path), manifest=Manifest.model_validate_json(manifest))
    )
    return begun
