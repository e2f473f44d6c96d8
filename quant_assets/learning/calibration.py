"""Calibration on out-of-fold forecasts: probabilities of a rise, and prediction intervals with stated coverage.

References:
    Platt (1999), Probabilistic outputs for support vector machines, Advances in Large Margin Classifiers.
    Lei, G'Sell, Rinaldo, Tibshirani and Wasserman (2018), Distribution-free predictive inference for regression, JASA
    113(523).

"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from quant_assets.market.panel import FloatArray

#: Probabilities are clipped to this distance from 0 and 1, so that single log odds do not outweigh all others.
_LEAST = 1e-3
#: Greatest number of Newton steps, and the step size at which they end.
_STEPS, _TOLERANCE = 50, 1e-12
#: Prior standard deviations of offset and slope around the identity.
_PRIOR = (0.25, 0.5)
#: With fewer rises or fewer falls there is no calibration.
_FEWEST = 20


@dataclass(frozen=True)
class Calibration:
    """Log odds of a rise as a linear function of the model's log odds; offset 0 and slope 1 are the identity.

    Attributes:
        offset: of the line.
        slope: of the line, never below 0: a higher forecast never has a lower probability of a rise.
        rows: number of forecasts in the fit; 0 if there were too few, which makes it the identity.

    """

    offset: float = 0.0
    slope: float = 1.0
    rows: int = 0

    @classmethod
    def fit(cls, stated: FloatArray, outcome: FloatArray, apart: float | None = None) -> "Calibration":
        """Platt scaling with his smoothed targets and a normal prior around the identity.

        The tickers of a session share the market's move, and sessions closer than the horizon share part of it. At full
        weight the rows would fit the market of a few months, so their total weight is the number of independent
        periods. The prior standard deviations of offset and slope are 0.25 and 0.5.

        Args:
            stated: probabilities of a rise, shape (n_rows,).
            outcome: realised returns of the same shape.
            apart: number of independent periods; the number of rows where None.

        """
        risen = outcome > 0
        rose = int(risen.sum())
        if min(rose, len(risen) - rose) < _FEWEST:
            return cls()
        target = np.where(risen, (rose + 1) / (rose + 2), 1 / (len(risen) - rose + 2))
        odds = _log_odds(stated)
        weight = 1.0 if apart is None else min(1.0, apart / len(risen))
        offset, slope = _most_likely(odds, target, weight)
        if slope < 0:
            # The best line with a slope of at least 0 is flat, with the same weight and prior.
            offset, slope = _most_likely(np.zeros_like(odds), target, weight)[0], 0.0
        return cls(offset, slope, len(risen))

    @classmethod
    def from_manifest(cls, entry: Mapping[str, Any] | None) -> "Calibration":
        """Read the entry of `to_manifest`; the identity without one."""
        return cls(**entry) if entry else cls()

    def to_manifest(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def of(self, stated: FloatArray) -> FloatArray:
        """Calibrated probabilities of a rise, element by element."""
        return stated if self.rows == 0 else logistic(self.offset + self.slope * _log_odds(stated))


UNCALIBRATED = Calibration()


@dataclass(frozen=True)
class Interval:
    """Split-conformal interval: the forecast plus and minus `width` of its standard deviations.

    Attributes:
        coverage: share of the outcomes that the interval should contain.
        width: quantile of the out-of-fold errors in standard deviations; None with too few of them.
        rows: number of out-of-fold forecasts in the fit.

    """

    coverage: float
    width: float | None
    rows: int

    @classmethod
    def fit(cls, prediction: FloatArray, std: FloatArray, outcome: FloatArray, coverage: float) -> "Interval":
        """The smallest width that contains ceil((n + 1) coverage) of the n outcomes.

        If the errors are exchangeable and `std` does not depend on these outcomes, the next outcome is inside with at
        least that probability. Neither is exact: residual buckets are fitted to the same outcomes, and returns overlap
        in a changing market. So the coverage is also measured (`judge`).
        """
        errors = np.sort(np.abs(outcome - prediction) / std)
        place = math.ceil((len(errors) + 1) * coverage)
        return cls(coverage, float(errors[place - 1]) if 0 < place <= len(errors) else None, len(errors))

    @classmethod
    def from_manifest(cls, entry: Mapping[str, Any] | None) -> "Interval | None":
        """Read the entry of `to_manifest`; None without one."""
        return cls(**entry) if entry else None

    def to_manifest(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def holds(self, prediction: FloatArray, std: FloatArray, outcome: FloatArray) -> float | None:
        """Share of outcomes inside; None without a width or without outcomes."""
        if self.width is None or not len(outcome):
            return None
        return float((np.abs(outcome - prediction) <= self.width * std).mean())


def stated_probability(prediction: FloatArray, std: FloatArray, prob_up: FloatArray | None) -> FloatArray:
    """Uncalibrated probability of a rise: the model's own, else that of a normal forecast distribution."""
    if prob_up is not None:
        return prob_up
    from scipy.special import ndtr  # scipy takes a third of a second to import

    return np.asarray(ndtr(prediction / std), dtype=np.float64)


def reliability(stated: FloatArray, outcome: FloatArray, bins: int = 10) -> dict[str, Any]:
    """Observed share of rises by stated probability, for a manifest and a plot.

    Args:
        stated: probabilities of a rise, shape (n_rows,).
        outcome: realised returns of the same shape.
        bins: number of quantile bins of the probabilities; equal quantiles merge bins.

    Returns:
        `bins`, each with `rows`, `stated` (mean probability) and `rose` (share); the Brier score `brier`, and
        `brier_base`, that of the overall share of rises as the only forecast; both None without rows.

    """
    if not len(stated):
        return {"rows": 0, "bins": [], "brier": None, "brier_base": None}
    risen = (outcome > 0).astype(float)
    edges = np.unique(np.quantile(stated, np.arange(1, bins) / bins))
    place = np.searchsorted(edges, stated, side="right")
    return {
        "rows": len(stated),
        "bins": [
            {"rows": int(here.sum()), "stated": float(stated[here].mean()), "rose": float(risen[here].mean())}
            for here in (place == number for number in range(len(edges) + 1))
            if here.any()
        ],
        "brier": float(((stated - risen) ** 2).mean()),
        "brier_base": float(((risen.mean() - risen) ** 2).mean()),
    }


def _log_odds(stated: FloatArray) -> FloatArray:
    clipped = np.clip(stated, _LEAST, 1 - _LEAST)
    log_odds: FloatArray = np.log(clipped / (1 - clipped))
    return log_odds


def logistic(log_odds: FloatArray) -> FloatArray:
    """Probabilities of log odds of any size, element by element."""
    probability: FloatArray = 0.5 * (1.0 + np.tanh(0.5 * log_odds))
    return probability


def _most_likely(odds: FloatArray, target: FloatArray, weight: float) -> tuple[float, float]:
    """Offset and slope by Newton's method, halving steps that increase the loss; `weight` is that of each row."""
    inputs, line, identity = np.column_stack([np.ones_like(odds), odds]), np.array([0.0, 1.0]), np.array([0.0, 1.0])
    precision = 1.0 / np.square(_PRIOR)

    def loss(at: FloatArray) -> float:
        fitted = inputs @ at
        data_loss = weight * (np.logaddexp(0.0, fitted) - target * fitted).sum()
        return float(data_loss + 0.5 * (precision * (at - identity) ** 2).sum())

    for _ in range(_STEPS):
        probability = logistic(inputs @ line)
        gradient = weight * (inputs.T @ (target - probability)) - precision * (line - identity)
        hessian = weight * ((inputs * (probability * (1 - probability))[:, None]).T @ inputs) + np.diag(precision)
        step = np.linalg.solve(hessian, gradient)
        while loss(line + step) > loss(line) and np.abs(step).max() > _TOLERANCE:
            step = step / 2
        line = line + step
        if np.abs(step).max() < _TOLERANCE:
            break
    return float(line[0]), float(line[1])
