"""What goes into a model and what comes out of it: rows of features and targets, and forecast distributions."""

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
    """Rows as a model gets them.

    Attributes:
        features: names of the columns of `matrix`, in order.
        tickers: of each row, shape (n_rows,).
        dates: session of each row, datetime64[D] of shape (n_rows,).
        matrix: float64 of shape (n_rows, n_features), C-contiguous, NaN where a feature is missing.
        horizons: sessions ahead that the columns of `targets` are, in order; none where rows are only asked about.
        targets: what is fitted, float64 of shape (n_rows, n_horizons), every one of them known: forward returns, or
            what `training.target` makes of them; 1 where that is positive and else 0, for a model of directions.
        outcomes: the forward returns of that shape where the targets are not them, else None; no kind reads them.
        bars: that the rows lie in, for kinds that read windows of them (`Learner.bar_sessions`); else None.
        known_at: session at which each row's targets became known, datetime64[D] of shape (n_rows,); None where rows
            are only asked about.

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

        If the `outcomes` are others, with a column of these for each of them, too. With `known_at` where there is one.

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
    columns = set(frame.columns)  # asked for once: the frame makes a new list each time
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
        std: standard deviation of the same shape, positive; None where a kind states none: it then follows from the
            residuals of the test folds (`ResidualBuckets`).
        prob_up: probability of a positive return, of the same shape; None for a model of returns.

    """

    mean: FloatArray
    std: FloatArray | None = None
    prob_up: FloatArray | None = None

    @classmethod
    def from_quantiles(cls, levels: Sequence[float], values: FloatArray) -> Self:
        """Mean and standard deviation of a distribution that is told by its quantiles.

        The quantile function is linear between the levels and constant beyond the outermost, so both moments are exact
        integrals of it.

        Args:
            levels: ascending, between 0 and 1, of shape (n_levels,).
            values: quantiles of shape (n_levels, n_rows, n_horizons); those that cross are put in order.

        """
        ordered = np.sort(values, axis=0)
        widths = np.diff(np.concatenate([[0.0], np.asarray(levels), [1.0]]))[:, None, None]
        low, high = np.concatenate([ordered[:1], ordered]), np.concatenate([ordered, ordered[-1:]])
        mean = (widths * (low + high) / 2.0).sum(axis=0)
        low, high = low - mean, high - mean
        return cls(mean, np.sqrt((widths * (low * low + low * high + high * high) / 3.0).sum(axis=0)))
