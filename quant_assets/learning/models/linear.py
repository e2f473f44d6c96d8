"""Ridge regression, and logistic regression for directions: the baseline that every other kind has to beat.

Missing values are filled with the median of the training rows; features are standardised by those rows and cut at
`limit` deviations, so that one extreme ratio moves neither the fit nor a forecast far.

An update is recursive least squares in its information form: the means and products of all rows so far are kept and
those of the new rows added, so the coefficients are those of a ridge regression on all of them together. Medians,
centres, scales, the limit and the penalty stay those of the training. Each row weighs the same, however old it is.

References:
    Chan, Golub and LeVeque (1983), Algorithms for computing the sample variance, The American Statistician 37(3),
    equation 1.5: products of two samples together.
    Hoerl and Kennard (1970), Ridge regression, Technometrics 12(1).
    Hastie, Tibshirani and Friedman (2009), The Elements of Statistical Learning, sections 3.4.1 and 4.4.1.

"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field

from quant_assets.errors import DatasetError
from quant_assets.learning.calibration import logistic
from quant_assets.learning.models.base import FittedModel, Learner, Task
from quant_assets.learning.rows import Distribution, Rows
from quant_assets.market.panel import FloatArray
from quant_assets.settings.group import SettingsGroup

_FILE = "model.json"

#: What an update needs, beside the model; kept only where it is asked for.
_MOMENTS = "moments.npz"

#: Newton steps of the logistic fit, and the largest change of a coefficient at which they end.
_STEPS, _TOLERANCE = 50, 1e-10


class Parameters(SettingsGroup):
    """How strongly coefficients are held back.

    Attributes:
        penalties: on the squared coefficients of the standardised features, each times the number of rows; the
            validation rows choose among them.
        limit: deviations from a feature's mean beyond which its value is cut.

    """

    penalties: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(0.01, 0.1, 1.0, 10.0), min_length=1)
    limit: float = Field(default=5.0, gt=0)


@dataclass(frozen=True)
class Coefficients:
    """A fit as it is saved.

    Attributes:
        task: what was fitted.
        features: in order.
        fill: value in the place of a missing one, shape (n_features,).
        centre: of each feature, likewise.
        scale: deviation of each feature, likewise; 1 where it does not vary.
        limit: deviations at which values are cut.
        slopes: of the standardised features, shape (n_features, n_horizons).
        intercepts: shape (n_horizons,).
        penalty: that the validation rows chose.

    """

    task: Task
    features: tuple[str, ...]
    fill: FloatArray
    centre: FloatArray
    scale: FloatArray
    limit: float
    slopes: FloatArray
    intercepts: FloatArray
    penalty: float

    def standardised(self, matrix: FloatArray) -> FloatArray:
        """A matrix of features, filled, standardised and cut; each value by itself."""
        filled = np.where(np.isnan(matrix), self.fill, matrix)
        found: FloatArray = np.clip((filled - self.centre) / self.scale, -self.limit, self.limit)
        return found


@dataclass(frozen=True)
class Moments:
    """What least squares need of the rows, of which there may be any number.

    Attributes:
        rows: how many.
        inputs: mean of each standardised feature, shape (n_features,).
        targets: mean of each target, shape (n_horizons,).
        squares: sums of products of the features about their means, shape (n_features, n_features).
        products: of the features with the targets, likewise, shape (n_features, n_horizons).

    """

    rows: int
    inputs: FloatArray
    targets: FloatArray
    squares: FloatArray
    products: FloatArray

    @classmethod
    def of(cls, inputs: FloatArray, targets: FloatArray) -> Self:
        """Those of standardised features and their targets."""
        middle, mean = inputs.mean(axis=0), targets.mean(axis=0)
        centred = inputs - middle
        return cls(len(inputs), middle, mean, centred.T @ centred, centred.T @ (targets - mean))

    def with_more(self, other: "Moments") -> "Moments":
        """Those of both samples together."""
        rows, apart = self.rows + other.rows, other.inputs - self.inputs
        moved, share = other.targets - self.targets, other.rows / rows
        between = self.rows * share
        return Moments(
            rows,
            self.inputs + apart * share,
            self.targets + moved * share,
            self.squares + other.squares + np.outer(apart, apart) * between,
            self.products + other.products + np.outer(apart, moved) * between,
        )


class Linear(FittedModel):
    """Coefficients, the horizons that they were fitted for, and where they are to be updated, the rows' moments."""

    def __init__(self, coefficients: Coefficients, horizons: tuple[int, ...], moments: Moments | None = None) -> None:
        self.coefficients, self.horizons, self.moments = coefficients, horizons, moments
        self.features, self.fill = coefficients.features, coefficients.fill

    def _predict(self, rows: Rows) -> Distribution:
        return Distribution(self.of_standardised(self.coefficients.standardised(rows.matrix)))

    def of_standardised(self, inputs: FloatArray) -> FloatArray:
        """Forecasts of what `Coefficients.standardised` gave, shape (n_rows, n_horizons)."""
        mean = np.tile(self.coefficients.intercepts, (len(inputs), 1))
        # Not a matrix product, whose rounding depends on the number of rows.
        for column, slopes in zip(np.ascontiguousarray(inputs.T), self.coefficients.slopes, strict=True):
            mean += column[:, None] * slopes
        return mean if self.coefficients.task == "regression" else logistic(mean)

    def save(self, folder: Path) -> None:
        """JSON, whose numbers are read back to the bit."""
        plain = {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in asdict(self.coefficients).items()
        }
        text = json.dumps(plain, sort_keys=True, indent=1, allow_nan=False) + "\n"
        (folder / _FILE).write_text(text, encoding="utf-8")
        if self.moments is not None:
            np.savez(folder / _MOMENTS, **{each.name: getattr(self.moments, each.name) for each in fields(Moments)})

    def description(self) -> dict[str, Any]:
        """The penalty that was chosen."""
        return {"penalty": self.coefficients.penalty}

    def importances(self) -> dict[str, list[float]]:
        """Size of the coefficient of one standard deviation, mean over the horizons."""
        return {"coefficient": np.abs(self.coefficients.slopes).mean(axis=1).tolist()}


class LinearLearner(Learner[Parameters]):
    """Least squares (of directions: log-likelihood) with a penalty on the squared coefficients."""

    kind = "linear"
    file_format = "JSON of coefficients"
    missing = "filled"
    exact = True
    tasks = ("regression", "classification")
    updated = ("regression",)
    libraries = ("threadpoolctl",)
    parameters_type = Parameters

    def _fit(self, rows: Rows, validation: Rows, seed: int) -> Linear:
        """Exact: the seed has no part in it."""
        from threadpoolctl import threadpool_limits

        self._refuse_infinite(rows)
        # A product's rounding depends on how many threads share it, so there is one.
        with threadpool_limits(limits=1, user_api="blas"):
            tried = [Linear(coefficients, rows.horizons) for coefficients in self._tried(rows)]
        later = tried[0].coefficients.standardised(validation.matrix)  # alike for all of them
        best = min(tried, key=lambda each: _loss(self.task, each.of_standardised(later), validation.targets))
        if self.updates:
            with threadpool_limits(limits=1, user_api="blas"):
                best.moments = Moments.of(best.coefficients.standardised(rows.matrix), rows.targets)
        return best

    def _update(self, model: FittedModel, rows: Rows, fitted_rows: int) -> Linear:
        """The coefficients of all rows so far; how many they are is among the moments."""
        from threadpoolctl import threadpool_limits

        if not isinstance(model, Linear) or model.moments is None:
            raise DatasetError(
                f"{self.said}: what was trained has no moments to update; train it again with update: true"
            )
        self._refuse_infinite(rows)
        old = model.coefficients
        with threadpool_limits(limits=1, user_api="blas"):
            moments = model.moments.with_more(Moments.of(old.standardised(rows.matrix), rows.targets))
            ((_, slopes, intercepts),) = _solved(moments, (old.penalty,))
        return Linear(replace(old, slopes=slopes, intercepts=intercepts), rows.horizons, moments)

    def _refuse_infinite(self, rows: Rows) -> None:
        if not np.isfinite(rows.matrix[~np.isnan(rows.matrix)]).all():
            raise DatasetError(f"{self.said}: a feature is infinite; mend it, or let it be missing")

    def _tried(self, rows: Rows) -> Iterator[Coefficients]:
        """The fit by each of the penalties."""
        fill = _medians(rows.matrix)
        filled = np.where(np.isnan(rows.matrix), fill, rows.matrix)
        centre, scale = filled.mean(axis=0), filled.std(axis=0)
        # What rounding alone makes vary does not vary.
        scale[scale <= 1e-12 * np.abs(centre)] = 1.0
        scale[scale == 0] = 1.0
        none = np.zeros((len(fill), len(rows.horizons)))
        of = (rows.features, fill, centre, scale, self.parameters.limit)
        inputs = Coefficients(self.task, *of, none, none[0], 0.0).standardised(rows.matrix)
        solved = _least_squares if self.task == "regression" else _most_likely
        for penalty, slopes, intercepts in solved(inputs, rows.targets, self.parameters.penalties):
            yield Coefficients(self.task, *of, slopes, intercepts, penalty)

    def load(self, folder: Path, horizons: tuple[int, ...]) -> Linear:
        """The coefficients of the JSON file."""
        plain = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        arrays = {name: np.array(plain[name]) for name in ("fill", "centre", "scale", "slopes", "intercepts")}
        moments = None
        if (beside := folder / _MOMENTS).exists():
            with np.load(beside, allow_pickle=False) as kept:
                moments = Moments(**({name: kept[name] for name in kept} | {"rows": int(kept["rows"])}))
        return Linear(Coefficients(**(plain | arrays | {"features": tuple(plain["features"])})), horizons, moments)


def _medians(matrix: FloatArray) -> FloatArray:
    """Median of what is there of each column; 0 of one that is never there, where any constant will do."""
    ordered = np.sort(matrix.T, axis=1)  # NaN last; all columns at once take a third of the time of `nanmedian`
    count = (~np.isnan(ordered)).sum(axis=1)
    at = np.arange(len(ordered))
    low, high = ordered[at, np.maximum(count - 1, 0) // 2], ordered[at, np.minimum(count // 2, len(matrix) - 1)]
    return np.where(count > 0, (low + high) / 2, 0.0)


Solutions = Iterator[tuple[float, FloatArray, FloatArray]]


def _least_squares(inputs: FloatArray, targets: FloatArray, penalties: tuple[float, ...]) -> Solutions:
    """Slopes and intercepts of each penalty."""
    return _solved(Moments.of(inputs, targets), penalties)


def _solved(of: Moments, penalties: tuple[float, ...]) -> Solutions:
    """Slopes and intercepts of each penalty, by one eigendecomposition of the features' products."""
    values, vectors = np.linalg.eigh(of.squares / of.rows)
    turned = vectors.T @ (of.products / of.rows)
    for penalty in penalties:
        slopes = vectors @ (turned / (np.maximum(values, 0.0) + penalty)[:, None])
        yield penalty, slopes, of.targets - of.inputs @ slopes


def _most_likely(inputs: FloatArray, targets: FloatArray, penalties: tuple[float, ...]) -> Solutions:
    """The same for targets of 0 and 1 by Newton's method; the strongest penalty first, whose fit starts the next."""
    count, features = inputs.shape
    with_one = np.hstack([inputs, np.ones((count, 1))])
    share = targets.mean(axis=0)
    found = np.vstack([np.zeros((features, targets.shape[1])), np.log(share / (1 - share))])
    for penalty in sorted(penalties, reverse=True):
        held = penalty * np.append(np.ones(features), 0.0)
        for column, target in enumerate(targets.T):
            for _ in range(_STEPS):
                at = logistic(with_one @ found[:, column])
                slope = with_one.T @ (target - at) / count - held * found[:, column]
                curve = (with_one * (at * (1 - at))[:, None]).T @ with_one / count + np.diag(held)
                step = np.linalg.solve(curve, slope)
                found[:, column] += step
                if np.abs(step).max() < _TOLERANCE:
                    break
        yield penalty, found[:-1].copy(), found[-1].copy()


def _loss(task: Task, forecast: FloatArray, targets: FloatArray) -> float:
    """Mean squared error, or mean negative log-likelihood, over rows and horizons."""
    if task == "regression":
        return float(((targets - forecast) ** 2).mean())
    kept = np.clip(forecast, 1e-12, 1 - 1e-12)
    return float(-(targets * np.log(kept) + (1 - targets) * np.log(1 - kept)).mean())


LEARNER = LinearLearner
