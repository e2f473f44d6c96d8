"""Applicability of forecasts: rows unlike the training rows, expired checkpoints, drifted features."""

from calendar import monthrange
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Self

import polars as pl

from quant_assets.learning.bars import Bars
from quant_assets.learning.models.base import Learner
from quant_assets.learning.reference import Reference
from quant_assets.learning.rows import Rows
from quant_assets.market.panel import FloatArray
from quant_assets.schemas import DATASETS
from quant_assets.settings.model_use import ApplicabilitySettings, DriftSettings


@dataclass(frozen=True)
class Distances:
    """A frame's rows against several references: inputs and dissimilarity, cached.

    Attributes:
        rows: dataset `features`.
        bars: bars of the rows, for models that read bars.

    """

    rows: pl.DataFrame
    bars: Bars | None = None
    _cache: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def to(self, reference: Reference, learner: Learner[Any]) -> FloatArray:
        """`Reference.dissimilarity` of the rows in the inputs of a model."""
        place = *_inputs(reference, learner), id(reference)
        if place not in self._cache:  # the cache holds the reference, so that no id is reused
            self._cache[place] = reference.dissimilarity(self._values(reference, learner)), reference
        dissimilarity: FloatArray = self._cache[place][0]
        return dissimilarity

    def usable(self, reference: Reference, learner: Learner[Any]) -> FloatArray:
        """Inputs of a model in the rows that it can use, as those of its training rows: (n_usable, n_features)."""
        values = self._values(reference, learner)
        if not learner.bar_sessions:
            return values
        rows = Rows.of(self.rows, learner.inputs(reference.features), bars=self.bars)
        return values[learner.usable(rows)]

    def _values(self, reference: Reference, learner: Learner[Any]) -> FloatArray:
        place = _inputs(reference, learner)
        if place not in self._cache:
            self._cache[place] = learner.compared(self.rows, reference.features, self.bars)
        values: FloatArray = self._cache[place]
        return values


def _inputs(reference: Reference, learner: Learner[Any]) -> tuple[str, tuple[str, ...]]:
    """What the inputs depend on: columns of bars have the same names at any parameters of a model."""
    return learner.name if learner.bar_sessions else "", reference.features


@dataclass(frozen=True)
class Applicability:
    """Where a checkpoint's forecasts apply.

    Attributes:
        max_dissimilarity: greatest dissimilarity of a row.
        expires_after_months: age limit of a checkpoint, from the month of its training.

    """

    max_dissimilarity: float
    expires_after_months: int

    @classmethod
    def of(cls, settings: ApplicabilitySettings, cadence_months: int) -> Self:
        """From the settings; without an expiry, a checkpoint lasts until the next one is due."""
        return cls(settings.max_dissimilarity, settings.expires_after_months or cadence_months)

    def expiry(self, as_of: date) -> date:
        """Last day on which a checkpoint trained at `as_of` has not expired."""
        year, month = divmod(as_of.year * 12 + as_of.month - 1 + self.expires_after_months, 12)
        return date(year, month + 1, monthrange(year, month + 1)[1])

    @property
    def in_range(self) -> pl.Expr:
        """Whether `dissimilarity` and `date` of a row are within their limits.

        Null where one is unknown and the other is within its limit.
        """
        return (pl.col("dissimilarity") <= self.max_dissimilarity) & (pl.col("date") <= pl.col("expires"))


def feature_stability(found: Mapping[str, tuple[Reference, FloatArray]]) -> pl.DataFrame:
    """Population stability of each model's inputs against its training rows.

    Args:
        found: by model its reference and the input values of at least one row of one sector and month; models with the
            same reference and the same array share the computation.

    Returns:
        `model, feature, psi, usual_psi` (`Reference.usual`), sorted.

    """
    schema = {name: DATASETS["feature_drift"].schema[name] for name in ("model", "feature", "psi", "usual_psi")}
    distinct = {(id(reference), id(values)): (reference, values) for reference, values in found.values()}
    indices = {place: reference.stability(values) for place, (reference, values) in distinct.items()}
    parts = [
        pl.DataFrame([[model] * len(ref.features), ref.features, indices[id(ref), id(values)], ref.usual], schema)
        for model, (ref, values) in found.items()
    ]
    return pl.concat([pl.DataFrame(schema=schema), *parts]).sort("model", "feature")


def drifted(stability: pl.DataFrame, predictions: pl.DataFrame, settings: DriftSettings) -> pl.DataFrame:
    """Whether the features of a month, or the rows that were forecast, have drifted from the training.

    A month has few names, and slow features hardly change within it: their index is above the usual limit in most
    months without a fault. So a feature has drifted if its index is above both the limit and the index of every month
    of the training rows. A feature with one value for all names of a session, such as an interest rate, passes both
    sooner or later; so the share of drifted features decides, not the greatest index.

    Args:
        stability: dataset `feature_drift` of one sector and month.
        predictions: dataset `predictions` of the same sector and month.
        settings: the limits.

    Returns:
        `model, greatest_psi, drifted_share` (of the features), `out_of_range` (share of rows with `in_range` false
        among those where it is not null; null without any) and `drifted` (one of the shares is above its limit),
        sorted by model.

    """
    above = (pl.col("psi") > pl.max_horizontal("usual_psi", pl.lit(settings.max_psi))).mean()
    features = stability.group_by("model").agg(greatest_psi=pl.col("psi").max(), drifted_share=above)
    rows = predictions.group_by("model").agg(out_of_range=(~pl.col("in_range")).mean())
    return (
        features.join(rows, on="model", how="left")
        .with_columns(
            drifted=(pl.col("drifted_share") > settings.max_drifted_share)
            | (pl.col("out_of_range") > settings.max_out_of_range).fill_null(False)
        )
        .sort("model")
    )
