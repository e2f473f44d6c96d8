"""What out-of-fold forecasts say of later ones: probabilities of a rise, and intervals that hold as often as they say.

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

#: Probabilities nearer to 0 and 1 are taken for these: their log odds would outweigh all others.
_LEAST = 1e-3
#: Newton steps, and the change at which they end.
_STEPS, _TOLERANCE = 50, 1e-12
#: Deviations of offset and slope from those that change nothing, before anything is seen.
_PRIOR = (0.25, 0.5)
#: Fewer forecasts, or fewer of either direction, calibrate nothing.
_FEWEST = 20


@dataclass(frozen=True)
class Calibration:
    """Log odds of a rise as a line of the log odds that a model states: with offset 0 and slope 1 what it states.

    Attributes:
        offset: of the line.
        slope: of the line, never below 0: a forecast that is higher is never the less likely to rise.
        rows: forecasts that it was fitted to; 0 where there were too few, so that it changes nothing.

    """

    offset: float = 0.0
    slope: float = 1.0
    rows: int = 0

    @classmethod
    def fit(cls, stated: FloatArray, outcome: FloatArray, apart: float | None = None) -> "Calibration":
        """The most likely line: Platt's, with his targets a little off 0 and 1, near the one that changes nothing.

        The names of a session share the market's move, and sessions nearer than the horizon share part of it. Rows that
        count for as many as there are of them would fit the market of a few months, so together they count for the
        periods that lie apart; the offset is 0 and the slope 1 give or take a quarter and one half.

        Args:
            stated: probabilities of a rise, shape (n_rows,).
            outcome: realised returns of the same shape.
            apart: periods among them that share nothing; as many as rows where None.

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
            # The most likely line that does not fall: flat, with the same weight of rows and the same prior.
            offset, slope = _most_likely(np.zeros_like(odds), target, weight)[0], 0.0
        return cls(offset, slope, len(risen))

    @classmethod
    def from_manifest(cls, entry: Mapping[str, Any] | None) -> "Calibration":
        """Read back what `to_manifest` wrote; what changes nothing where nothing was written."""
        return cls(**entry) if entry else cls()

    def to_manifest(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def of(self, stated: FloatArray) -> FloatArray:
        """Calibrated probabilities of a rise, each by itself."""
        return stated if self.rows == 0 else logistic(self.offset + self.slope * _log_odds(stated))


UNCALIBRATED = Calibration()


@dataclass(frozen=True)
class Interval:
    """Split-conformal interval: the forecast plus and minus `width` of its standard deviations.

    Attributes:
        coverage: share of the outcomes that it is made to hold.
        width: quantile of the out-of-fold errors in standard deviations; None where there were too few of them.
        rows: out-of-fold forecasts that it was fitted to.

    """

    coverage: float
    width: float | None
    rows: int

    @classmethod
    def fit(cls, prediction: FloatArray, std: FloatArray, outcome: FloatArray, coverage: float) -> "Interval":
        """The smallest width that holds ceil((n + 1) coverage) of the n outcomes.

        Of exchangeable errors, in deviations that do not follow from these outcomes, the next one is then inside with
        at least that probability. Deviations of residual buckets are fitted to the same outcomes, and errors of
        overlapping returns in a changing market are not exchangeable: how often it holds is measured (`judge`).
        """
        errors = np.sort(np.abs(outcome - prediction) / std)
        place = math.ceil((len(errors) + 1) * coverage)
        return cls(coverage, float(errors[place - 1]) if 0 < place <= len(errors) else None, len(errors))

    @classmethod
    def from_manifest(cls, entry: Mapping[str, Any] | None) -> "Interval | None":
        """Read back what `to_manifest` wrote; None where nothing was written."""
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
    """Probability of a rise before it is calibrated: the model's own, else of a normal forecast distribution."""
    if prob_up is not None:
        return prob_up
    from scipy.special import ndtr  # scipy is a third of a second that only those who ask pay

    return np.asarray(ndtr(prediction / std), dtype=np.float64)


def reliability(stated: FloatArray, outcome: FloatArray, bins: int = 10) -> dict[str, Any]:
    """How often forecasts rose for what was said of them, for a manifest and a plot.

    Args:
        stated: probabilities of a rise, shape (n_rows,).
        outcome: realised returns of the same shape.
        bins: into which the probabilities are cut at their quantiles; equal ones are merged.

    Returns:
        `bins`, each with `rows`, `stated` (mean probability) and `rose` (share); `brier` (mean squared difference of
        probability and direction), and `brier_base`, that of the share of all that rose; None without rows.

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
    kept = np.clip(stated, _LEAST, 1 - _LEAST)
    found: FloatArray = np.log(kept / (1 - kept))
    return found


def logistic(log_odds: FloatArray) -> FloatArray:
    """Probabilities of log odds of any size, each by itself."""
    found: FloatArray = 0.5 * (1.0 + np.tanh(0.5 * log_odds))
    return found


def _most_likely(odds: FloatArray, target: FloatArray, weight: float) -> tuple[float, float]:
    """Offset and slope of rows of a weight by Newton's method, halving steps that make it worse."""
    inputs, line, near = np.column_stack([np.ones_like(odds), odds]), np.array([0.0, 1.0]), np.array([0.0, 1.0])
    held = 1.0 / np.square(_PRIOR)

    def loss(at: FloatArray) -> float:
        found = inputs @ at
        wrong = weight * (np.logaddexp(0.0, found) - target * found).sum()
        return float(wrong + 0.5 * (held * (at - near) ** 2).sum())

    for _ in range(_STEPS):
        found = logistic(inputs @ line)
        down = weight * (inputs.T @ (target - found)) - held * (line - near)
        curve = weight * ((inputs * (found * (1 - found))[:, None]).T @ inputs) + np.diag(held)
        step = np.linalg.solve(curve, down)
        while loss(line + step) > loss(line) and np.abs(step).max() > _TOLERANCE:
            step = step / 2
        line = line + step
        if np.abs(step).max() < _TOLERANCE:
            break
    return float(line[0]), float(line[1])
