"""What a training makes of labels without a relation to anything, and of an input that is the answer."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from quant_assets.audit.datasets import read_all
from quant_assets.audit.findings import Comparison
from quant_assets.audit.fitting import Fit
from quant_assets.audit.learning_stage import Stage, Trained
from quant_assets.learning.metrics import daily_ic
from quant_assets.learning.rows import Rows
from quant_assets.learning.targets import directions, fitted_target

#: A permuted label's IC may lie so many standard errors from 0: one false alarm in 16 thousand audits.
_STANDARD_ERRORS = 4.0

#: Rank IC that a model reaches when one of its inputs is the answer, by what it fits; below it, the settings may be too
#: small for more. Of directions only the sign is to be found: where a share p of the names rises, its rank correlation
#: with the return is sqrt(3 p (1 - p)), 0.87 at most and 0.52 for a tenth.
_ORACLE_IC = {"regression": 0.9, "classification": 0.4}

#: Share of what the same model reaches on the same rows joined here that the assets' must reach; the seeds differ.
_ORACLE_SHARE = 0.9

#: A model that reaches less than this on rows that are known to be right tells nothing.
_LEARNS = 0.3

_ANSWER = "answer"


def permuted_labels(stage: Stage) -> tuple[list[Comparison], list[str]]:
    """Labels dealt anew among the names of each session: nobody can forecast them."""
    seed, chosen = stage.base.profile.settings.training.seed, pl.col("horizon") == stage.horizon

    def permuted(labels: pl.DataFrame) -> pl.DataFrame:
        # Every date by itself: `shuffle(seed).over("date")` would deal each date of as many names alike.
        ordered = labels.filter(chosen).sort("date", "ticker")
        drawn = ordered.with_columns(draw=pl.Series(np.random.default_rng(seed).random(len(ordered))))
        return drawn.with_columns(pl.col("forward_return").sort_by("draw").over("date")).drop("draw")

    found = _without_relation(stage, stage.run("permuted", {"labels": permuted}, stage.horizon))
    return found, _silent(stage, found, "on permuted labels")


def oracle(stage: Stage) -> tuple[list[Comparison], list[str]]:
    """The answer in the place of the first feature: the forecasts must find it."""
    chosen = pl.col("horizon") == stage.horizon
    answer = read_all(stage.base, "labels").filter(chosen).select("ticker", "date", **{_ANSWER: "forward_return"})

    def told(features: pl.DataFrame) -> pl.DataFrame:
        joined = features.join(answer, on=["ticker", "date"], how="left")
        return joined.with_columns(pl.col(_ANSWER).alias(stage.base.profile.features.names[0])).drop(_ANSWER)

    run = stage.run("oracle", {"features": told, "labels": lambda rows: rows.filter(chosen)}, stage.horizon)
    found, notes = _with_oracle(stage, run)
    return found, [*notes, *_silent(stage, found, "with the label as an input")]


def _silent(stage: Stage, found: list[Comparison], what: str) -> list[str]:
    judged = {each.asset for each in found}
    return [
        f"learning {what} was not tested: {name} of {stage.sector} gave no forecasts of known labels "
        "that differ within a session; train on more rows or with larger settings"
        for name in (*stage.trainers, *stage.forecasters)
        if name not in judged
    ]


def _without_relation(stage: Stage, run: Trained) -> list[Comparison]:
    """Whether the IC of labels that were dealt anew among the names of each session is 0, within its standard error.

    Over n names a correlation with labels that were permuted has mean 0 and variance 1 / (n - 1) whatever the forecasts
    are, and the sessions are independent, because each was permuted by itself. So the bound holds exactly for the
    labels as they are.

    References:
        Pitman (1937), Significance tests which may be applied to samples from any populations II, JRSS Supplement 4.

    """
    found = []
    for (trainer, _), daily in stage.forecast_ic(run, stage.horizon).items():
        mean = _mean(daily)
        bound = _STANDARD_ERRORS * math.sqrt(float((1.0 / (daily["names"] - 1)).sum())) / len(daily)
        what: dict[str, Any] = {
            "expected": f"rank IC 0 within {bound:.3f} on permuted labels",
            "found": f"rank IC {mean:+.3f}",
        }
        what["cause"] = (
            "the forecasts know labels that they are judged by: test rows are trained on, or an input holds the label"
        )
        found.append(stage.comparison(trainer, "prediction", len(daily), int(abs(mean) > bound), **what))
    return found


def _with_oracle(stage: Stage, run: Trained) -> tuple[list[Comparison], list[str]]:
    """Whether a model finds the answer where one of its inputs is the answer.

    With few rows, trees or leaves no model comes near 1. So what stays below `_ORACLE_IC` is held against what the same
    kind, with the same parameters, reaches on the same rows, which are joined here by ticker and date.
    """
    found, notes = list[Comparison](), list[str]()
    learners = stage.base.profile.models.learners
    for (asset, model), daily in stage.forecast_ic(run, stage.horizon).items():
        # What several say together is held to what the weakest of them must find.
        own = [model] if model in learners else list(learners)
        if not all(learners[each].learns for each in own):
            continue
        mean, bound, said = _mean(daily), min(_ORACLE_IC[learners[each].task] for each in own), ""
        if mean < bound:
            reached, rows = min(_reached(stage, run, asset, each) for each in own)
            if reached < _LEARNS:
                notes.append(
                    f"learning with the label as an input was not tested: model {model} of {asset}, {stage.sector}, "
                    f"reaches a rank IC of only {reached:+.3f} on {rows} rows that are known to be right; "
                    "train on more rows or with larger settings"
                )
                found.append(stage.comparison(asset, "prediction", 0, 0))
                continue
            bound = min(bound, _ORACLE_SHARE * reached)
            said = f", {_ORACLE_SHARE} of what the model reaches on its {rows} rows where they are joined right"
        what: dict[str, Any] = {"expected": f"rank IC above {bound:.3f} with the label as an input{said}"}
        what |= {"found": f"rank IC {mean:+.3f}"}
        what["cause"] = (
            "features, labels and forecasts do not belong to the same rows; small settings are no reason, because the "
            "same model finds more on the same rows"
        )
        found.append(stage.comparison(asset, "prediction", len(daily), int(mean < bound), **what))
    return found, notes


def _reached(stage: Stage, run: Trained, asset: str, model: str) -> tuple[float, int]:
    """Rank IC of a model of the same kind on the rows that the run's fits name, joined here; and rows of its fits."""
    profile = run.scratch.profile
    names, training = profile.features.names, profile.settings.training
    labels = read_all(run.scratch, "labels").filter(pl.col("horizon") == stage.horizon)
    joined = labels.join(read_all(run.scratch, "features").select("ticker", "date", *names), on=["ticker", "date"])
    joined = joined.sort("date", "ticker")

    def rows_of(keys: pl.DataFrame) -> Rows:
        part = joined.join(keys.unique(), on=["ticker", "date"], how="semi")
        if profile.models.learners[model].task == "classification":
            target = directions(part, "forward_return", training).alias("target")
        else:
            target = pl.Series("target", fitted_target(part, "forward_return", training))
        return Rows.of(part.with_columns(target), names, (stage.horizon,), ["target"])

    ics, counts = list[pl.DataFrame](), list[int]()
    for fit, asked in _asked(stage, run, asset, model, joined):
        fitted, later = rows_of(fit.fitted.said), rows_of(pl.concat([each.said for each in fit.stopped_by]))
        fitted_model = profile.models.learners[model].fit(fitted, later, training.seed)
        judged = joined.join(asked.unique(), on=["ticker", "date"], how="semi")
        forecast = fitted_model.predict(Rows.of(judged, names)).mean[:, 0]
        ics.append(daily_ic(judged.with_columns(prediction=pl.Series(forecast))))
        counts.append(len(fitted))
    return (_mean(pl.concat(ics)), min(counts)) if ics else (0.0, 0)


def _asked(
    stage: Stage, run: Trained, asset: str, model: str, rows: pl.DataFrame
) -> Iterator[tuple[Fit, pl.DataFrame]]:
    """Fits behind an asset's forecasts, with the rows that they are judged on: `ticker`, `date`."""
    fits = [
        each
        for name in ([asset] if asset in run.fits else run.fits)
        for each in run.fits[name]
        if each.model == model and each.stopped_by
    ]
    if asset in run.fits:
        yield from ((fit, pl.concat([each.said for each in fit.predicted])) for fit in fits if fit.predicted)
    else:
        forecast = read_all(run.scratch, asset).filter(pl.col("model") == model)
        yield from ((fit, forecast.join(rows, on=["ticker", "date"]).select("ticker", "date")) for fit in fits[-1:])


def _mean(daily: pl.DataFrame) -> float:
    return float(daily["rank_ic"].mean() or 0.0)  # type: ignore[arg-type]
