"""Controls for learning through the real assets: rows that a training used, permuted labels, and an injected oracle.

A trainer is any asset that reads `features` and `labels`, a forecaster any that reads a trainer's dataset and gives
`prediction`. How the rows that a model was handed are recorded is in `fitting`; what is found is told in `findings`.
"""

import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from quant_assets.audit.datasets import Alter, compute, read_all, with_datasets
from quant_assets.audit.findings import AuditResult, Comparison
from quant_assets.audit.fitting import Fit, recorded
from quant_assets.audit.runs import Recomputed
from quant_assets.audit.stored_rows import StoredRows
from quant_assets.features.labels import forward_sessions
from quant_assets.learning.checkpoints import is_training_month
from quant_assets.learning.metrics import daily_ic
from quant_assets.market.calendar import session_number
from quant_assets.partitions import RunPartitions, month_start, months_covering, shift_month
from quant_assets.planning.plan import Planner
from quant_assets.profile import Profile
from quant_assets.schemas import Dataset
from quant_assets.settings.loading import Settings

#: A permuted label's IC may lie so many standard errors from 0: one false alarm in 16 thousand audits.
_STANDARD_ERRORS = 4.0

#: Rank IC that a model reaches when one of its inputs is the answer, by what it fits. Of directions only the sign is to
#: be found: where a share p of the names rises, its rank correlation with the return is sqrt(3 p (1 - p)), 0.87 at most
#: and 0.52 for a tenth.
_ORACLE_IC = {"regression": 0.9, "classification": 0.4}

#: Share of the training rows that may be in no stored partition, where values that repeat leave it open which row one
#: is.
_NOT_FOUND = 0.02

#: What a trainer reads.
_READ = ("features", "labels")

Progress = Callable[[str, int, int], None]


def audit_learning(
    of: Profile | Settings, *, sectors: Sequence[str], first: str, last: str, progress: Progress | None = None
) -> AuditResult:
    """Train the newest checkpoint of the months whose forecasts have come due; again on altered labels and features.

    Nothing of the user's storage or Dagster instance is read or written.

    Args:
        of: profile, or its settings.
        sectors: slugs.
        first: first month among which a training month is looked for.
        last: last of them.
        progress: told of each step.

    Returns:
        Comparisons of the test `learning`; a note where there was no training to look at.

    Raises:
        QuantError: an asset failed on the input as it is.

    """
    began, profile = time.perf_counter(), of if isinstance(of, Profile) else Profile(of)
    found, notes = list[Comparison](), list[str]()
    month = training_month(profile, first, last)
    for number, sector in enumerate(sectors):
        if progress is not None:
            progress(f"learning: {sector}", number, len(sectors))
        if month is None:
            notes.append(
                f"learning was not tested: no month from {first} to {last} trains a checkpoint "
                "whose forecasts have come due"
            )
            break
        with tempfile.TemporaryDirectory(prefix="quant-audit-") as folder:
            base = Recomputed.at(Path(folder) / "base", profile.settings, profile.provider)
            begin = max(shift_month(month, -profile.settings.training.window_months), profile.months.start)
            compute(base, list(_READ), sector, begin, shift_month(month, 1))
            comparisons, said = controls(base, sector, month, Path(folder))
        found += comparisons
        notes += said
    return AuditResult(
        profile.settings.profile, tuple(sectors), first, last, time.perf_counter() - began, tuple(found), tuple(notes)
    )


def training_month(profile: Profile, first: str, last: str) -> str | None:
    """The newest training month whose forecasts of the month after are all labelled by now; None without one."""
    due = 1 + months_covering(forward_sessions(profile.settings.labels))
    month = min(last, shift_month(profile.last_month(), -due))
    while month >= first:
        if is_training_month(month_start(month), profile.settings.training.cadence_months):
            return month
        month = shift_month(month, -1)
    return None


def learners(planner: Planner, datasets: Mapping[str, Dataset]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Datasets of trainers, and of forecasters; what is never trained again is none of them."""
    reads = {name: set(planner.reads(name)) for name in datasets}
    trainers = tuple(
        name
        for name, dataset in datasets.items()
        if set(_READ) <= reads[name] and "status" in dataset.columns and dataset.reproducibility == "exact"
    )
    return trainers, tuple(
        name for name in datasets if reads[name] & set(trainers) and "prediction" in datasets[name].columns
    )


def controls(base: Recomputed, sector: str, month: str, folder: Path) -> tuple[list[Comparison], list[str]]:
    """The controls for one training.

    Args:
        base: holds `features` and `labels` of the training window and of the month after `month`.
        sector: slug.
        month: of the training.
        folder: where the altered copies go.

    Returns:
        Comparisons, and notes on what could not be told.

    """
    stage = _Stage.of(base, sector, month, folder)
    actual = stage.run("actual", {})
    found, notes = list[Comparison](), list[str]()
    for trainer in stage.trainers:
        fits = actual.fits[trainer]
        if not actual.trained(trainer):
            notes.append(f"learning was not tested: {trainer} of {sector} and {month} has too little history")
        elif not fits:
            notes.append(
                f"{trainer} fits no model in this process: which rows it used was not recorded, only what they lead to"
            )
        else:
            compared, said = _rows_were_known(stage, trainer, fits)
            found, notes = [*found, *compared], [*notes, *said]
    if any(actual.trained(trainer) for trainer in stage.trainers):
        seed, horizon = base.profile.settings.training.seed, base.profile.settings.weights.horizon
        chosen = pl.col("horizon") == horizon

        def permuted(labels: pl.DataFrame) -> pl.DataFrame:
            # Every date by itself: `shuffle(seed).over("date")` would deal each date of as many names alike.
            ordered = labels.filter(chosen).sort("date", "ticker")
            drawn = ordered.with_columns(draw=pl.Series(np.random.default_rng(seed).random(len(ordered))))
            return drawn.with_columns(pl.col("forward_return").sort_by("draw").over("date")).drop("draw")

        judged = _without_relation(stage, stage.run("permuted", {"labels": permuted}, horizon), horizon)
        answer = read_all(base, "labels").filter(chosen).select("ticker", "date", answer="forward_return")

        def oracle(features: pl.DataFrame) -> pl.DataFrame:
            told = features.join(answer, on=["ticker", "date"], how="left")
            return told.with_columns(pl.col("answer").alias(base.profile.features.names[0])).drop("answer")

        told = _with_oracle(
            stage,
            stage.run("oracle", {"features": oracle, "labels": lambda rows: rows.filter(chosen)}, horizon),
            horizon,
        )
        for what, comparisons in (("on permuted labels", judged), ("with the label as an input", told)):
            found += comparisons
            silent = [
                name
                for name in (*stage.trainers, *stage.forecasters)
                if name not in {each.asset for each in comparisons}
            ]
            notes += [
                f"learning {what} was not tested: {name} of {sector} gave no forecast of a known label"
                for name in silent
            ]
    return found, notes


# --- Running the real assets ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Trained:
    """What one run of the trainers and forecasters left."""

    scratch: Recomputed
    fits: dict[str, list[Fit]]

    def trained(self, trainer: str) -> bool:
        return (read_all(self.scratch, trainer)["status"] == "trained").any()


@dataclass(frozen=True)
class _Stage:
    """The training that is looked at."""

    base: Recomputed
    sector: str
    month: str
    as_of: date
    folder: Path
    trainers: tuple[str, ...]
    forecasters: tuple[str, ...]

    @classmethod
    def of(cls, base: Recomputed, sector: str, month: str, folder: Path) -> "_Stage":
        trainers, forecasters = learners(base.planner, base.profile.datasets)
        as_of = base.profile.decision_sessions(RunPartitions((sector,), (month,)))[0]
        return cls(base, sector, month, as_of, folder, trainers, forecasters)

    def run(self, name: str, altered: dict[str, Alter], horizon: int | None = None) -> _Trained:
        """Train and forecast on altered inputs, for one horizon alone where it is given."""
        # One checkpoint is trained, so the month after may use no older one.
        settings = self.base.profile.settings
        training = settings.training.model_copy(update={"max_checkpoint_age_months": 1})
        models = {
            model: each if horizon is None else each.model_copy(update={"horizons": (horizon,)})
            for model, each in settings.models.items()
            if horizon is None or not each.horizons or horizon in each.horizons
        }
        datasets = {name: altered.get(name) for name in _READ}
        settings = settings.model_copy(update={"training": training, "models": models})
        scratch = with_datasets(self.base, self.folder / name, settings, datasets)
        fits = {}
        for trainer in self.trainers:
            with recorded() as found:
                compute(scratch, [trainer], self.sector, self.month, self.month)
            fits[trainer] = found
        after = shift_month(self.month, 1)
        compute(scratch, list(self.forecasters), self.sector, after, after)
        return _Trained(scratch, fits)


# --- What is asked of the runs ----------------------------------------------------------------------------------------


def _rows_were_known(stage: _Stage, trainer: str, fits: Sequence[Fit]) -> tuple[list[Comparison], list[str]]:
    """Whether the rows of each fit were known before the training, its validation slice and its test slice."""
    stored = StoredRows.of(
        read_all(stage.base, "features"), read_all(stage.base, "labels"), stage.base.profile.features.names
    )
    training, validation, test = list[pl.DataFrame](), list[pl.DataFrame](), list[pl.DataFrame]()
    for fit in fits:
        horizon = stored.horizon(fit.fitted)
        fitted, stopping = stored.rows(fit.fitted, horizon), [stored.rows(given, horizon) for given in fit.stopped_by]
        training += [_needed_by(rows, stage.as_of) for rows in (fitted, *stopping)]
        validation += [_needed_by(fitted, rows["date"].min()) for rows in stopping]
        test += [
            _needed_by(rows, stored.places(given)["date"].min())
            for given in fit.predicted
            for rows in (fitted, *stopping)
        ]
    embargo = stage.base.profile.settings.training.embargo_sessions
    asked = (
        (
            training,
            0,
            "the training",
            "a label is used that was not known yet: known_at of dataset labels is not compared, or was changed",
        ),
        (
            validation,
            1,
            "its validation slice",
            "labels overlap the slice that they are validated on: the split shuffles, "
            "or its purge counts rows instead of comparing known_at, date by date and across tickers",
        ),
        (
            test,
            1,
            "its test slice",
            "the model saw labels of its own test slice: it is fitted on them, or they choose the number of trees",
        ),
    )
    found = [
        _known_before(stage, trainer, pl.concat(parts), embargo + strictly, what, why)
        for parts, strictly, what, why in asked
        if parts
    ]
    untold = [
        f"{trainer}, {stage.sector}: no fit has rows of {what}; that was not tested"
        for parts, _, what, _ in asked
        if not parts
    ]
    rows = pl.concat(training)
    apart = (pl.col("paired_date") != pl.col("date")) | (pl.col("paired_ticker") != pl.col("ticker"))
    first = rows.filter(apart).sort("date", "ticker").head(1).rows(named=True)
    shown: dict[str, str] = {}
    if first:
        shown = {
            "expected": f"features of {first[0]['ticker']} at {first[0]['date']}",
            "found": f"features of {first[0]['paired_ticker']} at {first[0]['paired_date']}",
            "cause": "features and labels of different rows are joined: join them on ticker and date",
        }
    found.append(_comparison(stage, trainer, "date", len(rows), rows.select(apart.sum()).item(), first, **shown))
    unknown = rows["known_at"].null_count()
    said = (
        f"{trainer}, {stage.sector}: {unknown} of {len(rows)} training rows are none of the stored ones; "
        "they were not tested"
    )
    return found, [*untold, *([said] if unknown > _NOT_FOUND * len(rows) else [])]


def _needed_by(rows: pl.DataFrame, day: object) -> pl.DataFrame:
    return rows.with_columns(needed_by=pl.lit(day, pl.Date))


def _known_before(stage: _Stage, trainer: str, rows: pl.DataFrame, sessions: int, what: str, why: str) -> Comparison:
    """Rows whose labels were known fewer than `sessions` sessions before the day they were needed."""
    told = rows.drop_nulls(["known_at", "needed_by"])
    late = session_number(told["known_at"].to_numpy()) > session_number(told["needed_by"].to_numpy()) - sessions
    first = told.filter(pl.Series(late, dtype=pl.Boolean)).sort("date", "ticker").head(1).rows(named=True)
    shown: dict[str, str] = {}
    if first:
        begins = first[0]["needed_by"]
        shown = {
            "expected": f"known {sessions} sessions before {begins}, when {what} begins",
            "found": f"known at {first[0]['known_at']}",
        }
        shown["cause"] = why
    return _comparison(stage, trainer, "known_at", len(told), int(late.sum()), first, **shown)


def _without_relation(stage: _Stage, run: _Trained, horizon: int) -> list[Comparison]:
    """Whether the IC of labels that were dealt anew among the names of each session is 0, within its standard error.

    Over n names a correlation with labels that were permuted has mean 0 and variance 1 / (n - 1) whatever the forecasts
    are, and the sessions are independent, because each was permuted by itself. So the bound holds exactly for the
    labels as they are.

    References:
        Pitman (1937), Significance tests which may be applied to samples from any populations II, JRSS Supplement 4.

    """
    found = []
    for (trainer, _), daily in _forecast_ic(stage, run, horizon).items():
        mean = float(daily["rank_ic"].mean() or 0.0)  # type: ignore[arg-type]
        bound = _STANDARD_ERRORS * math.sqrt(float((1.0 / (daily["names"] - 1)).sum())) / len(daily)
        what = {"expected": f"rank IC 0 within {bound:.3f} on permuted labels", "found": f"rank IC {mean:+.3f}"}
        what["cause"] = (
            "the forecasts know labels that they are judged by: test rows are trained on, or an input holds the label"
        )
        found.append(_comparison(stage, trainer, "prediction", len(daily), int(abs(mean) > bound), (), **what))
    return found


def _with_oracle(stage: _Stage, run: _Trained, horizon: int) -> list[Comparison]:
    """Whether a model that learns finds the answer where one of its inputs is the answer."""
    found, models = [], stage.base.profile.models.learners
    for (trainer, model), daily in _forecast_ic(stage, run, horizon).items():
        # What several say together is held to what the weakest of them must find.
        own = [models[model]] if model in models else list(models.values())
        if not all(each.learns for each in own):
            continue
        bound = min(_ORACLE_IC[each.task] for each in own)
        mean = float(daily["rank_ic"].mean() or 0.0)  # type: ignore[arg-type]
        what = {"expected": f"rank IC above {bound} with the label as an input", "found": f"rank IC {mean:+.3f}"}
        what["cause"] = "features, labels and forecasts do not belong to the same rows, or the model does not learn"
        found.append(_comparison(stage, trainer, "prediction", len(daily), int(mean < bound), (), **what))
    return found


def _forecast_ic(stage: _Stage, run: _Trained, horizon: int) -> dict[tuple[str, str], pl.DataFrame]:
    """Daily IC by asset and model against the run's labels: a trainer's test slices, a forecaster's month after."""
    labels = (
        read_all(run.scratch, "labels").filter(pl.col("horizon") == horizon).select("ticker", "date", "forward_return")
    )
    stored = StoredRows.of(
        read_all(run.scratch, "features"), read_all(run.scratch, "labels"), stage.base.profile.features.names
    )
    forecasts: dict[tuple[str, str], list[pl.DataFrame]] = {}
    for name, fits in run.fits.items():
        for fit in fits:
            placed = [stored.places(each).rename({"value": "prediction"}).drop_nulls() for each in fit.predicted]
            forecasts.setdefault((name, fit.model), []).extend(placed)
    for name in stage.forecasters:
        rows = read_all(run.scratch, name).filter(pl.col("horizon") == horizon)
        for model, part in rows.group_by("model", maintain_order=True):
            forecasts[name, str(model[0])] = [part.select("ticker", "date", "prediction")]
    judged = {
        each: daily_ic(pl.concat(parts).join(labels, on=["ticker", "date"]))
        for each, parts in forecasts.items()
        if parts
    }
    return {each: daily for each, daily in judged.items() if len(daily)}


def _comparison(
    stage: _Stage,
    asset: str,
    column: str,
    compared: int,
    differing: int,
    first: Sequence[dict[str, object]],
    *,
    expected: str = "",
    found: str = "",
    cause: str = "",
) -> Comparison:
    """A comparison of the learning test; what is said of a row is that of the first one that is wrong."""
    row = first[0] if first else {}
    if not differing:
        return Comparison(asset, "learning", stage.as_of, compared=compared)
    return Comparison(
        asset,
        "learning",
        stage.as_of,
        column,
        compared,
        differing,
        first_date=row.get("date", stage.as_of),  # type: ignore[arg-type]
        ticker=row.get("ticker"),  # type: ignore[arg-type]
        sector=stage.sector,
        key=f"ticker={row['ticker']}, date={row['date']}" if row else f"as_of={stage.as_of}",
        expected=expected,
        found=found,
        cause=cause,
    )
