"""Controls of learning: labels without any relation to the features, and a feature that is the label."""

import math
from collections.abc import Iterator, Sequence
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

#: Largest IC of permuted labels, in standard errors: one false alarm in 16 thousand audits.
_STANDARD_ERRORS = 4.0

#: Rank IC that a model must reach if a feature is the label, by task; below it, the settings may be too small for more.
#: A classifier finds only the sign: if a share p of the names rises, the sign's rank correlation with the return is
#: sqrt(3 p (1 - p)), 0.87 at most and 0.52 for a tenth.
_ORACLE_IC = {"regression": 0.9, "classification": 0.4}

#: Share that the assets must reach of the same model's IC on the same rows, joined here; the seeds differ.
_ORACLE_SHARE = 0.9

#: A model that reaches less than this on rows that are known to be right proves nothing.
_LEARNS = 0.3

_ANSWER = "answer"


def dealt_anew(labels: pl.DataFrame, seed: int | Sequence[int]) -> pl.DataFrame:
    """Labels with their returns permuted among the tickers of a session and horizon.

    Args:
        labels: dataset `labels`, or a part of it.
        seed: of the draws; deterministic.

    Returns:
        The rows sorted by date, ticker and horizon, with another `forward_return`.

    """
    # `shuffle(seed).over("date")` would permute all dates with as many names alike.
    ordered = labels.sort("date", "ticker", "horizon")
    drawn = ordered.with_columns(draw=pl.Series(np.random.default_rng(seed).random(len(ordered))))
    return drawn.with_columns(pl.col("forward_return").sort_by("draw").over("date", "horizon")).drop("draw")


def with_answer(features: pl.DataFrame, labels: pl.DataFrame, place: str) -> pl.DataFrame:
    """Features, one of them replaced by the label of its row; null without a label.

    Args:
        features: dataset `features`, or a part of it.
        labels: rows of dataset `labels` of one horizon.
        place: name of the feature that the label replaces.

    """
    answer = labels.select("ticker", "date", **{_ANSWER: "forward_return"})
    joined = features.join(answer, on=["ticker", "date"], how="left", validate="1:1", maintain_order="left")
    return joined.with_columns(pl.col(_ANSWER).alias(place)).drop(_ANSWER)


def permuted_labels(stage: Stage) -> tuple[list[Comparison], list[str]]:
    """Train on labels permuted within sessions, which no model can forecast."""
    seed, chosen = stage.base.profile.settings.training.seed, pl.col("horizon") == stage.horizon

    def permuted(labels: pl.DataFrame) -> pl.DataFrame:
        return dealt_anew(labels.filter(chosen), seed)

    comparisons = _without_relation(stage, stage.run("permuted", {"labels": permuted}, stage.horizon))
    return comparisons, _silent(stage, comparisons, "on permuted labels")


def oracle(stage: Stage) -> tuple[list[Comparison], list[str]]:
    """Train with the label in place of the first feature: the forecasts must find it."""
    chosen = pl.col("horizon") == stage.horizon
    answer = read_all(stage.base, "labels").filter(chosen)

    def told(features: pl.DataFrame) -> pl.DataFrame:
        return with_answer(features, answer, stage.base.profile.features.names[0])

    run = stage.run("oracle", {"features": told, "labels": lambda rows: rows.filter(chosen)}, stage.horizon)
    comparisons, notes = _with_oracle(stage, run)
    return comparisons, [*notes, *_silent(stage, comparisons, "with the label as an input")]


def _silent(stage: Stage, comparisons: list[Comparison], what: str) -> list[str]:
    judged = {comparison.asset for comparison in comparisons}
    return [
        f"learning {what} was not tested: {name} of {stage.sector} gave no forecasts of known labels "
        "that differ within a session; train on more rows or with larger settings"
        for name in (*stage.trainers, *stage.forecasters)
        if name not in judged
    ]


def _without_relation(stage: Stage, run: Trained) -> list[Comparison]:
    """Whether the IC of labels permuted within sessions is 0, within its standard error.

    Over n names a correlation with permuted labels has mean 0 and variance 1 / (n - 1) for any forecasts. Sessions are
    independent, because they are permuted independently. So the bound is exact.

    References:
        Pitman (1937), Significance tests which may be applied to samples from any populations II, JRSS Supplement 4.

    """
    comparisons = []
    for (trainer, _), daily in stage.forecast_ic(run, stage.horizon).items():
        mean = _mean(daily)
        bound = _STANDARD_ERRORS * math.sqrt(float((1.0 / (daily["names"] - 1)).sum())) / len(daily)
        what: dict[str, Any] = {
            "expected": f"rank IC 0 within {bound:.3f} on permuted labels",
            "found": f"rank IC {mean:+.3f}",
        }
        what["cause"] = (
            "the forecasts know the labels that they are judged by: test rows are trained on, or a feature is the label"
        )
        comparisons.append(stage.comparison(trainer, "prediction", len(daily), int(abs(mean) > bound), **what))
    return comparisons


def _with_oracle(stage: Stage, run: Trained) -> tuple[list[Comparison], list[str]]:
    """Whether a model finds the label if a feature is the label.

    With few rows, trees or leaves no model comes near 1. So an IC below `_ORACLE_IC` is compared with that of the same
    kind of model, with the same parameters, on the same rows, joined here by ticker and date.
    """
    comparisons, notes = list[Comparison](), list[str]()
    learners = stage.base.profile.models.learners
    for (asset, model), daily in stage.forecast_ic(run, stage.horizon).items():
        # An ensemble must reach what its weakest member must reach.
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
                comparisons.append(stage.comparison(asset, "prediction", 0, 0))
                continue
            bound = min(bound, _ORACLE_SHARE * reached)
            said = f", {_ORACLE_SHARE} of the IC of the same model on its {rows} rows, joined correctly"
        what: dict[str, Any] = {"expected": f"rank IC above {bound:.3f} with the label as an input{said}"}
        what |= {"found": f"rank IC {mean:+.3f}"}
        what["cause"] = (
            "features, labels and forecasts do not belong to the same rows; small settings are not the reason, because "
            "the same model finds more on the same rows"
        )
        comparisons.append(stage.comparison(asset, "prediction", len(daily), int(mean < bound), **what))
    return comparisons, notes


def _reached(stage: Stage, run: Trained, asset: str, model: str) -> tuple[float, int]:
    """Rank IC of the same kind of model on the rows of the run's fits, joined here; and the number of these rows."""
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
        fitted, later = rows_of(fit.fitted.said), rows_of(pl.concat([given.said for given in fit.stopped_by]))
        fitted_model = profile.models.learners[model].fit(fitted, later, training.seed)
        judged = joined.join(asked.unique(), on=["ticker", "date"], how="semi")
        forecast = fitted_model.predict(Rows.of(judged, names)).mean[:, 0]
        ics.append(daily_ic(judged.with_columns(prediction=pl.Series(forecast))))
        counts.append(len(fitted))
    return (_mean(pl.concat(ics)), min(counts)) if ics else (0.0, 0)


def _asked(
    stage: Stage, run: Trained, asset: str, model: str, rows: pl.DataFrame
) -> Iterator[tuple[Fit, pl.DataFrame]]:
    """Fits behind an asset's forecasts, with the keys of the rows that they are judged on: `ticker`, `date`."""
    fits = [
        fit
        for name in ([asset] if asset in run.fits else run.fits)
        for fit in run.fits[name]
        if fit.model == model and fit.stopped_by
    ]
    if asset in run.fits:
        yield from ((fit, pl.concat([given.said for given in fit.predicted])) for fit in fits if fit.predicted)
    else:
        forecast = read_all(run.scratch, asset).filter(pl.col("model") == model)
        yield from ((fit, forecast.join(rows, on=["ticker", "date"]).select("ticker", "date")) for fit in fits[-1:])


def _mean(daily: pl.DataFrame) -> float:
    return float(daily["rank_ic"].mean() or 0.0)  # type: ignore[arg-type]
