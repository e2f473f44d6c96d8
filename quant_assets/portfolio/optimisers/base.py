"""The protocol of an optimiser, and its inputs about the names' returns."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from quant_assets.errors import DatasetError
from quant_assets.market.panel import FloatArray
from quant_assets.portfolio.constraints import Constraints

#: How far rounding may push an eigenvalue of a correlation matrix below 0.
_NEGATIVE = 1e-7


@dataclass(frozen=True)
class Outlook:
    """Expectations about the names' returns.

    Attributes:
        expected: expected returns per year, float64 of shape (n_names,).
        confidence: in each expected return, above 0 and below 1, of that shape; None where unknown.
        scenarios: daily returns, float64 of shape (n_sessions, n_names), none missing; None where none are needed.

    """

    expected: FloatArray
    confidence: FloatArray | None = None
    scenarios: FloatArray | None = None


class Optimiser(Protocol):
    """Computes the weights of the selected names."""

    @property
    def needs_covariance(self) -> bool:
        """Whether the window of returns is read, because volatilities alone do not suffice."""
        ...

    def weights(
        self,
        covariance: FloatArray,
        outlook: Outlook,
        constraints: Constraints,
        previous: FloatArray,
    ) -> FloatArray:
        """Weights within the limits.

        Args:
            covariance: of the returns, per year: float64 of shape (n_names, n_names), symmetric and positive
                semidefinite with a positive diagonal.
            outlook: expected returns, confidence in them, scenarios.
            constraints: limits; a name's bounds say whether it is long or short.
            previous: holdings before, after their drift by prices, 0 where none: float64 of shape (n_names,).

        Returns:
            float64 of shape (n_names,), shorts negative; permuting the names permutes the weights.

        Raises:
            InfeasibleError: the limits cannot hold together, or there is no solution; names the cause.
            MissingPackageError: the extra `portfolio` is needed and not installed.

        """
        ...


def sound(covariance: FloatArray) -> FloatArray:
    """The covariance, after validation.

    Raises:
        DatasetError: it is not a symmetric matrix of finite numbers with positive variances, or some combination of the
            names has a clearly negative variance.

    """
    matrix = np.asarray(covariance, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.isfinite(matrix).all():
        raise DatasetError("a covariance must be a square matrix of finite numbers")
    scale = float(np.abs(matrix).max())
    if np.abs(matrix - matrix.T).max() > 1e-8 * scale:
        raise DatasetError("a covariance must be symmetric")
    variances = np.diag(matrix)
    if not (variances > 0.0).all():
        raise DatasetError(
            f"name {int(np.argmin(variances))} has no variance; portfolio.covariances gives it the others' median"
        )
    deviations = np.sqrt(variances)
    correlation = matrix / np.outer(deviations, deviations)
    correlation.flat[:: len(matrix) + 1] = 1.0 + _NEGATIVE
    try:
        np.linalg.cholesky(correlation)
    except np.linalg.LinAlgError:
        raise DatasetError(
            "a covariance gives some combination of the names a negative variance; portfolio.covariances raises its "
            "eigenvalues"
        ) from None
    return (matrix + matrix.T) / 2.0


def side_by_side(constraints: Constraints, covariance: FloatArray, weigh: "Weigh") -> FloatArray:
    """Sizes of the longs by themselves and of the shorts by themselves, each summing to 1.

    Args:
        constraints: their bounds say which names are short.
        covariance: of all.
        weigh: function from the covariance of some names to positive weights that sum to 1.

    """
    result = np.zeros(len(constraints))
    for short in (False, True):
        side = np.flatnonzero(constraints.short == short)
        if len(side):
            result[side] = weigh(covariance[np.ix_(side, side)])
    return result


class Weigh(Protocol):
    """A function from a covariance to positive weights that sum to 1."""

    def __call__(self, covariance: FloatArray, /) -> FloatArray:
        """Shape (n_names, n_names) to (n_names,)."""
        ...
