"""One forecast from those of several models, weighed by what each was worth on the test folds of earlier trainings."""

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

#: What several models' forecasts have together, beside the mixture.
_JOINT = {"dissimilarity": pl.max_horizontal, "expires": pl.min_horizontal, "in_range": pl.all_horizontal}


def ensemble_weights(judged: Mapping[str, Sequence[float | None]]) -> dict[str, float]:
    """Weight of each model: in proportion to its mean rank IC on the test folds, as far as that is positive.

    Where none is, all weigh the same: what the folds say of models without skill is noise.

    Args:
        judged: rank ICs of each model's trainings, all of earlier months; None where undefined.

    Returns:
        Weights that sum to 1, in the order given; a model that weighs nothing is left out.

    """
    known = {name: [ic for ic in ics if ic is not None] for name, ics in judged.items()}
    worth = {name: max(sum(ics) / len(ics), 0.0) if ics else 0.0 for name, ics in known.items()}
    total = sum(worth.values())
    if total <= 0.0:
        return {name: 1.0 / len(worth) for name in worth}
    return {name: each / total for name, each in worth.items() if each > 0.0}


def judged_by(young: pl.DataFrame, used: Mapping[str, date], max_daily_ic: float) -> pl.DataFrame:
    """The trainings that models are weighed by.

    Updates are none: what their few rows say of a model is not what its test folds said. Those of a model after the one
    that forecasts, because their files could not be read, say nothing of its forecasts. A daily IC that suggests a leak
    says nothing of later months: such a training is not judged, and a model with no other weighs nothing beside one
    with a positive IC.

    Args:
        young: rows of the dataset of checkpoints that are of earlier months and young enough, of all models.
        used: session of the checkpoint that each model forecasts with.
        max_daily_ic: the greatest plausible one.

    Returns:
        Those of the rows.

    """
    newest = pl.col("model").replace_strict(used, default=None, return_dtype=pl.Date)
    judged = young.filter(pl.col("status") != "updated", pl.col("as_of") <= newest)
    return judged.filter(plausible(max_daily_ic).fill_null(True))


def combined(forecasts: Iterable[pl.DataFrame], judged: pl.DataFrame, settings: PredictionSettings) -> pl.DataFrame:
    r"""Forecasts of the ensemble, for horizons that several models forecast.

    The distribution is the models' mixture: its mean :math:`\sum_m w_m p_m`, its variance :math:`\sum_m w_m (s_m^2 +
    (p_m - p)^2)`, its probability of a rise the weighted mean of theirs (a linear opinion pool). It has no interval: no
    test fold says how often averaged ends would hold. It applies where each of those that weigh does (`in_range`), with
    the greatest of their dissimilarities and the first of their expiries. A row's values do not depend on the other
    rows, and only rows that every model of its horizon has are there.

    Args:
        forecasts: dataset `predictions` of each model, without `sector`, of the same sessions.
        judged: as `judged_by` gives them.
        settings: clipping of probabilities.

    Returns:
        Dataset `predictions` (without `sector`), sorted by ticker, date and horizon.

    References:
        Stone (1961), The opinion pool, Annals of Mathematical Statistics 32(4).

    """
    schema = DATASETS["predictions"].schema
    by_model = {str(each["model"][0]): each for each in forecasts if len(each)}
    parts = [pl.DataFrame(schema=schema)]
    horizons = sorted({horizon for each in by_model.values() for horizon in each["horizon"].unique()})
    for horizon in horizons:
        own = {name: part for name, each in by_model.items() if len(part := each.filter(pl.col("horizon") == horizon))}
        if len(own) < 2:
            continue
        of_horizon = judged.filter(pl.col("horizon") == horizon).sort("as_of")
        weights = ensemble_weights(
            {name: of_horizon.filter(pl.col("model") == name)["rank_ic"].to_list() for name in sorted(own)}
        )
        parts.append(_mixed({name: own[name] for name in weights}, weights, settings).select(list(schema)))
    return pl.concat(parts).sort(_ON)


def _mixed(own: Mapping[str, pl.DataFrame], weights: Mapping[str, float], settings: PredictionSettings) -> pl.DataFrame:
    (first, *others), found = own, pl.DataFrame()
    columns = [name for name in own[first].columns if name not in _ON]
    found = own[first].rename({name: f"{name}|{first}" for name in columns})
    for name in others:
        found = found.join(own[name].rename({each: f"{each}|{name}" for each in columns}), on=_ON, validate="1:1")

    def mean(column: str) -> pl.Expr:
        terms = [pl.col(f"{column}|{name}") * weight for name, weight in weights.items()]
        total = terms[0]
        for term in terms[1:]:  # one after the other, so that the bits do not depend on the rows beside
            total = total + term
        return total

    found = found.with_columns(prediction=mean("prediction"))
    second = [
        (pl.col(f"prediction_std|{name}").pow(2) + (pl.col(f"prediction|{name}") - pl.col("prediction")).pow(2)).alias(
            f"second|{name}"
        )
        for name in weights
    ]
    versions = {name: own[name].select("model_version").unique().sort("model_version") for name in weights}
    said = "\n".join(
        f"{name} {','.join(versions[name]['model_version'])} {weight!r}" for name, weight in weights.items()
    )
    least = settings.min_probability
    beside = [name for name in columns if name not in _OWN and name not in _JOINT]
    return (
        found.with_columns(second)
        .with_columns(
            prediction_std=mean("second").sqrt(),
            prob_up=mean("prob_up").clip(least, 1 - least),
            model=pl.lit(ENSEMBLE),
            model_version=pl.lit(hashlib.sha256(said.encode()).hexdigest()[:VERSION_LENGTH]),
            **{name: joint(f"{name}|{each}" for each in weights) for name, joint in _JOINT.items()},
            **{name: pl.lit(None, own[first].schema[name]) for name in beside},
        )
        .with_columns(confidence=(2 * pl.col("prob_up") - 1).abs())
    )
