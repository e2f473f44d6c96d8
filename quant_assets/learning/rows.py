"""Inputs and outputs of a model: rows of features and targets, and forecast distributions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import DatasetError
from quant_assets.learning.bars import Bars
from quant_assets.learning.splits import BoolArray
from quant_assets.market.panel import FloatArray


@dataclass(frozen=True)
class Rows:
    """Input rows of a model.

    Attributes:
        features: names of the columns of `matrix`, in order.
        tickers: ticker of each row, shape (n_rows,).
        dates: session of each row, datetime64[D] of shape (n_rows,).
        matrix: float64 of shape (n_rows, n_features), C-contiguous, NaN where a feature is missing.
        horizons: horizons of the columns of `targets` in sessions, in order; empty for forecasts.
        targets: float64 of shape (n_rows, n_horizons) without NaN: forward returns, transformed by `training.target`;
            for a model of directions 1 where positive, else 0.
        outcomes: the forward returns in the same shape if the targets differ from them, else None; no kind reads them.
        bars: bars of the rows, for kinds that read windows of bars (`Learner.bar_sessions`); else None.
        known_at: session at which each row's targets became known, datetime64[D] of shape (n_rows,); None for
            forecasts.

    """

    features: tuple[str, ...]
    tickers: NDArray[np.object_]
    dates: NDArray[np.datetime64]
    matrix: FloatArray
    horizons: tuple[int, ...]
    targets: FloatArray
    outcomes: FloatArray | None = None
    bars: Bars | None = None
    known_at: NDArray[np.datetime64] | None = None

    @classmethod
    def of(
        cls,
        frame: pl.DataFrame,
        features: Sequence[str],
        horizons: Sequence[int] = (),
        targets: Sequence[str] = (),
        outcomes: Sequence[str] = (),
        bars: Bars | None = None,
    ) -> Self:
        """Rows of a frame with `ticker`, `date`, the features, and a column of `targets` for each of `horizons`.

        `outcomes` names the columns of forward returns if they differ from the targets; column `known_at` is optional.

        Raises:
            DatasetError: the frame lacks columns; lists them.

        """
        return cls(
            tuple(features),
            frame["ticker"].to_numpy().astype(object),
            frame["date"].to_numpy(),
            feature_matrix(frame, features),
            tuple(horizons),
            np.ascontiguousarray(frame.select(targets).to_numpy()) if targets else np.empty((len(frame), 0)),
            np.ascontiguousarray(frame.select(outcomes).to_numpy()) if outcomes else None,
            bars,
            frame["known_at"].to_numpy() if "known_at" in frame.columns else None,
        )

    def __len__(self) -> int:
        return len(self.matrix)

    def where(self, mask: BoolArray) -> Self:
        """The rows at which a mask of shape (n_rows,) is True, in order."""
        return replace(
            self,
            tickers=self.tickers[mask],
            dates=self.dates[mask],
            matrix=self.matrix[mask],
            targets=self.targets[mask],
            outcomes=None if self.outcomes is None else self.outcomes[mask],
            known_at=None if self.known_at is None else self.known_at[mask],
        )


def feature_matrix(frame: pl.DataFrame, features: Sequence[str]) -> FloatArray:
    """Model input of shape (n_rows, n_features), C-contiguous, NaN where a feature is null.

    Raises:
        DatasetError: the frame lacks features; lists them.

    """
    columns = set(frame.columns)  # once: the property builds a new list at every access
    if missing := [name for name in features if name not in columns]:
        raise DatasetError(f"rows lack the columns {', '.join(missing)} of {len(features)} features")
    if not features:
        return np.empty((len(frame), 0))
    return np.ascontiguousarray(frame.select(pl.col(list(features)).cast(pl.Float64)).to_numpy())


@dataclass(frozen=True)
class Distribution:
    """Forecasts of forward returns.

    Attributes:
        mean: float64 of shape (n_rows, n_horizons).
        std: standard deviation of the same shape, positive; None if the kind has none, and the residuals of the test
            folds are used (`ResidualBuckets`).
        prob_up: probability of a positive return, of the same shape; None for a model of returns.

    """

    mean: FloatArray
    std: FloatArray | None = None
    prob_up: FloatArray | None = None

    @classmethod
    def from_quantiles(cls, levels: Sequence[float], values: FloatArray) -> Self:
        """Mean and standard deviation of a distribution given by quantiles.

        The quantile function is linear between the levels and constant outside them; both moments are its exact
        integrals.

        Args:
            levels: ascending, between 0 and 1, of shape (n_levels,).
            values: quantiles of shape (n_levels, n_rows, n_horizons); crossing quantiles are sorted.

        """
        ordered = np.sort(values, axis=0)
        widths = np.diff(np.concatenate([[0.0], np.asarray(levels), [1.0]]))[:, None, None]
        low, high = np.concatenate([ordered[:1], ordered]), np.concatenate([ordered, ordered[-1:]])
        mean = (widths * (low + high) / 2.0).sum(axis=0)
        low, high = low - mean, high - mean
        return cls(mean, np.sqrt((widths * (low * low + low * high + high * high) / 3.0).sum(axis=0)))
