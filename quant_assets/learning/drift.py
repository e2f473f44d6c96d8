"""Where forecasts apply: rows that are unlike those of the training, checkpoints that expire, features that moved."""

from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Self

import polars as pl

from quant_assets.learning.reference import Reference
from quant_assets.learning.rows import feature_matrix
from quant_assets.market.panel import FloatArray
from quant_assets.schemas import DATASETS
from quant_assets.settings.model_use import ApplicabilitySettings, DriftSettings


@dataclass(frozen=True)
class Distances:
    """Dissimilarity of a frame's rows from several references, each reckoned once.

    Attributes:
        rows: dataset `features`.

    """

    rows: pl.DataFrame
    _found: dict[tuple[str, ...] | int, Any] = field(default_factory=dict, repr=False)

    def to(self, reference: Reference) -> FloatArray:
        """`Reference.dissimilarity` of the rows."""
        if reference.features not in self._found:
            self._found[reference.features] = feature_matrix(self.rows, reference.features)
        key = id(reference)
        if key not in self._found:  # the reference is kept, so that no number is given twice
            self._found[key] = reference.dissimilarity(self._found[reference.features]), reference
        found: FloatArray = self._found[key][0]
        return found


@dataclass(frozen=True)
class Applicability:
    """Where a checkpoint's forecasts apply.

    Attributes:
        max_dissimilarity: of a row.
        expires_after_months: of a checkpoint, after the month of its training.

    """

    max_dissimilarity: float
    expires_after_months: int

    @classmethod
    def of(cls, settings: ApplicabilitySettings, cadence_months: int) -> Self:
        """As the settings say it; a checkpoint whose expiry they leave open lasts until the next one is due."""
        return cls(settings.max_dissimilarity, settings.expires_after_months or cadence_months)

    def expiry(self, as_of: date) -> date:
        """Last day of the last month in which a checkpoint of a session is used in time."""
        year, month = divmod(as_of.year * 12 + as_of.month - 1 + self.expires_after_months, 12)
        return date(year, month + 1, monthrange(year, month + 1)[1])

    @property
    def in_range(self) -> pl.Expr:
        """Of rows with `date`, `dissimilarity` and `expires`: whether neither is beyond its limit.

        Null where one of them cannot be told and the other is not beyond.
        """
        return (pl.col("dissimilarity") <= self.max_dissimilarity) & (pl.col("date") <= pl.col("expires"))


def feature_stability(rows: pl.DataFrame, references: Mapping[str, Reference]) -> pl.DataFrame:
    """Population stability of each feature against the training rows of each model.

    Args:
        rows: dataset `features` of one sector and month, at least one.
        references: by model; one of several models is reckoned once.

    Returns:
        `model, feature, psi, usual_psi` (`Reference.usual`), sorted.

    """
    schema = {name: DATASETS["feature_drift"].schema[name] for name in ("model", "feature", "psi", "usual_psi")}
    found = {id(each): each.stability(feature_matrix(rows, each.features)) for each in references.values()}
    parts = [
        pl.DataFrame([[model] * len(each.features), each.features, found[id(each)], each.usual], schema)
        for model, each in references.items()
    ]
    return pl.concat([pl.DataFrame(schema=schema), *parts]).sort("model", "feature")


def drifted(stability: pl.DataFrame, predictions: pl.DataFrame, settings: DriftSettings) -> pl.DataFrame:
    """Whether the features of a month, or the rows that were forecast, are no longer those that a model knows.

    A month has few names, and slow features hardly change within it: their index is above the usual limit in most
    months, without anything being wrong. So a feature has drifted where its index is above the limit and above that of
    every month of the training rows, too. And one feature that is the same for all names of a session, such as a rate
    of interest, passes both sooner or later; so it is the share of the features that decides, not the greatest index.

    Args:
        stability: rows of dataset `feature_drift` of one sector and month.
        predictions: of dataset `predictions`, of the same sector and month.
        settings: the limits.

    Returns:
        `model, greatest_psi, drifted_share` (of the features), `out_of_range` (share of the rows
        of which `in_range` is false, of those where it can be told; null without any) and `drifted`: one of the shares
        is above its limit. Sorted by model.

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
