"""Ensemble of several models' forecasts, weighted by rank IC on the test folds of earlier trainings."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import polars as pl

from quant_assets.learning.gate import plausible
from quant_assets.learning.model_files import VERSION_LENGTH
from quant_assets.schemas import DATASETS
from quant_assets.settings.domain import ENSEMBLE, PredictionSettings

_ON = ["ticker", "date", "horizon"]
_OWN = (*_ON, "prediction", "prediction_std", "prob_up", "confidence", "model", "model_version")

#: How other columns of the models' forecasts are combined.
_JOINT = {"dissimilarity": pl.max_horizontal, "expires": pl.min_horizontal, "in_range": pl.all_horizontal}


def ensemble_weights(judged: Mapping[str, Sequence[float | None]]) -> dict[str, float]:
    """Weight of each model, proportional to its mean rank IC on the test folds where that is positive.

    If no mean is positive, all weights are equal: differences between models without skill are noise.

    Args:
        judged: rank ICs of each model's trainings, all of earlier months; None where undefined.

    Returns:
        Weights that sum to 1, in the order of `judged`; a model with weight 0 is left out.

    """
    known = {name: [ic for ic in ics if ic is not None] for name, ics in judged.items()}
    mean_ics = {name: max(sum(ics) / len(ics), 0.0) if ics else 0.0 for name, ics in known.items()}
    total = sum(mean_ics.values())
    if total <= 0.0:
        return {name: 1.0 / len(mean_ics) for name in mean_ics}
    return {name: mean_ic / total for name, mean_ic in mean_ics.items() if mean_ic > 0.0}


def judged_by(young: pl.DataFrame, used: Mapping[str, date], max_daily_ic: float) -> pl.DataFrame:
    """The trainings whose rank ICs decide the weights.

    Updates do not count: their few rows are not comparable with test folds. Trainings later than the checkpoint in use
    (their files could not be read) do not count either. A daily IC so high that it suggests a leak does not predict
    later months, so such a training does not count; a model without another one has no weight beside a model with a
    positive IC.

    Args:
        young: rows of the checkpoint dataset of all models, of earlier months and young enough.
        used: session of the checkpoint that each model forecasts with.
        max_daily_ic: greatest plausible daily IC.

    Returns:
        A subset of `young`.

    """
    newest = pl.col("model").replace_strict(used, default=None, return_dtype=pl.Date)
    judged = young.filter(pl.col("status") != "updated", pl.col("as_of") <= newest)
    return judged.filter(plausible(max_daily_ic).fill_null(True))


def combined(forecasts: Iterable[pl.DataFrame], judged: pl.DataFrame, settings: PredictionSettings) -> pl.DataFrame:
    r"""Forecasts of the ensemble, for horizons with at least two models.

    The distribution is the models' mixture: its mean :math:`\sum_m w_m p_m`, its variance :math:`\sum_m w_m (s_m^2 +
    (p_m - p)^2)`, its probability of a rise the weighted mean of theirs (a linear opinion pool). It has no interval: no
    test fold measures the coverage of averaged ends. It is `in_range` where all models with weight are, and has their
    greatest dissimilarity and earliest expiry. A row's values do not depend on the other rows; rows that some model of
    the horizon lacks are left out.

    Args:
        forecasts: dataset `predictions` of each model, without `sector`, of the same sessions.
        judged: result of `judged_by`.
        settings: clipping of probabilities.

    Returns:
        Dataset `predictions` (without `sector`), sorted by ticker, date and horizon.

    References:
        Stone (1961), The opinion pool, Annals of Mathematical Statistics 32(4).

    """
    schema = DATASETS["predictions"].schema
    by_model = {str(rows["model"][0]): rows for rows in forecasts if len(rows)}
    parts = [pl.DataFrame(schema=schema)]
    horizons = sorted({horizon for rows in by_model.values() for horizon in rows["horizon"].unique()})
    for horizon in horizons:
        own = {name: part for name, rows in by_model.items() if len(part := rows.filter(pl.col("horizon") == horizon))}
        if len(own) < 2:
            continue
        of_horizon = judged.filter(pl.col("horizon") == horizon).sort("as_of")
        weights = ensemble_weights(
            {name: of_horizon.filter(pl.col("model") == name)["rank_ic"].to_list() for name in sorted(own)}
        )
        parts.append(_mixed({name: own[name] for name in weights}, weights, settings).select(list(schema)))
    return pl.concat(parts).sort(_ON)


def _mixed(own: Mapping[str, pl.DataFrame], weights: Mapping[str, float], settings: PredictionSettings) -> pl.DataFrame:
    (first, *others), mixed = own, pl.DataFrame()
    columns = [name for name in own[first].columns if name not in _ON]
    mixed = own[first].rename({name: f"{name}|{first}" for name in columns})
    for name in others:
        mixed = mixed.join(
            own[name].rename({model_name: f"{model_name}|{name}" for model_name in columns}), on=_ON, validate="1:1"
        )

    def mean(column: str) -> pl.Expr:
        terms = [pl.col(f"{column}|{name}") * weight for name, weight in weights.items()]
        total = terms[0]
        for term in terms[1:]:  # one by one: a row's bits must not depend on the other rows
            total = total + term
        return total

    mixed = mixed.with_columns(prediction=mean("prediction"))
    second = [
        (pl.col(f"prediction_std|{name}").pow(2) + (pl.col(f"prediction|{name}") - pl.col("prediction")).pow(2)).alias(
            f"second|{name}"
        )
        for name in weights
    ]
    versions = {name: own[name].select("model_version").unique().sort("model_version") for name in weights}
    description = "\n".join(
        f"{name} {','.join(versions[name]['model_version'])} {weight!r}" for name, weight in weights.items()
    )
    least = settings.min_probability
    unset = [name for name in columns if name not in _OWN and name not in _JOINT]
    return (
        mixed.with_columns(second)
        .with_columns(
            prediction_std=mean("second").sqrt(),
            prob_up=mean("prob_up").clip(least, 1 - least),
            model=pl.lit(ENSEMBLE),
            model_version=pl.lit(hashlib.sha256(description.encode()).hexdigest()[:VERSION_LENGTH]),
            **{name: joint(f"{name}|{model_name}" for model_name in weights) for name, joint in _JOINT.items()},
            **{name: pl.lit(None, own[first].schema[name]) for name in unset},
        )
        .with_columns(confidence=(2 * pl.col("prob_up") - 1).abs())
    )
